//! Brings lent records into memory for the socket: at once when the page cache has them, else on a blocking thread.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_storage::FileRecords;
use parking_lot::Mutex;

use super::limits::{
    LARGE_BUFFERS_MAX, RECORDS_PER_READ_BYTES, RECORDS_PER_STALL_BYTES, SMALL_RECORDS_BYTES, SPARE_BUFFERS_MAX,
};

/// Buffers that nobody uses right now.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Large buffers that are in use.
static LARGE: AtomicUsize = AtomicUsize::new(0);

/// Bytes that may be read at a time: fewer for a client that does not keep up, and for everybody while many read much.
pub fn unit(has_stalled: bool) -> usize {
    if has_stalled || LARGE.load(Ordering::Relaxed) >= LARGE_BUFFERS_MAX {
        RECORDS_PER_STALL_BYTES
    } else {
        RECORDS_PER_READ_BYTES
    }
}

/// Bytes in a buffer that goes back to the spare ones.
pub struct Loaned {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    is_large: bool,
}

impl Loaned {
    fn of(length: usize, unit: usize) -> Self {
        let is_large = length > SMALL_RECORDS_BYTES && unit >= RECORDS_PER_READ_BYTES;
        let buffer = if is_large {
            LARGE.fetch_add(1, Ordering::Relaxed);
            let spare = SPARE.lock().pop();
            spare.unwrap_or_else(|| vec![0; RECORDS_PER_READ_BYTES.max(length)])
        } else {
            vec![0; length]
        };
        Self { buffer, start: 0, end: length, is_large }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Drops the first `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }
}

impl Drop for Loaned {
    fn drop(&mut self) {
        if !self.is_large {
            return;
        }
        LARGE.fetch_sub(1, Ordering::Relaxed);
        if self.buffer.len() == RECORDS_PER_READ_BYTES {
            let mut spare = SPARE.lock();
            if spare.len() < SPARE_BUFFERS_MAX {
                spare.push(std::mem::take(&mut self.buffer));
            }
        }
    }
}

/// Reads `length` bytes (at most `unit`, which is what [`unit`] has said) from `start` of the region on.
///
/// # Errors
/// When the file ends before the region does: it was truncated, and the frame cannot be kept to.
pub async fn read(records: &FileRecords, start: usize, length: usize, unit: usize) -> io::Result<Loaned> {
    let mut loaned = Loaned::of(length, unit);
    let mut have = 0;
    while have < length {
        match records.try_read(start + have, &mut loaned.buffer[have..length])? {
            Some(read) => have += read,
            None => break,
        }
    }
    if have == length {
        return Ok(loaned);
    }
    let records = records.clone();
    tokio::task::spawn_blocking(move || {
        records.read_into(start + have, &mut loaned.buffer[have..length])?;
        Ok(loaned)
    })
    .await
    .map_err(io::Error::other)?
}
