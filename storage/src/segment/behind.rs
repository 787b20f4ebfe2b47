//! Records that a segment's file does not have yet.
//!
//! A file system takes about as long for 4 KiB as for 64: it finds, locks and maps the pages, and notes the file's time. Where an
//! append is only answered once the journal has it, nobody counts on the file meanwhile. Then its bytes are collected here, and
//! written in large pieces: once there is enough for one, half a second later (or when a sync that is under way has ended), and before
//! anybody reads or changes the file. That is done while the journal is busy, so that whoever looks at the files of a log that is little
//! used finds in them what was answered; and where the disk has much space left, so that the records will find some.
//!
//! Invariant: [`super::SegmentFile::existing`] and `created` give a `.log` that has all that the segment's size counts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Segment;
use crate::config::LogConfig;
use crate::disk::DiskFile;
use crate::errors::is_lack_of_space;

/// What is written as one piece, where segments are not tiny: from here on a larger one costs as much per byte.
const PIECE_MAX: usize = 128 << 10;
/// What was collected lies in pieces of memory of this size.
const CHUNK: usize = 16 << 10;
/// So many of them are kept for the next appends: to have them from the system costs more than to fill them.
const SPARE_MAX: usize = 1024;
/// Memory for what all logs of a directory have collected.
const MEMORY_MAX: usize = 64 << 20;

/// What the logs of one log directory have collected.
#[derive(Debug)]
pub struct Behind {
    /// So many entries in one round of the journal, nearly all of them appends, make it a busy one.
    busy_from: usize,
    /// Until a pass of [`Self::write_out`] finds no busy round since the one before it.
    is_busy: AtomicBool,
    /// Since the last pass.
    was_busy: AtomicBool,
    /// Bytes of memory, however full.
    memory: AtomicUsize,
    /// Segments that have collected something since they were last written out here.
    segments: Mutex<Vec<Arc<Segment>>>,
    spare: Mutex<Vec<Vec<u8>>>,
    /// Who writes out is not done before all is written that was collected before, also what another one has begun with.
    writing: Mutex<()>,
}

impl Behind {
    pub fn new(busy_from: usize) -> Self {
        Self {
            busy_from,
            is_busy: AtomicBool::new(busy_from == 0),
            was_busy: AtomicBool::new(false),
            memory: AtomicUsize::new(0),
            segments: Mutex::default(),
            spare: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    /// Notes how many entries a round of the journal had. True when appends are collected from now on, and were not before.
    pub fn had_round(&self, entries: usize) -> bool {
        if entries < self.busy_from {
            return false;
        }
        self.was_busy.store(true, Ordering::Relaxed);
        !self.is_busy.swap(true, Ordering::Relaxed)
    }

    /// Whether an append of so many bytes is worth being collected, and there is memory for it. Half a piece is written at once.
    pub fn takes(&self, bytes: usize, config: &LogConfig) -> bool {
        self.is_busy.load(Ordering::Relaxed)
            && bytes < piece(config) / 2
            && self.memory.load(Ordering::Relaxed) + bytes + CHUNK <= MEMORY_MAX
    }

    /// A regular pass of [`Self::write_out`]: after a while without a busy round appends are not collected any more.
    ///
    /// # Errors
    /// As there.
    pub fn pass(&self) -> io::Result<bool> {
        let was_busy = self.was_busy.swap(false, Ordering::Relaxed);
        self.is_busy.store(was_busy || self.busy_from == 0, Ordering::Relaxed);
        Ok(self.write_out()? | was_busy)
    }

    /// Writes all that was collected before the call to its files. False if there was nothing; then no memory is kept.
    ///
    /// # Errors
    /// The first one; what could not be written is kept.
    pub fn write_out(&self) -> io::Result<bool> {
        let _one = self.writing.lock();
        let segments = std::mem::take(&mut *self.segments.lock());
        if segments.is_empty() {
            *self.spare.lock() = Vec::new();
            return Ok(false);
        }
        let mut done = Ok(true);
        for segment in &segments {
            segment.collected.is_listed.store(false, Ordering::Release);
            if let Err(error) = segment.write_collected() {
                self.list(segment);
                done = done.and(Err(error));
            }
        }
        done
    }

    fn list(&self, segment: &Segment) {
        if !segment.collected.is_listed.swap(true, Ordering::AcqRel) {
            self.segments.lock().extend(segment.this.upgrade());
        }
    }
}

/// Bytes of a piece: no more than a quarter of a segment.
fn piece(config: &LogConfig) -> usize {
    (config.segment_bytes.unsigned_abs() as usize / 4).min(PIECE_MAX)
}

/// What one segment has collected. Most have nothing.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Whether the directory's list has the segment.
    is_listed: AtomicBool,
    records: Mutex<Option<Box<Records>>>,
}

#[derive(Debug)]
struct Records {
    /// Open until they are written: a want of descriptors must not hinder that.
    file: Arc<dyn DiskFile>,
    /// Where they belong in the file.
    start: u64,
    len: usize,
    chunks: Vec<Vec<u8>>,
    directory: Arc<Behind>,
}

impl Records {
    fn push(&mut self, parts: &[&[u8]], bytes: usize) {
        for mut part in parts.iter().copied() {
            while !part.is_empty() {
                let room = self.chunks.last().map_or(0, |chunk| CHUNK - chunk.len());
                if room == 0 {
                    let spare = self.directory.spare.lock().pop();
                    self.chunks.push(spare.unwrap_or_else(|| Vec::with_capacity(CHUNK)));
                    self.directory.memory.fetch_add(CHUNK, Ordering::Relaxed);
                    continue;
                }
                let (fits, rest) = part.split_at(room.min(part.len()));
                if let Some(chunk) = self.chunks.last_mut() {
                    chunk.extend_from_slice(fits);
                }
                part = rest;
            }
        }
        self.len += bytes;
    }

    /// Takes back the last append.
    fn pop(&mut self, bytes: usize) {
        self.len -= bytes;
        let kept = self.len.div_ceil(CHUNK);
        self.directory.memory.fetch_sub((self.chunks.len() - kept) * CHUNK, Ordering::Relaxed);
        self.chunks.truncate(kept);
        if let Some(last) = self.chunks.last_mut() {
            last.truncate(self.len - (self.len - 1) / CHUNK * CHUNK);
        }
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.directory.memory.fetch_sub(self.chunks.len() * CHUNK, Ordering::Relaxed);
        let mut spare = self.directory.spare.lock();
        let wanted = SPARE_MAX - spare.len();
        spare.extend(self.chunks.drain(..).take(wanted).map(|mut chunk| {
            chunk.clear();
            chunk
        }));
    }
}

impl Segment {
    /// As [`Self::write`], but the file has the bytes later. Only for what a journal is told as well, and nobody is answered before that.
    ///
    /// # Errors
    /// Those of the disk, where there is enough for a piece. Then these bytes are not taken.
    pub fn collect(&self, parts: &[&[u8]], directory: &Arc<Behind>, config: &LogConfig) -> io::Result<()> {
        let bytes = parts.iter().map(|part| part.len()).sum();
        let mut records = self.collected.records.lock();
        let collected = match &mut *records {
            Some(collected) => collected,
            none => none.insert(Box::new(Records {
                file: self.log_file().for_writing()?,
                start: self.size(),
                len: 0,
                chunks: Vec::new(),
                directory: Arc::clone(directory),
            })),
        };
        collected.push(parts, bytes);
        if collected.len < piece(config) {
            directory.list(self);
            return Ok(());
        }
        let done = self.write_locked(&mut records);
        if done.is_err()
            && let Some(collected) = &mut *records
        {
            collected.pop(bytes);
            directory.list(self);
        }
        done
    }

    /// Writes what was collected to the file.
    ///
    /// # Errors
    /// Those of the disk; it can be tried again.
    pub fn write_collected(&self) -> io::Result<()> {
        self.write_locked(&mut self.collected.records.lock())
    }

    /// Forgets what was collected: the file goes before anybody reads it, and another may come that has its name.
    pub fn forget_collected(&self) {
        *self.collected.records.lock() = None;
    }

    fn write_locked(&self, collected: &mut Option<Box<Records>>) -> io::Result<()> {
        let Some(records) = collected else { return Ok(()) };
        let chunks: Vec<&[u8]> = records.chunks.iter().map(Vec::as_slice).collect();
        let write = || {
            let file = &records.file;
            // As in `Self::write`: nothing is left of what was not written as a whole.
            let undo = |error| file.set_len(records.start).err().unwrap_or(error);
            file.write_at(&chunks, records.start).map_err(undo)
        };
        let home = self.log_file().home();
        let done = match write() {
            // The reserve is for what has been taken.
            Err(error) if is_lack_of_space(&error) => {
                home.relieve(&error);
                write()
            }
            done => done,
        };
        done.inspect_err(|error| home.report(error))?;
        *collected = None;
        Ok(())
    }
}
