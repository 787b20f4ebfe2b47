//! Clients: those who write, and those who read.

mod consumer;
mod producer;

pub use consumer::Consumer;
pub use producer::{Kind, Producer, is_exactly_once, is_transactional};

use bytes::Bytes;
use ottla_protocol::Timestamp;
use ottla_protocol::record_batch::{BatchBuilder, BatchView};

/// In place of a value where a transaction marker lies.
pub const MARKER: u64 = u64::MAX;

/// A batch of records, each of which says who wrote it and the how-manieth it was.
pub fn push_values(builder: &mut BatchBuilder, values: &[u64], padding: usize) {
    let key = vec![0xa5; padding];
    for value in values {
        builder.push(Timestamp(1_000_000_000), Some(&key), Some(&value.to_be_bytes()), &[]);
    }
}

/// The offsets and values of a batch.
pub fn values_of(batch: &BatchView<'_>) -> Option<Vec<(i64, u64)>> {
    if batch.is_control() {
        return Some(vec![(batch.base_offset.0, MARKER)]);
    }
    let mut values = Vec::new();
    let mut records = batch.records().ok()?;
    while let Ok(Some(record)) = records.next_record() {
        let value = u64::from_be_bytes(record.value?.try_into().ok()?);
        values.push((batch.base_offset.0 + i64::from(record.offset_delta), value));
    }
    Some(values)
}

fn build(builder: BatchBuilder) -> Bytes {
    builder.build()
}
