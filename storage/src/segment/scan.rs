//! Walks the batch headers of a `.log` file without reading the records.

use std::io;
use std::sync::Arc;

use ottla_protocol::record_batch::{BatchHeader, HEADER_SIZE};

use crate::disk::DiskFile;

/// Bytes read at once where batches are small.
const CHUNK: usize = 8 * 1024;

/// A batch and where it lies in its file.
#[derive(Debug, Clone, Copy)]
pub struct Located {
    pub position: u64,
    pub header: BatchHeader,
}

impl Located {
    /// Where the next batch begins.
    pub const fn end(&self) -> u64 {
        self.position + self.header.size() as u64
    }
}

/// Headers one after the other from a position on. Ends before the first batch that is not whole or has no sound header.
pub struct Headers {
    file: Arc<dyn DiskFile>,
    position: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
    wanted: usize,
}

impl Headers {
    /// The batches between `position` and `end`.
    pub const fn new(file: Arc<dyn DiskFile>, position: u64, end: u64) -> Self {
        // A lookup mostly ends at the first or second batch; the chunk grows once batches turn out to be small.
        Self { file, position, end, buffer: Vec::new(), buffer_at: 0, wanted: 512 }
    }

    /// Where the next batch begins.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// The next batch.
    pub fn next_batch(&mut self) -> io::Result<Option<Located>> {
        if self.end.saturating_sub(self.position) < HEADER_SIZE as u64 {
            return Ok(None);
        }
        let buffered_to = self.buffer_at + self.buffer.len() as u64;
        if self.position < self.buffer_at || self.position + HEADER_SIZE as u64 > buffered_to {
            self.buffer.resize(self.wanted, 0);
            let read = self.file.read_at(&mut self.buffer, self.position)?;
            self.buffer.truncate(read);
            self.buffer_at = self.position;
            if read < HEADER_SIZE {
                return Ok(None);
            }
        }
        let from = usize::try_from(self.position - self.buffer_at).map_err(io::Error::other)?;
        let Ok(header) = BatchHeader::read(&self.buffer[from..]) else { return Ok(None) };
        let located = Located { position: self.position, header };
        if located.end() > self.end {
            return Ok(None);
        }
        self.wanted = if header.size() < CHUNK / 4 { CHUNK } else { HEADER_SIZE };
        self.position = located.end();
        Ok(Some(located))
    }
}
