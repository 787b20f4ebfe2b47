//! What was appended is read back, also by the next opening of the same directory, after a clean stop and after none.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::record_batch::{BatchBuilder, batches};
use ottla_protocol::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_storage::{AppendContext, AppendOrigin, Log, LogConfig, LogOptions, Verification};

fn batch(count: i64, size: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for at in 0..count {
        builder.push(Timestamp(1000 + at), Some(format!("k{at}").as_bytes()), Some(&vec![7; size]), &[]);
    }
    builder.build()
}

fn context() -> AppendContext {
    AppendContext {
        leader_epoch: LeaderEpoch(0),
        origin: AppendOrigin::Client,
        now: Timestamp(2000),
        verification: Verification::NotNeeded,
        is_awaited: false,
    }
}

fn options(clean: bool) -> LogOptions {
    LogOptions {
        clean_shutdown: clean,
        config: Arc::new(LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, ..LogConfig::default() }),
        ..LogOptions::new(TopicPartition::new("t", 0), Timestamp(2000))
    }
}

fn offsets_from(log: &Log, from: i64) -> Vec<i64> {
    let mut next = Offset(from);
    let mut seen = Vec::new();
    while next < log.offsets().log_end {
        let read = log.read(next, 3000, Offset(i64::MAX), true).unwrap();
        let mut bytes = Vec::new();
        for records in &read.records {
            bytes.extend(records.read_all().unwrap());
        }
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            batch.check_crc().unwrap();
            seen.push(batch.base_offset.0);
            next = batch.next_offset();
        }
    }
    seen
}

#[test]
fn every_offset_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t-0");
    let mut expected = Vec::new();
    {
        let (log, _) = Log::open(path.clone(), options(false)).unwrap();
        for round in 0..200 {
            let info = log.append_as_leader(batch(1 + round % 5, 100), &context()).unwrap();
            expected.push(info.first_offset.0);
        }
        assert!(log.segment_count() > 3);
        assert_eq!(offsets_from(&log, 0), expected);
    }
    for clean in [false, true, false] {
        let (log, report) = Log::open(path.clone(), options(clean)).unwrap();
        assert_eq!(report.cut, None);
        assert_eq!(offsets_from(&log, 0), expected);
        for from in 0..log.offsets().log_end.0 {
            let at = expected.partition_point(|first| *first <= from) - 1;
            assert_eq!(offsets_from(&log, from), expected[at..]);
        }
        let info = log.append_as_leader(batch(3, 100), &context()).unwrap();
        expected.push(info.first_offset.0);
        log.close().unwrap();
    }
}
