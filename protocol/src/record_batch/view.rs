//! A batch in borrowed bytes.

use std::ops::Deref;

use super::records::Records;
use super::scan::{self, PlainScan};
use super::{BatchError, BatchHeader, HEADER_SIZE, PREFIX_SIZE};
use crate::compression::{Budget, Codec};

/// One whole batch in borrowed bytes; its header fields are those of [`BatchHeader`].
#[derive(Debug, Clone, Copy)]
pub struct BatchView<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// The batch that `bytes` begin with. Sizes and magic are checked, the CRC and the records are not.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::read(bytes)?;
        let available = bytes.len();
        let bytes = bytes.get(..header.size()).ok_or(BatchError::Incomplete { needed: header.size(), available })?;
        Ok(Self { header, bytes })
    }

    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records as they are stored, compressed or not.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_SIZE..]
    }

    pub fn computed_crc(&self) -> u32 {
        crc_fast::crc32_iscsi(&self.bytes[PREFIX_SIZE..])
    }

    pub fn crc_is_valid(&self) -> bool {
        self.computed_crc() == self.crc
    }

    /// As [`Self::crc_is_valid`], with both values in the error.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = self.computed_crc();
        if computed == self.crc { Ok(()) } else { Err(BatchError::CrcMismatch { stored: self.crc, computed }) }
    }

    /// The records one after the other, decompressed as they are asked for, within the default [`Budget`].
    pub fn records(&self) -> Result<Records<'a>, BatchError> {
        self.records_within(&Budget::default())
    }

    /// What all records have in common, in a fraction of the time that reading them takes; `None` for a batch that has to be
    /// read: compressed, or unusual in any way.
    pub fn scan_plain(&self) -> Option<PlainScan> {
        match self.codec() {
            Ok(Codec::None) => scan::plain(self.payload(), self.record_count),
            _ => None,
        }
    }

    /// As [`Self::records`] within a budget of the caller's.
    pub fn records_within(&self, budget: &Budget) -> Result<Records<'a>, BatchError> {
        Records::new(self.codec()?, self.record_count, self.payload(), budget)
    }
}

impl Deref for BatchView<'_> {
    type Target = BatchHeader;

    fn deref(&self) -> &BatchHeader {
        &self.header
    }
}

/// Batches that lie one behind the other. After an error it ends.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

/// Walks the batches in `bytes`; a cut-off last one yields [`BatchError::Incomplete`].
pub const fn batches(bytes: &[u8]) -> Batches<'_> {
    Batches { rest: bytes }
}

impl<'a> Batches<'a> {
    /// Bytes that were not yielded.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<BatchView<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let batch = BatchView::parse(self.rest);
        self.rest = match &batch {
            Ok(batch) => &self.rest[batch.size()..],
            Err(_) => &[],
        };
        Some(batch)
    }
}
