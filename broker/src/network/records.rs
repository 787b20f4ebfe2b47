//! Brings lent records into memory for the socket: at once when the page cache has them, else on a blocking thread.

use std::io;

use ottla_storage::FileRecords;
use parking_lot::Mutex;

use super::limits::{RECORDS_PER_READ_BYTES, SMALL_RECORDS_BYTES, SPARE_BUFFERS_MAX};

/// Buffers that nobody uses right now.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes in a buffer that goes back to the spare ones.
pub struct Loaned {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Loaned {
    fn of(length: usize) -> Self {
        let spare = if length > SMALL_RECORDS_BYTES { SPARE.lock().pop() } else { None };
        let buffer = spare.unwrap_or_else(|| {
            vec![0; if length > SMALL_RECORDS_BYTES { RECORDS_PER_READ_BYTES.max(length) } else { length }]
        });
        Self { buffer, start: 0, end: length }
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
        if self.buffer.len() == RECORDS_PER_READ_BYTES {
            let mut spare = SPARE.lock();
            if spare.len() < SPARE_BUFFERS_MAX {
                spare.push(std::mem::take(&mut self.buffer));
            }
        }
    }
}

/// Reads `length` bytes (at most `RECORDS_PER_READ_BYTES`) from `start` of the region on.
///
/// # Errors
/// When the file ends before the region does: it was truncated, and the frame cannot be kept to.
pub async fn read(records: &FileRecords, start: usize, length: usize) -> io::Result<Loaned> {
    let mut loaned = Loaned::of(length);
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
