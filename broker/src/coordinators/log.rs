//! What a coordinator needs of the partition under it.

use bytes::Bytes;
use ottla_coordinator::shard::Producer;
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_replication::LogOffsetSnapshot;
use ottla_storage::{Verification, VerificationGuard};
use tokio::sync::watch;

/// A partition of an internal topic, led by this broker at one leader epoch.
pub trait PartitionLog: Send + Sync + 'static {
    /// Appends one batch to the whole in-sync set's log (acks=all) and returns the offset behind it. Its place is fixed
    /// when this returns; it is committed once the high watermark gets there.
    ///
    /// # Errors
    /// Nothing of the batch was written: `NotLeaderOrFollower` when leadership is over, else why it was refused.
    fn append(&self, batch: Bytes, verification: Verification, now: Timestamp) -> Result<Offset, ErrorCode>;

    /// Whether records of a transaction that was admitted with this guard (`None`: as it was open here) may still be
    /// appended: no marker has ended it since.
    fn is_verified(&self, producer: Producer, guard: Option<VerificationGuard>) -> bool;

    /// Whole batches from the one that holds `from`, at least one; empty at the end of the log. Blocks on the disk.
    ///
    /// # Errors
    /// When the log cannot be read or this broker does not lead.
    fn read(&self, from: Offset, max_bytes: usize) -> Result<Bytes, ErrorCode>;

    /// The leadership that this is the log of. Offsets told at a later one are of what the next leader wrote.
    fn epoch(&self) -> LeaderEpoch;

    /// The offsets now and whenever they move.
    fn snapshots(&self) -> watch::Receiver<LogOffsetSnapshot>;

    /// The largest batch that an append takes.
    fn max_batch_bytes(&self) -> usize;
}

/// How a producer's transaction ends on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnMarker {
    /// In version 2 with an epoch above that of the data.
    pub producer: Producer,
    pub coordinator_epoch: i32,
    pub commit: bool,
    pub transaction_version: i16,
}

impl TxnMarker {
    /// The control batch, and how it is appended.
    pub fn batch(&self, now: Timestamp) -> (Bytes, Verification) {
        let batch = end_txn_marker(self.producer.id, self.producer.epoch, self.coordinator_epoch, self.commit, now);
        (batch, Verification::Ends { transaction_version: self.transaction_version })
    }
}
