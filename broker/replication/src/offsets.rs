//! The offsets of one partition, taken at one moment.

use ottla_protocol::{LeaderEpoch, Offset};

/// The offsets of one replica, consistent with each other.
///
/// ```text
///  log_start .. last_stable .. high_watermark .. log_end
///     |             |                |               `- the next record gets this offset
///     |             |                `- everything before is on the whole in-sync set: plain consumers read up to here
///     |             `- everything before is decided: read_committed consumers read up to here
///     `- the first offset that can still be read
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogOffsetSnapshot {
    pub log_start: Offset,
    pub last_stable: Offset,
    pub high_watermark: Offset,
    pub log_end: Offset,
    /// The epoch under which this replica leads or follows.
    pub leader_epoch: LeaderEpoch,
}
