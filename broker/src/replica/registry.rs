//! Who is here.

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::{HashMap, OrdMap};
use ottla_protocol::{ErrorCode, TopicId};

use super::partition::Partition;
use crate::metadata_cache::MetadataCache;

/// A topic with the partitions of it that live here.
#[derive(Debug, Clone)]
struct Hosted {
    name: Arc<str>,
    /// By partition index.
    partitions: OrdMap<i32, Replica>,
}

/// A place in the registry.
#[derive(Debug, Clone)]
pub(super) enum Replica {
    Here(Arc<Partition>),
    /// It belongs here, but its log cannot be used.
    Offline,
}

#[derive(Debug, Clone, Default)]
struct Table {
    by_id: HashMap<TopicId, Hosted>,
    by_name: HashMap<Arc<str>, TopicId>,
}

/// The partitions of this broker. Cheap to clone; a look-up takes no lock.
#[derive(Clone)]
pub struct Partitions {
    table: Arc<ArcSwap<Table>>,
    metadata: MetadataCache,
}

impl std::fmt::Debug for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partitions").field("count", &self.iter().len()).finish_non_exhaustive()
    }
}

impl Partitions {
    /// An empty registry. `metadata` tells a partition that lives elsewhere from one that does not exist.
    pub fn new(metadata: MetadataCache) -> Self {
        Self { table: Arc::default(), metadata }
    }

    /// A partition by topic name.
    ///
    /// # Errors
    /// `UnknownTopicOrPartition` when there is none, `NotLeaderOrFollower` when it lives on other brokers,
    /// `KafkaStorageError` when its log directory failed.
    pub fn get(&self, topic: &str, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let table = self.table.load();
        let hosted = table.by_name.get(topic).and_then(|id| table.by_id.get(id));
        match hosted.and_then(|hosted| hosted.partitions.get(&partition)) {
            Some(Replica::Here(partition)) => Ok(Arc::clone(partition)),
            Some(Replica::Offline) => Err(ErrorCode::KafkaStorageError),
            None if self.metadata.load().topics.partition(topic, partition).is_some() => {
                Err(ErrorCode::NotLeaderOrFollower)
            }
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// A partition by topic id.
    ///
    /// # Errors
    /// As [`Partitions::get`], but `UnknownTopicId` when no topic has this id.
    pub fn get_by_id(&self, topic: TopicId, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let table = self.table.load();
        match table.by_id.get(&topic).and_then(|hosted| hosted.partitions.get(&partition)) {
            Some(Replica::Here(partition)) => Ok(Arc::clone(partition)),
            Some(Replica::Offline) => Err(ErrorCode::KafkaStorageError),
            None => Err(match self.metadata.load().topics.by_id(topic) {
                None => ErrorCode::UnknownTopicId,
                Some(known) if known.partition(partition).is_some() => ErrorCode::NotLeaderOrFollower,
                Some(_) => ErrorCode::UnknownTopicOrPartition,
            }),
        }
    }

    /// Every partition that can be used, in no particular order.
    pub fn iter(&self) -> Vec<Arc<Partition>> {
        let table = self.table.load();
        let mut all = Vec::new();
        for hosted in table.by_id.values() {
            all.extend(hosted.partitions.values().filter_map(|replica| match replica {
                Replica::Here(partition) => Some(Arc::clone(partition)),
                Replica::Offline => None,
            }));
        }
        all
    }

    /// The partitions of one topic, by index.
    pub fn of_topic(&self, topic: TopicId) -> Vec<Arc<Partition>> {
        let table = self.table.load();
        let Some(hosted) = table.by_id.get(&topic) else { return Vec::new() };
        hosted
            .partitions
            .values()
            .filter_map(|replica| match replica {
                Replica::Here(partition) => Some(Arc::clone(partition)),
                Replica::Offline => None,
            })
            .collect()
    }

    /// Whether a partition belongs here and its log cannot be used.
    pub(super) fn is_offline(&self, topic: TopicId, partition: i32) -> bool {
        let table = self.table.load();
        let hosted = table.by_id.get(&topic);
        hosted.is_some_and(|hosted| matches!(hosted.partitions.get(&partition), Some(Replica::Offline)))
    }

    /// A partition that can be used here; no questions asked about others.
    pub(super) fn here(&self, topic: TopicId, partition: i32) -> Option<Arc<Partition>> {
        match self.table.load().by_id.get(&topic)?.partitions.get(&partition)? {
            Replica::Here(partition) => Some(Arc::clone(partition)),
            Replica::Offline => None,
        }
    }

    pub(super) fn insert(&self, topic: TopicId, name: &Arc<str>, partition: i32, replica: Replica) {
        self.change(|table| {
            table.by_name.insert(Arc::clone(name), topic);
            let empty = || Hosted { name: Arc::clone(name), partitions: OrdMap::new() };
            table.by_id.entry(topic).or_insert_with(empty).partitions.insert(partition, replica);
        });
    }

    pub(super) fn remove(&self, topic: TopicId, partition: i32) -> Option<Replica> {
        let mut removed = None;
        self.change(|table| {
            let Some(hosted) = table.by_id.get_mut(&topic) else { return };
            removed = hosted.partitions.remove(&partition);
            if hosted.partitions.is_empty() {
                let name = Arc::clone(&hosted.name);
                table.by_id.remove(&topic);
                // The name may already belong to the topic's successor.
                if table.by_name.get(&name) == Some(&topic) {
                    table.by_name.remove(&name);
                }
            }
        });
        removed
    }

    /// Only the publisher's task changes the table, so nothing is lost between load and store.
    fn change(&self, change: impl FnOnce(&mut Table)) {
        let mut table = Table::clone(&self.table.load());
        change(&mut table);
        self.table.store(Arc::new(table));
    }
}
