//! Record batches, format version 2.
//!
//! ```text
//!  0          8        12            16      17    21           23                 27              35
//!  base offset length   leader epoch  magic   CRC   attributes   last offset delta  base timestamp  max timestamp
//!  43          51              53             57            61
//!  producer id producer epoch  base sequence  record count  records (compressed as a whole)
//! ```
//! Everything is big-endian. The length counts the bytes behind it; the CRC-32C covers byte 21 to the end, so base
//! offset and leader epoch can be stamped without touching it.

mod builder;
mod header;
mod records;
mod scan;
mod stamp;
mod view;

pub use builder::BatchBuilder;
pub use header::{Attributes, BatchHeader, TimestampType, sequence_after};
pub use records::{HeaderView, Headers, RecordView, Records};
pub use scan::PlainScan;
pub use stamp::{StampedBatch, stamp, stamp_timestamps};
pub use view::{BatchView, Batches, batches};

use crate::compression::CompressionError;

/// Bytes before the first record.
pub const HEADER_SIZE: usize = 61;
/// Bytes before the part that the CRC covers.
pub const PREFIX_SIZE: usize = 21;
/// Base offset and length: they are not counted by the length itself.
pub const LOG_OVERHEAD: usize = 12;
/// The only format that is written since Kafka 0.11.
pub const MAGIC: i8 = 2;

/// Why bytes are no sound batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The bytes end before the batch does: `available` of `needed`. Usual at the end of a fetched range.
    #[error("{available} of {needed} bytes of a batch")]
    Incomplete { needed: usize, available: usize },
    /// The length field cannot be true of any batch.
    #[error("batch length {0} is too small")]
    LengthTooSmall(i32),
    /// Formats 0 and 1 are gone; anything above 2 is not a format.
    #[error("magic {0} is not supported")]
    UnsupportedMagic(i8),
    /// The stored CRC is not the one of the bytes.
    #[error("stored CRC {stored:08x}, computed {computed:08x}")]
    CrcMismatch { stored: u32, computed: u32 },
    /// Bits 0 to 2 of the attributes name no codec.
    #[error("compression type {0} is unknown")]
    UnknownCodec(i16),
    /// A negative record count.
    #[error("record count {0} is invalid")]
    InvalidRecordCount(i32),
    /// A record does not fit its own length or its batch.
    #[error("record {index} is invalid: {reason}")]
    InvalidRecord { index: i32, reason: &'static str },
    /// More bytes than the declared records take.
    #[error("bytes are left behind the last declared record")]
    SurplusBytes,
    #[error(transparent)]
    Compression(#[from] CompressionError),
}
