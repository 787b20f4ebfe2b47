//! Topics and their partitions.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_protocol::{BrokerId, LeaderEpoch, TopicId};
use uuid::Uuid;

use crate::record::PartitionChange;
use crate::wire::wire_struct;

/// Reserved directory id: the replica was placed before directories had ids.
pub const DIR_MIGRATING: Uuid = Uuid::nil();
/// Reserved directory id: the broker has not yet said where the replica is.
pub const DIR_UNASSIGNED: Uuid = Uuid::from_u128(1);
/// Reserved directory id: the replica's directory is offline.
pub const DIR_LOST: Uuid = Uuid::from_u128(2);

wire_struct! {
    /// One partition: who holds it, who is in sync, who leads.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct PartitionImage {
        /// In order of preference; the first is the preferred leader.
        pub replicas: Vec<BrokerId>,
        pub isr: Vec<BrokerId>,
        pub adding_replicas: Vec<BrokerId>,
        pub removing_replicas: Vec<BrokerId>,
        /// Out of the ISR, yet known to hold everything up to the high watermark (KIP-966).
        pub eligible_leader_replicas: Vec<BrokerId>,
        /// Who was in the ISR or eligible when that knowledge was last good (KIP-966).
        pub last_known_elr: Vec<BrokerId>,
        /// Log directory of each replica, in the order of `replicas`.
        pub directories: Vec<Uuid>,
        pub leader: Option<BrokerId>,
        /// Grows with each election.
        pub leader_epoch: LeaderEpoch,
        /// Grows with each change of this partition.
        pub partition_epoch: i32,
        /// The leader was elected uncleanly and has not yet finished recovering.
        pub recovering: bool,
    }
}

impl PartitionImage {
    /// The replica that should lead when it can.
    pub fn preferred_leader(&self) -> Option<BrokerId> {
        self.replicas.first().copied()
    }

    /// Replicas are being added or removed.
    pub fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    /// The directory of a replica; `None` when the broker holds no replica.
    pub fn directory(&self, broker: BrokerId) -> Option<Uuid> {
        let position = self.replicas.iter().position(|&replica| replica == broker)?;
        Some(self.directories.get(position).copied().unwrap_or(DIR_MIGRATING))
    }

    /// This partition after `change`. The partition epoch grows by one; the leader epoch when a leader is named, be it
    /// the same one.
    #[must_use]
    pub fn merge(&self, change: &PartitionChange) -> Self {
        let mut next = self.clone();
        next.partition_epoch += 1;
        if let Some(replicas) = &change.replicas {
            next.replicas.clone_from(replicas);
        }
        if let Some(directories) = &change.directories {
            next.directories.clone_from(directories);
        }
        next.directories.resize(next.replicas.len(), DIR_MIGRATING);
        if let Some(isr) = &change.isr {
            next.isr.clone_from(isr);
        }
        if let Some(adding) = &change.adding_replicas {
            next.adding_replicas.clone_from(adding);
        }
        if let Some(removing) = &change.removing_replicas {
            next.removing_replicas.clone_from(removing);
        }
        if let Some(elr) = &change.eligible_leader_replicas {
            next.eligible_leader_replicas.clone_from(elr);
        }
        if let Some(elr) = &change.last_known_elr {
            next.last_known_elr.clone_from(elr);
        }
        if let Some(leader) = change.leader {
            next.leader = leader;
            next.leader_epoch.0 += 1;
        }
        if let Some(recovering) = change.recovering {
            next.recovering = recovering;
        }
        next
    }
}

/// One topic. Partition `i` is `partitions[i]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicImage {
    pub name: Arc<str>,
    pub id: TopicId,
    pub partitions: Vec<Arc<PartitionImage>>,
}

impl TopicImage {
    /// A partition by its index.
    pub fn partition(&self, partition: i32) -> Option<&Arc<PartitionImage>> {
        self.partitions.get(usize::try_from(partition).ok()?)
    }
}

/// All topics, found by id or by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicsImage {
    by_id: OrdMap<TopicId, Arc<TopicImage>>,
    by_name: OrdMap<Arc<str>, TopicId>,
    partition_count: usize,
}

impl TopicsImage {
    /// A topic by its id.
    pub fn by_id(&self, id: TopicId) -> Option<&Arc<TopicImage>> {
        self.by_id.get(&id)
    }

    /// A topic by its name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<TopicImage>> {
        self.by_id.get(self.by_name.get(name)?)
    }

    /// A partition by topic name.
    pub fn partition(&self, name: &str, partition: i32) -> Option<&Arc<PartitionImage>> {
        self.by_name(name)?.partition(partition)
    }

    /// All topics, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name.values().filter_map(|id| self.by_id.get(id))
    }

    /// Topics whose name is `first` or sorts after it.
    pub fn iter_from(&self, first: &str) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.by_name
            .range::<_, str>((std::ops::Bound::Included(first), std::ops::Bound::Unbounded))
            .filter_map(|(_, id)| self.by_id.get(id))
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when there is no topic.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many partitions all topics have together.
    pub const fn partition_count(&self) -> usize {
        self.partition_count
    }

    pub(crate) const fn ids(&self) -> &OrdMap<TopicId, Arc<TopicImage>> {
        &self.by_id
    }

    pub(crate) fn add_topic(&mut self, name: &Arc<str>, id: TopicId) {
        // The controller never writes this; a log that holds it must still give every node the same image.
        if self.by_id.contains_key(&id) || self.by_name.contains_key(name) {
            return;
        }
        self.by_name.insert(Arc::clone(name), id);
        self.by_id.insert(id, Arc::new(TopicImage { name: Arc::clone(name), id, partitions: Vec::new() }));
    }

    /// The removed topic, so that what hangs on its name can go with it.
    pub(crate) fn remove_topic(&mut self, id: TopicId) -> Option<Arc<TopicImage>> {
        let topic = self.by_id.remove(&id)?;
        if self.by_name.get(&topic.name) == Some(&id) {
            self.by_name.remove(&topic.name);
        }
        self.partition_count -= topic.partitions.len();
        Some(topic)
    }

    /// Sets partition `index`, which must exist already or be the next one.
    pub(crate) fn set_partition(&mut self, id: TopicId, index: i32, partition: &PartitionImage) {
        let Some(topic) = self.by_id.get_mut(&id) else { return };
        let Ok(index) = usize::try_from(index) else { return };
        let topic = Arc::make_mut(topic);
        let partition = Arc::new(partition.clone());
        if let Some(slot) = topic.partitions.get_mut(index) {
            *slot = partition;
        } else if topic.partitions.len() == index {
            topic.partitions.push(partition);
            self.partition_count += 1;
        }
    }

    pub(crate) fn change_partition(&mut self, change: &PartitionChange) {
        let Some(topic) = self.by_id.get_mut(&change.topic_id) else { return };
        let Ok(index) = usize::try_from(change.partition) else { return };
        if topic.partitions.len() <= index {
            return;
        }
        let slot = &mut Arc::make_mut(topic).partitions[index];
        *slot = Arc::new(slot.merge(change));
    }

    /// Forgets the eligible leader replicas of one topic, or of all.
    pub(crate) fn clear_elr(&mut self, name: Option<&str>) {
        let ids: Vec<TopicId> = match name {
            Some(name) => self.by_name.get(name).copied().into_iter().collect(),
            None => self.by_id.keys().copied().collect(),
        };
        for id in ids {
            let Some(topic) = self.by_id.get(&id) else { continue };
            let changes: Vec<PartitionChange> = (0..)
                .zip(&topic.partitions)
                .filter(|(_, p)| !p.eligible_leader_replicas.is_empty() || !p.last_known_elr.is_empty())
                .map(|(partition, _)| PartitionChange {
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    ..PartitionChange::new(id, partition)
                })
                .collect();
            for change in &changes {
                self.change_partition(change);
            }
        }
    }
}
