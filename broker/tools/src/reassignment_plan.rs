//! The JSON of kafka-reassign-partitions: which replicas a partition is to have, and in which folders.

use std::collections::BTreeMap;

use serde_json::Value;

use super::admin::{Partition, shown};
use super::{Failure, json};

/// A replica of a partition on a broker: broker, topic, partition (the order in which they are told).
pub type Replica = (i32, String, i32);

/// Stands for "whichever folder the broker chooses".
const ANY: &str = "any";

/// What a file asks for. Partitions are in the file's order and may be named twice: only `execute` minds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub partitions: Vec<(Partition, Vec<i32>)>,
    pub log_dirs: BTreeMap<Replica, String>,
}

/// Reads a plan.
pub fn read(text: &str) -> Result<Plan, Failure> {
    let file = json::parse(text)?;
    check_version(&file)?;
    let mut plan = Plan::default();
    if file.get("partitions").is_none() {
        return Ok(plan);
    }
    for entry in json::list(&file, "partitions")? {
        let partition: Partition = (json::string(entry, "topic")?.to_owned(), json::number(entry, "partition")?);
        let replicas = numbers(json::list(entry, "replicas")?)?;
        let dirs: Vec<String> = match entry.get("log_dirs") {
            Some(_) => json::list(entry, "log_dirs")?.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => vec![ANY.to_owned(); replicas.len()],
        };
        if dirs.len() != replicas.len() {
            return Err(Failure::failed(format!(
                "Size of replicas list {} is different from size of log dirs list {} for partition {}",
                bracketed(&replicas),
                bracketed(&dirs),
                shown(&partition)
            )));
        }
        for (broker, dir) in replicas.iter().zip(dirs).filter(|(_, dir)| dir != ANY) {
            plan.log_dirs.insert((*broker, partition.0.clone(), partition.1), dir);
        }
        plan.partitions.push((partition, replicas));
    }
    Ok(plan)
}

/// The topics that a file for `--generate` names.
pub fn read_topics(text: &str) -> Result<Vec<String>, Failure> {
    let file = json::parse(text)?;
    check_version(&file)?;
    let mut topics: Vec<String> = Vec::new();
    if file.get("topics").is_some() {
        for entry in json::list(&file, "topics")? {
            topics.push(json::string(entry, "topic")?.to_owned());
        }
    }
    let repeated = repeated(&topics);
    if repeated.is_empty() {
        Ok(topics)
    } else {
        Err(Failure::failed(format!("List of topics to reassign contains duplicate entries: {}", bracketed(&repeated))))
    }
}

fn check_version(file: &Value) -> Result<(), Failure> {
    let version: i64 = if file.get("version").is_some() { json::number(file, "version")? } else { 1 };
    if version == 1 { Ok(()) } else { Err(Failure::failed(format!("Not supported version field value {version}"))) }
}

fn numbers(values: &[Value]) -> Result<Vec<i32>, Failure> {
    let number = |value: &Value| {
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        number.ok_or_else(|| Failure::failed(format!("Expected `Integer` value, received {value}")))
    };
    values.iter().map(number).collect()
}

impl Plan {
    /// What `execute` refuses before it asks the cluster.
    pub fn check(&self) -> Result<BTreeMap<Partition, Vec<i32>>, Failure> {
        if self.partitions.is_empty() {
            return Err(Failure::failed("Partition reassignment list cannot be empty"));
        }
        if self.partitions.iter().any(|(_, replicas)| replicas.is_empty()) {
            return Err(Failure::failed("Partition replica list cannot be empty"));
        }
        let names: Vec<Partition> = self.partitions.iter().map(|(partition, _)| partition.clone()).collect();
        let twice = repeated(&names);
        if !twice.is_empty() {
            let list: Vec<String> = twice.iter().map(shown).collect();
            return Err(Failure::failed(format!(
                "Partition reassignment contains duplicate topic partitions: {}",
                list.join(",")
            )));
        }
        let doubled: Vec<String> = self
            .partitions
            .iter()
            .filter_map(|(partition, replicas)| {
                let twice = repeated(replicas);
                let list = commas(&twice);
                (!twice.is_empty()).then(|| format!("{} contains multiple entries for {list}", shown(partition)))
            })
            .collect();
        if !doubled.is_empty() {
            return Err(Failure::failed(format!(
                "Partition replica lists may not contain duplicate entries: {}",
                doubled.join(". ")
            )));
        }
        Ok(self.partitions.iter().cloned().collect())
    }
}

/// A plan as text, as `--generate` proposes it and `--execute` tells what was.
pub fn write(partitions: &BTreeMap<Partition, Vec<i32>>, log_dirs: &BTreeMap<Replica, String>) -> String {
    let entry = |((topic, partition), replicas): (&Partition, &Vec<i32>)| {
        let dirs: Vec<&str> = replicas
            .iter()
            .map(|broker| log_dirs.get(&(*broker, topic.clone(), *partition)).map_or(ANY, String::as_str))
            .collect();
        let quoted = |text: &str| Value::from(text).to_string();
        format!(
            r#"{{"topic":{},"partition":{partition},"replicas":[{}],"log_dirs":[{}]}}"#,
            quoted(topic),
            commas(replicas),
            dirs.iter().map(|dir| quoted(dir)).collect::<Vec<_>>().join(",")
        )
    };
    format!(r#"{{"version":1,"partitions":[{}]}}"#, partitions.iter().map(entry).collect::<Vec<_>>().join(","))
}

/// Spreads partitions over brokers as a new topic would be: leaders in turn, followers behind them.
pub fn spread(partitions: i32, replicas: usize, brokers: &[i32], start: usize) -> Vec<Vec<i32>> {
    let at = |index: usize| brokers[index % brokers.len()];
    let count = usize::try_from(partitions).unwrap_or(0);
    (0..count).map(|partition| (0..replicas).map(|replica| at(start + partition + replica)).collect()).collect()
}

pub fn commas<T: std::fmt::Display>(list: &[T]) -> String {
    list.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

pub fn bracketed<T: std::fmt::Display>(list: &[T]) -> String {
    format!("[{}]", list.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}

pub fn repeated<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut sorted = list.to_vec();
    sorted.sort();
    let mut twice: Vec<T> = sorted.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].clone()).collect();
    twice.dedup();
    twice
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_plan_is_read_and_written() {
        let text =
            r#"{"version":1,"partitions":[{"topic":"a","partition":0,"replicas":[2,1],"log_dirs":["/x","any"]}]}"#;
        let plan = read(text).unwrap();
        assert_eq!(plan.partitions, [(("a".to_owned(), 0), vec![2, 1])]);
        assert_eq!(plan.log_dirs, BTreeMap::from([((2, "a".to_owned(), 0), "/x".to_owned())]));
        assert_eq!(write(&plan.check().unwrap(), &plan.log_dirs), text);
    }

    #[test]
    fn plans_that_contradict_themselves_are_refused_in_kafkas_words() {
        let refusal = |text: &str| read(text).and_then(|plan| plan.check()).unwrap_err().message;
        assert_eq!(refusal(r#"{"partitions":[]}"#), "Partition reassignment list cannot be empty");
        let twice =
            r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1]},{"topic":"a","partition":0,"replicas":[2]}]}"#;
        assert_eq!(refusal(twice), "Partition reassignment contains duplicate topic partitions: a-0");
        let doubled = r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1,1]}]}"#;
        assert!(refusal(doubled).ends_with("a-0 contains multiple entries for 1"));
        assert!(
            refusal(r#"{"partitions":[{"topic":"a","partition":0,"replicas":[1],"log_dirs":[]}]}"#)
                .starts_with("Size of")
        );
        assert_eq!(refusal(r#"{"version":2}"#), "Not supported version field value 2");
    }

    #[test]
    fn generated_plans_take_the_brokers_in_turn() {
        assert_eq!(spread(3, 2, &[1, 2, 3], 1), [vec![2, 3], vec![3, 1], vec![1, 2]]);
    }
}
