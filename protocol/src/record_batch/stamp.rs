//! What a leader writes into a batch before it appends it.

use bytes::Bytes;

use super::{BatchError, BatchHeader, PREFIX_SIZE, TimestampType};
use crate::{LeaderEpoch, Offset, Timestamp};

/// A batch with its offset and leader epoch set, without a copy of its body: both lie in the 21 bytes that the CRC does
/// not cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedBatch {
    pub prefix: [u8; PREFIX_SIZE],
    /// Attributes to the last record, as it was received.
    pub body: Bytes,
}

impl StampedBatch {
    /// `batch` is exactly one batch.
    pub fn new(batch: &Bytes, base_offset: Offset, leader_epoch: LeaderEpoch) -> Result<Self, BatchError> {
        let header = BatchHeader::read(batch)?;
        if header.size() != batch.len() {
            return Err(BatchError::Incomplete { needed: header.size(), available: batch.len() });
        }
        let mut prefix = [0; PREFIX_SIZE];
        prefix.copy_from_slice(&batch[..PREFIX_SIZE]);
        stamp(&mut prefix, base_offset, leader_epoch);
        Ok(Self { prefix, body: batch.slice(PREFIX_SIZE..) })
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        PREFIX_SIZE + self.body.len()
    }
}

/// Sets base offset and leader epoch in place. `batch` begins with a batch's first 16 bytes.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[0..8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Sets timestamp type and max timestamp in place and computes the CRC again. `batch` is exactly one batch.
pub fn stamp_timestamps(batch: &mut [u8], kind: TimestampType, max_timestamp: Timestamp) -> Result<(), BatchError> {
    let header = BatchHeader::read(batch)?;
    if header.size() != batch.len() {
        return Err(BatchError::Incomplete { needed: header.size(), available: batch.len() });
    }
    batch[21..23].copy_from_slice(&header.attributes.with_timestamp_type(kind).0.to_be_bytes());
    batch[35..43].copy_from_slice(&max_timestamp.0.to_be_bytes());
    write_crc(batch);
    Ok(())
}

pub(super) fn write_crc(batch: &mut [u8]) {
    let crc = crc_fast::crc32_iscsi(&batch[PREFIX_SIZE..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}
