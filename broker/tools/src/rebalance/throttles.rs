//! Kafka's throttles for what is moved, set as kafka-reassign-partitions sets them, and taken away wherever they are found.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};
use ottla_protocol::ErrorCode;

use super::cluster::persistently;
use super::plan::Move;
use crate::Failure;
use crate::admin::{message, text, topic_outcomes};
use crate::client::{Client, Target};
use crate::configs::{Changes, alter};
use crate::reassignment_throttles::{BROKER_THROTTLES, FOLLOWER_REPLICAS, LEADER_REPLICAS};

/// The rates; the third of the throttles is for moves within a broker.
const RATES: [&str; 2] = [BROKER_THROTTLES[0], BROKER_THROTTLES[1]];
const REPLICAS: [&str; 2] = [LEADER_REPLICAS, FOLLOWER_REPLICAS];
/// Somebody's own throttle for all replicas of a topic: it holds for what is moved, too, and is left as it is.
const ALL: &str = "*";
/// Topics in one question.
const TOPICS_MAX: usize = 500;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Sources of values: the topic's own, the broker's own.
const OF_TOPIC: i8 = 1;
const OF_BROKER: i8 = 2;

/// Throttles that are set.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub topics: BTreeSet<String>,
    pub brokers: BTreeSet<i32>,
}

impl Found {
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.brokers.is_empty()
    }
}

/// Every throttle of replicas in the cluster.
pub fn find(client: &mut Client) -> Result<Found, Failure> {
    persistently(client, |client| {
        let mut found = Found::default();
        let names: Vec<String> = topic_outcomes(client, None)?.into_keys().collect();
        for names in names.chunks(TOPICS_MAX) {
            let resources = names.iter().map(|name| resource(TOPIC, name, &REPLICAS)).collect();
            for (name, values) in own_values(client, &Target::Any, resources, OF_TOPIC)? {
                if values.iter().any(|value| value != ALL) {
                    found.topics.insert(name);
                }
            }
        }
        for broker in client.brokers().keys().copied().collect::<Vec<_>>() {
            let resources = vec![resource(BROKER, &broker.to_string(), &RATES)];
            let values = own_values(client, &Target::Node(broker), resources, OF_BROKER)?;
            if values.values().any(|values| !values.is_empty()) {
                found.brokers.insert(broker);
            }
        }
        Ok(found)
    })
}

fn resource(kind: i8, name: &str, keys: &[&str]) -> DescribeConfigsResource {
    DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(Some(keys.iter().map(|key| text(key)).collect()))
}

/// Values that resources have of their own. One that is gone has none.
fn own_values(
    client: &mut Client,
    target: &Target,
    resources: Vec<DescribeConfigsResource>,
    source: i8,
) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let request = DescribeConfigsRequest::default().with_resources(resources);
    let results = client.send(target, &request)?.results;
    let own = |result: kafka_protocol::messages::describe_configs_response::DescribeConfigsResult| {
        let values = result.configs.into_iter().filter(|entry| entry.config_source == source);
        let values = values.filter_map(|entry| entry.value.map(|value| value.to_string()));
        (result.resource_name.to_string(), values.filter(|value| !value.is_empty()).collect())
    };
    Ok(results.into_iter().map(own).collect())
}

/// Bounds what the moves copy. Every broker gets the rate: whoever leads is a source, and leaders change.
pub fn set(client: &mut Client, moves: &[Move], rate: i64) -> Result<(), Failure> {
    let lists: Vec<(String, [String; 2])> = replicas(moves).into_iter().collect();
    for lists in lists.chunks(TOPICS_MAX) {
        persistently(client, |client| {
            let resources = lists.iter().map(|(topic, _)| resource(TOPIC, topic, &REPLICAS)).collect();
            let values = own_values(client, &Target::Any, resources, OF_TOPIC)?;
            let has_own =
                |topic: &String| values.get(topic).is_some_and(|values| values.iter().any(|value| value == ALL));
            let wanted = lists.iter().filter(|(topic, _)| !has_own(topic));
            let set = |(topic, values): &(String, [String; 2])| {
                (topic.clone(), values.each_ref().map(|value| Some(value.clone())))
            };
            alter_topics(client, wanted.map(set).collect())
        })?;
    }
    set_rates(client, rate)
}

/// Gives topics these values of the two keys, or takes them away. A topic that is gone needs none.
fn alter_topics(client: &mut Client, topics: Vec<(String, [Option<String>; 2])>) -> Result<(), Failure> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    let resources = topics.into_iter().map(|(topic, values)| {
        let configs = REPLICAS.iter().zip(values).map(|(key, value)| {
            let operation = if value.is_some() { SET } else { DELETE };
            AlterableConfig::default()
                .with_name(text(key))
                .with_config_operation(operation)
                .with_value(value.map(|value| text(&value)))
        });
        AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&topic))
            .with_configs(configs.collect())
    });
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources.collect());
    for answer in client.send(&Target::Any, &request)?.responses {
        match Failure::check(answer.error_code, message(answer.error_message.as_ref())) {
            Err(failure) if failure.code != Some(ErrorCode::UnknownTopicOrPartition) => return Err(failure),
            _ => {}
        }
    }
    Ok(())
}

/// Sets the rate of every broker that is up.
pub fn set_rates(client: &mut Client, rate: i64) -> Result<(), Failure> {
    persistently(client, |client| {
        for broker in client.brokers().keys().copied().collect::<Vec<_>>() {
            let set = RATES.iter().map(|key| ((*key).to_owned(), rate.to_string())).collect();
            alter(client, "brokers", &broker.to_string(), &Changes { set, ..Changes::default() })?;
        }
        Ok(())
    })
}

/// Topics with the values of their two keys: replicas that give, and those that take.
fn replicas(moves: &[Move]) -> BTreeMap<String, [String; 2]> {
    let mut lists: BTreeMap<String, [Vec<String>; 2]> = BTreeMap::new();
    for step in moves.iter().filter(|step| step.adding().next().is_some()) {
        let [leaders, followers] = lists.entry(step.topic.clone()).or_default();
        leaders.extend(step.from.iter().map(|id| format!("{}:{id}", step.partition)));
        followers.extend(step.adding().map(|id| format!("{}:{id}", step.partition)));
    }
    lists.into_iter().map(|(topic, lists)| (topic, lists.map(|list| list.join(",")))).collect()
}

/// Takes throttles away.
pub fn clear(client: &mut Client, found: &Found) -> Result<(), Failure> {
    let topics: Vec<&String> = found.topics.iter().collect();
    for topics in topics.chunks(TOPICS_MAX) {
        let none = topics.iter().map(|topic| ((*topic).clone(), [None, None]));
        persistently(client, |client| alter_topics(client, none.clone().collect()))?;
    }
    for broker in &found.brokers {
        let delete = RATES.iter().map(|key| (*key).to_owned()).collect();
        let changes = Changes { delete, ..Changes::default() };
        persistently(client, |client| alter(client, "brokers", &broker.to_string(), &changes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_give_and_those_who_take_are_listed() {
        let step = |partition, from: &[i32], to: &[i32]| Move {
            topic: "a".into(),
            partition,
            from: from.to_vec(),
            to: to.to_vec(),
            bytes: 1,
        };
        let lists = replicas(&[step(0, &[1, 2], &[3, 2]), step(1, &[1, 2], &[2, 1]), step(2, &[1, 2], &[1, 4])]);
        assert_eq!(lists["a"], ["0:1,0:2,2:1,2:2", "0:3,2:4"]);
    }
}
