//! A partition of the replica floor as coordinators need it.

use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::shard::Producer;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_replication::LogOffsetSnapshot;
use ottla_storage::{AppendOrigin, Verification, VerificationGuard};
use tokio::sync::watch;

use super::log::PartitionLog;
use crate::replica::{LeaderAppend, Partition};

/// One leadership of one partition: after it every append is refused.
pub struct LedPartition {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
}

impl LedPartition {
    pub const fn new(partition: Arc<Partition>, epoch: LeaderEpoch) -> Self {
        Self { partition, epoch }
    }
}

impl PartitionLog for LedPartition {
    fn append(&self, batch: Bytes, now: Timestamp) -> Result<Offset, ErrorCode> {
        let how = LeaderAppend {
            required_acks: -1,
            origin: AppendOrigin::Coordinator,
            now,
            verification: Verification::NotNeeded,
            only_at: Some(self.epoch),
        };
        let appended = self.partition.append_as_leader(batch, &how).map_err(|error| {
            tracing::warn!(partition = %self.partition.id(), %error, "coordinator records were refused");
            error.error_code()
        })?;
        Ok(appended.last_offset.plus(1))
    }

    fn is_verified(&self, producer: Producer, guard: Option<VerificationGuard>) -> bool {
        self.partition.log().is_verified(producer.id, producer.epoch, guard)
    }

    fn read(&self, from: Offset, max_bytes: usize) -> Result<Bytes, ErrorCode> {
        if !self.partition.is_leader() || self.partition.leader_epoch() != self.epoch {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        let log = self.partition.log();
        let offsets = log.offsets();
        // What retention or a deletion took is gone for good; loading begins with what there is.
        let from = from.max(offsets.log_start);
        if from >= offsets.log_end {
            return Ok(Bytes::new());
        }
        let read = log.read(from, max_bytes, offsets.log_end, true).map_err(|error| error.error_code())?;
        let mut bytes = Vec::with_capacity(read.size());
        for records in &read.records {
            bytes.extend(records.read_all().map_err(|error| {
                tracing::error!(partition = %self.partition.id(), %error, "coordinator records cannot be read");
                ErrorCode::KafkaStorageError
            })?);
        }
        Ok(bytes.into())
    }

    fn snapshots(&self) -> watch::Receiver<LogOffsetSnapshot> {
        self.partition.subscribe()
    }

    fn max_batch_bytes(&self) -> usize {
        usize::try_from(self.partition.log().config().max_message_bytes).unwrap_or(usize::MAX)
    }
}
