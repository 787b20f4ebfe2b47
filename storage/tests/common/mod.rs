//! What the stories share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ottla_protocol::record_batch::{BatchBuilder, BatchError, batches};
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::{AppendContext, AppendInfo, AppendOrigin, Log, LogConfig, LogOptions, Verification};

pub fn dir() -> PathBuf {
    PathBuf::from("/data/t-0")
}

pub fn config() -> LogConfig {
    LogConfig { segment_bytes: 3_000, index_interval_bytes: 200, file_delete_delay_ms: 0, ..LogConfig::default() }
}

pub fn options(disk: &impl CloneDisk) -> LogOptions {
    LogOptions {
        disk: disk.shared(),
        config: Arc::new(config()),
        ..LogOptions::new(TopicPartition::new("t", 0), Timestamp(10_000))
    }
}

pub trait CloneDisk {
    fn shared(&self) -> Arc<dyn Disk>;
}

impl<D: Disk + Clone> CloneDisk for D {
    fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }
}

pub fn context() -> AppendContext {
    AppendContext {
        leader_epoch: LeaderEpoch(0),
        origin: AppendOrigin::Client,
        now: Timestamp(10_000),
        verification: Verification::NotNeeded,
        is_awaited: false,
    }
}

/// A batch whose records say which number they have.
pub fn batch(first: i64, count: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        builder.push(Timestamp(1_000 + number), Some(b"key"), Some(format!("value {number}").as_bytes()), &[]);
    }
    builder.build()
}

pub fn idempotent(id: i64, epoch: i16, sequence: i32, count: i64) -> Bytes {
    let mut builder = BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    for _ in 0..count {
        builder.push(Timestamp(9_000), Some(b"key"), Some(b"value"), &[]);
    }
    builder.build()
}

pub fn transactional(id: i64, sequence: i32) -> Bytes {
    let mut builder = BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(0), sequence).transactional(true);
    builder.push(Timestamp(9_000), Some(b"key"), Some(b"value"), &[]);
    builder.build()
}

/// Whoever appends waits until the records are durable.
pub fn awaited() -> AppendContext {
    AppendContext { is_awaited: true, ..context() }
}

/// Appends so that every record's value is its offset's.
pub fn append(log: &Log, count: i64) -> Result<AppendInfo, ottla_storage::AppendError> {
    log.append_as_leader(batch(log.offsets().log_end.0, count), &context())
}

/// Every (offset, value) from `from` on, checksums verified.
pub fn contents(log: &Log, from: Offset) -> Vec<(i64, String)> {
    let mut next = from;
    let mut out = Vec::new();
    while next < log.offsets().log_end {
        let read = log.read(next, 700, Offset(i64::MAX), true).unwrap();
        if read.records.is_empty() {
            break;
        }
        let bytes = read.records[0].read_all().unwrap();
        for batch in batches(&bytes) {
            let batch = match batch {
                // The range ends within it.
                Err(BatchError::Incomplete { .. }) => break,
                batch => batch.unwrap(),
            };
            batch.check_crc().unwrap();
            let mut records = batch.records().unwrap();
            while let Some(record) = records.next_record().unwrap() {
                let offset = batch.base_offset.0 + i64::from(record.offset_delta);
                out.push((offset, String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned()));
            }
            next = batch.next_offset();
        }
    }
    out
}

/// The contents of a log to which [`append`] was applied up to `end`.
pub fn expected(end: i64) -> Vec<(i64, String)> {
    (0..end).map(|number| (number, format!("value {number}"))).collect()
}

/// The errors that `work` tells on this thread, each with its fields.
pub fn errors_of(work: impl FnOnce()) -> Vec<String> {
    let heard = Heard::default();
    let lines = Arc::clone(&heard.0);
    tracing::subscriber::with_default(heard, work);
    let lines = lines.lock().unwrap();
    lines.clone()
}

#[derive(Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl tracing::field::Visit for Line {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::ERROR
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
