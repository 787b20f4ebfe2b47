//! The throttles of kafka-reassign-partitions: which replicas of which topics are bounded, and by how much on which brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::admin::Partition;
use super::client::Client;
use super::configs::{Changes, alter};
use super::options::Options;
use super::reassignment_plan::{Plan, commas};
use super::reassignment_replicas::{Ended, Moving};

pub const BROKER_THROTTLES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
pub const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
pub const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// Sets the bounds that were asked for.
pub fn throttle(
    client: &mut Client,
    options: &Options,
    plan: &Plan,
    under_way: &BTreeMap<Partition, Moving>,
    proposed: &BTreeMap<Partition, Vec<i32>>,
    current: &BTreeMap<Partition, Vec<i32>>,
    out: &mut dyn Write,
) -> Result<(), Ended> {
    let rate: Option<i64> = options.number("throttle").filter(|rate| *rate >= 0);
    let dirs_rate: Option<i64> = options.number("replica-alter-log-dirs-throttle").filter(|rate| *rate >= 0);
    if rate.is_none() && dirs_rate.is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed."
    )?;
    if let Some(rate) = rate {
        let moves = moves(under_way, proposed, current);
        let mut of_topics: BTreeMap<&str, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        for ((topic, partition), (sources, destinations)) in &moves {
            let (leaders, followers) = of_topics.entry(topic).or_default();
            leaders.extend(sources.iter().map(|id| format!("{partition}:{id}")));
            followers.extend(destinations.iter().map(|id| format!("{partition}:{id}")));
        }
        for (topic, (leaders, followers)) in of_topics {
            let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(",");
            let set = [(LEADER_REPLICAS, join(leaders)), (FOLLOWER_REPLICAS, join(followers))];
            let set = set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            alter(client, "topics", topic, &Changes { set, ..Changes::default() })?;
        }
        let brokers: BTreeSet<i32> =
            moves.values().flat_map(|(sources, destinations)| sources.union(destinations)).copied().collect();
        for broker in brokers {
            let set = BROKER_THROTTLES[..2].iter().map(|key| ((*key).to_owned(), rate.to_string())).collect();
            alter(client, "brokers", &broker.to_string(), &Changes { set, ..Changes::default() })?;
        }
        writeln!(out, "The inter-broker throttle limit was set to {rate} B/s")?;
    }
    if let Some(rate) = dirs_rate {
        let brokers: BTreeSet<i32> = plan.log_dirs.keys().map(|(broker, _, _)| *broker).collect();
        for broker in brokers {
            let set = BTreeMap::from([(BROKER_THROTTLES[2].to_owned(), rate.to_string())]);
            alter(client, "brokers", &broker.to_string(), &Changes { set, ..Changes::default() })?;
        }
        writeln!(out, "The replica-alter-dir throttle limit was set to {rate} B/s")?;
    }
    Ok(())
}

type Move = (BTreeSet<i32>, BTreeSet<i32>);

/// From which brokers and to which ones each partition moves, those under way included.
fn moves(
    under_way: &BTreeMap<Partition, Moving>,
    proposed: &BTreeMap<Partition, Vec<i32>>,
    current: &BTreeMap<Partition, Vec<i32>>,
) -> BTreeMap<Partition, Move> {
    let of_moving = |moving: &Moving| -> Move {
        let destinations: BTreeSet<i32> = moving.adding.iter().copied().collect();
        (moving.replicas.iter().copied().filter(|id| !destinations.contains(id)).collect(), destinations)
    };
    let mut moves: BTreeMap<Partition, Move> =
        under_way.iter().map(|(partition, moving)| (partition.clone(), of_moving(moving))).collect();
    for (partition, replicas) in proposed {
        let sources: BTreeSet<i32> = match moves.get(partition) {
            Some((sources, _)) => sources.clone(),
            None => current.get(partition).into_iter().flatten().copied().collect(),
        };
        let destinations = replicas.iter().copied().filter(|id| !sources.contains(id)).collect();
        moves.insert(partition.clone(), (sources, destinations));
    }
    moves
}

pub fn clear_throttles(client: &mut Client, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let mut brokers: BTreeSet<i32> = client.brokers().keys().copied().collect();
    brokers.extend(plan.partitions.iter().flat_map(|(_, replicas)| replicas));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let list: Vec<i32> = brokers.iter().copied().collect();
    writeln!(out, "Clearing broker-level throttles on broker{} {}", plural(list.len()), commas(&list))?;
    let delete: Vec<String> = BROKER_THROTTLES.iter().map(|key| (*key).to_owned()).collect();
    for broker in &list {
        alter(client, "brokers", &broker.to_string(), &Changes { delete: delete.clone(), ..Changes::default() })?;
    }
    let topics: BTreeSet<&String> = plan.partitions.iter().map(|((topic, _), _)| topic).collect();
    let list: Vec<&String> = topics.into_iter().collect();
    writeln!(out, "Clearing topic-level throttles on topic{} {}", plural(list.len()), commas(&list))?;
    for topic in list {
        let delete = vec![LEADER_REPLICAS.to_owned(), FOLLOWER_REPLICAS.to_owned()];
        alter(client, "topics", topic, &Changes { delete, ..Changes::default() })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_go_from_what_is_to_what_is_added() {
        let name = |partition| ("a".to_owned(), partition);
        let under_way =
            BTreeMap::from([(name(0), Moving { replicas: vec![1, 2, 3], adding: vec![3], removing: vec![1] })]);
        let proposed = BTreeMap::from([(name(0), vec![2, 4]), (name(1), vec![2, 3])]);
        let current = BTreeMap::from([(name(1), vec![1, 2])]);
        let moves = moves(&under_way, &proposed, &current);
        assert_eq!(moves[&name(0)], (BTreeSet::from([1, 2]), BTreeSet::from([4])));
        assert_eq!(moves[&name(1)], (BTreeSet::from([1, 2]), BTreeSet::from([3])));
    }
}
