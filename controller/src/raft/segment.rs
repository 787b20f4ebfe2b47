//! One file of the raft log.
//!
//! ```text
//!   header   magic "OTRL"  format u8  has_previous u8  previous term u64  previous index u64  crc32c u32
//!   frame    length u32  crc32c u32  synced u64  term u64  index u64  payload[length]        (all big endian)
//! ```
//!
//! A frame's checksum covers everything but itself. `synced` is how much of this file was known to be on the disk when
//! the frame was written: it tells a torn tail (nothing that follows claims the bad bytes were safe: cut it) from damage
//! to what was already acknowledged (a later frame does: refuse to start).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk;

/// Term and index of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId {
    pub term: u64,
    pub index: u64,
}

const MAGIC: &[u8; 4] = b"OTRL";
const FORMAT: u8 = 1;
pub(crate) const HEADER_SIZE: u64 = 26;
pub(crate) const FRAME_HEADER_SIZE: usize = 32;
/// No entry comes near this; a length beyond it is damage, not data.
const PAYLOAD_BYTES_MAX: u32 = 1 << 30;

/// A segment file, open for reading and appending.
#[derive(Debug)]
pub(crate) struct Segment {
    pub path: PathBuf,
    pub file: Arc<File>,
    /// The entry before the first one here.
    pub previous: Option<EntryId>,
    /// Where the next frame goes.
    pub end: u64,
    /// How much is known to be on the disk. The flusher moves it on.
    pub synced: Arc<AtomicU64>,
}

/// Where a frame lies in its segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub id: EntryId,
    pub position: u64,
    pub payload_size: u32,
}

impl Frame {
    pub(crate) const fn end(&self) -> u64 {
        self.position + FRAME_HEADER_SIZE as u64 + self.payload_size as u64
    }
}

/// What opening found.
pub(crate) struct Opened {
    pub segment: Segment,
    pub frames: Vec<Frame>,
    /// Bytes of a torn tail that were cut.
    pub cut: u64,
}

/// The file name of a segment whose first entry is `index`.
pub(crate) fn file_name(index: u64) -> String {
    format!("{index:020}.raftlog")
}

impl Segment {
    /// A new, empty segment, durable in its directory.
    pub(crate) fn create(dir: &Path, previous: Option<EntryId>) -> io::Result<Self> {
        let path = dir.join(file_name(previous.map_or(0, |id| id.index + 1)));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all_at(&header(previous), 0)?;
        file.sync_all()?;
        disk::sync_dir(dir)?;
        let (file, synced) = (Arc::new(file), Arc::new(AtomicU64::new(HEADER_SIZE)));
        Ok(Self { path, file, previous, end: HEADER_SIZE, synced })
    }

    /// Opens a segment and finds its frames. Only the last segment of a log may have a torn tail (`is_last`).
    /// `None` is a last segment whose creation was cut short.
    pub(crate) fn open(path: &Path, is_last: bool) -> io::Result<Option<Opened>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, 0)?;
        let Some(previous) = parse_header(&bytes) else {
            // The header is on the disk before the first frame is written, so a short file holds nothing.
            return if is_last && size <= HEADER_SIZE { Ok(None) } else { Err(disk::damaged(path, "bad header")) };
        };
        let mut frames = Vec::new();
        let mut position = HEADER_SIZE as usize;
        let mut last = previous;
        while let Some((frame, _)) = parse_frame(&bytes, position) {
            if last.is_some_and(|last| frame.id.index != last.index + 1 || frame.id.term < last.term) {
                return Err(disk::damaged(path, format!("entry {:?} follows {last:?}", frame.id)));
            }
            last = Some(frame.id);
            position = frame.end() as usize;
            frames.push(frame);
        }
        let cut = bytes.len() - position;
        if cut > 0 {
            if !is_last {
                return Err(disk::damaged(path, format!("damaged at byte {position}")));
            }
            if later_frame_was_written_after_sync(&bytes, position, last) {
                return Err(disk::damaged(
                    path,
                    format!("damaged at byte {position}, before entries that were acknowledged"),
                ));
            }
            file.set_len(position as u64)?;
            file.sync_all()?;
        }
        let (file, end) = (Arc::new(file), position as u64);
        // What is here was read from the disk or from the page cache; until the next sync only the header is certain.
        let synced = Arc::new(AtomicU64::new(HEADER_SIZE));
        let segment = Self { path: path.to_owned(), file, previous, end, synced };
        Ok(Some(Opened { segment, frames, cut: cut as u64 }))
    }

    /// Writes frames behind the last one; not yet synced.
    pub(crate) fn append(&mut self, entries: &[(EntryId, Vec<u8>)]) -> io::Result<Vec<Frame>> {
        let synced = self.synced.load(Ordering::Acquire);
        let mut bytes = Vec::with_capacity(entries.iter().map(|(_, payload)| FRAME_HEADER_SIZE + payload.len()).sum());
        let mut frames = Vec::with_capacity(entries.len());
        for (id, payload) in entries {
            let payload_size = u32::try_from(payload.len()).map_err(io::Error::other)?;
            if payload_size > PAYLOAD_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "metadata entry too large"));
            }
            frames.push(Frame { id: *id, position: self.end + bytes.len() as u64, payload_size });
            put_frame(&mut bytes, *id, synced, payload);
        }
        self.file.write_all_at(&bytes, self.end).inspect_err(|_| {
            // A part of it may be there: nothing behind the end counts, and it takes space. Where this fails too, it is a torn tail.
            let _ = self.file.set_len(self.end);
        })?;
        self.end += bytes.len() as u64;
        Ok(frames)
    }

    /// The payload of a frame, checked again.
    pub(crate) fn read(&self, frame: &Frame) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; FRAME_HEADER_SIZE + frame.payload_size as usize];
        self.file.read_exact_at(&mut bytes, frame.position)?;
        match parse_frame(&bytes, 0) {
            Some((found, payload)) if found.id == frame.id => Ok(bytes[payload].to_vec()),
            _ => Err(disk::damaged(&self.path, format!("entry {:?} is damaged", frame.id))),
        }
    }

    /// Cuts everything from `position` on, durably.
    pub(crate) fn truncate(&mut self, position: u64) -> io::Result<()> {
        self.file.set_len(position)?;
        self.file.sync_all()?;
        self.end = position;
        // What is still being synced was cut off: it must not count for what is written in its place.
        self.synced = Arc::new(AtomicU64::new(position));
        Ok(())
    }
}

fn header(previous: Option<EntryId>) -> [u8; HEADER_SIZE as usize] {
    let mut bytes = [0; HEADER_SIZE as usize];
    bytes[..4].copy_from_slice(MAGIC);
    bytes[4] = FORMAT;
    if let Some(previous) = previous {
        bytes[5] = 1;
        bytes[6..14].copy_from_slice(&previous.term.to_be_bytes());
        bytes[14..22].copy_from_slice(&previous.index.to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[..22]);
    bytes[22..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

fn parse_header(bytes: &[u8]) -> Option<Option<EntryId>> {
    let bytes = bytes.get(..HEADER_SIZE as usize)?;
    let good = &bytes[..4] == MAGIC && bytes[4] == FORMAT && crc32c::crc32c(&bytes[..22]) == be32(&bytes[22..])?;
    let previous = EntryId { term: be64(&bytes[6..])?, index: be64(&bytes[14..])? };
    good.then_some((bytes[5] == 1).then_some(previous))
}

fn put_frame(out: &mut Vec<u8>, id: EntryId, synced: u64, payload: &[u8]) {
    let start = out.len();
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&synced.to_be_bytes());
    out.extend_from_slice(&id.term.to_be_bytes());
    out.extend_from_slice(&id.index.to_be_bytes());
    out.extend_from_slice(payload);
    let crc = frame_crc(&out[start..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_be_bytes());
}

fn frame_crc(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..4]), &frame[8..])
}

/// The frame at `position` and the range of its payload; `None` when there is no good one.
fn parse_frame(bytes: &[u8], position: usize) -> Option<(Frame, std::ops::Range<usize>)> {
    let rest = bytes.get(position..)?;
    let head = rest.get(..FRAME_HEADER_SIZE)?;
    let payload_size = be32(head)?;
    if payload_size > PAYLOAD_BYTES_MAX {
        return None;
    }
    let whole = rest.get(..FRAME_HEADER_SIZE + payload_size as usize)?;
    if frame_crc(whole) != be32(&head[4..])? {
        return None;
    }
    let id = EntryId { term: be64(&head[16..])?, index: be64(&head[24..])? };
    let start = position + FRAME_HEADER_SIZE;
    Some((Frame { id, position: position as u64, payload_size }, start..start + payload_size as usize))
}

/// Whether a good frame behind the bad bytes says that they had been synced when it was written.
fn later_frame_was_written_after_sync(bytes: &[u8], bad: usize, last: Option<EntryId>) -> bool {
    // The index is looked at before the checksum is: most positions are dismissed by it.
    let next = last.map_or(0, |id| id.index);
    (bad + 1..bytes.len()).any(|position| {
        let index = bytes.get(position + 24..).and_then(be64);
        index.is_some_and(|index| index > next && index - next < 1 << 32)
            && parse_frame(bytes, position).is_some()
            && bytes.get(position + 8..).and_then(be64).is_some_and(|synced| synced > bad as u64)
    })
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.first_chunk()?))
}
