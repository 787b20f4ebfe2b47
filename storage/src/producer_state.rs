//! Producer state.

use ottla_protocol::{Offset, ProducerEpoch, ProducerId, Timestamp};

/// What a log remembers of one producer, as snapshots store it and DescribeProducers tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSnapshotEntry {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Of the last record; -1 if nothing but markers was seen.
    pub last_sequence: i32,
    /// -1 if nothing but markers was seen.
    pub last_offset: Offset,
    /// Last offset less first offset of the last batch.
    pub offset_delta: i32,
    pub last_timestamp: Timestamp,
    /// -1 before the first marker.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub current_txn_first_offset: Option<Offset>,
}
