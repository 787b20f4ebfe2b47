//! Compaction: of the records with the same key only the last one stays.
//!
//! A round looks at the *dirty* part of a log (what was appended since the last round, up to the first segment that may
//! still change), remembers the last offset of every key there, and then copies all segments from the start of the log
//! to the end of the dirty part, leaving out what the map knows to be outdated. Offsets never change.
//!
//! Tombstones and transaction markers stay until their delete horizon: a reader that is slower than
//! `delete.retention.ms` would otherwise miss a deletion. The last batch of each known producer stays, if need be without
//! records, because its sequence and epoch are what duplicates and zombies are recognized by; so does the last batch of
//! the round, which says how far the log goes.

mod choose;
mod filter;
mod offset_map;
#[cfg(test)]
mod tests;
mod transactions;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ottla_protocol::record_batch::{BatchView, batches};
use ottla_protocol::{Offset, Timestamp};

pub use choose::{Dirty, dirty_part};
use filter::Filter;
use offset_map::OffsetMap;
use transactions::Transactions;

use crate::log::Log;
use crate::segment::{AbortedEntry, Segment, Suffix};

/// Bytes read at once.
const CHUNK: usize = 512 * 1024;

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// The next round's dirty part begins here.
    pub next_dirty: Offset,
    pub bytes_before: u64,
    pub bytes_after: u64,
    /// Keys in the map.
    pub keys: usize,
}

/// Keeps a cleaner at a number of bytes per second.
#[derive(Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    since: Instant,
    bytes: u64,
}

impl Throttle {
    pub fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, since: Instant::now(), bytes: 0 }
    }

    fn spend(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes_per_second.is_finite() && self.bytes_per_second > 0.0 {
            let due = Duration::from_secs_f64(self.bytes as f64 / self.bytes_per_second);
            if let Some(ahead) = due.checked_sub(self.since.elapsed()) {
                std::thread::sleep(ahead.min(Duration::from_secs(1)));
            }
        }
    }
}

/// Compacts a log: `dirty` says which part, `map_bytes` bounds the memory for its keys.
pub fn clean(
    log: &Log,
    dirty: &Dirty,
    map_bytes: usize,
    now: Timestamp,
    throttle: &mut Throttle,
) -> io::Result<Cleaned> {
    // A cleaned segment may end before the next one begins. Recovery takes that for a lost tail where it does not trust
    // what it finds, so all that is cleaned has to lie before the recovery point.
    log.flush_closed_segments()?;
    log.checkpoint()?;
    let mut map = OffsetMap::new(map_bytes);
    build_map(log, dirty, &mut map, throttle)?;
    let end = map.end();
    let mut cleaned = Cleaned { next_dirty: end, keys: map.len(), ..Cleaned::default() };
    let segments = log.segments();
    let config = log.config();
    let in_round: Vec<Arc<Segment>> =
        segments.iter().take_while(|segment| segment.base < end && segment.base < dirty.end).map(Arc::clone).collect();
    let mut transactions = Transactions::default();
    for group in group_by_size(&in_round, dirty.end, config.segment_bytes.unsigned_abs().into())? {
        let behind = segments.iter().find(|segment| segment.base > group[group.len() - 1].base);
        let group_end = behind.map_or(dirty.end, |segment| segment.base);
        let mut filter = Filter {
            map: &map,
            transactions: &mut transactions,
            last_batches: log.last_batches(),
            round_end: dirty.end,
            delete_retention_ms: config.delete_retention_ms,
            now,
        };
        let target = Segment::create(&log.home(), group[0].base, Suffix::Cleaned);
        target.take_times(&group[group.len() - 1]);
        let before = clean_group(log, &group, (&target, group_end), &mut filter, throttle).inspect_err(|_| {
            // What was written for nothing takes space that may be what was missing.
            for file in target.files() {
                let _ = crate::disk::remove_if_present(&*log.home().disk, &file.path());
            }
        })?;
        let after = target.size();
        log.replace_segments(&group, target)?;
        cleaned.bytes_before += before;
        cleaned.bytes_after += after;
    }
    Ok(cleaned)
}

/// Remembers the last offset of every key in the dirty part, as far as the map reaches.
fn build_map(log: &Log, dirty: &Dirty, map: &mut OffsetMap, throttle: &mut Throttle) -> io::Result<()> {
    let segments = log.segments();
    let first = segments.partition_point(|segment| segment.base <= dirty.start).saturating_sub(1);
    let mut transactions = Transactions::default();
    transactions.add(aborted_between(&segments, dirty.start, dirty.end)?);
    for (at, segment) in segments.iter().enumerate().skip(first).take_while(|(_, segment)| segment.base < dirty.end) {
        let start = segment.start_of_search(dirty.start)?;
        let is_full = for_each_batch(log, segment, start, throttle, |batch| {
            if batch.last_offset() < dirty.start {
                return Ok(false);
            }
            if batch.is_control() {
                transactions.on_marker(batch)?;
            } else if !transactions.on_batch(batch) {
                let mut records = batch.records().map_err(invalid)?;
                while let Some(record) = records.next_record().map_err(invalid)? {
                    let offset = batch.base_offset.plus(i64::from(record.offset_delta));
                    if let Some(key) = record.key
                        && offset >= dirty.start
                        && !map.put(key, offset)
                    {
                        return Ok(true);
                    }
                }
            }
            map.reach(batch.next_offset());
            Ok(false)
        })?;
        if is_full {
            break;
        }
        map.reach(segments.get(at + 1).map_or(dirty.end, |next| next.base));
    }
    Ok(())
}

/// Copies a group of segments into one, without what the filter drops. Answers how many bytes they had.
fn clean_group(
    log: &Log,
    group: &[Arc<Segment>],
    (target, group_end): (&Segment, Offset),
    filter: &mut Filter<'_>,
    throttle: &mut Throttle,
) -> io::Result<u64> {
    let config = log.config();
    // What an earlier attempt left must not show through.
    for file in target.files() {
        crate::disk::remove_if_present(&*log.home().disk, &file.path())?;
    }
    target.log_file().home().guard(|| target.log_file().created().map(drop))?;
    let segments = log.segments();
    filter.transactions.add(aborted_between(&segments, group[0].base, group_end)?);
    let mut output = Output {
        target,
        bytes: Vec::new(),
        batches: Vec::new(),
        since_index: 0,
        interval: config.index_interval_bytes.unsigned_abs().into(),
    };
    let mut before = 0;
    for segment in group {
        before += segment.size();
        for_each_batch(log, segment, 0, throttle, |batch| {
            if let Some(kept) = filter.apply(batch)? {
                output.push(&kept)?;
            }
            Ok(false)
        })?;
    }
    output.flush()?;
    for aborted in filter.transactions.take_retained() {
        target.log_file().home().guard(|| target.txn_index().append(&aborted))?;
    }
    target.log_file().home().guard(|| {
        target.seal()?;
        target.sync()
    })?;
    Ok(before)
}

/// Gathers kept batches and writes them in large pieces.
struct Output<'a> {
    target: &'a Segment,
    bytes: Vec<u8>,
    batches: Vec<(ottla_protocol::record_batch::BatchHeader, u64)>,
    since_index: u64,
    interval: u64,
}

impl Output<'_> {
    fn push(&mut self, batch: &[u8]) -> io::Result<()> {
        let view = BatchView::parse(batch).map_err(invalid)?;
        self.batches.push((*view.header(), self.target.size() + self.bytes.len() as u64));
        self.bytes.extend_from_slice(batch);
        if self.bytes.len() >= CHUNK { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        self.target.log_file().home().guard(|| self.target.write(&[&self.bytes]))?;
        self.target.publish(self.bytes.len() as u64);
        for (header, position) in self.batches.drain(..) {
            self.target.note_timestamp(&header);
            if self.since_index > self.interval {
                self.target.log_file().home().guard(|| self.target.index(&header, position))?;
                self.since_index = 0;
            }
            self.since_index += header.size() as u64;
        }
        self.bytes.clear();
        Ok(())
    }
}

/// Visits the batches of a segment from a position on; true if a visit said to stop.
fn for_each_batch(
    log: &Log,
    segment: &Segment,
    start: u64,
    throttle: &mut Throttle,
    mut visit: impl FnMut(&BatchView<'_>) -> io::Result<bool>,
) -> io::Result<bool> {
    let size = segment.size();
    let mut position = start;
    let mut wanted = CHUNK;
    while position < size {
        // Errors of the directory that a log has left are not those of the one it is in.
        let has_moved = !Arc::ptr_eq(segment.log_file().home(), &log.home());
        if log.is_closed() || !log.is_online() || log.is_moving() || has_moved {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the log is closed, or elsewhere"));
        }
        let len = usize::try_from(size - position).unwrap_or(usize::MAX).min(wanted);
        let bytes = segment.lend(position, len)?.read_all()?;
        throttle.spend(len);
        let mut consumed = 0;
        for batch in batches(&bytes) {
            match batch {
                Ok(batch) => {
                    batch.check_crc().map_err(invalid)?;
                    consumed += batch.size();
                    if visit(&batch)? {
                        return Ok(true);
                    }
                }
                // The rest of it lies behind the chunk, or behind nothing at all.
                Err(ottla_protocol::record_batch::BatchError::Incomplete { needed, .. })
                    if position + consumed as u64 + needed as u64 <= size =>
                {
                    wanted = CHUNK.max(needed);
                }
                Err(error) => return Err(invalid(error)),
            }
        }
        position += consumed as u64;
    }
    Ok(false)
}

/// Aborted transactions whose marker or records lie between two offsets.
fn aborted_between(segments: &[Arc<Segment>], from: Offset, end: Offset) -> io::Result<Vec<AbortedEntry>> {
    let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
    let mut found = Vec::new();
    for segment in &segments[first..] {
        for entry in segment.txn_index().entries()? {
            if entry.last_offset >= from && entry.first_offset < end {
                found.push(entry);
            }
        }
    }
    Ok(found)
}

/// Neighbours that fit into one segment together.
fn group_by_size(segments: &[Arc<Segment>], end: Offset, size_max: u64) -> io::Result<Vec<Vec<Arc<Segment>>>> {
    let mut groups: Vec<Vec<Arc<Segment>>> = Vec::new();
    let mut size = 0;
    for (at, segment) in segments.iter().enumerate() {
        let last = segments.get(at + 1).map_or(end, |next| next.base).0 - 1;
        match groups.last_mut() {
            Some(group) if size + segment.size() <= size_max && group[0].can_hold(Offset(last)) => {
                size += segment.size();
                group.push(Arc::clone(segment));
            }
            _ => {
                size = segment.size();
                groups.push(vec![Arc::clone(segment)]);
            }
        }
    }
    Ok(groups)
}

fn invalid(error: ottla_protocol::record_batch::BatchError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
