//! kafka-reassign-partitions at the cluster: where replicas are, where they are moving to, and the requests that move them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, DescribeLogDirsRequest,
    ListPartitionReassignmentsRequest,
};
use ottla_protocol::ErrorCode;

use super::Failure;
use super::admin::{Partition, by_topic, message, millis, shown, text, topic_name, topic_outcomes};
use super::client::{Client, Target};
use super::reassignment_plan::Replica;

/// How long the cluster may take to decide.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A reassignment under way.
pub struct Moving {
    pub replicas: Vec<i32>,
    pub adding: Vec<i32>,
    pub removing: Vec<i32>,
}

/// Where a replica is, and where it is moving to.
#[derive(Default)]
pub struct Folders {
    pub current: Option<String>,
    pub future: Option<String>,
}

/// Kafka's tool prints the failures that it expects as they are, and others as errors.
pub enum Ended {
    Told(String),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// The reassignments under way, of all partitions or of some.
pub fn moving(client: &mut Client, of: Option<&BTreeSet<Partition>>) -> Result<BTreeMap<Partition, Moving>, Failure> {
    let topics = of.map(|partitions| {
        let topic = |(name, partitions): (String, Vec<i32>)| {
            ListPartitionReassignmentsTopics::default().with_name(topic_name(&name)).with_partition_indexes(partitions)
        };
        by_topic(partitions).into_iter().map(topic).collect()
    });
    let request = ListPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(millis(TIMEOUT));
    let response = client.send(&Target::Controller, &request)?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    let mut found = BTreeMap::new();
    let ids = |list: &[kafka_protocol::messages::BrokerId]| list.iter().map(|id| id.0).collect::<Vec<i32>>();
    for topic in response.topics {
        for partition in topic.partitions {
            let moving = Moving {
                replicas: ids(&partition.replicas),
                adding: ids(&partition.adding_replicas),
                removing: ids(&partition.removing_replicas),
            };
            found.insert((topic.name.to_string(), partition.partition_index), moving);
        }
    }
    Ok(found)
}

/// Asks for new replicas, or with `None` for the end of a reassignment. Gives the refusals as lines.
pub fn reassign(
    client: &mut Client,
    wanted: BTreeMap<Partition, Option<Vec<i32>>>,
    may_change_count: bool,
) -> Result<Vec<String>, Failure> {
    let refusals = try_reassign(client, wanted, may_change_count)?;
    Ok(refusals.iter().map(|(partition, failure)| format!("{}: {}", shown(partition), failure.message)).collect())
}

/// As [`reassign`], with the refusals by partition.
pub fn try_reassign(
    client: &mut Client,
    wanted: BTreeMap<Partition, Option<Vec<i32>>>,
    may_change_count: bool,
) -> Result<BTreeMap<Partition, Failure>, Failure> {
    let mut topics: BTreeMap<String, Vec<ReassignablePartition>> = BTreeMap::new();
    for ((topic, partition), replicas) in wanted {
        let replicas = replicas.map(|list| list.into_iter().map(Into::into).collect());
        let partition = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        topics.entry(topic).or_default().push(partition);
    }
    let topics: Vec<ReassignableTopic> = topics
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic::default().with_name(topic_name(&name)).with_partitions(partitions))
        .collect();
    let response = client.send_with(&Target::Controller, |version| {
        let request =
            AlterPartitionReassignmentsRequest::default().with_topics(topics.clone()).with_timeout_ms(millis(TIMEOUT));
        if version >= 1 { request.with_allow_replication_factor_change(may_change_count) } else { request }
    })?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    let mut refusals = BTreeMap::new();
    for topic in response.responses {
        for partition in topic.partitions {
            let outcome = Failure::check(partition.error_code, message(partition.error_message.as_ref()));
            if let Err(failure) = outcome {
                refusals.insert((topic.name.to_string(), partition.partition_index), failure);
            }
        }
    }
    Ok(refusals)
}

pub fn replicas_of(client: &mut Client, topics: &BTreeSet<String>) -> Result<BTreeMap<Partition, Vec<i32>>, Failure> {
    let mut found = BTreeMap::new();
    if topics.is_empty() {
        return Ok(found);
    }
    for (topic, outcome) in topic_outcomes(client, Some(topics))? {
        let described = outcome.map_err(|failure| match failure.code {
            Some(ErrorCode::UnknownTopicOrPartition) => {
                Failure::from_code(failure.code.map_or(0, ErrorCode::code), Some(format!("Topic {topic} not found.")))
            }
            _ => failure,
        })?;
        for partition in described.partitions {
            let replicas = partition.replica_nodes.iter().map(|id| id.0).collect();
            found.insert((topic.clone(), partition.partition_index), replicas);
        }
    }
    Ok(found)
}

pub fn log_dirs(
    client: &mut Client,
    partitions: &BTreeMap<Partition, Vec<i32>>,
) -> Result<BTreeMap<Replica, String>, Failure> {
    let replicas: Vec<Replica> = partitions
        .iter()
        .flat_map(|((topic, partition), ids)| ids.iter().map(move |id| (*id, topic.clone(), *partition)))
        .filter(|(broker, _, _)| client.brokers().contains_key(broker))
        .collect();
    let found = folders(client, replicas.iter())?;
    Ok(found.into_iter().filter_map(|(replica, folders)| Some((replica, folders.current?))).collect())
}

/// The folders that replicas are in. Replicas that their broker does not have are left out.
pub fn folders<'a>(
    client: &mut Client,
    replicas: impl Iterator<Item = &'a Replica>,
) -> Result<BTreeMap<Replica, Folders>, Failure> {
    let mut by_broker: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
    for (broker, topic, partition) in replicas {
        by_broker.entry(*broker).or_default().push((topic.clone(), *partition));
    }
    let mut found: BTreeMap<Replica, Folders> = BTreeMap::new();
    for (broker, partitions) in by_broker {
        let topic = |(name, partitions): (String, Vec<i32>)| {
            DescribableLogDirTopic::default().with_topic(topic_name(&name)).with_partitions(partitions)
        };
        let topics = by_topic(&partitions).into_iter().map(topic).collect();
        let request = DescribeLogDirsRequest::default().with_topics(Some(topics));
        for dir in client.send(&Target::Node(broker), &request)?.results {
            let path = dir.log_dir.to_string();
            for topic in dir.topics {
                for partition in topic.partitions {
                    let replica = (broker, topic.name.to_string(), partition.partition_index);
                    let folders = found.entry(replica).or_default();
                    let place = if partition.is_future_key { &mut folders.future } else { &mut folders.current };
                    *place = Some(path.clone());
                }
            }
        }
    }
    Ok(found)
}

/// Moves replicas into folders. A replica that has yet to come to its broker is waited for.
pub fn move_dirs(
    client: &mut Client,
    patience: Duration,
    wanted: &BTreeMap<Replica, String>,
    out: &mut dyn Write,
) -> Result<(), Ended> {
    const PAUSE: Duration = Duration::from_millis(100);
    let since = Instant::now();
    let mut pending = wanted.clone();
    loop {
        let mut by_broker: BTreeMap<i32, BTreeMap<String, Vec<Partition>>> = BTreeMap::new();
        for ((broker, topic, partition), dir) in &pending {
            let dirs = by_broker.entry(*broker).or_default();
            dirs.entry(dir.clone()).or_default().push((topic.clone(), *partition));
        }
        for (broker, dirs) in by_broker {
            let dir = |(path, partitions): (String, Vec<Partition>)| {
                let topic = |(name, partitions): (String, Vec<i32>)| {
                    AlterReplicaLogDirTopic::default().with_name(topic_name(&name)).with_partitions(partitions)
                };
                let topics = by_topic(&partitions).into_iter().map(topic).collect();
                AlterReplicaLogDir::default().with_path(text(&path)).with_topics(topics)
            };
            let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs.into_iter().map(dir).collect());
            for topic in client.send(&Target::Node(broker), &request)?.results {
                for partition in topic.partitions {
                    let replica = (broker, topic.topic_name.to_string(), partition.partition_index);
                    match Failure::check(partition.error_code, None) {
                        Ok(()) => {
                            let dir = pending.remove(&replica).unwrap_or_default();
                            let (broker, topic, partition) = replica;
                            writeln!(
                                out,
                                "Successfully started moving log directory to {dir} for replica {topic}-{partition} with broker {broker} "
                            )?;
                        }
                        Err(failure) if failure.code == Some(ErrorCode::ReplicaNotAvailable) => {}
                        Err(_) => {
                            let (broker, topic, partition) = replica;
                            return Err(Failure::failed(format!(
                                "Failed to alter dir for {topic}-{partition}-{broker}"
                            ))
                            .into());
                        }
                    }
                }
            }
        }
        if pending.is_empty() {
            return Ok(());
        }
        if since.elapsed() >= patience {
            let plural = if pending.len() == 1 { "" } else { "s" };
            let names: Vec<String> =
                pending.keys().map(|(broker, topic, partition)| format!("{topic}-{partition}-{broker}")).collect();
            return Err(Ended::Told(format!(
                "Timed out before log directory move{plural} could be started for: {}",
                names.join(",")
            )));
        }
        std::thread::sleep(PAUSE);
    }
}
