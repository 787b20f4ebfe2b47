//! Whether a log is to be cleaned, and which part of it: a decision.

use std::io;

use ottla_protocol::{Offset, Timestamp};

use crate::log::Log;

/// The part of a log whose keys a round looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dirty {
    pub start: Offset,
    /// Base offset of the first segment that may still change.
    pub end: Offset,
    /// Of all bytes before `end` those behind `start`, 0 to 1.
    pub ratio: f64,
    /// `max.compaction.lag.ms` has passed for some record.
    pub is_overdue: bool,
    pub bytes: u64,
}

impl Dirty {
    /// Whether a round is worth its cost.
    pub fn is_due(&self, min_ratio: f64) -> bool {
        self.bytes > 0 && (self.is_overdue || self.ratio > min_ratio)
    }
}

/// The dirty part of a log that was cleaned up to `cleaned`. Nothing that is uncommitted, undecided, younger than
/// `min.compaction.lag.ms` or in the active segment belongs to it.
pub fn dirty_part(log: &Log, cleaned: Option<Offset>, now: Timestamp) -> io::Result<Dirty> {
    let config = log.config();
    let offsets = log.offsets();
    // A checkpoint from before a truncation or a deletion of records says nothing.
    let start = cleaned.unwrap_or_default().clamp(Offset::ZERO, offsets.log_end).max(offsets.log_start);
    let stable = log.last_stable_offset();
    let segments = log.segments();
    let mut end = segments[0].base;
    let mut clean_bytes = 0;
    let mut dirty_bytes = 0;
    let mut oldest: Option<Timestamp> = None;
    for pair in segments.windows(2) {
        let (segment, next) = (&pair[0], &pair[1]);
        if next.base > stable {
            break;
        }
        let is_dirty = next.base > start;
        let lag = config.min_compaction_lag_ms;
        if is_dirty && lag > 0 && segment.latest()?.0 > now.0.saturating_sub(lag) {
            break;
        }
        end = next.base;
        if is_dirty {
            dirty_bytes += segment.size();
            if let Some(first) = segment.first_timestamp()?.filter(|first| first.0 >= 0) {
                oldest = Some(oldest.map_or(first, |oldest| oldest.min(first)));
            }
        } else {
            clean_bytes += segment.size();
        }
    }
    let total = clean_bytes + dirty_bytes;
    let ratio = if total == 0 { 0.0 } else { dirty_bytes as f64 / total as f64 };
    let is_overdue = oldest.is_some_and(|oldest| now.0.saturating_sub(oldest.0) > config.max_compaction_lag_ms);
    Ok(Dirty { start, end: end.max(start), ratio, is_overdue, bytes: dirty_bytes })
}
