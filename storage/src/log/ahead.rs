//! Zeros that a file which is written fast has behind its records.
//!
//! Batches end anywhere in a page. A file system that is handed 16 KiB there finds, allocates and maps several pieces of the page cache
//! for them, and that takes longer than the copy. When the bytes up to the end of a zone come along with the first of them it
//! does so once for all appends that fit: the system's part of writing batches of 16 KiB falls by half.
//!
//! Only the active segment has such zeros, only while more than a zone is written in a second, and never more than a zone. They go when
//! nothing is appended for a second, with the roll, with a cut and with a clean stop. What a crash leaves of them goes when the
//! log is opened. Apache Kafka does the same on a larger scale with `preallocate`, so its recovery cuts them as well.

use std::io;
use std::sync::atomic::Ordering;

use ottla_protocol::{Offset, Timestamp};

use super::{Log, Writer};
use crate::config::{Durability, LogConfig};
use crate::disk::zeros;
use crate::segment::Segment;

/// Most bytes of a zone: zeros end where the file's length is a multiple of it.
const ZONE_MAX: u64 = 64 << 10;

/// Bytes of a zone where segments are tiny.
const ZONE_MIN: u64 = 256;

/// A zone that was written within so many milliseconds is followed by one that gets its zeros at once.
const FAST_MS: i64 = 1000;

/// What the writer knows about the zeros behind the active segment's records.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// The file's length where it is longer than the records; 0 where it is not.
    file_end: u64,
    /// When the zone that is being written was begun.
    zone_began: Timestamp,
}

impl Ahead {
    /// The zeros to write behind an append of the bytes `start..end` of the file.
    pub fn zeros_behind(&mut self, start: u64, end: u64, config: &LogConfig, now: Timestamp) -> &'static [u8] {
        let zone = zone(config);
        if start / zone == end / zone {
            return &[];
        }
        let is_fast = now.0.saturating_sub(self.zone_began.0) <= FAST_MS;
        self.zone_began = now;
        if is_fast { zeros(end.next_multiple_of(zone) - end) } else { &[] }
    }

    /// An append ended at `end`, with so many zeros behind it. True when these are the first.
    pub const fn written(&mut self, end: u64, zeros: u64) -> bool {
        let had_any = self.file_end > 0;
        if zeros > 0 {
            self.file_end = end + zeros;
        } else if end >= self.file_end {
            self.file_end = 0;
        }
        zeros > 0 && !had_any
    }

    /// The file ends where its records do, or it is another file.
    pub const fn are_gone(&mut self) {
        self.file_end = 0;
    }

    const fn are_there(&self) -> bool {
        self.file_end > 0
    }
}

/// Bytes of a zone: a power of two, and no more than an eighth of a segment.
fn zone(config: &LogConfig) -> u64 {
    let eighth = u64::from(config.segment_bytes.unsigned_abs() / 8);
    1 << eighth.clamp(ZONE_MIN, ZONE_MAX).ilog2()
}

impl Log {
    /// Cuts off the zeros behind the active segment's records.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn cut_zeros(&self, writer: &mut Writer) -> io::Result<()> {
        if !writer.ahead.are_there() {
            return Ok(());
        }
        let active = self.active();
        active.give_back()?;
        writer.ahead.are_gone();
        // Whoever opens the log believes the lengths of files that lie before the recovery point, and no flush comes to this one again.
        let is_flushed = self.recovery_point.load(Ordering::Acquire) >= self.log_end().0;
        if is_flushed && self.config.load().durability != Durability::Ephemeral {
            self.insist_on_sync(|| active.log_file().created()?.sync_data())?;
        }
        Ok(())
    }

    /// Cuts off the zeros if nothing was appended since the log ended at `seen`. Otherwise it answers the end to come back with.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn cut_zeros_at_rest(&self, seen: Offset) -> io::Result<Option<Offset>> {
        let mut writer = self.writer.lock();
        if !writer.ahead.are_there() || writer.closed || !self.is_online() {
            return Ok(None);
        }
        let end = self.log_end();
        if end != seen {
            return Ok(Some(end));
        }
        self.home().guard(|| self.cut_zeros(&mut writer))?;
        Ok(None)
    }
}

/// Cuts off the zeros that a crash has left behind a segment's records. What else does not belong there is for recovery to judge.
///
/// # Errors
/// Those of the disk.
pub(super) fn cut_zeros_of(segment: &Segment) -> io::Result<()> {
    let size = segment.size();
    if size == 0 || size % ZONE_MIN != 0 {
        return Ok(());
    }
    let mut headers = segment.headers(segment.start_of_search(Offset(i64::MAX))?)?;
    while headers.next_batch()?.is_some() {}
    let end = headers.position();
    let Some(len) = usize::try_from(size - end).ok().filter(|len| (1..ZONE_MAX).contains(&(*len as u64))) else {
        return Ok(());
    };
    if segment.lend(end, len)?.read_all()?.iter().any(|byte| *byte != 0) {
        return Ok(());
    }
    tracing::info!(file = %segment.log_file().path().display(), bytes = len, "zeros behind the records were cut off");
    segment.end_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_fast_grows_by_zones() {
        let mut ahead = Ahead::default();
        let mut append = |start: u64, len: u64, now: i64| {
            let config = LogConfig::default();
            let zeros = ahead.zeros_behind(start, start + len, &config, Timestamp(now)).len() as u64;
            (zeros, ahead.written(start + len, zeros))
        };
        let (later, zone) = (1_000_000, ZONE_MAX);
        assert_eq!(append(0, 100, later), (0, false));
        assert_eq!(append(100, zone, later + 50), (0, false), "how fast it is written is not known yet");
        assert_eq!(append(zone + 100, zone, later + 90), (zone - 100, true));
        assert_eq!(append(2 * zone + 100, 1000, later + 95), (0, false), "the zeros are there");
        assert_eq!(append(2 * zone + 1100, zone, later + 99), (zone - 1100, false));
        assert_eq!(append(3 * zone + 1100, zone - 1100, later + 99), (0, false), "nothing is left of the zone");
        assert_eq!(append(4 * zone, 2 * zone + 1, later + 1099), (zone - 1, true), "just fast enough");
        assert_eq!(append(6 * zone + 1, zone, later + 2100), (0, false), "too slow");
        assert!(!ahead.are_there());
    }
}
