//! The 61 bytes before the records, as values.

use super::{BatchError, HEADER_SIZE, LOG_OVERHEAD, MAGIC};
use crate::buf::{Cursor, ReadError};
use crate::compression::Codec;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Every field of a batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes behind this field: the size of the batch less 12.
    pub batch_length: i32,
    pub partition_leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    /// Last offset less base offset. Stays when compaction drops records, so it may exceed the record count.
    pub last_offset_delta: i32,
    /// Timestamp that the records' deltas count from; the delete horizon once compaction has set it.
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// -1 for batches of no idempotent producer, and for control batches.
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Who set the timestamps of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    /// Every record has the batch's max timestamp, set by the leader.
    LogAppendTime,
}

/// The 16 attribute bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0b111;
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    pub fn codec(self) -> Result<Codec, BatchError> {
        let id = self.0 & Self::CODEC;
        Codec::from_id(id).ok_or(BatchError::UnknownCodec(id))
    }

    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | codec.id())
    }

    #[must_use]
    pub const fn with_timestamp_type(self, kind: TimestampType) -> Self {
        self.with(Self::LOG_APPEND_TIME, matches!(kind, TimestampType::LogAppendTime))
    }

    #[must_use]
    pub const fn with_transactional(self, on: bool) -> Self {
        self.with(Self::TRANSACTIONAL, on)
    }

    #[must_use]
    pub const fn with_control(self, on: bool) -> Self {
        self.with(Self::CONTROL, on)
    }

    #[must_use]
    pub const fn with_delete_horizon(self, on: bool) -> Self {
        self.with(Self::DELETE_HORIZON, on)
    }

    const fn with(self, bit: i16, on: bool) -> Self {
        Self(if on { self.0 | bit } else { self.0 & !bit })
    }
}

impl BatchHeader {
    /// Reads the header of the batch that `bytes` begin with; the records need not be there.
    pub fn read(bytes: &[u8]) -> Result<Self, BatchError> {
        // The magic byte lies at the same place in every format, so it is judged before the other fields.
        if let Some(&magic) = bytes.get(16)
            && magic.cast_signed() != MAGIC
        {
            return Err(BatchError::UnsupportedMagic(magic.cast_signed()));
        }
        let header = Self::fields(&mut Cursor::new(bytes))
            .map_err(|_| BatchError::Incomplete { needed: HEADER_SIZE, available: bytes.len() })?;
        if header.batch_length < (HEADER_SIZE - LOG_OVERHEAD) as i32 {
            return Err(BatchError::LengthTooSmall(header.batch_length));
        }
        Ok(header)
    }

    fn fields(cursor: &mut Cursor<'_>) -> Result<Self, ReadError> {
        Ok(Self {
            base_offset: Offset(cursor.i64()?),
            batch_length: cursor.i32()?,
            partition_leader_epoch: LeaderEpoch(cursor.i32()?),
            magic: cursor.i8()?,
            crc: cursor.u32()?,
            attributes: Attributes(cursor.i16()?),
            last_offset_delta: cursor.i32()?,
            base_timestamp: Timestamp(cursor.i64()?),
            max_timestamp: Timestamp(cursor.i64()?),
            producer_id: ProducerId(cursor.i64()?),
            producer_epoch: ProducerEpoch(cursor.i16()?),
            base_sequence: cursor.i32()?,
            record_count: cursor.i32()?,
        })
    }

    /// Bytes of the whole batch.
    pub const fn size(&self) -> usize {
        self.batch_length as usize + LOG_OVERHEAD
    }

    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.wrapping_add(self.last_offset_delta as i64))
    }

    /// The offset behind the batch.
    pub const fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.wrapping_add(1))
    }

    /// Sequence of the last record; -1 if the batch has none.
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 { -1 } else { sequence_after(self.base_sequence, self.last_offset_delta) }
    }

    pub fn codec(&self) -> Result<Codec, BatchError> {
        self.attributes.codec()
    }

    pub const fn timestamp_type(&self) -> TimestampType {
        self.attributes.timestamp_type()
    }

    pub const fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    pub const fn is_control(&self) -> bool {
        self.attributes.is_control()
    }

    pub const fn has_producer_id(&self) -> bool {
        self.producer_id.0 > ProducerId::NONE.0
    }

    /// From when on compaction may drop this batch's tombstones or marker.
    pub const fn delete_horizon(&self) -> Option<Timestamp> {
        if self.attributes.has_delete_horizon() { Some(self.base_timestamp) } else { None }
    }

    /// The time of a record of this batch.
    pub const fn timestamp_of(&self, timestamp_delta: i64) -> Timestamp {
        match self.timestamp_type() {
            TimestampType::LogAppendTime => self.max_timestamp,
            TimestampType::CreateTime => Timestamp(self.base_timestamp.0.wrapping_add(timestamp_delta)),
        }
    }
}

/// The sequence `increment` records after `sequence`: 2^31-1 is followed by 0.
pub const fn sequence_after(sequence: i32, increment: i32) -> i32 {
    match sequence.checked_add(increment) {
        Some(next) => next,
        None => increment - (i32::MAX - sequence) - 1,
    }
}
