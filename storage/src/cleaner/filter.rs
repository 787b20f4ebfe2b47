//! What becomes of one batch.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;

use ottla_protocol::record_batch::{BatchBuilder, BatchView, TimestampType};
use ottla_protocol::{Offset, ProducerEpoch, ProducerId, Timestamp};

use super::invalid;
use super::offset_map::OffsetMap;
use super::transactions::Transactions;

/// Everything that the fate of a batch depends on.
#[derive(Debug)]
pub struct Filter<'a> {
    pub map: &'a OffsetMap,
    pub transactions: &'a mut Transactions,
    /// By producer: its epoch and the last offset of its last batch; `None` if only markers are known of it.
    pub last_batches: HashMap<ProducerId, (ProducerEpoch, Option<Offset>)>,
    /// The batch that ends here stays, at least its header.
    pub round_end: Offset,
    pub delete_retention_ms: i64,
    pub now: Timestamp,
}

impl Filter<'_> {
    /// The bytes that stay of a batch; `None` if nothing does.
    pub fn apply<'b>(&mut self, batch: &BatchView<'b>) -> io::Result<Option<Cow<'b, [u8]>>> {
        let is_void =
            if batch.is_control() { self.transactions.on_marker(batch)? } else { self.transactions.on_batch(batch) };
        let is_past_horizon = batch.delete_horizon().is_some_and(|horizon| horizon <= self.now);
        // A marker outlives its transaction's records by the horizon; aborted records are of no use to anybody.
        let drops_all = is_void && (!batch.is_control() || is_past_horizon);
        let keeps_header = self.is_last_of_producer(batch) || batch.next_offset() == self.round_end;
        if drops_all {
            return Ok(keeps_header.then(|| Cow::Owned(empty(batch))));
        }

        let mut kept = Vec::new();
        let mut has_tombstone = false;
        let mut records = batch.records().map_err(invalid)?;
        let mut index = 0;
        while let Some(record) = records.next_record().map_err(invalid)? {
            let offset = batch.base_offset.plus(i64::from(record.offset_delta));
            if batch.is_control() || self.stays(batch, offset, record.key, record.value, is_past_horizon) {
                has_tombstone |= !batch.is_control() && record.value.is_none();
                kept.push(index);
            }
            index += 1;
        }
        if kept.is_empty() {
            return Ok(keeps_header.then(|| Cow::Owned(empty(batch))));
        }
        let needs_horizon = (has_tombstone || (is_void && batch.is_control())) && batch.delete_horizon().is_none();
        if kept.len() == index && !needs_horizon {
            return Ok(Some(Cow::Borrowed(batch.bytes())));
        }
        let horizon = match needs_horizon {
            true => Some(Timestamp(self.now.0.saturating_add(self.delete_retention_ms))),
            false => batch.delete_horizon(),
        };
        rebuild(batch, &kept, horizon).map(|bytes| Some(Cow::Owned(bytes)))
    }

    fn stays(
        &self,
        batch: &BatchView<'_>,
        offset: Offset,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        is_past_horizon: bool,
    ) -> bool {
        if offset >= self.map.end() {
            return true;
        }
        // A record without a key cannot be outdated, and nothing could ever remove it: it was written before the topic
        // was compacted, and goes.
        let Some(key) = key else { return false };
        let is_latest = self.map.get(key).is_none_or(|latest| offset >= latest);
        debug_assert!(batch.base_offset <= offset, "records lie within their batch");
        is_latest && (value.is_some() || !is_past_horizon)
    }

    fn is_last_of_producer(&self, batch: &BatchView<'_>) -> bool {
        batch.has_producer_id()
            && match self.last_batches.get(&batch.producer_id) {
                Some((_, Some(last_offset))) => batch.last_offset() == *last_offset,
                Some((epoch, None)) => batch.is_control() && batch.producer_epoch == *epoch,
                None => false,
            }
    }
}

fn builder(batch: &BatchView<'_>) -> BatchBuilder {
    let mut builder = BatchBuilder::new()
        .base_offset(batch.base_offset)
        .leader_epoch(batch.partition_leader_epoch)
        .producer(batch.producer_id, batch.producer_epoch, batch.base_sequence)
        .transactional(batch.is_transactional())
        .control(batch.is_control())
        .base_timestamp(batch.base_timestamp);
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        builder = builder.log_append_time(batch.max_timestamp);
    }
    builder
}

/// A batch's header without records: offsets, producer, epoch and sequence stay.
fn empty(batch: &BatchView<'_>) -> Vec<u8> {
    let bytes = builder(batch).last_offset_delta(batch.last_offset_delta).build();
    let mut bytes = bytes.to_vec();
    // Nothing has a time here but the batch itself: its largest timestamp stays too.
    let kind = batch.timestamp_type();
    // Fails only for bytes that are no batch.
    let _ = ottla_protocol::record_batch::stamp_timestamps(&mut bytes, kind, batch.max_timestamp);
    bytes
}

/// The batch with the records at `kept` only.
fn rebuild(batch: &BatchView<'_>, kept: &[usize], horizon: Option<Timestamp>) -> io::Result<Vec<u8>> {
    let codec = batch.codec().map_err(invalid)?;
    let mut builder = builder(batch).compression(codec, None);
    if let Some(horizon) = horizon {
        builder = builder.delete_horizon(horizon);
    }
    let mut records = batch.records().map_err(invalid)?;
    let mut kept = kept.iter().peekable();
    let mut index = 0;
    while let Some(record) = records.next_record().map_err(invalid)? {
        if kept.next_if(|next| **next == index).is_some() {
            let headers = record.headers().map(|header| (header.key, header.value));
            let timestamp = match batch.timestamp_type() {
                // The delta is meaningless then, but readers of the raw batch shall see what was written.
                TimestampType::LogAppendTime => Timestamp(batch.base_timestamp.0.wrapping_add(record.timestamp_delta)),
                TimestampType::CreateTime => batch.timestamp_of(record.timestamp_delta),
            };
            builder.push_at(record.offset_delta, timestamp, record.key, record.value, headers);
        }
        index += 1;
    }
    Ok(builder.last_offset_delta(batch.last_offset_delta).build().to_vec())
}
