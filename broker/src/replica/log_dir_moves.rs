//! Moves replicas between the log directories of this broker, while they are written to and read.
//!
//! The log does the copying (`ottla_storage::LogDirs`); here is who does it when: at most
//! `num.replica.alter.log.dirs.threads` at a time, at most `replica.alter.log.dirs.io.max.bytes.per.second` together. Moves
//! that a process before has not ended go on with the next one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ottla_controller::{Controller, RequestOrigin};
use ottla_metadata::topics::{DIR_MIGRATING, DIR_UNASSIGNED};
use ottla_protocol::messages::AssignReplicasToDirsRequest;
use ottla_protocol::messages::assign_replicas_to_dirs_request::{DirectoryData, PartitionData, TopicData};
use ottla_protocol::{BrokerId, ErrorCode, TopicPartition};
use ottla_storage::{LogDirs, MoveError, MoveStep};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::registry::Partitions;
use super::throttle::Throttle;
use crate::clock;
use crate::config::Effective;
use crate::metadata_cache::MetadataCache;

/// Bytes copied at a time.
const STEP_BYTES: usize = 1 << 20;
/// How long a move that is too fast waits before it looks again.
const PAUSE: Duration = Duration::from_millis(100);
/// Before the controller is told once more.
const TELL_AGAIN: Duration = Duration::from_secs(1);
/// How often the controller is told of a new place before it is left to the next move.
const TOLD_MAX: u32 = 10;

/// Starts moves, and carries them out in tasks of their own. Cheap to clone.
#[derive(Clone)]
pub struct LogDirMoves {
    work: Arc<Work>,
}

struct Work {
    local: BrokerId,
    log_dirs: Arc<LogDirs>,
    partitions: Partitions,
    metadata: MetadataCache,
    controller: Controller,
    throttle: Throttle,
    permits: Semaphore,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl LogDirMoves {
    pub fn new(
        effective: Effective,
        log_dirs: Arc<LogDirs>,
        partitions: Partitions,
        metadata: MetadataCache,
        controller: Controller,
    ) -> Self {
        let settings = Arc::clone(&effective.settings);
        // Without the key as many as there are directories, as in Kafka.
        let threads = settings.text("num.replica.alter.log.dirs.threads").and_then(|text| text.trim().parse().ok());
        let permits = Semaphore::new(threads.unwrap_or(settings.log_dirs.len()).clamp(1, 1024));
        let local = settings.node_id;
        let throttle = Throttle::of_log_dirs(effective);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let work = Work { local, log_dirs, partitions, metadata, controller, throttle, permits, stop, tasks };
        Self { work: Arc::new(work) }
    }

    /// Goes on with what a process before has begun.
    pub fn resume(&self) {
        for moving in self.work.log_dirs.moving() {
            self.carry_out(moving.id);
        }
    }

    /// Has a replica move to a directory; one that is not here yet is to be created there. Blocks for the time it takes to
    /// make a directory.
    pub fn start(&self, id: &TopicPartition, to: &Path) -> ErrorCode {
        let work = &self.work;
        match work.log_dirs.start_move(id, to) {
            Ok(true) => {
                self.carry_out(id.clone());
                ErrorCode::None
            }
            Ok(false) => ErrorCode::None,
            Err(MoveError::NameTooLong) => ErrorCode::InvalidTopicException,
            Err(MoveError::NoSuchDirectory) => ErrorCode::LogDirNotFound,
            Err(MoveError::Offline) => ErrorCode::KafkaStorageError,
            Err(MoveError::Cordoned) => ErrorCode::InvalidReplicaAssignment,
            Err(MoveError::NoLog) => match work.partitions.get(&id.topic, id.partition) {
                Err(ErrorCode::NotLeaderOrFollower) => {
                    // Known, and not here: it may be about to come. Kafka's tool asks again until it is here.
                    let wanted = work.log_dirs.prefer(id, to);
                    wanted.err().map_or(ErrorCode::ReplicaNotAvailable, |_| ErrorCode::KafkaStorageError)
                }
                Err(code) => code,
                Ok(_) => ErrorCode::KafkaStorageError,
            },
            Err(MoveError::Io(error)) => {
                tracing::error!(partition = %id, to = %to.display(), %error, "the move of the log could not begin");
                ErrorCode::KafkaStorageError
            }
        }
    }

    fn carry_out(&self, id: TopicPartition) {
        let work = Arc::clone(&self.work);
        self.work.tasks.spawn(async move { work.carry_out(id).await });
    }

    /// Ends the tasks after the step that they are at; the next process goes on.
    pub async fn shutdown(&self) {
        self.work.stop.cancel();
        self.work.tasks.close();
        self.work.tasks.wait().await;
    }
}

impl Work {
    async fn carry_out(self: Arc<Self>, id: TopicPartition) {
        let permit = tokio::select! {
            () = self.stop.cancelled() => return,
            permit = self.permits.acquire() => permit,
        };
        let Ok(_permit) = permit else { return };
        while !self.stop.is_cancelled() {
            if self.throttle.is_exceeded(clock::steady()) {
                self.pause(PAUSE).await;
                continue;
            }
            let (log_dirs, of) = (Arc::clone(&self.log_dirs), id.clone());
            let step = tokio::task::spawn_blocking(move || log_dirs.move_on(&of, STEP_BYTES)).await;
            match step {
                Ok(Ok(MoveStep::Copied(bytes))) => self.throttle.record(bytes, clock::steady()),
                Ok(Ok(MoveStep::Done)) => return self.tell_controller(&id).await,
                Ok(Ok(MoveStep::Gone)) => return,
                Ok(Err(error)) => {
                    tracing::error!(partition = %id, %error, "the move of the log has failed, it stays where it is");
                    return;
                }
                Err(error) => {
                    tracing::error!(partition = %id, %error, "the move of the log has failed");
                    return;
                }
            }
        }
    }

    /// Where the controller believes to know the directory of a replica, it would take it for lost with the old one.
    async fn tell_controller(&self, id: &TopicPartition) {
        for _ in 0..TOLD_MAX {
            let Some(request) = self.assignment(id) else { return };
            let answer = self.controller.assign_replicas_to_dirs(RequestOrigin::internal(), request).await;
            if answer.is_ok_and(|committed| committed.response.error_code == ErrorCode::None.code()) {
                return;
            }
            if self.pause(TELL_AGAIN).await {
                return;
            }
        }
        tracing::warn!(partition = %id, "the controller does not know yet to which directory the replica has moved");
    }

    /// True when the broker goes down.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.stop.cancelled()).await.is_ok()
    }

    fn assignment(&self, id: &TopicPartition) -> Option<AssignReplicasToDirsRequest> {
        let image = self.metadata.load();
        let broker = image.brokers.get(&self.local)?;
        let topic = image.topics.by_name(&id.topic)?;
        let known = topic.partition(id.partition)?.directory(self.local)?;
        let here = self.log_dirs.directory_of(id)?;
        if known == here || known == DIR_UNASSIGNED || known == DIR_MIGRATING {
            return None;
        }
        let partition = PartitionData::default().with_partition_index(id.partition);
        let topic = TopicData::default().with_topic_id(topic.id.0).with_partitions(vec![partition]);
        let directory = DirectoryData::default().with_id(here).with_topics(vec![topic]);
        Some(
            AssignReplicasToDirsRequest::default()
                .with_broker_id(self.local.0.into())
                .with_broker_epoch(broker.epoch)
                .with_directories(vec![directory]),
        )
    }
}
