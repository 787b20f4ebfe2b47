//! What a plan needs to know of a cluster, by Kafka's plain APIs.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_protocol::messages::DescribeClusterRequest;
use kafka_protocol::protocol::Request;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::DescribeLogDirsRequest;
use ottla_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;

use super::plan;
use crate::Failure;
use crate::admin::{Partition, by_topic, topic_name, topic_outcomes};
use crate::client::{Client, Target};
use crate::reassignment_replicas::{Moving, moving};

/// How long a cluster may answer nothing, or that it cannot just now, before the command gives up.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);
/// The version of DescribeLogDirs that tells which directories are cordoned (KIP-1066).
const TELLS_CORDONED: i16 = 5;

/// A cluster at one moment. Reassignments under way count as done.
pub struct Cluster {
    pub brokers: Vec<plan::Broker>,
    pub fenced: BTreeSet<i32>,
    pub cordoned: BTreeSet<i32>,
    pub partitions: Vec<plan::Partition>,
    /// Brokers that reassignments under way take replicas from.
    pub left: BTreeSet<i32>,
    pub leads: BTreeMap<Partition, Leads>,
    /// Free bytes on the disks of brokers that tell.
    pub room: BTreeMap<i32, u64>,
}

/// Who leads a partition, and who could.
pub struct Leads {
    pub leader: i32,
    pub preferred: i32,
    pub in_sync: Vec<i32>,
}

/// Replicas on a broker by partition, in bytes.
pub type Sizes = BTreeMap<Partition, u64>;

/// Asks again where a broker is lost or the cluster is not ready: brokers come and go while replicas move.
pub fn persistently<T>(
    client: &mut Client,
    mut ask: impl FnMut(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let since = Instant::now();
    loop {
        match ask(client) {
            Err(failure) if is_passing(&failure) && since.elapsed() < PATIENCE => {
                std::thread::sleep(PAUSE);
                // Who is there may have changed; if nobody answers, the next attempt will tell.
                client.refresh().ok();
            }
            outcome => return outcome,
        }
    }
}

/// Without a code it was the connection.
pub fn is_passing(failure: &Failure) -> bool {
    !failure.is_usage && failure.code.is_none_or(|code| code.is_retriable() || code == ErrorCode::NotController)
}

/// Everything.
pub fn read(client: &mut Client) -> Result<Cluster, Failure> {
    persistently(client, read_once)
}

fn read_once(client: &mut Client) -> Result<Cluster, Failure> {
    client.refresh()?;
    let response = client.send_with(&Target::Any, |version| {
        let request = DescribeClusterRequest::default();
        if version >= 2 { request.with_include_fenced_brokers(true) } else { request }
    })?;
    Failure::check(response.error_code, response.error_message.map(|message| message.to_string()))?;
    let mut sizes = Sizes::new();
    let mut cordoned = BTreeSet::new();
    let mut room = BTreeMap::new();
    let live: Vec<i32> = client.brokers().keys().copied().collect();
    for broker in &live {
        let dirs = log_dirs(client, *broker, None)?;
        if dirs.is_cordoned {
            cordoned.insert(*broker);
        }
        room.extend(dirs.room.map(|bytes| (*broker, bytes)));
        for (partition, bytes) in dirs.sizes {
            let largest = sizes.entry(partition).or_default();
            *largest = bytes.max(*largest);
        }
    }
    let mut brokers = Vec::new();
    let mut fenced = BTreeSet::new();
    for broker in response.brokers {
        let id = broker.broker_id.0;
        let is_live = live.contains(&id) && !broker.is_fenced;
        if !is_live {
            fenced.insert(id);
        }
        let rack = broker.rack.map(|rack| rack.to_string());
        brokers.push(plan::Broker { id, rack, is_open: is_live && !cordoned.contains(&id) });
    }
    let under_way = moving(client, None)?;
    let mut partitions = Vec::new();
    let mut leads = BTreeMap::new();
    for (topic, outcome) in topic_outcomes(client, None)? {
        // One that is being deleted needs no place.
        let Ok(described) = outcome else { continue };
        for partition in described.partitions {
            let name = (topic.clone(), partition.partition_index);
            let replicas = match under_way.get(&name) {
                Some(moving) => target(moving),
                None => partition.replica_nodes.iter().map(|id| id.0).collect(),
            };
            let leader = partition.leader_id.0;
            let preferred = replicas.first().copied().unwrap_or(-1);
            let in_sync = partition.isr_nodes.iter().map(|id| id.0).collect();
            partitions.push(plan::Partition {
                topic: topic.clone(),
                index: partition.partition_index,
                replicas,
                bytes: sizes.get(&name).copied().unwrap_or(0),
                is_online: leader >= 0,
            });
            leads.insert(name, Leads { leader, preferred, in_sync });
        }
    }
    let left = under_way.values().flat_map(|moving| &moving.removing).copied().collect();
    Ok(Cluster { brokers, fenced, cordoned, partitions, left, leads, room })
}

/// Those of these brokers that are not registered (any more); none where the cluster is too old to tell of brokers that are down.
pub fn unregistered(client: &mut Client, brokers: &BTreeSet<i32>) -> Result<BTreeSet<i32>, Failure> {
    persistently(client, |client| {
        let tells_all = Cell::new(false);
        let response = client.send_with(&Target::Any, |version| {
            tells_all.set(version >= 2);
            let request = DescribeClusterRequest::default();
            if version >= 2 { request.with_include_fenced_brokers(true) } else { request }
        })?;
        Failure::check(response.error_code, response.error_message.map(|message| message.to_string()))?;
        let registered: BTreeSet<i32> = response.brokers.iter().map(|broker| broker.broker_id.0).collect();
        Ok(if tells_all.get() { brokers - &registered } else { BTreeSet::new() })
    })
}

/// The first broker whose disk the moves would overfill, with what it would get more than it gives, and what is free.
pub fn overfilled(cluster: &Cluster, moves: &[plan::Move]) -> Option<(i32, u64, u64)> {
    let shares = plan::shares(&cluster.brokers, &cluster.partitions, moves);
    let more = shares.into_iter().map(|(id, (before, after))| (id, after.bytes.saturating_sub(before.bytes)));
    let mut too_much = more.filter_map(|(id, more)| Some((id, more, *cluster.room.get(&id)?)));
    too_much.find(|(_, more, room)| more > room)
}

/// The replicas a partition will have once its reassignment is done.
pub fn target(moving: &Moving) -> Vec<i32> {
    moving.replicas.iter().copied().filter(|id| !moving.removing.contains(id)).collect()
}

/// What a broker says of its directories.
struct LogDirs {
    sizes: Sizes,
    /// All of them are.
    is_cordoned: bool,
    /// Free bytes; `None` where one of them does not tell.
    room: Option<u64>,
}

/// Of these partitions, or of all.
fn log_dirs(client: &mut Client, broker: i32, of: Option<&[Partition]>) -> Result<LogDirs, Failure> {
    let topic = |(name, partitions): (String, Vec<i32>)| {
        DescribableLogDirTopic::default().with_topic(topic_name(&name)).with_partitions(partitions)
    };
    let topics = of.map(|partitions| by_topic(partitions).into_iter().map(topic).collect());
    let request = DescribeLogDirsRequest::default().with_topics(topics);
    let response = client.send(&Target::Node(broker), &request)?;
    Failure::check(response.error_code, None)?;
    let mut sizes = Sizes::new();
    let mut usable = response.results.iter().filter(|dir| dir.error_code == 0).peekable();
    let is_cordoned = usable.peek().is_some() && usable.all(|dir| dir.is_cordoned);
    let usable = response.results.iter().filter(|dir| dir.error_code == 0);
    let room = usable.map(|dir| u64::try_from(dir.usable_bytes).ok()).sum();
    for dir in response.results {
        for topic in dir.topics {
            for partition in topic.partitions.into_iter().filter(|partition| !partition.is_future_key) {
                let bytes = u64::try_from(partition.partition_size).unwrap_or(0);
                sizes.insert((topic.name.to_string(), partition.partition_index), bytes);
            }
        }
    }
    Ok(LogDirs { sizes, is_cordoned, room })
}

/// The sizes of these replicas on a broker; none where it does not answer.
pub fn sizes_on(client: &mut Client, broker: i32, partitions: &[Partition]) -> Sizes {
    log_dirs(client, broker, Some(partitions)).map(|dirs| dirs.sizes).unwrap_or_default()
}

/// Whether a broker would tell that it is cordoned.
pub fn knows_cordons(client: &mut Client, broker: i32) -> bool {
    let versions = client.api_versions(&Target::Node(broker));
    let key = <DescribeLogDirsRequest as Request>::KEY;
    versions.is_ok_and(|versions| {
        versions.api_keys.iter().any(|api| api.api_key == key && api.max_version >= TELLS_CORDONED)
    })
}

/// Whether a broker is cordoned.
pub fn is_cordoned(client: &mut Client, broker: i32) -> bool {
    log_dirs(client, broker, Some(&[])).is_ok_and(|dirs| dirs.is_cordoned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_not_overfilled() {
        let broker = |id| plan::Broker { id, rack: None, is_open: true };
        let partition = |index, replicas: &[i32], bytes| plan::Partition {
            topic: "a".into(),
            index,
            replicas: replicas.to_vec(),
            bytes,
            is_online: true,
        };
        let step = |partition, from: i32, to: i32, bytes| plan::Move {
            topic: "a".into(),
            partition,
            from: vec![from],
            to: vec![to],
            bytes,
        };
        let mut cluster = Cluster {
            brokers: vec![broker(1), broker(2)],
            fenced: BTreeSet::new(),
            cordoned: BTreeSet::new(),
            partitions: vec![partition(0, &[1], 100), partition(1, &[1], 50), partition(2, &[2], 30)],
            left: BTreeSet::new(),
            leads: BTreeMap::new(),
            room: BTreeMap::from([(2, 90)]),
        };
        let moves = [step(0, 1, 2, 100)];
        assert_eq!(overfilled(&cluster, &moves), Some((2, 100, 90)));
        // What leaves makes room.
        assert_eq!(overfilled(&cluster, &[step(0, 1, 2, 100), step(2, 2, 1, 30)]), None);
        // Who does not tell is not asked.
        cluster.room.clear();
        assert_eq!(overfilled(&cluster, &moves), None);
    }

    #[test]
    fn a_reassignment_under_way_counts_as_done() {
        let moving = Moving { replicas: vec![4, 2, 1], adding: vec![4], removing: vec![1] };
        assert_eq!(target(&moving), [4, 2]);
    }
}
