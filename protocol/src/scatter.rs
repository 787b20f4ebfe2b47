//! An answer whose records are lent: bytes are collected, and cut where records go in between.

use bytes::{BufMut, BytesMut};

use crate::buf::put_uvarint;
use crate::response::{Chunk, RecordsLen};

/// The chunks of one frame in the making.
pub(crate) struct Scatter<R> {
    /// Bytes since the last records.
    pub(crate) head: BytesMut,
    chunks: Vec<Chunk<R>>,
    /// Lengths are varints and structs end in tagged fields.
    flexible: bool,
}

impl<R: RecordsLen + Clone> Scatter<R> {
    /// Begins with the length prefix and the response header.
    pub(crate) fn begin(correlation_id: i32, flexible: bool) -> Self {
        let mut this = Self { head: BytesMut::with_capacity(256), chunks: Vec::new(), flexible };
        this.head.put_i32(0);
        this.head.put_i32(correlation_id);
        this.put_no_tags();
        this
    }

    /// A length or count that is never null.
    pub(crate) fn put_length(&mut self, length: usize) {
        if self.flexible {
            put_uvarint(&mut self.head, (length as u32).wrapping_add(1));
        } else {
            self.head.put_i32(length as i32);
        }
    }

    pub(crate) fn put_null(&mut self) {
        if self.flexible {
            put_uvarint(&mut self.head, 0);
        } else {
            self.head.put_i32(-1);
        }
    }

    pub(crate) fn put_no_tags(&mut self) {
        if self.flexible {
            put_uvarint(&mut self.head, 0);
        }
    }

    pub(crate) fn put_tag(&mut self, tag: u32, size: usize) {
        put_uvarint(&mut self.head, tag);
        put_uvarint(&mut self.head, size as u32);
    }

    /// The length of all records, and then the records themselves.
    ///
    /// Never null: librdkafka before 1.9 takes a null record set for a protocol error.
    pub(crate) fn put_records(&mut self, records: &[R]) {
        self.put_length(records.iter().map(RecordsLen::records_len).sum());
        for records in records.iter().filter(|records| records.records_len() > 0) {
            self.cut();
            self.chunks.push(Chunk::Records(records.clone()));
        }
    }

    /// Puts the frame's length in front, now that all of it is known; `None` if it is longer than a frame can be.
    pub(crate) fn finish(mut self) -> Option<Vec<Chunk<R>>> {
        self.cut();
        let total: usize = self.chunks.iter().map(Chunk::len).sum();
        let length = i32::try_from(total - 4).ok()?;
        if let Some(Chunk::Bytes(first)) = self.chunks.first_mut() {
            let mut patched = BytesMut::from(std::mem::take(first));
            patched[..4].copy_from_slice(&length.to_be_bytes());
            *first = patched.freeze();
        }
        Some(self.chunks)
    }

    /// Ends the current run of bytes.
    fn cut(&mut self) {
        if !self.head.is_empty() {
            self.chunks.push(Chunk::Bytes(self.head.split().freeze()));
        }
    }
}
