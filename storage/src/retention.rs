//! Which segments may go: a decision, carried out by the log.

use ottla_protocol::{Offset, Timestamp};

use crate::config::LogConfig;

/// What is known of a segment when its fate is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentAge {
    /// First offset behind the segment.
    pub end: Offset,
    pub size: u64,
    /// Of its latest record, or when it was last written if no record has a time.
    pub latest: Timestamp,
}

/// Why a segment goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its records lie before the log start.
    BeforeLogStart,
    /// `retention.ms`
    Time,
    /// `retention.bytes`
    Size,
}

/// The reasons to delete the first segments, one for each: as many segments go as there are reasons. Segments are in
/// order, the active one last. Nothing at or behind the high watermark goes: a follower may still need it, and it may yet
/// be truncated. On a disk that `is_full` the active segment goes as well, once all of it lies before the log start.
pub fn choose(
    segments: &[SegmentAge],
    log_start: Offset,
    high_watermark: Offset,
    config: &LogConfig,
    now: Timestamp,
    is_full: bool,
) -> Vec<Reason> {
    let mut size_left: u64 = segments.iter().map(|segment| segment.size).sum();
    let mut reasons = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let is_active = at + 1 == segments.len();
        if segment.end > high_watermark || (is_active && segment.size == 0) {
            break;
        }
        let too_old =
            config.delete && config.retention_ms >= 0 && now.0.saturating_sub(segment.latest.0) > config.retention_ms;
        let too_much = config.delete
            && u64::try_from(config.retention_bytes).is_ok_and(|limit| size_left.saturating_sub(segment.size) >= limit);
        let reason = if (is_full || !is_active) && segment.end <= log_start {
            Reason::BeforeLogStart
        } else if too_old {
            Reason::Time
        } else if too_much {
            Reason::Size
        } else {
            break;
        };
        size_left -= segment.size;
        reasons.push(reason);
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments() -> Vec<SegmentAge> {
        (1..=4).map(|at| SegmentAge { end: Offset(at * 10), size: 100, latest: Timestamp(at * 1000) }).collect()
    }

    fn config(bytes: i64, ms: i64) -> LogConfig {
        LogConfig { retention_bytes: bytes, retention_ms: ms, ..LogConfig::default() }
    }

    #[test]
    fn the_oldest_go_by_time_and_by_size() {
        let choose =
            |config: &LogConfig, now| choose(&segments(), Offset(0), Offset(40), config, Timestamp(now), false);
        assert_eq!(choose(&config(-1, -1), i64::MAX), []);
        assert_eq!(choose(&config(-1, 500), 2501), [Reason::Time, Reason::Time]);
        // A segment goes only if enough is left without it.
        assert_eq!(choose(&config(301, -1), 0), []);
        assert_eq!(choose(&config(300, -1), 0), [Reason::Size]);
        assert_eq!(choose(&config(0, -1), 0).len(), 4);
    }

    #[test]
    fn nothing_uncommitted_goes_and_compacted_topics_only_lose_what_lies_before_the_start() {
        let all = config(0, 0);
        assert_eq!(choose(&segments(), Offset(0), Offset(25), &all, Timestamp(9_999), false).len(), 2);
        let compacted = LogConfig { delete: false, compact: true, ..all };
        assert_eq!(
            choose(&segments(), Offset(20), Offset(40), &compacted, Timestamp(9_999), false),
            [Reason::BeforeLogStart, Reason::BeforeLogStart]
        );
        let deleted =
            |is_full| choose(&segments(), Offset(40), Offset(40), &compacted, Timestamp(9_999), is_full).len();
        assert_eq!((deleted(false), deleted(true)), (3, 4), "the active segment goes where its space is needed");
    }
}
