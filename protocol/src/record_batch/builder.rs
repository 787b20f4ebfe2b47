//! Batches that the broker itself writes: coordinators, the metadata log, control records, compaction.

use bytes::{BufMut, Bytes, BytesMut};

use super::stamp::write_crc;
use super::{Attributes, HEADER_SIZE, LOG_OVERHEAD, MAGIC, TimestampType};
use crate::buf::{put_varint, put_varlong, varint_size, varlong_size};
use crate::compression::{Codec, compress};
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};

/// Collects records and builds one batch of format 2.
///
/// Offsets count up from the base offset unless [`Self::push_at`] says otherwise; the first record's timestamp is the
/// base timestamp.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    attributes: Attributes,
    codec: Codec,
    level: Option<i32>,
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    base_sequence: i32,
    base_timestamp: Option<Timestamp>,
    delete_horizon: Option<Timestamp>,
    max_timestamp: Option<Timestamp>,
    last_offset_delta: i32,
    count: i32,
    records: BytesMut,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// No compression, no producer, base offset 0, leader epoch -1.
    pub fn new() -> Self {
        Self {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
            attributes: Attributes::default(),
            codec: Codec::None,
            level: None,
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch(-1),
            base_sequence: -1,
            base_timestamp: None,
            delete_horizon: None,
            max_timestamp: None,
            last_offset_delta: -1,
            count: 0,
            records: BytesMut::new(),
        }
    }

    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.base_offset = offset;
        self
    }

    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// `level` is the codec's own scale; `None` takes its default.
    #[must_use]
    pub fn compression(mut self, codec: Codec, level: Option<i32>) -> Self {
        self.codec = codec;
        self.level = level;
        self
    }

    /// `base_sequence` is -1 for markers and coordinators' transactional records.
    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    #[must_use]
    pub fn transactional(mut self, on: bool) -> Self {
        self.attributes = self.attributes.with_transactional(on);
        self
    }

    /// A control batch is never compressed.
    #[must_use]
    pub fn control(mut self, on: bool) -> Self {
        self.attributes = self.attributes.with_control(on);
        self
    }

    /// Marks the batch as stamped by the leader: every record has this time.
    #[must_use]
    pub fn log_append_time(mut self, timestamp: Timestamp) -> Self {
        self.attributes = self.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        self.max_timestamp = Some(timestamp);
        self
    }

    /// The timestamp that deltas count from, where it is not the first record's.
    #[must_use]
    pub fn base_timestamp(mut self, timestamp: Timestamp) -> Self {
        self.base_timestamp = Some(timestamp);
        self
    }

    /// Set by compaction on a batch with tombstones or a marker: deltas then count from the horizon.
    #[must_use]
    pub fn delete_horizon(mut self, horizon: Timestamp) -> Self {
        self.attributes = self.attributes.with_delete_horizon(true);
        self.delete_horizon = Some(horizon);
        self
    }

    /// Keeps the offset range of a batch that compaction thins out. Called after the last record.
    #[must_use]
    pub fn last_offset_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = delta;
        self
    }

    /// Adds a record at the next offset.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let headers = headers.iter().map(|(key, value)| (key.as_bytes(), *value));
        self.push_at(self.last_offset_delta + 1, timestamp, key, value, headers);
    }

    /// Adds a record at an offset of the caller's; deltas must ascend.
    pub fn push_at<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'h [u8], Option<&'h [u8]>)> + Clone,
    ) {
        debug_assert!(offset_delta > self.last_offset_delta, "offsets ascend within a batch");
        let base = self.delete_horizon.unwrap_or(*self.base_timestamp.get_or_insert(timestamp));
        let timestamp_delta = timestamp.0.wrapping_sub(base.0);
        let header_count = headers.clone().count() as i32;
        let fields = 1
            + varlong_size(timestamp_delta)
            + varint_size(offset_delta)
            + nullable_size(key)
            + nullable_size(value)
            + varint_size(header_count)
            + headers.clone().map(|(key, value)| nullable_size(Some(key)) + nullable_size(value)).sum::<usize>();
        self.records.reserve(fields + 5);
        put_varint(&mut self.records, fields as i32);
        self.records.put_i8(0);
        put_varlong(&mut self.records, timestamp_delta);
        put_varint(&mut self.records, offset_delta);
        put_nullable(&mut self.records, key);
        put_nullable(&mut self.records, value);
        put_varint(&mut self.records, header_count);
        for (key, value) in headers {
            put_nullable(&mut self.records, Some(key));
            put_nullable(&mut self.records, value);
        }
        self.last_offset_delta = offset_delta;
        self.count += 1;
        if self.attributes.timestamp_type() == TimestampType::CreateTime {
            self.max_timestamp = self.max_timestamp.max(Some(timestamp));
        }
    }

    /// Records so far.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch if it were built now without compression.
    pub fn size(&self) -> usize {
        HEADER_SIZE + self.records.len()
    }

    /// The batch. Records that the codec fails on are stored as they are.
    pub fn build(self) -> Bytes {
        let wanted = if self.attributes.is_control() { Codec::None } else { self.codec };
        let (codec, payload) = match wanted {
            Codec::None => (Codec::None, self.records.freeze()),
            codec => match compress(codec, self.level, &self.records) {
                Ok(compressed) => (codec, Bytes::from(compressed)),
                Err(_) => (Codec::None, self.records.freeze()),
            },
        };
        let size = HEADER_SIZE + payload.len();
        let mut batch = BytesMut::with_capacity(size);
        batch.put_i64(self.base_offset.0);
        batch.put_i32((size - LOG_OVERHEAD) as i32);
        batch.put_i32(self.leader_epoch.0);
        batch.put_i8(MAGIC);
        batch.put_u32(0);
        batch.put_i16(self.attributes.with_codec(codec).0);
        batch.put_i32(self.last_offset_delta);
        batch.put_i64(self.delete_horizon.or(self.base_timestamp).map_or(-1, |t| t.0));
        batch.put_i64(self.max_timestamp.map_or(-1, |t| t.0));
        batch.put_i64(self.producer_id.0);
        batch.put_i16(self.producer_epoch.0);
        batch.put_i32(self.base_sequence);
        batch.put_i32(self.count);
        batch.put_slice(&payload);
        write_crc(&mut batch);
        batch.freeze()
    }
}

fn nullable_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(bytes.len() as i32) + bytes.len())
}

fn put_nullable(buf: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_varint(buf, -1),
        Some(bytes) => {
            put_varint(buf, bytes.len() as i32);
            buf.put_slice(bytes);
        }
    }
}
