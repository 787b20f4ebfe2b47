//! Who has which replicas while a plan is made, with the counts that its goals are about.

use std::collections::{BTreeMap, BTreeSet};

use super::{Broker, Move, Partition};

/// Brokers, topics and partitions are indexes here.
pub struct Layout {
    ids: Vec<i32>,
    racks: Vec<usize>,
    /// Brokers that may be given replicas.
    pub open: Vec<usize>,
    is_open: Vec<bool>,
    is_drained: Vec<bool>,
    pub partitions: Vec<Placed>,
    /// The partitions of each topic.
    pub topics: Vec<Vec<usize>>,
    /// The partitions that each broker has a replica of.
    pub on: Vec<BTreeSet<usize>>,
    pub bytes: Vec<u64>,
    /// Replicas by topic and broker.
    of_topic: Vec<Vec<u32>>,
}

pub struct Placed {
    pub topic: usize,
    pub bytes: u64,
    pub replicas: Vec<usize>,
    original: Vec<usize>,
    is_online: bool,
}

impl Layout {
    pub fn new(brokers: &[Broker], partitions: &[Partition], drained: &BTreeSet<i32>) -> Self {
        // Brokers that are no longer registered and still named by partitions are like brokers that are down.
        let mut all: BTreeMap<i32, (Option<&str>, bool)> =
            partitions.iter().flat_map(|p| p.replicas.iter().map(|id| (*id, (None, false)))).collect();
        all.extend(brokers.iter().map(|b| (b.id, (b.rack.as_deref(), b.is_open && !drained.contains(&b.id)))));
        let ids: Vec<i32> = all.keys().copied().collect();
        let index: BTreeMap<i32, usize> = ids.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let names: BTreeSet<Option<&str>> = all.values().map(|(rack, _)| *rack).collect();
        let rack = |name: &Option<&str>| names.iter().take_while(|other| *other < name).count();
        let is_open: Vec<bool> = all.values().map(|(_, is_open)| *is_open).collect();
        let mut layout = Self {
            racks: all.values().map(|(name, _)| rack(name)).collect(),
            open: (0..ids.len()).filter(|broker| is_open[*broker]).collect(),
            is_open,
            is_drained: ids.iter().map(|id| drained.contains(id)).collect(),
            partitions: Vec::with_capacity(partitions.len()),
            topics: Vec::new(),
            on: vec![BTreeSet::new(); ids.len()],
            bytes: vec![0; ids.len()],
            of_topic: Vec::new(),
            ids,
        };
        let mut topics: BTreeMap<&str, usize> = BTreeMap::new();
        for (number, partition) in partitions.iter().enumerate() {
            let next = topics.len();
            let topic = *topics.entry(&partition.topic).or_insert(next);
            if topic == next {
                layout.topics.push(Vec::new());
                layout.of_topic.push(vec![0; layout.ids.len()]);
            }
            layout.topics[topic].push(number);
            let replicas: Vec<usize> = partition.replicas.iter().map(|id| index[id]).collect();
            for broker in &replicas {
                layout.on[*broker].insert(number);
                layout.bytes[*broker] += partition.bytes;
                layout.of_topic[topic][*broker] += 1;
            }
            layout.partitions.push(Placed {
                topic,
                bytes: partition.bytes,
                original: replicas.clone(),
                replicas,
                is_online: partition.is_online,
            });
        }
        layout
    }

    pub fn count(&self, broker: usize) -> usize {
        self.on[broker].len()
    }

    /// Replicas of a topic on a broker.
    pub fn topic_count(&self, topic: usize, broker: usize) -> u32 {
        self.of_topic[topic][broker]
    }

    pub fn is_open(&self, broker: usize) -> bool {
        self.is_open[broker]
    }

    pub fn drained(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.ids.len()).filter(|broker| self.is_drained[*broker])
    }

    /// Replicas that open brokers share, and their bytes.
    pub fn shared(&self) -> (usize, u64) {
        let of = |broker: &usize| (self.count(*broker), self.bytes[*broker]);
        self.open.iter().map(of).fold((0, 0), |(count, bytes), (more, size)| (count + more, bytes + size))
    }

    /// How many more replicas share a rack if one goes from a broker to another: less than 0 is better than now.
    pub fn rack_change(&self, partition: usize, from: usize, to: usize) -> i32 {
        let others = |rack: usize| {
            let replicas = self.partitions[partition].replicas.iter();
            replicas.filter(|broker| **broker != from && self.racks[**broker] == rack).count() as i32
        };
        others(self.racks[to]) - others(self.racks[from])
    }

    /// Whether this replica may go there, racks left aside.
    pub fn is_free(&self, partition: usize, to: usize) -> bool {
        let placed = &self.partitions[partition];
        placed.is_online && self.is_open[to] && !placed.replicas.contains(&to)
    }

    /// Whether this replica may go there without harm to the racks.
    pub fn may_shift(&self, partition: usize, from: usize, to: usize) -> bool {
        self.is_free(partition, to) && self.rack_change(partition, from, to) <= 0
    }

    /// What is copied in addition if a replica goes from a broker to another: nothing if it is new there anyway.
    pub fn copied(&self, partition: usize, from: usize, to: usize) -> i64 {
        let placed = &self.partitions[partition];
        let bytes = i64::try_from(placed.bytes).unwrap_or(i64::MAX);
        let cost = |broker: usize| if placed.original.contains(&broker) { 0 } else { bytes };
        cost(to) - cost(from)
    }

    /// The new replica takes the old one's position: who leads stays as even as it was.
    pub fn shift(&mut self, partition: usize, from: usize, to: usize) {
        let placed = &mut self.partitions[partition];
        for broker in placed.replicas.iter_mut().filter(|broker| **broker == from) {
            *broker = to;
        }
        self.on[from].remove(&partition);
        self.on[to].insert(partition);
        self.bytes[from] -= placed.bytes;
        self.bytes[to] += placed.bytes;
        self.of_topic[placed.topic][from] -= 1;
        self.of_topic[placed.topic][to] += 1;
    }

    /// The broker of a partition's first replica, where it may be changed: nobody else is asked to lead for one that is down.
    pub fn first(&self, partition: usize) -> Option<usize> {
        let placed = &self.partitions[partition];
        placed.replicas.first().copied().filter(|broker| placed.is_online && self.is_open[*broker])
    }

    /// Makes this broker's replica the first.
    pub fn put_first(&mut self, partition: usize, broker: usize) {
        let replicas = &mut self.partitions[partition].replicas;
        if let Some(position) = replicas.iter().position(|other| *other == broker) {
            replicas.swap(0, position);
        }
    }

    /// What has changed.
    pub fn moves(&self, partitions: &[Partition]) -> Vec<Move> {
        let ids = |brokers: &[usize]| brokers.iter().map(|broker| self.ids[*broker]).collect::<Vec<i32>>();
        let changed = self.partitions.iter().zip(partitions).filter(|(placed, _)| placed.replicas != placed.original);
        let mut moves: Vec<Move> = changed
            .map(|(placed, partition)| Move {
                topic: partition.topic.clone(),
                partition: partition.index,
                from: ids(&placed.original),
                to: ids(&placed.replicas),
                bytes: placed.bytes,
            })
            .collect();
        moves.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        moves
    }
}
