//! The two sparse indexes of a segment: `.index` (offset to position) and `.timeindex` (timestamp to offset).
//!
//! Both are files of fixed-size big-endian entries in ascending order, so one type holds both. New entries are kept in
//! memory until there are [`PENDING_MAX`]: an index that lacks its newest entries is still a right one, and what was not
//! flushed is built again from the log when a broker did not stop cleanly.

use std::io;

use parking_lot::RwLock;

use super::files::SegmentFile;
use crate::disk::{DiskFile, read_exact_at};

/// Entries in memory before they are written: 256 KiB of log at the default index interval.
const PENDING_MAX: usize = 64;

/// An entry of fixed size.
pub trait IndexEntry: Copy + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    const SIZE: usize;
    fn encode(&self, out: &mut Vec<u8>);
    /// `bytes` are exactly [`Self::SIZE`].
    fn decode(bytes: &[u8]) -> Self;
}

/// An entry of `.index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Last offset of the batch, less the segment's base offset.
    pub relative_offset: u32,
    /// Where the batch begins in the `.log` file.
    pub position: u32,
}

impl IndexEntry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        Self { relative_offset: u32_at(bytes, 0), position: u32_at(bytes, 4) }
    }
}

/// An entry of `.timeindex`: no record before the one at the offset is later than the timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeEntry {
    pub timestamp: i64,
    /// Last offset of the batch that holds the timestamp, less the segment's base offset.
    pub relative_offset: u32,
}

impl IndexEntry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        out.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let high = u64::from(u32_at(bytes, 0));
        let low = u64::from(u32_at(bytes, 4));
        Self { timestamp: ((high << 32) | low).cast_signed(), relative_offset: u32_at(bytes, 8) }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// A sparse index of a segment.
#[derive(Debug, Clone, Copy)]
pub struct SparseIndex<'a, E> {
    file: SegmentFile<'a>,
    state: &'a RwLock<State<E>>,
}

/// What is known of an index without its file, and the entries that are not written yet.
#[derive(Debug)]
pub struct State<E> {
    /// Entries in the file; `None` until it was looked at.
    written: Option<u32>,
    /// Made for the first: a log that rests has none.
    #[expect(clippy::box_collection, reason = "two words less in each index of each segment")]
    pending: Option<Box<Vec<E>>>,
    last: Option<E>,
}

impl<E> State<E> {
    /// `fresh`: the file is known not to exist.
    pub fn new(fresh: bool) -> Self {
        Self { written: fresh.then_some(0), pending: None, last: None }
    }

    fn pending(&self) -> &[E] {
        self.pending.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl<'a, E: IndexEntry> SparseIndex<'a, E> {
    pub const fn new(file: SegmentFile<'a>, state: &'a RwLock<State<E>>) -> Self {
        Self { file, state }
    }

    pub const fn file(&self) -> SegmentFile<'a> {
        self.file
    }

    /// Number of entries.
    pub fn len(&self) -> io::Result<usize> {
        self.load()?;
        let state = self.state.read();
        Ok(state.written.unwrap_or(0) as usize + state.pending().len())
    }

    pub fn last(&self) -> io::Result<Option<E>> {
        self.load()?;
        Ok(self.state.read().last)
    }

    /// The last entry for which `is_before` holds; it must hold for a prefix of the entries.
    pub fn floor(&self, is_before: impl Fn(&E) -> bool) -> io::Result<Option<E>> {
        self.load()?;
        let state = self.state.read();
        match state.last {
            None => return Ok(None),
            // Readers at the tail, which are most, ask no file.
            Some(last) if is_before(&last) => return Ok(Some(last)),
            Some(_) => {}
        }
        let in_memory = state.pending().partition_point(&is_before);
        if let Some(at) = in_memory.checked_sub(1) {
            return Ok(Some(state.pending()[at]));
        }
        let written = state.written.unwrap_or(0);
        if written == 0 {
            return Ok(None);
        }
        let file = self.file.existing()?;
        let count = partition_point(written, |at| Ok(is_before(&read_entry(&*file, at)?)))?;
        if count == 0 { Ok(None) } else { read_entry(&*file, count - 1).map(Some) }
    }

    /// Adds an entry behind the others.
    pub fn append(&self, entry: E) -> io::Result<()> {
        self.load()?;
        let mut state = self.state.write();
        state.pending.get_or_insert_default().push(entry);
        state.last = Some(entry);
        if state.pending().len() >= PENDING_MAX { self.write_pending(&mut state) } else { Ok(()) }
    }

    /// Keeps the entries for which `keep` holds; it must hold for a prefix of them.
    pub fn truncate(&self, keep: impl Fn(&E) -> bool) -> io::Result<()> {
        self.load()?;
        let mut state = self.state.write();
        let in_memory = state.pending().partition_point(&keep);
        if let Some(pending) = &mut state.pending {
            pending.truncate(in_memory);
        }
        let written = state.written.unwrap_or(0);
        if in_memory == 0 && written > 0 {
            let file = self.file.existing()?;
            let kept = partition_point(written, |at| Ok(keep(&read_entry(&*file, at)?)))?;
            if kept < written {
                file.set_len(u64::from(kept) * E::SIZE as u64)?;
                state.written = Some(kept);
            }
            state.last = if kept == 0 { None } else { Some(read_entry(&*file, kept - 1)?) };
        } else {
            state.last = state.pending().last().copied();
        }
        Ok(())
    }

    /// Drops all entries and what else the file holds.
    pub fn clear(&self) -> io::Result<()> {
        let mut state = self.state.write();
        self.file.created()?.set_len(0)?;
        *state = State::new(true);
        Ok(())
    }

    /// Hands what is in memory to the operating system; the file exists afterwards.
    pub fn write(&self) -> io::Result<()> {
        self.load()?;
        self.write_pending(&mut self.state.write())
    }

    /// Makes all entries durable.
    pub fn sync(&self) -> io::Result<()> {
        self.write()?;
        self.file.created()?.sync_data()
    }

    fn write_pending(&self, state: &mut State<E>) -> io::Result<()> {
        let file = self.file.created()?;
        if state.pending().is_empty() {
            return Ok(());
        }
        let written = state.written.unwrap_or(0);
        let mut bytes = Vec::with_capacity(state.pending().len() * E::SIZE);
        for entry in state.pending() {
            entry.encode(&mut bytes);
        }
        file.write_at(&[&bytes], u64::from(written) * E::SIZE as u64)?;
        state.written = Some(written + u32::try_from(state.pending().len()).map_err(io::Error::other)?);
        state.pending = None;
        Ok(())
    }

    fn load(&self) -> io::Result<()> {
        if self.state.read().written.is_some() {
            return Ok(());
        }
        let mut state = self.state.write();
        if state.written.is_some() {
            return Ok(());
        }
        let file = match self.file.existing() {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                state.written = Some(0);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let entries = u32::try_from(file.len()? / E::SIZE as u64).map_err(io::Error::other)?;
        // Kafka preallocates the active segment's indexes: what it has not used is zero.
        let used = match entries.checked_sub(1) {
            Some(last) if is_zero::<E>(&*file, last)? => partition_point(last, |at| Ok(!is_zero::<E>(&*file, at)?))?,
            _ => entries,
        };
        state.last = if used == 0 { None } else { Some(read_entry(&*file, used - 1)?) };
        state.written = Some(used);
        Ok(())
    }
}

fn is_zero<E: IndexEntry>(file: &dyn DiskFile, at: u32) -> io::Result<bool> {
    let mut bytes = vec![0; E::SIZE];
    read_exact_at(file, &mut bytes, u64::from(at) * E::SIZE as u64)?;
    Ok(bytes.iter().all(|&byte| byte == 0))
}

fn read_entry<E: IndexEntry>(file: &dyn DiskFile, at: u32) -> io::Result<E> {
    let mut bytes = [0; 16];
    read_exact_at(file, &mut bytes[..E::SIZE], u64::from(at) * E::SIZE as u64)?;
    Ok(E::decode(&bytes[..E::SIZE]))
}

/// The first of `count` places for which `holds` fails; it must hold for a prefix of them.
fn partition_point(count: u32, mut holds: impl FnMut(u32) -> io::Result<bool>) -> io::Result<u32> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}
