//! `.txnindex`: the aborted transactions whose marker lies in the segment. The file exists only if there are any.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use ottla_protocol::{Offset, ProducerId};

use super::files::SegmentFile;

const ENTRY_SIZE: usize = 34;
const VERSION: i16 = 0;

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedEntry {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// The abort marker's.
    pub last_offset: Offset,
    /// What the last stable offset became by the marker: readers need not look at segments further on once it lies
    /// behind what they read.
    pub last_stable_offset: Offset,
}

impl AbortedEntry {
    fn encode(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        bytes[0..2].copy_from_slice(&VERSION.to_be_bytes());
        bytes[2..10].copy_from_slice(&self.producer_id.0.to_be_bytes());
        bytes[10..18].copy_from_slice(&self.first_offset.0.to_be_bytes());
        bytes[18..26].copy_from_slice(&self.last_offset.0.to_be_bytes());
        bytes[26..34].copy_from_slice(&self.last_stable_offset.0.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> io::Result<Self> {
        let i64_at = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&bytes[at..at + 8]);
            i64::from_be_bytes(number)
        };
        if bytes[0..2] != VERSION.to_be_bytes() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "unknown version of an aborted transaction"));
        }
        Ok(Self {
            producer_id: ProducerId(i64_at(2)),
            first_offset: Offset(i64_at(10)),
            last_offset: Offset(i64_at(18)),
            last_stable_offset: Offset(i64_at(26)),
        })
    }
}

/// The file and its length.
#[derive(Debug, Clone, Copy)]
pub struct TxnIndex<'a> {
    file: SegmentFile<'a>,
    len: &'a AtomicU64,
}

impl<'a> TxnIndex<'a> {
    /// `len`: bytes of the file, 0 if there is none.
    pub const fn new(file: SegmentFile<'a>, len: &'a AtomicU64) -> Self {
        Self { file, len }
    }

    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) < ENTRY_SIZE as u64
    }

    /// All entries, in the order of their markers.
    pub fn entries(&self) -> io::Result<Vec<AbortedEntry>> {
        let len = self.len.load(Ordering::Acquire);
        if len < ENTRY_SIZE as u64 {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = self.file.existing()?.read_at(&mut bytes, 0)?;
        bytes[..read].chunks_exact(ENTRY_SIZE).map(AbortedEntry::decode).collect()
    }

    pub fn append(&self, entry: &AbortedEntry) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        self.file.created()?.write_at(&[&entry.encode()], len)?;
        self.len.store(len + ENTRY_SIZE as u64, Ordering::Release);
        Ok(())
    }

    /// Drops the entries whose marker lies at or behind `offset`, and what is none: after a power cut a
    /// file may be longer than what was written to it, and zeros would abort all that producer 0 ever wrote.
    pub fn truncate(&self, offset: Offset) -> io::Result<()> {
        let len = self.len.load(Ordering::Acquire);
        if len == 0 {
            return Ok(());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        let read = self.file.existing()?.read_at(&mut bytes, 0)?;
        let kept: Vec<u8> = sound(&bytes[..read], offset).iter().flat_map(AbortedEntry::encode).collect();
        if !bytes.starts_with(&kept) {
            self.file.created()?.write_at(&[&kept], 0)?;
        }
        let kept = kept.len();
        self.file.created()?.set_len(kept as u64)?;
        self.len.store(kept as u64, Ordering::Release);
        Ok(())
    }

    pub fn sync(&self) -> io::Result<()> {
        if self.is_empty() { Ok(()) } else { self.file.created()?.sync_data() }
    }
}

/// The entries whose marker lies before `offset`, without what cannot be one: a transaction has data before its marker.
fn sound(bytes: &[u8], offset: Offset) -> Vec<AbortedEntry> {
    let entries = bytes.chunks_exact(ENTRY_SIZE).map_while(|entry| AbortedEntry::decode(entry).ok());
    let before = entries.take_while(|entry| entry.last_offset < offset);
    before.filter(|entry| entry.first_offset < entry.last_offset).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The file's length had reached the disk in a power cut, its contents had not.
    #[test]
    fn zeros_are_no_aborted_transaction_of_producer_0() {
        let entry = |first: i64, last: i64| AbortedEntry {
            producer_id: ottla_protocol::ProducerId(7),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(last + 1),
        };
        let mut bytes = entry(3, 9).encode().to_vec();
        bytes.extend([0; ENTRY_SIZE]);
        bytes.extend(entry(20, 30).encode());
        assert_eq!(sound(&bytes, Offset(100)), [entry(3, 9), entry(20, 30)]);
        assert_eq!(sound(&entry(3, 9).encode(), Offset(9)), []);
    }
}
