//! A region of a log file that can be lent out: no bytes move until somebody reads.

use std::io;
use std::sync::Arc;

use crate::disk::{DiskFile, read_exact_at};

/// How far apart a region is looked at when it is asked for what lies in memory.
const PROBE_BYTES: usize = 64 * 1024;

/// Record batches as they lie in a segment: the file, where they begin and how many bytes they take.
///
/// The file stays readable as long as this value lives, even when its segment is deleted meanwhile.
#[derive(Debug, Clone)]
pub struct FileRecords {
    file: Arc<dyn DiskFile>,
    position: u64,
    len: usize,
}

impl FileRecords {
    pub const fn new(file: Arc<dyn DiskFile>, position: u64, len: usize) -> Self {
        Self { file, position, len }
    }

    /// Bytes of the region.
    pub const fn len(&self) -> usize {
        self.len
    }

    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the region begins in its file.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The file, for system calls that move bytes without a copy.
    pub const fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// The `len` bytes behind the first `start`.
    ///
    /// # Panics
    /// If they are not within the region.
    #[must_use]
    pub fn slice(&self, start: usize, len: usize) -> Self {
        assert!(start + len <= self.len, "a slice lies within its region");
        Self { file: Arc::clone(&self.file), position: self.position + start as u64, len }
    }

    /// Fills `buf` from `start` bytes into the region on. May wait for the disk.
    ///
    /// # Errors
    /// `UnexpectedEof` when the region ends before `buf` does, or when the log was truncated meanwhile.
    pub fn read_into(&self, start: usize, buf: &mut [u8]) -> io::Result<()> {
        if start + buf.len() > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_exact_at(&*self.file, buf, self.position + start as u64)
    }

    /// As [`Self::read_into`], but only what lies in memory: how many bytes were read, `None` for none.
    pub fn try_read(&self, start: usize, buf: &mut [u8]) -> io::Result<Option<usize>> {
        let many = buf.len().min(self.len.saturating_sub(start));
        match self.file.try_read_at(&mut buf[..many], self.position + start as u64)? {
            Some(0) if many > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }

    /// Whether `len` bytes from `start` bytes into the region on lie in memory, going by one byte in `PROBE_BYTES`: the
    /// kernel reads ahead and forgets in larger pieces than that, as a rule.
    ///
    /// # Errors
    /// `UnexpectedEof` when the log was truncated meanwhile.
    pub fn is_in_memory(&self, start: usize, len: usize) -> io::Result<bool> {
        let last = (start + len).saturating_sub(1);
        for at in (start..last).step_by(PROBE_BYTES).chain([last]) {
            if self.try_read(at, &mut [0])?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All bytes. May wait for the disk.
    pub fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.len];
        self.read_into(0, &mut bytes)?;
        Ok(bytes)
    }
}

impl ottla_protocol::response::RecordsLen for FileRecords {
    fn records_len(&self) -> usize {
        self.len
    }
}
