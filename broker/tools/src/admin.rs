//! What several tools ask of a cluster: partitions of topics and offsets of partitions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Failure;
use super::client::{Client, Target};

/// A partition of a topic by name.
pub type Partition = (String, i32);

/// ListOffsets' names of the ends of a log.
pub const LATEST: i64 = -1;
pub const EARLIEST: i64 = -2;

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// An optional text of an answer.
pub fn message(text: Option<&StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// `topic-3`, as Kafka prints a partition.
pub fn shown((topic, partition): &Partition) -> String {
    format!("{topic}-{partition}")
}

/// All topics, or those named; the first one that does not exist is an error.
pub fn topics(
    client: &mut Client,
    names: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<String, MetadataResponseTopic>, Failure> {
    let mut found = BTreeMap::new();
    for (name, outcome) in topic_outcomes(client, names)? {
        found.insert(name, outcome?);
    }
    Ok(found)
}

/// As [`topics`], with the refusal of each topic beside the others.
pub fn topic_outcomes(
    client: &mut Client,
    names: Option<&BTreeSet<String>>,
) -> Result<BTreeMap<String, Result<MetadataResponseTopic, Failure>>, Failure> {
    let asked = names.map(|names| {
        names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic_name(name)))).collect()
    });
    let request = MetadataRequest::default().with_topics(asked).with_allow_auto_topic_creation(false);
    let response = client.send(&Target::Any, &request)?;
    Ok(response
        .topics
        .into_iter()
        .map(|topic| {
            let name = topic.name.as_ref().map(|name| name.to_string()).unwrap_or_default();
            let outcome = Failure::check(topic.error_code, None).map(|()| topic);
            (name, outcome)
        })
        .collect())
}

/// Partitions of existing topics with their leaders; -1 is none.
pub fn leaders(topics: &BTreeMap<String, MetadataResponseTopic>) -> BTreeMap<Partition, i32> {
    let of_topic = |(name, topic): (&String, &MetadataResponseTopic)| {
        let partition = |p: &kafka_protocol::messages::metadata_response::MetadataResponsePartition| {
            ((name.clone(), p.partition_index), p.leader_id.0)
        };
        topic.partitions.iter().map(partition).collect::<Vec<_>>()
    };
    topics.iter().flat_map(of_topic).collect()
}

/// Groups partitions by topic, the shape most requests have.
pub fn by_topic<'a>(partitions: impl IntoIterator<Item = &'a Partition>) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions {
        topics.entry(topic.clone()).or_default().push(*partition);
    }
    topics
}

/// The offset of each partition at a time (or at one of the ends). The answer lacks partitions whose topic is unknown.
pub fn list_offsets<'a>(
    client: &mut Client,
    partitions: impl IntoIterator<Item = &'a Partition>,
    timestamp: i64,
) -> Result<BTreeMap<Partition, Result<i64, Failure>>, Failure> {
    let wanted = by_topic(partitions);
    if wanted.is_empty() {
        return Ok(BTreeMap::new());
    }
    let known = topic_outcomes(client, Some(&wanted.keys().cloned().collect()))?;
    let known = known.into_iter().filter_map(|(name, outcome)| Some((name, outcome.ok()?))).collect();
    let leaders = leaders(&known);
    let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
    for (topic, partitions) in wanted {
        for partition in partitions {
            if let Some(leader) = leaders.get(&(topic.clone(), partition)).filter(|leader| **leader >= 0) {
                by_leader.entry(*leader).or_default().entry(topic.clone()).or_default().push(partition);
            }
        }
    }
    let mut found = BTreeMap::new();
    for (leader, topics) in by_leader {
        let topics = topics.into_iter().map(|(name, partitions)| {
            let partition =
                |index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(timestamp);
            ListOffsetsTopic::default()
                .with_name(topic_name(&name))
                .with_partitions(partitions.into_iter().map(partition).collect())
        });
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
        for topic in client.send(&Target::Node(leader), &request)?.topics {
            for partition in topic.partitions {
                let outcome = Failure::check(partition.error_code, None).map(|()| partition.offset);
                found.insert((topic.name.to_string(), partition.partition_index), outcome);
            }
        }
    }
    Ok(found)
}
