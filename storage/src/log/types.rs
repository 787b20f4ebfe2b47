//! What goes into a log's methods and comes out of them.

use ottla_protocol::{LeaderEpoch, Offset, ProducerId, Timestamp};

use crate::producer_state::Verification;
use crate::segment::FileRecords;
use crate::validate::AppendOrigin;

/// What an append carries besides the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendContext {
    /// The appender's leader epoch: it is stamped on the batches, and refused if a later one was seen.
    pub leader_epoch: LeaderEpoch,
    pub origin: AppendOrigin,
    pub now: Timestamp,
    /// Whether the coordinator has said that the batch's transaction is open (KIP-890).
    pub verification: Verification,
    /// Nobody is told before [`super::Log::durable_end`] has passed the records: a `strict` log may leave it to its journal to
    /// bring them over the end of the process. False where there is no journal.
    pub is_awaited: bool,
}

/// Where records went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendInfo {
    pub first_offset: Offset,
    /// The log end is one more, unless it is a `duplicate`. `first_offset - 1` where a follower had nothing to append.
    pub last_offset: Offset,
    pub max_timestamp: Timestamp,
    /// Set on topics whose timestamps the broker writes.
    pub log_append_time: Option<Timestamp>,
    pub log_start_offset: Offset,
    /// The batch had been appended before: the offsets are those of the first time.
    pub duplicate: bool,
    pub leader_epoch: LeaderEpoch,
}

/// What a read found.
#[derive(Debug, Clone, Default)]
pub struct LogRead {
    /// Batches from the one that holds the asked offset; the last one may be cut off. At most one region per segment.
    pub records: Vec<FileRecords>,
    /// No record at or above it was read: where the segment or the bound ends. Not where to read on: `max_bytes` may have ended
    /// the read before. That is behind the last whole batch of `records`.
    pub next_offset: Offset,
}

impl LogRead {
    /// Bytes of all regions.
    pub fn size(&self) -> usize {
        self.records.iter().map(FileRecords::len).sum()
    }
}

/// A transaction that a reader of committed records must skip, from `first_offset` to its abort marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// Where a log's offsets are:
///
/// ```text
///  log_start .. recovery_point .. first_unstable .. high_watermark .. log_end
///  oldest       durable up to     oldest open       committed         next to
///  readable     here              transaction       up to here        be written
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOffsets {
    pub log_start: Offset,
    pub log_end: Offset,
    pub recovery_point: Offset,
    /// First offset of the oldest transaction that is open or not yet committed by the high watermark.
    pub first_unstable: Option<Offset>,
}

/// A record found by its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    pub timestamp: Timestamp,
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}
