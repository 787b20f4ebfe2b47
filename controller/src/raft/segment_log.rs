//! The raft log as files: a row of segments and, in memory, where each entry lies.
//!
//! ```text
//!   purged .. | first .................. last
//!             | segment | segment | segment (appended to)
//! ```

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::segment::{EntryId, Frame, Segment};
use crate::disk;

#[derive(Debug, Clone, Copy)]
struct Slot {
    /// Number of the segment, counted since the log was opened.
    segment: u64,
    frame: Frame,
}

/// The log of one raft group in one directory.
#[derive(Debug)]
pub(crate) struct SegmentLog {
    dir: PathBuf,
    segment_bytes: u64,
    segments: VecDeque<Segment>,
    /// Number of `segments[0]`.
    first_segment: u64,
    slots: VecDeque<Slot>,
    /// Everything up to here is gone.
    purged: Option<EntryId>,
    /// Set by the first write that failed for another reason than want of space: what is in the files is unknown from then on.
    failed: bool,
}

/// What opening had to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Recovery {
    /// Bytes cut from a torn tail.
    pub cut: u64,
}

impl SegmentLog {
    /// Opens the log in `dir`, creating it if there is none. A segment is closed once it is `segment_bytes` long.
    pub(crate) fn open(dir: &Path, segment_bytes: u64) -> io::Result<(Self, Recovery)> {
        let mut paths: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "raftlog") {
                paths.push(path);
            }
        }
        // Twenty digits: the order of names is the order of indexes.
        paths.sort();
        let mut log = Self {
            dir: dir.to_owned(),
            segment_bytes,
            segments: VecDeque::new(),
            first_segment: 0,
            slots: VecDeque::new(),
            purged: None,
            failed: false,
        };
        let mut recovery = Recovery::default();
        let count = paths.len();
        for (position, path) in paths.iter().enumerate() {
            let Some(opened) = Segment::open(path, position + 1 == count)? else {
                fs::remove_file(path)?;
                disk::sync_dir(dir)?;
                continue;
            };
            recovery.cut += opened.cut;
            log.adopt(opened.segment, opened.frames)?;
        }
        if log.segments.is_empty() {
            log.segments.push_back(Segment::create(dir, None)?);
        }
        // What was read may only be in the page cache of a process that was killed: make it certain before building on it.
        for segment in &log.segments {
            segment.file.sync_data()?;
            segment.synced.store(segment.end, std::sync::atomic::Ordering::Release);
        }
        Ok((log, recovery))
    }

    /// Puts a segment found on the disk behind the ones already there.
    fn adopt(&mut self, segment: Segment, frames: Vec<Frame>) -> io::Result<()> {
        let last = self.last();
        if self.segments.is_empty() {
            self.purged = segment.previous;
        } else if segment.previous.map(|id| id.index) > last.map(|id| id.index) {
            // A purge beyond the end was cut short: the old segments were still to be removed.
            self.drop_segments_before(self.segments.len())?;
            self.slots.clear();
            self.purged = segment.previous;
        } else if segment.previous != last {
            return Err(disk::damaged(
                &segment.path,
                format!("follows {:?}, but {last:?} is before it", segment.previous),
            ));
        }
        let number = self.first_segment + self.segments.len() as u64;
        self.slots.extend(frames.into_iter().map(|frame| Slot { segment: number, frame }));
        self.segments.push_back(segment);
        Ok(())
    }

    /// The last entry, or else what was purged.
    pub(crate) fn last(&self) -> Option<EntryId> {
        self.slots.back().map(|slot| slot.frame.id).or(self.purged)
    }

    /// The last entry that is gone.
    pub(crate) const fn purged(&self) -> Option<EntryId> {
        self.purged
    }

    /// The segment that is appended to, for syncing.
    pub(crate) fn active(&self) -> io::Result<&Segment> {
        self.segments.back().ok_or_else(|| io::Error::other("a log has a segment"))
    }

    fn first_index(&self) -> u64 {
        self.slots.front().map(|slot| slot.frame.id.index).or(self.purged.map(|id| id.index + 1)).unwrap_or(0)
    }

    /// Writes entries behind the last one. They can be read at once, but are durable only after the active segment's
    /// sync; a segment that is left behind is synced here. Where there is no space nothing has changed, and the same can be
    /// tried again.
    pub(crate) fn append(&mut self, entries: &[(EntryId, Vec<u8>)]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("the metadata log failed before"));
        }
        let result = self.try_append(entries);
        self.failed |= result.as_ref().is_err_and(|error| !disk::is_shortage(error));
        result
    }

    fn try_append(&mut self, entries: &[(EntryId, Vec<u8>)]) -> io::Result<()> {
        let Some((first, _)) = entries.first() else { return Ok(()) };
        // An empty log takes what raft gives it first; from then on it is a row without gaps.
        let expected = self.last().map_or(first.index, |id| id.index + 1);
        if first.index != expected {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("entry {} appended where {expected} is next", first.index),
            ));
        }
        if self.active()?.end >= self.segment_bytes {
            let active = self.active()?;
            if active.synced.load(std::sync::atomic::Ordering::Acquire) < active.end {
                // Whatever a sync fails for, a second one would say nothing.
                active.file.sync_data().map_err(|error| io::Error::other(format!("sync: {error}")))?;
                active.synced.store(active.end, std::sync::atomic::Ordering::Release);
            }
            self.segments.push_back(Segment::create(&self.dir, self.last())?);
        }
        let number = self.first_segment + self.segments.len() as u64 - 1;
        let active = self.segments.back_mut().ok_or_else(|| io::Error::other("a log has a segment"))?;
        let frames = active.append(entries)?;
        self.slots.extend(frames.into_iter().map(|frame| Slot { segment: number, frame }));
        Ok(())
    }

    /// The entries of a range of indexes, as far as they are here.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Vec<(EntryId, Vec<u8>)>> {
        let first = self.first_index();
        let from = range.start.max(first) - first;
        let to = range.end.max(first) - first;
        let (from, to) = (from.min(self.slots.len() as u64), to.min(self.slots.len() as u64));
        let mut entries = Vec::new();
        for slot in self.slots.iter().skip(from as usize).take(to.saturating_sub(from) as usize) {
            let segment = self.segments.get((slot.segment - self.first_segment) as usize);
            let segment = segment.ok_or_else(|| io::Error::other("an entry lies in a segment"))?;
            entries.push((slot.frame.id, segment.read(&slot.frame)?));
        }
        Ok(entries)
    }

    /// Removes every entry from `index` on, durably.
    pub(crate) fn truncate_from(&mut self, index: u64) -> io::Result<()> {
        let first = self.first_index();
        let keep = (index.max(first) - first) as usize;
        let Some(slot) = self.slots.get(keep).copied() else { return Ok(()) };
        // From the end, so that a crash in between leaves an unbroken row.
        while self.first_segment + self.segments.len() as u64 - 1 > slot.segment {
            if let Some(segment) = self.segments.pop_back() {
                fs::remove_file(&segment.path)?;
                disk::sync_dir(&self.dir)?;
            }
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.truncate(slot.frame.position)?;
        }
        self.slots.truncate(keep);
        Ok(())
    }

    /// Forgets every entry up to and with `id`. Files go once nothing in them is needed.
    pub(crate) fn purge(&mut self, id: EntryId) -> io::Result<()> {
        if self.purged.is_some_and(|purged| purged.index >= id.index) {
            return Ok(());
        }
        if self.last().is_none_or(|last| last.index < id.index) {
            // A snapshot from elsewhere is ahead of this log: start anew behind it.
            self.segments.push_back(Segment::create(&self.dir, Some(id))?);
            self.slots.clear();
            self.purged = Some(id);
            return self.drop_segments_before(self.segments.len() - 1);
        }
        let count = (id.index + 1 - self.first_index()) as usize;
        self.slots.drain(..count.min(self.slots.len()));
        self.purged = Some(id);
        let unneeded =
            self.segments.iter().skip(1).take_while(|s| s.previous.is_some_and(|p| p.index <= id.index)).count();
        self.drop_segments_before(unneeded)
    }

    fn drop_segments_before(&mut self, count: usize) -> io::Result<()> {
        // Front to back: a crash in between leaves an unbroken row again.
        for _ in 0..count {
            if let Some(segment) = self.segments.pop_front() {
                self.first_segment += 1;
                fs::remove_file(&segment.path)?;
            }
        }
        if count > 0 { disk::sync_dir(&self.dir) } else { Ok(()) }
    }
}
