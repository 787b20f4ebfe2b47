//! Which replicas go where, decided from what is known of a cluster and nothing else: no IO, no clock, no randomness.
//!
//! In this order:
//!
//! 1. Never two replicas of a partition on one broker, and never another number of replicas.
//! 2. Racks are spread at least as well as before; a replica that has to move goes where they are spread best.
//! 3. Drained brokers are empty.
//! 4. Replicas per broker within 1 of even, then those of each topic.
//! 5. Bytes per broker about even, as far as few swaps get them there.
//! 6. First replicas, the preferred leaders, within 1 of even: that moves no bytes.
//!
//! Each step begins with what is there and goes no further than its goal, so that few bytes move. Of several replicas that would
//! do, those go first that are moving anyway, then those of the size that the receiver lacks.

mod balance;
mod layout;
mod leaders;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use layout::Layout;

/// A broker as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub rack: Option<String>,
    /// It may be given replicas: it is up, and not cordoned.
    pub is_open: bool,
}

/// A partition as the plan sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub topic: String,
    pub index: i32,
    /// The first one is the preferred leader.
    pub replicas: Vec<i32>,
    /// Of its largest replica.
    pub bytes: u64,
    /// Somebody leads it; nobody can copy it otherwise.
    pub is_online: bool,
}

/// A partition that is to have other replicas, or the same in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub topic: String,
    pub partition: i32,
    pub from: Vec<i32>,
    pub to: Vec<i32>,
    /// Of one replica.
    pub bytes: u64,
}

impl Move {
    /// Brokers that get a replica.
    pub fn adding(&self) -> impl Iterator<Item = i32> + '_ {
        self.to.iter().copied().filter(|id| !self.from.contains(id))
    }

    /// What has to be copied.
    pub fn bytes_to_copy(&self) -> u64 {
        self.bytes.saturating_mul(self.adding().count() as u64)
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Impossible {
    UnknownBroker { id: i32, known: Vec<i32> },
    NobodyRemains,
    TooFewBrokers { topic: String, partition: i32, factor: usize, remaining: Vec<i32> },
    Offline { topic: String, partition: i32, replicas: Vec<i32> },
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownBroker { id, known } => {
                write!(f, "There is no broker {id} in this cluster; its brokers are {}.", commas(known))
            }
            Self::NobodyRemains => write!(f, "No broker remains that could take the replicas."),
            Self::TooFewBrokers { topic, partition, factor, remaining } => write!(
                f,
                "{topic}-{partition} has {factor} replicas, and only {} broker(s) remain that can hold one each: {}. Add a \
                 broker, or give the topic fewer replicas first.",
                remaining.len(),
                commas(remaining)
            ),
            Self::Offline { topic, partition, replicas } => write!(
                f,
                "{topic}-{partition} has no leader, so nobody can copy it away: bring one of its brokers back first ({}).",
                commas(replicas)
            ),
        }
    }
}

fn commas(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

/// The moves that give every open broker its share and leave nothing on the `drained` ones, in the order of topics and partitions.
///
/// Replicas on brokers that are not open and not drained stay where they are; so do partitions that are offline.
///
/// # Errors
/// When a drained broker is unknown, or cannot be emptied.
pub fn plan(brokers: &[Broker], partitions: &[Partition], drained: &BTreeSet<i32>) -> Result<Vec<Move>, Impossible> {
    check(brokers, partitions, drained)?;
    let mut layout = Layout::new(brokers, partitions, drained);
    balance::drain(&mut layout);
    // What evens out bytes can open a way to spread a topic better, and the other way round. Few rounds are enough.
    for _ in 0..4 {
        balance::even_counts(&mut layout);
        let is_changed = balance::spread_topics(&mut layout) | balance::even_bytes(&mut layout);
        if !is_changed {
            break;
        }
    }
    leaders::even(&mut layout);
    Ok(layout.moves(partitions))
}

/// The ids of brokers. One that was unregistered too early may still be named by partitions.
pub fn known(brokers: &[Broker], partitions: &[Partition]) -> BTreeSet<i32> {
    brokers.iter().map(|broker| broker.id).chain(partitions.iter().flat_map(|p| p.replicas.iter().copied())).collect()
}

fn check(brokers: &[Broker], partitions: &[Partition], drained: &BTreeSet<i32>) -> Result<(), Impossible> {
    let known = known(brokers, partitions);
    if let Some(id) = drained.iter().find(|id| !known.contains(id)) {
        return Err(Impossible::UnknownBroker { id: *id, known: known.into_iter().collect() });
    }
    let remaining: Vec<i32> =
        brokers.iter().filter(|b| b.is_open && !drained.contains(&b.id)).map(|broker| broker.id).collect();
    if remaining.is_empty() {
        return Err(Impossible::NobodyRemains);
    }
    for partition in partitions.iter().filter(|p| p.replicas.iter().any(|id| drained.contains(id))) {
        let (topic, index) = (partition.topic.clone(), partition.index);
        if !partition.is_online {
            let replicas = partition.replicas.clone();
            return Err(Impossible::Offline { topic, partition: index, replicas });
        }
        let staying = partition.replicas.iter().filter(|id| !drained.contains(id) && !remaining.contains(id)).count();
        let factor = partition.replicas.len();
        if factor > remaining.len() + staying {
            return Err(Impossible::TooFewBrokers { topic, partition: index, factor, remaining });
        }
    }
    Ok(())
}

/// What a broker has before and after a plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    pub replicas: u64,
    pub leaders: u64,
    pub bytes: u64,
}

/// The shares of all brokers that have one, by id: before, and after the moves.
pub fn shares(brokers: &[Broker], partitions: &[Partition], moves: &[Move]) -> BTreeMap<i32, (Share, Share)> {
    let new: BTreeMap<(&str, i32), &Vec<i32>> =
        moves.iter().map(|step| ((step.topic.as_str(), step.partition), &step.to)).collect();
    let mut shares: BTreeMap<i32, (Share, Share)> =
        brokers.iter().map(|broker| (broker.id, Default::default())).collect();
    let add = |share: &mut Share, position: usize, bytes: u64| {
        share.replicas += 1;
        share.leaders += u64::from(position == 0);
        share.bytes += bytes;
    };
    for partition in partitions {
        for (position, id) in partition.replicas.iter().enumerate() {
            add(&mut shares.entry(*id).or_default().0, position, partition.bytes);
        }
        let to = new.get(&(partition.topic.as_str(), partition.index)).copied().unwrap_or(&partition.replicas);
        for (position, id) in to.iter().enumerate() {
            add(&mut shares.entry(*id).or_default().1, position, partition.bytes);
        }
    }
    shares
}
