//! Which frames of a journal's files are sound, and in which order they were written.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::frame::{self, FRAME_MAX, Header};
use crate::disk::{BLOCK, Disk, DiskFile, OpenMode};

/// Bytes read at a time.
const READ_BYTES: usize = 8 << 20;

/// A sound frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub header: Header,
    pub file: usize,
    pub position: u64,
}

/// What the files hold.
#[derive(Debug, Default)]
pub struct Frames {
    pub files: Vec<Arc<dyn DiskFile>>,
    /// In the order in which they were written, up to the first that was not synced whole.
    pub frames: Vec<Frame>,
    /// The journal's run; `None` if there is no frame at all.
    pub run: Option<u64>,
    /// The number of the next frame to be written.
    pub next: u64,
    /// The number of the first frame that counts.
    pub oldest: u64,
    /// A frame that had been synced is not sound any more.
    pub corrupt: Option<String>,
    /// Sound frames behind the first unsound one of the last round: they must not be taken for something later.
    pub leftovers: bool,
}

/// Reads all files. The run is learned where a frame must begin: anywhere else there may be bytes of records.
pub fn read(disk: &dyn Disk, paths: &[PathBuf]) -> io::Result<Frames> {
    let mut found = Frames::default();
    for path in paths {
        let file = disk.open(path, OpenMode::Read)?;
        // A killed process may have left frames in the page cache only: what is read here is built on.
        file.sync_data()?;
        found.files.push(file);
    }
    for file in &found.files {
        let mut first = vec![0; FRAME_MAX.min(usize::try_from(file.len()?).unwrap_or(FRAME_MAX))];
        let filled = file.read_at(&mut first, 0)?;
        let header = Header::read(&first[..filled]).filter(|_| frame::entries(&first[..filled]).is_some());
        found.run = found.run.or(header.map(|header| header.run));
    }
    let mut frames: Vec<Frame> = Vec::new();
    for file in 0..found.files.len() {
        if let Some(run) = found.run {
            scan(&found.files, file, run, &mut frames)?;
        }
    }
    frames.sort_by_key(|frame| frame.header.number);
    let oldest = frames.iter().map(|frame| frame.header.oldest).max().unwrap_or(0);
    frames.retain(|frame| frame.header.number >= oldest);
    found.oldest = oldest;
    found.next = frames.last().map_or(0, |last| last.header.number + 1);
    let gap = frames.windows(2).position(|pair| pair[0].header.number + 1 != pair[1].header.number);
    if let Some(at) = gap {
        let missing = frames[at].header.number + 1;
        // What was synced in a later round than the missing frame says that the missing one had been on the disk.
        if frames[at + 1..].iter().any(|later| later.header.round > missing) {
            found.corrupt = Some(format!("frame {missing} of the journal is damaged"));
        } else {
            found.leftovers = true;
            frames.truncate(at + 1);
        }
    }
    found.frames = frames;
    Ok(found)
}

/// Adds a file's sound frames.
fn scan(files: &[Arc<dyn DiskFile>], file: usize, run: u64, frames: &mut Vec<Frame>) -> io::Result<()> {
    let len = files[file].len()?;
    let mut buffer = vec![0; READ_BYTES.max(FRAME_MAX).min(usize::try_from(len).unwrap_or(usize::MAX))];
    let mut begin = 0;
    let mut position: u64 = 0;
    let mut filled = 0;
    // Frames of an earlier use of the file lie behind those of the last.
    let mut last: Option<u64> = None;
    while position < len {
        let ends = begin + filled as u64;
        if position + (BLOCK as u64) > ends || needs_more(&buffer, position - begin, filled, ends < len) {
            begin = position;
            filled = files[file].read_at(&mut buffer, begin)?;
            if filled < BLOCK {
                break;
            }
        }
        let at = usize::try_from(position - begin).map_err(io::Error::other)?;
        let bytes = &buffer[at..filled];
        let sound = Header::read(bytes).filter(|header| header.run == run && frame::entries(bytes).is_some());
        match sound {
            Some(header) if last.is_none_or(|last| header.number > last) => {
                last = Some(header.number);
                frames.push(Frame { header, file, position });
                position += frame::padded(header.length) as u64;
            }
            _ => position += BLOCK as u64,
        }
    }
    Ok(())
}

/// Whether the frame that seems to begin at `at` goes beyond what was read.
fn needs_more(buffer: &[u8], at: u64, filled: usize, more: bool) -> bool {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let length = buffer.get(at..filled).and_then(Header::read).map_or(0, |header| header.length);
    more && at + length > filled
}

/// The entries of a sound frame.
pub fn entries_of(files: &[Arc<dyn DiskFile>], frame: &Frame) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; frame.header.length];
    crate::disk::read_exact_at(&*files[frame.file], &mut bytes, frame.position)?;
    match frame::entries(&bytes) {
        Some(_) => Ok(bytes.split_off(frame::HEADER)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "a frame of the journal has changed while it was read")),
    }
}
