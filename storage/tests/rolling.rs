//! When a segment is closed and the next one begun.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{context, dir, options};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{Offset, Timestamp};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, Log, LogConfig, LogOptions};

const HOUR: i64 = 3_600_000;
const NOW: i64 = 1_000 * HOUR;

fn of(time: i64) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(time), Some(b"key"), Some(b"value"), &[]);
    builder.build()
}

fn log(config: LogConfig) -> Log {
    let options = LogOptions { config: Arc::new(config), now: Timestamp(NOW), ..options(&FaultyDisk::default()) };
    Log::open(dir(), options).unwrap().0
}

fn append(log: &Log, time: i64, now: i64) {
    let cx = AppendContext { now: Timestamp(now), ..context() };
    log.append_as_leader(of(time), &cx).unwrap();
}

/// Records of last year that are copied today, in order.
#[test]
fn old_records_do_not_close_a_segment_by_being_old() {
    let log = log(LogConfig { segment_ms: HOUR, ..LogConfig::default() });
    for minute in 0..50 {
        append(&log, 10 * HOUR + minute, NOW + minute * 60_000);
        log.roll_if_old(Timestamp(NOW + minute * 60_000)).unwrap();
    }
    assert_eq!(log.segment_count(), 1);
    append(&log, 12 * HOUR, NOW + 51 * 60_000);
    assert_eq!(log.segment_count(), 2, "by the records' own times an hour is over");
}

#[test]
fn a_segment_that_nobody_writes_to_is_closed_in_its_time() {
    let log = log(LogConfig { segment_ms: HOUR, ..LogConfig::default() });
    append(&log, NOW, NOW);
    log.roll_if_old(Timestamp(NOW + HOUR)).unwrap();
    assert_eq!(log.segment_count(), 1);
    log.roll_if_old(Timestamp(NOW + HOUR + 1)).unwrap();
    assert_eq!(log.segment_count(), 2);
    log.roll_if_old(Timestamp(NOW + 9 * HOUR)).unwrap();
    assert_eq!(log.segment_count(), 2, "an empty one stays");
}

/// As in Kafka, whose `LogSegment.largestTimestamp` is the file's time then.
#[test]
fn records_without_a_time_are_as_old_as_the_last_append() {
    let log = log(LogConfig { retention_ms: HOUR, segment_ms: 100 * HOUR, ..LogConfig::default() });
    append(&log, -1, NOW);
    append(&log, -1, NOW + 2 * HOUR);
    log.set_high_watermark(Offset(2));
    assert_eq!(log.apply_retention(Timestamp(NOW + 3 * HOUR)).unwrap(), 0);
    assert_eq!(log.apply_retention(Timestamp(NOW + 3 * HOUR + 1)).unwrap(), 1);
    assert_eq!(log.offsets().log_start, Offset(2));
    log.truncate_fully_and_start_at(Offset(50)).unwrap();
    append(&log, -1, NOW + 4 * HOUR);
    log.set_high_watermark(Offset(51));
    assert!(!log.roll_if_old(Timestamp(NOW + 5 * HOUR)).unwrap());
    assert_eq!(log.apply_retention(Timestamp(NOW + 5 * HOUR)).unwrap(), 0, "it did not begin in 1970");
}

/// What has to be compacted within a time cannot wait in the active segment, which is never compacted.
#[test]
fn max_compaction_lag_closes_segments_of_compacted_topics() {
    let config = LogConfig { max_compaction_lag_ms: HOUR, segment_ms: 100 * HOUR, ..LogConfig::default() };
    for (compact, segments) in [(true, 2), (false, 1)] {
        let config = LogConfig { compact, delete: !compact, ..config.clone() };
        let idle = log(config.clone());
        append(&idle, NOW, NOW);
        idle.roll_if_old(Timestamp(NOW + HOUR + 1)).unwrap();
        assert_eq!(idle.segment_count(), segments, "idle, compacted: {compact}");
        let busy = log(config);
        append(&busy, NOW, NOW);
        append(&busy, NOW + HOUR + 1, NOW + HOUR + 1);
        assert_eq!(busy.segment_count(), segments, "written to, compacted: {compact}");
    }
}

/// Who reads the whole log, as coordinators do when they load, reads about what is alive in it, however much was written.
#[test]
fn a_log_that_outgrows_what_is_alive_in_it_is_closed_to_be_compacted() {
    let log = log(LogConfig { compact: true, delete: false, ..LogConfig::default() });
    let enough = 20 * u64::try_from(of(NOW).len()).unwrap();
    let mut closed = 0;
    for time in 0..200 {
        append(&log, NOW + time, NOW + time);
        closed += u32::from(log.roll_if_outgrown(enough).unwrap());
        if time == 18 {
            assert_eq!(closed, 0, "too little to be worth it");
        }
    }
    // 20 batches; then twice 20, twice 60: the rest is not yet twice 180.
    assert_eq!((closed, log.segment_count()), (3, 4));
}
