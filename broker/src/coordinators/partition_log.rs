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
    fn append(&self, batch: Bytes, verification: Verification, now: Timestamp) -> Result<Offset, ErrorCode> {
        let how = LeaderAppend {
            required_acks: -1,
            origin: AppendOrigin::Coordinator,
            now,
            verification,
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
        whole_batches(bytes).ok_or_else(|| {
            tracing::error!(partition = %self.partition.id(), %from, "no batch of coordinator records is whole");
            ErrorCode::KafkaStorageError
        })
    }

    fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    fn snapshots(&self) -> watch::Receiver<LogOffsetSnapshot> {
        self.partition.subscribe()
    }

    fn max_batch_bytes(&self) -> usize {
        usize::try_from(self.partition.log().config().max_message_bytes).unwrap_or(usize::MAX)
    }
}

/// Without what is cut off at the end: a read of so many bytes ends wherever they end. `None` when not even the first batch
/// is whole.
fn whole_batches(mut bytes: Vec<u8>) -> Option<Bytes> {
    /// Base offset and length come before what the length counts.
    const BEFORE_LENGTH: usize = 8;
    const OVERHEAD: usize = 12;
    let mut end = 0;
    while let Some(length) = bytes.get(end + BEFORE_LENGTH..end + OVERHEAD) {
        let length = i32::from_be_bytes(length.try_into().ok()?);
        let next = end.checked_add(OVERHEAD)?.checked_add(usize::try_from(length).ok()?)?;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    if end == 0 && !bytes.is_empty() {
        return None;
    }
    bytes.truncate(end);
    Some(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_that_is_cut_off_waits_for_the_next_read() {
        let batch = |size: u8| {
            let mut bytes = vec![0; 12 + usize::from(size)];
            bytes[11] = size;
            bytes
        };
        let two = [batch(50), batch(60)].concat();
        for cut in 0..=two.len() {
            let whole = whole_batches(two[..cut].to_vec());
            let expected = match cut {
                0 => Some(0),
                1..62 => None,
                62..134 => Some(62),
                _ => Some(134),
            };
            assert_eq!(whole.map(|whole| whole.len()), expected, "cut at {cut}");
        }
    }
}
