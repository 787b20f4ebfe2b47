//! Tells the controller in which log directories the replicas of this broker are, where it believes otherwise
//! (AssignReplicasToDirs): a broker whose disk was replaced has its replicas in a directory of another id, and could lead
//! none of them while the controller takes them for lost with the old one. A replica without a log that could be used is
//! reported as lost, so that another one leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_controller::{Controller, RequestOrigin};
use ottla_metadata::MetadataImage;
use ottla_metadata::topics::{DIR_LOST, DIR_MIGRATING, DIR_UNASSIGNED};
use ottla_protocol::messages::AssignReplicasToDirsRequest;
use ottla_protocol::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use ottla_protocol::{BrokerId, ErrorCode, TopicId, TopicPartition};
use ottla_storage::LogDirs;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::registry::Partitions;

/// Between two looks: each goes through all partitions.
const PAUSE: Duration = Duration::from_secs(1);
/// Before a report that was not taken is made again.
const RETRY: Duration = Duration::from_secs(1);
/// Partitions in one report; Kafka's brokers send as many.
const REPORT_MAX: usize = 2_250;

/// What is looked at.
pub struct DirReports {
    pub local: BrokerId,
    pub log_dirs: Arc<LogDirs>,
    pub partitions: Partitions,
    pub controller: Controller,
    /// Published images: what this broker has brought into force.
    pub applied: watch::Receiver<Arc<MetadataImage>>,
}

impl DirReports {
    /// Runs as long as metadata comes in.
    pub fn start(self) -> JoinHandle<()> {
        let mut applied = self.applied.clone();
        let this = Arc::new(self);
        tokio::spawn(async move {
            loop {
                let image = applied.borrow_and_update().clone();
                let looking = Arc::clone(&this);
                // It goes through all partitions.
                let Ok(report) = tokio::task::spawn_blocking(move || looking.report(&image)).await else { return };
                if let Some(request) = report {
                    let answer = this.controller.assign_replicas_to_dirs(RequestOrigin::internal(), request).await;
                    match answer.map(|committed| committed.response.error_code) {
                        Ok(code) if code == ErrorCode::None.code() => {}
                        refused => {
                            tracing::debug!(?refused, "the directories of replicas could not be reported");
                            tokio::time::sleep(RETRY).await;
                        }
                    }
                }
                tokio::time::sleep(PAUSE).await;
                if applied.changed().await.is_err() {
                    return;
                }
            }
        })
    }

    /// The replicas that are elsewhere than `image` has them.
    fn report(&self, image: &MetadataImage) -> Option<AssignReplicasToDirsRequest> {
        let broker = image.brokers.get(&self.local)?;
        let has_several = broker.log_dirs.len() > 1;
        let mut found: BTreeMap<Uuid, BTreeMap<TopicId, Vec<i32>>> = BTreeMap::new();
        let mut count = 0;
        for topic in image.topics.iter() {
            for (index, partition) in (0..).zip(&topic.partitions) {
                let Some(known) = partition.directory(self.local) else { continue };
                if count >= REPORT_MAX {
                    continue;
                }
                let id = TopicPartition { topic: Arc::clone(&topic.name), partition: index };
                let here = match self.log_dirs.directory_of(&id) {
                    // To say where it is would say nothing new.
                    Some(_) if known == DIR_MIGRATING || (known == DIR_UNASSIGNED && !has_several) => None,
                    None if broker.has_online_dir(known) && self.partitions.is_offline(topic.id, index) => {
                        Some(DIR_LOST)
                    }
                    here => here,
                };
                if let Some(here) = here.filter(|here| *here != known) {
                    found.entry(here).or_default().entry(topic.id).or_default().push(index);
                    count += 1;
                }
            }
        }
        if found.is_empty() {
            return None;
        }
        tracing::info!(replicas = count, "the controller is told in which log directories replicas are");
        let partitions = |indexes: Vec<i32>| {
            indexes.into_iter().map(|index| PartitionData::default().with_partition_index(index)).collect()
        };
        let directories = found.into_iter().map(|(directory, topics)| {
            let topics = topics
                .into_iter()
                .map(|(id, indexes)| TopicData::default().with_topic_id(id.0).with_partitions(partitions(indexes)));
            DirectoryData::default().with_id(directory).with_topics(topics.collect())
        });
        Some(
            AssignReplicasToDirsRequest::default()
                .with_broker_id(self.local.0.into())
                .with_broker_epoch(broker.epoch)
                .with_directories(directories.collect()),
        )
    }
}
