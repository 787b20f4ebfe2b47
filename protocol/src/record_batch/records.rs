//! The records of a batch, read lazily.
//!
//! Record: varint length, attributes `i8`, varlong timestamp delta, varint offset delta, key and value (varint length,
//! -1 is null), varint number of headers, and per header a key and a value.

use std::io::Read;

use super::BatchError;
use crate::buf::{Cursor, ReadError};
use crate::compression::{Budget, Codec, CompressionError, Decompressor};

/// One record in borrowed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    pub attributes: i8,
    /// Milliseconds behind the batch's base timestamp.
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    header_count: usize,
    header_bytes: &'a [u8],
    /// Bytes that the record takes when it is not compressed, its length varint included.
    pub size: usize,
}

impl<'a> RecordView<'a> {
    /// The headers in their order; a key may occur more than once.
    pub const fn headers(&self) -> Headers<'a> {
        Headers { left: self.header_count, cursor: Cursor::new(self.header_bytes) }
    }

    fn parse(body: &'a [u8], size: usize) -> Result<Self, ReadError> {
        let mut cursor = Cursor::new(body);
        let attributes = cursor.i8()?;
        let timestamp_delta = cursor.varlong()?;
        let offset_delta = cursor.varint()?;
        let key = cursor.varint_bytes()?;
        let value = cursor.varint_bytes()?;
        let header_count = usize::try_from(cursor.varint()?).map_err(|_| ReadError::NegativeLength)?;
        let header_bytes = cursor.rest();
        for _ in 0..header_count {
            HeaderView::parse(&mut cursor)?;
        }
        if !cursor.is_empty() {
            // The caller cannot tell the two apart either: the length does not fit the fields.
            return Err(ReadError::TooShort);
        }
        Ok(Self { attributes, timestamp_delta, offset_delta, key, value, header_count, header_bytes, size })
    }
}

/// One header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderView<'a> {
    /// UTF-8 when a stock client wrote it.
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

impl<'a> HeaderView<'a> {
    fn parse(cursor: &mut Cursor<'a>) -> Result<Self, ReadError> {
        let key = cursor.varint_bytes()?.ok_or(ReadError::NegativeLength)?;
        Ok(Self { key, value: cursor.varint_bytes()? })
    }
}

/// The headers of one record.
#[derive(Debug, Clone)]
pub struct Headers<'a> {
    left: usize,
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Headers<'a> {
    type Item = HeaderView<'a>;

    fn next(&mut self) -> Option<HeaderView<'a>> {
        self.left = self.left.checked_sub(1)?;
        // They were walked when the record was parsed.
        HeaderView::parse(&mut self.cursor).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

/// The records of one batch in order. A record borrows from this reader, so it is read in a loop:
///
/// ```
/// # use ottla_protocol::record_batch::{BatchBuilder, BatchView};
/// # use ottla_protocol::Timestamp;
/// # let mut builder = BatchBuilder::new();
/// # builder.push(Timestamp(1), None, Some(b"value"), &[]);
/// # let bytes = builder.build();
/// let batch = BatchView::parse(&bytes)?;
/// let mut records = batch.records()?;
/// while let Some(record) = records.next_record()? {
///     assert_eq!(record.value, Some(&b"value"[..]));
/// }
/// # Ok::<(), ottla_protocol::record_batch::BatchError>(())
/// ```
///
/// Memory: one record, which must fit the budget's `bytes_max`, and 64 KiB, however much the batch expands to. After the
/// last declared record the payload must be exhausted.
pub struct Records<'a> {
    index: i32,
    count: i32,
    source: Source<'a>,
}

enum Source<'a> {
    Plain(&'a [u8]),
    /// With the most bytes that a single record may have.
    Compressed(Box<Window<'a>>, usize),
}

impl<'a> Records<'a> {
    pub(super) fn new(codec: Codec, count: i32, payload: &'a [u8], budget: &Budget) -> Result<Self, BatchError> {
        if count < 0 {
            return Err(BatchError::InvalidRecordCount(count));
        }
        let source = match codec {
            Codec::None => Source::Plain(payload),
            codec => {
                Source::Compressed(Box::new(Window::new(Decompressor::new(codec, payload, budget)?)), budget.bytes_max)
            }
        };
        Ok(Self { index: 0, count, source })
    }

    /// The next record; `None` after the last one.
    pub fn next_record(&mut self) -> Result<Option<RecordView<'_>>, BatchError> {
        if self.index >= self.count {
            return match self.is_exhausted()? {
                true => Ok(None),
                false => Err(BatchError::SurplusBytes),
            };
        }
        let index = self.index;
        self.index += 1;
        let invalid = |reason| BatchError::InvalidRecord { index, reason };
        let (body, size) = match &mut self.source {
            Source::Plain(bytes) => {
                let mut cursor = Cursor::new(bytes);
                let length = cursor.varint().map_err(|_| invalid("its length is no varint"))?;
                let length = usize::try_from(length).map_err(|_| invalid("its length is negative"))?;
                let body = cursor.take(length).map_err(|_| invalid("it is longer than the batch"))?;
                let size = bytes.len() - cursor.remaining();
                *bytes = cursor.rest();
                (body, size)
            }
            Source::Compressed(window, record_max) => {
                window.fill(5)?;
                let mut cursor = Cursor::new(window.bytes());
                let length = cursor.varint().map_err(|_| invalid("its length is no varint"))?;
                let length = usize::try_from(length).map_err(|_| invalid("its length is negative"))?;
                // A record is held as a whole: the ratio alone would let a small payload take gigabytes.
                if length > *record_max {
                    return Err(window.decoder.too_large(*record_max).into());
                }
                let prefix = window.bytes().len() - cursor.remaining();
                if window.fill(prefix + length)? < prefix + length {
                    return Err(invalid("it is longer than the batch"));
                }
                (&window.consume(prefix + length)[prefix..], prefix + length)
            }
        };
        RecordView::parse(body, size).map(Some).map_err(|_| invalid("its fields do not fit its length"))
    }

    fn is_exhausted(&mut self) -> Result<bool, BatchError> {
        match &mut self.source {
            Source::Plain(bytes) => Ok(bytes.is_empty()),
            Source::Compressed(window, _) => Ok(window.fill(1)? == 0),
        }
    }
}

impl std::fmt::Debug for Records<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records").field("index", &self.index).field("count", &self.count).finish_non_exhaustive()
    }
}

/// What has been decompressed and not yet read.
struct Window<'a> {
    decoder: Decompressor<'a>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
}

impl<'a> Window<'a> {
    const STEP: usize = 64 * 1024;

    fn new(decoder: Decompressor<'a>) -> Self {
        Self { decoder, buffer: Vec::new(), start: 0, end: 0, ended: false }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Decompresses until `wanted` bytes are there or the payload has ended; answers how many there are.
    ///
    /// The buffer grows with what arrives, never with what a record claims to need.
    fn fill(&mut self, wanted: usize) -> Result<usize, CompressionError> {
        while self.end - self.start < wanted && !self.ended {
            if self.end == self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
                if self.buffer.len() < self.end + Self::STEP {
                    let enough = (2 * self.end).min(wanted + Self::STEP).max(self.end + Self::STEP);
                    self.buffer.resize(enough, 0);
                }
            }
            let read = self.decoder.read(&mut self.buffer[self.end..]).map_err(|e| self.decoder.error(&e))?;
            self.ended = read == 0;
            self.end += read;
        }
        Ok(self.end - self.start)
    }

    fn consume(&mut self, length: usize) -> &[u8] {
        let start = self.start;
        self.start += length;
        &self.buffer[start..start + length]
    }
}
