//! Makes what lives here equal to what the metadata says lives here.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Weak};

use ottla_metadata::{ConfigKind, ConfigResource, MetadataImage, PartitionImage, TopicChange, TopicImage};
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::{DurabilityListener, LogConfig, LogDirs};

use super::fetcher::Fetchers;
use super::isr_change::IsrProposals;
use super::partition::{Assumed, Partition, PartitionState};
use super::registry::{Partitions, Replica};
use super::throttle::{Throttled, ThrottledReplicas};

/// Finds the configuration of a topic's logs in an image.
pub type TopicConfigs = Arc<dyn Fn(&MetadataImage, &str) -> Arc<LogConfig> + Send + Sync>;

/// What differs between two images, as far as partitions are concerned.
#[derive(Debug, Clone)]
pub struct Changes {
    topics: Vec<TopicChange>,
    configs: Vec<ConfigResource>,
    /// Brokers were fenced, unfenced, or began to shut down.
    eligible: bool,
    /// The process has just begun: what the image holds may have been here before.
    is_start: bool,
}

impl Changes {
    /// The cost follows the change, not the size of the images.
    pub fn between(old: &MetadataImage, new: &MetadataImage) -> Self {
        Self {
            topics: new.topics.changes_since(&old.topics),
            configs: new.configs.changes_since(&old.configs),
            eligible: eligible(old) != eligible(new),
            is_start: old.offset < Offset::ZERO,
        }
    }

    /// True when topics were deleted.
    pub fn deletes(&self) -> bool {
        self.topics.iter().any(|change| matches!(change, TopicChange::Removed(_)))
    }

    /// True when no partition is concerned.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.configs.is_empty() && !self.eligible
    }

    /// Defaults of the broker reach every topic that does not set the value itself.
    fn reconfigured<'a>(&self, new: &'a MetadataImage) -> Vec<&'a Arc<TopicImage>> {
        if self.configs.iter().any(|resource| resource.kind == ConfigKind::Broker) {
            return new.topics.iter().collect();
        }
        let of_topics = self.configs.iter().filter(|resource| resource.kind == ConfigKind::Topic);
        of_topics.filter_map(|resource| new.topics.by_name(&resource.name)).collect()
    }
}

fn eligible(image: &MetadataImage) -> BTreeSet<BrokerId> {
    image.active_brokers().map(|broker| broker.id).collect()
}

/// The image that is being applied.
struct View<'a> {
    image: &'a MetadataImage,
    eligible: Arc<BTreeSet<BrokerId>>,
    now: Timestamp,
}

/// What a topic was when it was looked at last.
#[derive(Clone, Copy)]
enum Before<'a> {
    /// It has just been created.
    Nothing,
    /// Partitions that are the same are left alone.
    Topic(&'a TopicImage),
    /// Something else has changed, too: no partition is left alone.
    Another(&'a TopicImage),
    /// Nothing is known that would tell.
    Unknown,
}

/// Creates, re-roles and removes the partitions of this broker. Blocking: it makes and renames directories.
pub struct Assignment {
    local: BrokerId,
    partitions: Partitions,
    log_dirs: Arc<LogDirs>,
    configs: TopicConfigs,
    proposals: IsrProposals,
    fetchers: Fetchers,
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
        fetchers: Fetchers,
        lag_max_ms: i64,
    ) -> Self {
        Self { local, partitions, log_dirs, configs, proposals, fetchers, lag_max_ms }
    }

    /// Carries out the difference to the image before.
    pub fn apply(&self, new: &MetadataImage, changes: &Changes, now: Timestamp) {
        let view = View { image: new, eligible: Arc::new(eligible(new)), now };
        for change in &changes.topics {
            match change {
                // Its directories must make room for those of its successor.
                TopicChange::Removed(topic) if new.topics.by_name(&topic.name).is_some() => self.remove_topic(topic),
                TopicChange::Removed(_) => {}
                TopicChange::Created(topic) if changes.is_start => self.place_topic(&view, topic, Before::Unknown),
                TopicChange::Created(topic) => self.place_topic(&view, topic, Before::Nothing),
                // Who is eligible concerns all of its partitions; each of them once.
                TopicChange::Changed { old, new: topic } if changes.eligible => {
                    self.place_topic(&view, topic, Before::Another(old));
                }
                TopicChange::Changed { old, new: topic } => self.place_topic(&view, topic, Before::Topic(old)),
            }
        }
        for topic in changes.reconfigured(new) {
            let config = (self.configs)(new, &topic.name);
            for partition in self.partitions.of_topic(topic.id) {
                partition.log().update_config(Arc::clone(&config));
            }
            // `min.insync.replicas` is the leader's business.
            self.place_topic(&view, topic, Before::Unknown);
        }
        if changes.eligible {
            let placed = changes.topics.iter().filter_map(|change| match change {
                TopicChange::Created(topic) | TopicChange::Changed { new: topic, .. } => Some(topic.id),
                TopicChange::Removed(_) => None,
            });
            let placed: HashSet<TopicId> = placed.collect();
            for topic in new.topics.iter().filter(|topic| !placed.contains(&topic.id)) {
                self.place_topic(&view, topic, Before::Unknown);
            }
        }
    }

    /// Removes deleted topics, once the metadata no longer names them: whoever still waits at one of their partitions then
    /// learns that it is gone, and not that it has moved.
    pub fn remove_deleted(&self, changes: &Changes) {
        for change in &changes.topics {
            if let TopicChange::Removed(topic) = change {
                self.remove_topic(topic);
            }
        }
    }

    /// Logs on disk that the metadata knows nothing of any more: the topic was deleted, or created again under its name,
    /// while this broker was away. They are moved aside, never deleted: if the metadata is the one that is wrong, the
    /// data is still there.
    pub fn move_strays_aside(&self, image: &MetadataImage) {
        self.log_dirs.settle_copies(|id| {
            let topic = image.topics.by_name(&id.topic)?;
            Some((topic.id, topic.partition(id.partition)?.directory(self.local)?))
        });
        for log in self.log_dirs.logs() {
            let id = log.topic_partition().clone();
            let owner = image.topics.by_name(&id.topic).filter(|topic| topic.id == log.topic_id());
            let is_ours = owner
                .and_then(|topic| topic.partition(id.partition))
                .is_some_and(|partition| partition.replicas.contains(&self.local));
            let named = image.topics.by_name(&id.topic);
            if log.has_lost_its_topic()
                && let Some(topic) = named
            {
                // Nobody can say whether it is this topic's. Kafka takes it for nobody's, too.
                let directory = log.dir();
                tracing::error!(partition = %id, dir = %directory.display(), records = log.offsets().log_end.0 - log.offsets().log_start.0, bytes = log.size(), topic_id = %topic.id, "partition.metadata is missing or empty beside records: they are moved aside and the partition begins anew without them. To have them back: stop the broker, give the directory its name back and put a partition.metadata with this topic_id into it");
                if let Err(error) = self.log_dirs.move_aside(&id) {
                    tracing::error!(partition = %id, %error, "could not be moved aside");
                }
            } else if !is_ours {
                tracing::warn!(partition = %id, topic_id = %log.topic_id(), bytes = log.size(), "not in the metadata, moved aside");
                if let Err(error) = self.log_dirs.move_aside(&id) {
                    tracing::error!(partition = %id, %error, "could not be moved aside");
                }
            }
        }
    }

    fn place_topic(&self, view: &View<'_>, topic: &TopicImage, old: Before<'_>) {
        // For all partitions: to look them up for each would take longer than to place it.
        let config = (self.configs)(view.image, &topic.name);
        let throttled = ThrottledReplicas::of(view.image, &topic.name, self.local);
        for (index, partition) in (0_i32..).zip(&topic.partitions) {
            let before = match old {
                Before::Topic(old) | Before::Another(old) => old.partition(index),
                Before::Nothing | Before::Unknown => None,
            };
            let is_same = before.is_some_and(|before| Arc::ptr_eq(before, partition) || before == partition);
            if is_same && matches!(old, Before::Topic(_)) {
                continue;
            }
            if partition.replicas.contains(&self.local) {
                let was_here = before.is_some_and(|before| before.replicas.contains(&self.local));
                let is_new = !was_here && !matches!(old, Before::Unknown);
                self.place(view, topic, (index, partition), (&config, throttled.at(index)), is_new);
            } else if before.is_none_or(|before| before.replicas.contains(&self.local)) {
                self.remove(topic.id, &topic.name, index);
            }
        }
    }

    /// `is_new`: this broker gets the replica now. It has no log of it, wherever that might be.
    fn place(
        &self,
        view: &View<'_>,
        topic: &TopicImage,
        (index, image): (i32, &PartitionImage),
        (config, throttled): (&Arc<LogConfig>, Throttled),
        is_new: bool,
    ) {
        let id = TopicPartition { topic: Arc::clone(&topic.name), partition: index };
        let existing = self.partitions.here(topic.id, index);
        let is_first = existing.is_none();
        let log = || match is_new {
            true => self.log_dirs.create_log(&id, topic.id, Arc::clone(config)),
            false => self.log_dirs.find_or_create_log(&id, topic.id, Arc::clone(config)),
        };
        let partition = match existing {
            Some(partition) => partition,
            None => match log() {
                Ok(log) => {
                    let partition =
                        Arc::new(Partition::new(id.clone(), topic.id, self.local, log, self.proposals.clone()));
                    let listener: Weak<dyn DurabilityListener> = Arc::<Partition>::downgrade(&partition);
                    partition.log().set_durability_listener(listener);
                    partition
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
            eligible: Arc::clone(&view.eligible),
            min_insync_replicas: usize::try_from(config.min_insync_replicas).unwrap_or(1),
            lag_max_ms: self.lag_max_ms,
            throttled,
        };
        let assumed = match partition.assume(state, view.now) {
            Ok(assumed) => assumed,
            Err(error) => {
                tracing::error!(partition = %id, %error, "leadership could not be recorded, the partition is offline");
                self.partitions.insert(topic.id, &topic.name, index, Replica::Offline);
                partition.on_unusable();
                return;
            }
        };
        if is_first {
            self.partitions.insert(topic.id, &topic.name, index, Replica::Here(Arc::clone(&partition)));
        }
        match assumed {
            Assumed::Follows(Some(leader), epoch) => self.fetchers.follow(partition, leader, epoch),
            Assumed::Follows(None, _) | Assumed::Leads => self.fetchers.forget(topic.id, index),
            Assumed::Unchanged => {}
        }
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
        self.fetchers.forget(topic, index);
        if let Replica::Here(partition) = replica {
            partition.leave();
        }
        let id = TopicPartition { topic: Arc::clone(name), partition: index };
        if let Err(error) = self.log_dirs.delete_log(&id) {
            tracing::error!(partition = %id, %error, "log could not be deleted");
        }
    }
}
