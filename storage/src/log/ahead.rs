//! Zeros that a file which is written fast has behind its records.
//!
//! Batches end anywhere in a page. A file system that is handed 16 KiB there finds, allocates and maps several pieces of the page cache
//! for them, and that takes longer than the copy. When the bytes up to the end of a zone come along with the first of them it
//! does so once for all appends that fit: the system's part of writing batches of 16 KiB falls by half.
//!
//! Only the active segment has such zeros, never more than a zone, and gets them when the zone before was written within a second. They
//! go when nothing was appended for a second or two, with the roll, with a cut and with a clean stop. What a crash leaves of them
//! goes when the log is opened. Apache Kafka does the same on a larger scale with `preallocate`, so its recovery cuts them as well.
//!
//! Zeros in a closed segment would be taken for records. So they are cut before there is a next one, and a flush that notes that all before it
//! is on the disk has synced that (`Log::length_changed`).

use std::io;
use std::sync::atomic::Ordering;

use ottla_protocol::{Offset, Timestamp};

use super::{Log, Writer};
use crate::config::LogConfig;
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
    /// Somebody comes back to see whether the log is at rest.
    pub is_watched: bool,
}

impl Ahead {
    /// The zeros to write behind an append of the bytes `start..end` of the file.
    pub fn zeros_behind(&mut self, start: u64, end: u64, config: &LogConfig, now: Timestamp) -> &'static [u8] {
        let zone = zone(config);
        if start / zone == end / zone {
            return &[];
        }
        // Such are large pieces themselves.
        let is_long = end - start >= zone;
        let is_fast = now.0.saturating_sub(self.zone_began.0) <= FAST_MS;
        self.zone_began = now;
        if is_fast && !is_long && !config.preallocate { zeros(end.next_multiple_of(zone) - end) } else { &[] }
    }

    /// An append ended at `end`, with so many zeros behind it.
    pub fn written(&mut self, end: u64, zeros: u64) {
        self.file_end = self.file_end.max(end + zeros);
        if self.file_end == end {
            self.file_end = 0;
        }
    }

    /// The file was cut to its records, or it is another file.
    pub const fn are_gone(&mut self) {
        self.file_end = 0;
    }

    pub const fn are_there(&self) -> bool {
        self.file_end > 0
    }
}

/// Bytes of a zone: a power of two, and no more than an eighth of a segment.
fn zone(config: &LogConfig) -> u64 {
    let eighth = u64::from(config.segment_bytes.unsigned_abs() / 8);
    1 << eighth.clamp(ZONE_MIN, ZONE_MAX).ilog2()
}

impl Log {
    /// Cuts off the zeros behind the active segment's records, if there are any. The next flush makes that durable.
    ///
    /// # Errors
    /// Those of the disk. Then they may still be there.
    pub(super) fn cut_zeros(&self, writer: &mut Writer) -> io::Result<()> {
        if !writer.ahead.are_there() {
            return Ok(());
        }
        self.active().give_back()?;
        writer.ahead.are_gone();
        self.length_changed.store(true, Ordering::Release);
        Ok(())
    }

    /// Cuts off the zeros if nothing was appended since the log ended at `seen`. Otherwise it answers the end to come back with.
    ///
    /// # Errors
    /// Those of the disk. It can be tried again.
    pub(crate) fn cut_zeros_at_rest(&self, seen: Offset) -> io::Result<Option<Offset>> {
        let mut writer = self.writer.lock();
        if writer.ahead.are_there() && !writer.closed && self.is_online() {
            let end = self.log_end();
            if end != seen {
                return Ok(Some(end));
            }
            let home = self.home();
            home.guard(|| self.cut_zeros(&mut writer)).inspect_err(|error| home.relieve(error))?;
        }
        writer.ahead.is_watched = false;
        Ok(None)
    }
}

/// Cuts off the zeros that a crash has left behind a segment's records, as the next flush makes durable. What else does not belong
/// there is for recovery to judge: behind the last segment's records also what does not end where a zone does.
///
/// # Errors
/// Those of the disk.
pub(super) fn cut_zeros_of(segment: &Segment, is_last: bool) -> io::Result<()> {
    let size = segment.size();
    if is_last && !size.is_multiple_of(ZONE_MIN) {
        return Ok(());
    }
    // An index that cannot be read is built again.
    let mut headers = segment.headers(segment.start_of_search(Offset(i64::MAX)).unwrap_or(0))?;
    while headers.next_batch()?.is_some() {}
    let end = headers.position();
    let Some(len) = usize::try_from(size - end).ok().filter(|len| (1..ZONE_MAX).contains(&(*len as u64))) else {
        return Ok(());
    };
    if segment.lend(end, len)?.read_all()?.iter().any(|byte| *byte != 0) {
        return Ok(());
    }
    tracing::debug!(file = %segment.log_file().path().display(), bytes = len, "space ahead of the records is given back");
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
            ahead.written(start + len, zeros);
            (zeros, ahead.are_there())
        };
        let (later, zone) = (1_000_000, ZONE_MAX);
        assert_eq!(append(0, 100, later), (0, false));
        assert_eq!(append(100, zone - 10, later + 50), (0, false), "how fast it is written is not known yet");
        assert_eq!(append(zone + 90, zone - 10, later + 90), (zone - 80, true));
        assert_eq!(append(2 * zone + 80, 1000, later + 95), (0, true), "the zeros are there");
        assert_eq!(append(2 * zone + 1080, zone - 1, later + 99), (zone - 1079, true));
        assert_eq!(append(3 * zone + 1079, zone - 1079, later + 99), (0, false), "nothing is left of the zone");
        assert_eq!(
            append(4 * zone, zone - 1, later + 99),
            (0, false),
            "a zone that is not begun with a part of it gets none"
        );
        assert_eq!(append(5 * zone - 1, 2, later + 1099), (zone - 1, true), "just fast enough");
        assert_eq!(append(6 * zone - 1, zone, later + 1100), (0, false), "long enough without");
        assert_eq!(append(7 * zone - 1, zone - 1, later + 2101), (0, false), "too slow");
        assert!(!ahead.are_there());
    }
}
