//! Committed offsets: the store, and the requests on it.
//!
//! ```text
//!   OffsetCommit ───────────────► committed
//!   TxnOffsetCommit ──► pending ──(commit marker)──► committed, unless a later record got there first
//!                          └──────(abort marker)───► nothing
//! ```

mod commit;
mod delete;
mod expiry;
mod fetch;

pub(crate) use delete::delete_all;

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ottla_protocol::{ProducerId, TopicPartition};

use super::records::CommittedOffset;

/// A committed offset and its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredOffset {
    pub(crate) value: Arc<CommittedOffset>,
    /// Which record it was, counted from the first one replayed: a transaction's end must not bring back an offset that
    /// is older than what was committed without a transaction meanwhile.
    position: u64,
}

type ByPartition = OrdMap<TopicPartition, StoredOffset>;

/// All offsets of the shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Offsets {
    committed: OrdMap<Arc<str>, ByPartition>,
    pending: OrdMap<ProducerId, OrdMap<Arc<str>, ByPartition>>,
    /// Who has a pending offset for a partition: the same facts as `pending`, by group.
    open: OrdMap<Arc<str>, OrdMap<TopicPartition, OrdSet<ProducerId>>>,
    position: u64,
    len: usize,
}

/// Positions are left out: compaction moves them, and only their order means something.
impl PartialEq for Offsets {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &ByPartition, b: &ByPartition| {
            a.len() == b.len() && a.iter().zip(b).all(|((p, a), (q, b))| p == q && a.value == b.value)
        };
        let same_groups = |a: &OrdMap<Arc<str>, ByPartition>, b: &OrdMap<Arc<str>, ByPartition>| {
            a.len() == b.len() && a.iter().zip(b).all(|((g, a), (h, b))| g == h && same(a, b))
        };
        same_groups(&self.committed, &other.committed)
            && self.pending.len() == other.pending.len()
            && self.pending.iter().zip(&other.pending).all(|((p, a), (q, b))| p == q && same_groups(a, b))
            && self.open == other.open
    }
}

impl Offsets {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn of_group(&self, group: &str) -> impl Iterator<Item = (&TopicPartition, &Arc<CommittedOffset>)> {
        self.committed.get(group).into_iter().flatten().map(|(partition, stored)| (partition, &stored.value))
    }

    pub(crate) fn get(&self, group: &str, partition: &TopicPartition) -> Option<&Arc<CommittedOffset>> {
        Some(&self.committed.get(group)?.get(partition)?.value)
    }

    pub(crate) fn has_offsets(&self, group: &str) -> bool {
        self.committed.contains_key(group)
    }

    /// An open transaction has an offset for this partition.
    pub(crate) fn is_pending(&self, group: &str, partition: &TopicPartition) -> bool {
        self.open.get(group).is_some_and(|partitions| partitions.contains_key(partition))
    }

    /// Partitions for which open transactions have offsets.
    pub(crate) fn pending_of_group(&self, group: &str) -> impl Iterator<Item = &TopicPartition> {
        self.open.get(group).into_iter().flat_map(|partitions| partitions.keys())
    }

    pub(crate) fn has_pending(&self, group: &str) -> bool {
        self.open.contains_key(group)
    }

    /// Groups and their pending offsets, over all open transactions.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (&Arc<str>, &TopicPartition, &Arc<CommittedOffset>)> {
        self.pending.values().flat_map(|groups| {
            groups.iter().flat_map(|(group, partitions)| {
                partitions.iter().map(move |(partition, stored)| (group, partition, &stored.value))
            })
        })
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.committed.keys()
    }

    pub(crate) fn commit(
        &mut self,
        group: &Arc<str>,
        partition: &TopicPartition,
        producer: Option<ProducerId>,
        value: &Arc<CommittedOffset>,
    ) {
        self.position += 1;
        let stored = StoredOffset { value: Arc::clone(value), position: self.position };
        match producer {
            None => self.put(group, partition, stored),
            Some(producer) => {
                self.pending
                    .entry(producer)
                    .or_default()
                    .entry(Arc::clone(group))
                    .or_default()
                    .insert(partition.clone(), stored);
                self.open.entry(Arc::clone(group)).or_default().entry(partition.clone()).or_default().insert(producer);
            }
        }
    }

    fn put(&mut self, group: &Arc<str>, partition: &TopicPartition, stored: StoredOffset) {
        let partitions = self.committed.entry(Arc::clone(group)).or_default();
        if partitions.insert(partition.clone(), stored).is_none() {
            self.len += 1;
        }
    }

    /// Forgets an offset, the pending ones included.
    pub(crate) fn remove(&mut self, group: &Arc<str>, partition: &TopicPartition) {
        if let Some(partitions) = self.committed.get_mut(group) {
            if partitions.remove(partition).is_some() {
                self.len -= 1;
            }
            if partitions.is_empty() {
                self.committed.remove(group);
            }
        }
        let Some(partitions) = self.open.get_mut(group) else { return };
        let Some(producers) = partitions.remove(partition) else { return };
        if partitions.is_empty() {
            self.open.remove(group);
        }
        for producer in producers {
            let Some(groups) = self.pending.get_mut(&producer) else { continue };
            if let Some(partitions) = groups.get_mut(group) {
                partitions.remove(partition);
                if partitions.is_empty() {
                    groups.remove(group);
                }
            }
            if groups.is_empty() {
                self.pending.remove(&producer);
            }
        }
    }

    pub(crate) fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        let Some(groups) = self.pending.remove(&producer) else { return };
        for (group, partitions) in groups {
            for (partition, stored) in partitions {
                self.close(&group, &partition, producer);
                let newest = self.committed.get(&group).and_then(|partitions| partitions.get(&partition));
                if commit && newest.is_none_or(|newest| newest.position < stored.position) {
                    self.put(&group, &partition, stored);
                }
            }
        }
    }

    fn close(&mut self, group: &Arc<str>, partition: &TopicPartition, producer: ProducerId) {
        let Some(partitions) = self.open.get_mut(group) else { return };
        if let Some(producers) = partitions.get_mut(partition) {
            producers.remove(&producer);
            if producers.is_empty() {
                partitions.remove(partition);
            }
        }
        if partitions.is_empty() {
            self.open.remove(group);
        }
    }
}
