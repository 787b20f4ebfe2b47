//! Makes what lives here equal to what the metadata says lives here.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_metadata::{MetadataImage, PartitionImage, TopicChange, TopicImage};
use ottla_protocol::{BrokerId, Timestamp, TopicId, TopicPartition};
use ottla_storage::{LogConfig, LogDirs};

use super::partition::{IsrProposals, Partition, PartitionState};
use super::registry::{Partitions, Replica};

/// Finds the configuration of a topic's logs in an image.
pub type TopicConfigs = Arc<dyn Fn(&MetadataImage, &str) -> Arc<LogConfig> + Send + Sync>;

/// Creates, re-roles and removes the partitions of this broker. Blocking: it makes and renames directories.
pub struct Assignment {
    local: BrokerId,
    partitions: Partitions,
    log_dirs: Arc<LogDirs>,
    configs: TopicConfigs,
    proposals: IsrProposals,
    /// `replica.lag.time.max.ms`
    lag_max_ms: i64,
}

impl Assignment {
    pub fn new(
        local: BrokerId,
        partitions: Partitions,
        log_dirs: Arc<LogDirs>,
        configs: TopicConfigs,
        proposals: IsrProposals,
        lag_max_ms: i64,
    ) -> Self {
        Self { local, partitions, log_dirs, configs, proposals, lag_max_ms }
    }

    /// Carries out the difference between two images.
    pub fn apply(&self, old: &MetadataImage, new: &MetadataImage, now: Timestamp) {
        let eligible: BTreeSet<BrokerId> = new.active_brokers().map(|broker| broker.id).collect();
        let was_eligible: BTreeSet<BrokerId> = old.active_brokers().map(|broker| broker.id).collect();
        for change in new.topics.changes_since(&old.topics) {
            match change {
                TopicChange::Removed(topic) => self.remove_topic(&topic),
                TopicChange::Created(topic) => self.place_topic(new, &topic, None, &eligible, now),
                TopicChange::Changed { old, new: topic } => {
                    self.place_topic(new, &topic, Some(&old), &eligible, now);
                }
            }
        }
        if eligible != was_eligible {
            for topic in new.topics.iter() {
                self.place_topic(new, topic, None, &eligible, now);
            }
        }
    }

    /// Hands changed configurations to the logs they concern.
    pub fn apply_configs(&self, new: &MetadataImage, topics: Option<&[Arc<str>]>, now: Timestamp) {
        let concerned: Vec<&Arc<TopicImage>> = match topics {
            Some(names) => names.iter().filter_map(|name| new.topics.by_name(name)).collect(),
            None => new.topics.iter().collect(),
        };
        let eligible: BTreeSet<BrokerId> = new.active_brokers().map(|broker| broker.id).collect();
        for topic in concerned {
            let config = (self.configs)(new, &topic.name);
            for partition in self.partitions.of_topic(topic.id) {
                partition.log().update_config(Arc::clone(&config));
            }
            // `min.insync.replicas` is the leader's business.
            self.place_topic(new, topic, None, &eligible, now);
        }
    }

    /// Logs on disk that the metadata knows nothing of any more: the topic was deleted, or created again under its name,
    /// while this broker was away. They are moved aside, never deleted: if the metadata is the one that is wrong, the
    /// data is still there.
    pub fn move_strays_aside(&self, image: &MetadataImage) {
        for log in self.log_dirs.logs() {
            let id = log.topic_partition().clone();
            let owner = image.topics.by_name(&id.topic).filter(|topic| topic.id == log.topic_id());
            let is_ours = owner
                .and_then(|topic| topic.partition(id.partition))
                .is_some_and(|partition| partition.replicas.contains(&self.local));
            if !is_ours {
                tracing::warn!(partition = %id, topic_id = %log.topic_id(), "not in the metadata, moved aside");
                if let Err(error) = self.log_dirs.move_aside(&id) {
                    tracing::error!(partition = %id, %error, "could not be moved aside");
                }
            }
        }
    }

    fn place_topic(
        &self,
        image: &MetadataImage,
        topic: &TopicImage,
        old: Option<&TopicImage>,
        eligible: &BTreeSet<BrokerId>,
        now: Timestamp,
    ) {
        let config = (self.configs)(image, &topic.name);
        for (index, partition) in (0_i32..).zip(&topic.partitions) {
            let before = old.and_then(|old| old.partition(index));
            if before.is_some_and(|before| Arc::ptr_eq(before, partition) || before == partition) {
                continue;
            }
            if partition.replicas.contains(&self.local) {
                self.place(topic, index, partition, &config, eligible, now);
            } else if before.is_none_or(|before| before.replicas.contains(&self.local)) {
                self.remove(topic.id, &topic.name, index);
            }
        }
    }

    fn place(
        &self,
        topic: &TopicImage,
        index: i32,
        image: &PartitionImage,
        config: &Arc<LogConfig>,
        eligible: &BTreeSet<BrokerId>,
        now: Timestamp,
    ) {
        let id = TopicPartition { topic: Arc::clone(&topic.name), partition: index };
        let existing = self.partitions.of_topic(topic.id).into_iter().find(|hosted| hosted.id().partition == index);
        let partition = match existing {
            Some(partition) => partition,
            None => match self.log_dirs.create_log(&id, topic.id, Arc::clone(config)) {
                Ok(log) => {
                    let partition = Partition::new(id.clone(), topic.id, self.local, log, self.proposals.clone());
                    Arc::new(partition)
                }
                Err(error) => {
                    tracing::error!(partition = %id, %error, "log could not be created, the partition is offline");
                    self.partitions.insert(topic.id, &topic.name, index, Replica::Offline);
                    return;
                }
            },
        };
        let state = PartitionState {
            leader: image.leader,
            leader_epoch: image.leader_epoch,
            partition_epoch: image.partition_epoch,
            replicas: image.replicas.clone(),
            isr: image.isr.clone(),
            eligible: eligible.clone(),
            min_insync_replicas: usize::try_from(config.min_insync_replicas).unwrap_or(1),
            lag_max_ms: self.lag_max_ms,
        };
        if let Err(error) = partition.assume(state, now) {
            tracing::error!(partition = %id, %error, "leadership could not be recorded, the partition is offline");
            self.partitions.insert(topic.id, &topic.name, index, Replica::Offline);
            return;
        }
        self.partitions.insert(topic.id, &topic.name, index, Replica::Here(partition));
    }

    fn remove_topic(&self, topic: &TopicImage) {
        for (index, partition) in (0_i32..).zip(&topic.partitions) {
            if partition.replicas.contains(&self.local) {
                self.remove(topic.id, &topic.name, index);
            }
        }
    }

    fn remove(&self, topic: TopicId, name: &Arc<str>, index: i32) {
        let Some(replica) = self.partitions.remove(topic, index) else { return };
        if let Replica::Here(partition) = replica {
            partition.leave();
        }
        let id = TopicPartition { topic: Arc::clone(name), partition: index };
        if let Err(error) = self.log_dirs.delete_log(&id) {
            tracing::error!(partition = %id, %error, "log could not be deleted");
        }
    }
}
