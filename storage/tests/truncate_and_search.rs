//! Cutting a log where the leader's differs, and finding records by offset and by time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use common::{append, config, contents, context, dir, expected, idempotent, options};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{LeaderEpoch, Offset, Timestamp};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, AppendError, Log, LogConfig, LogOptions};
use proptest::prelude::*;

#[test]
fn a_log_is_cut_at_every_offset() {
    for offset in 0..=60 {
        let disk = FaultyDisk::default();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        for at in 0..20 {
            append(&log, 2).unwrap();
            log.append_as_leader(idempotent(5, 0, at, 1), &context()).unwrap();
        }
        log.set_high_watermark(Offset(60));
        log.truncate_to(Offset(offset)).unwrap();
        // A batch goes as a whole.
        let end = if offset % 3 == 1 { offset - 1 } else { offset };
        assert_eq!((log.offsets().log_end, log.high_watermark()), (Offset(end), Offset(end)));
        let kept = contents(&log, Offset(0));
        assert_eq!(kept.len() as i64, end);
        let sequences: Vec<i32> = log.producers().iter().map(|producer| producer.last_sequence).collect();
        assert_eq!(sequences, if end >= 3 { vec![(end / 3 - 1) as i32] } else { vec![] });
        append(&log, 1).unwrap();
        drop(log);
        let (log, report) = Log::open(dir(), options(&disk.after_kill())).unwrap();
        assert_eq!((report.cut, log.offsets().log_end), (None, Offset(end + 1)));
    }
}

#[test]
fn a_log_starts_anew_at_another_offset() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for _ in 0..50 {
        append(&log, 2).unwrap();
    }
    log.truncate_fully_and_start_at(Offset(500)).unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.log_start, offsets.log_end, log.size()), (Offset(500), Offset(500), 0));
    append(&log, 2).unwrap();
    drop(log);
    let (log, _) = Log::open(dir(), LogOptions { log_start: Offset(500), ..options(&disk.after_kill()) }).unwrap();
    assert_eq!((log.offsets().log_start, log.offsets().log_end), (Offset(500), Offset(502)));
}

#[test]
fn a_follower_begins_at_a_log_start_within_a_batch() {
    let (leader_disk, follower_disk) = (FaultyDisk::default(), FaultyDisk::default());
    let (leader, _) = Log::open(dir(), options(&leader_disk)).unwrap();
    for _ in 0..10 {
        append(&leader, 3).unwrap();
    }
    leader.set_high_watermark(Offset(30));
    leader.increment_log_start_offset(Offset(16)).unwrap();
    let (follower, _) = Log::open(dir(), options(&follower_disk)).unwrap();
    follower.truncate_fully_and_start_at(Offset(16)).unwrap();
    let read = leader.read(Offset(16), 1 << 20, Offset(i64::MAX), true).unwrap();
    let bytes = read.records[0].read_all().unwrap();
    follower.append_as_follower(bytes.into(), Timestamp(1)).unwrap();
    follower.set_high_watermark(Offset(30));
    follower.increment_log_start_offset(Offset(16)).unwrap();
    let offsets = follower.offsets();
    assert_eq!((offsets.log_start, offsets.log_end), (Offset(16), Offset(30)));
    assert_eq!(contents(&follower, Offset(16))[0], (15, "value 15".to_owned()), "the whole batch, as Fetch gives it");
    drop(follower);
    let reopened = LogOptions { log_start: Offset(16), ..options(&follower_disk.after_kill()) };
    let (follower, report) = Log::open(dir(), reopened).unwrap();
    assert_eq!((report.cut, follower.offsets().log_start, follower.offsets().log_end), (None, Offset(16), Offset(30)));
}

/// The leader's epochs begin at its log start by now, so all that it can tell a follower with another history is to cut its
/// log there. Its first batch begins before.
#[test]
fn a_follower_that_was_cut_to_a_log_start_within_a_batch_goes_on() {
    let (leader_disk, follower_disk) = (FaultyDisk::default(), FaultyDisk::default());
    let (leader, _) = Log::open(dir(), options(&leader_disk)).unwrap();
    for _ in 0..10 {
        append(&leader, 3).unwrap();
    }
    leader.set_high_watermark(Offset(30));
    leader.increment_log_start_offset(Offset(16)).unwrap();
    let fetch = |from| leader.read(from, 1 << 20, Offset(i64::MAX), true).unwrap().records[0].read_all().unwrap();
    // Of batches of one record, and of two: the cut leaves a batch's end at the log start, or before it.
    for (records, next) in [(1, Offset(15)), (2, Offset(14))] {
        let (follower, _) = Log::open(dir(), options(&follower_disk.after_kill())).unwrap();
        for _ in 0..20 {
            append(&follower, records).unwrap();
        }
        follower.truncate_to(Offset(16)).unwrap();
        assert_eq!(follower.offsets().log_end, Offset(16));
        let appended = follower.append_as_follower(fetch(Offset(16)).into(), Timestamp(1));
        if next == Offset(15) {
            appended.unwrap();
            assert_eq!(follower.offsets().log_end, Offset(30));
            assert_eq!(contents(&follower, Offset(15))[0].0, 15);
            continue;
        }
        // A hole is not left: the follower asks again, and learns that the leader has nothing there.
        appended.unwrap_err();
        assert_eq!(follower.offsets().log_end, next);
        follower.truncate_fully_and_start_at(Offset(16)).unwrap();
        follower.append_as_follower(fetch(Offset(16)).into(), Timestamp(1)).unwrap();
        assert_eq!(follower.offsets().log_end, Offset(30));
    }
}

/// Each entry points to where the next one does: a sound batch, but not the one that it tells.
#[test]
fn an_index_entry_that_points_to_another_batch_is_not_believed() {
    let disk = FaultyDisk::default();
    let wide = Arc::new(LogConfig { segment_bytes: 1 << 20, ..config() });
    let (log, _) = Log::open(dir(), LogOptions { config: Arc::clone(&wide), ..options(&disk) }).unwrap();
    for _ in 0..60 {
        append(&log, 1).unwrap();
    }
    log.close().unwrap();
    let mut entries = 0;
    disk.damage(&dir().join(format!("{:020}.index", 0)), |bytes| {
        entries = bytes.len() / 8;
        for at in 0..entries - 1 {
            bytes.copy_within(at * 8 + 12..at * 8 + 16, at * 8 + 4);
        }
    })
    .unwrap();
    assert!(entries > 5, "{entries} entries");
    let clean = LogOptions { config: wide, clean_shutdown: true, ..options(&disk.after_kill()) };
    let (log, _) = Log::open(dir(), clean).unwrap();
    for offset in 0..60 {
        assert_eq!(contents(&log, Offset(offset))[0].0, offset);
    }
}

#[test]
fn a_past_leader_appends_nothing() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 2).unwrap();
    log.assign_leader_epoch(LeaderEpoch(4), Offset(2)).unwrap();
    assert!(matches!(append(&log, 1).unwrap_err(), AppendError::FencedLeaderEpoch { .. }));
    let cx = AppendContext { leader_epoch: LeaderEpoch(4), ..context() };
    log.append_as_leader(common::batch(2, 3), &cx).unwrap();
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(0), Offset(5)), Some((LeaderEpoch(0), Offset(2))));
    drop(log);
    // The epochs' file was never written: the batches tell them.
    let (log, _) = Log::open(dir(), options(&disk.after_kill())).unwrap();
    assert_eq!(log.end_offset_for_epoch(LeaderEpoch(3), Offset(5)), Some((LeaderEpoch(0), Offset(2))));
    assert_eq!(log.latest_epoch(), Some(LeaderEpoch(4)));
    assert_eq!(contents(&log, Offset(0)), expected(5));
}

#[test]
fn a_follower_takes_its_leaders_batches_as_they_are() {
    let (leader_disk, follower_disk) = (FaultyDisk::default(), FaultyDisk::default());
    let (leader, _) = Log::open(dir(), options(&leader_disk)).unwrap();
    let (follower, _) = Log::open(dir(), options(&follower_disk)).unwrap();
    for _ in 0..40 {
        append(&leader, 3).unwrap();
    }
    while follower.offsets().log_end < leader.offsets().log_end {
        let read = leader.read(follower.offsets().log_end, 500, Offset(i64::MAX), true).unwrap();
        let bytes = read.records[0].read_all().unwrap();
        follower.append_as_follower(bytes.into(), Timestamp(1)).unwrap();
    }
    assert_eq!(contents(&follower, Offset(0)), expected(120));
    assert_eq!(follower.latest_epoch(), leader.latest_epoch());
    let again = leader.read(Offset(0), 500, Offset(i64::MAX), true).unwrap().records[0].read_all().unwrap();
    let refused = follower.append_as_follower(again.into(), Timestamp(1)).unwrap_err();
    assert!(matches!(refused, AppendError::OutOfOrderOffsets { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Timestamps in any order, batches of any size: the search finds what a walk over all records finds.
    #[test]
    fn times_and_offsets_are_found_as_by_a_walk(
        batches in prop::collection::vec(prop::collection::vec(0..60_i64, 1..5), 1..60),
        start in 0..20_i64,
    ) {
        let disk = FaultyDisk::default();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        let mut times = Vec::new();
        let mut firsts = Vec::new();
        for batch in &batches {
            let mut builder = BatchBuilder::new();
            firsts.push(times.len() as i64);
            for time in batch {
                builder.push(Timestamp(*time), Some(b"k"), Some(&[1; 40]), &[]);
                times.push(*time);
            }
            log.append_as_leader(builder.build(), &context()).unwrap();
        }
        let end = times.len() as i64;
        log.set_high_watermark(Offset(end));
        let start = start.min(end);
        log.increment_log_start_offset(Offset(start)).unwrap();
        let check = |log: &Log| {
            for time in 0..61 {
                let walked = (start..end).find(|offset| times[*offset as usize] >= time);
                let found = log.offset_for_timestamp(Timestamp(time)).unwrap();
                prop_assert_eq!(found.map(|found| found.offset.0), walked);
                if let Some(found) = found {
                    prop_assert_eq!(found.timestamp.0, times[found.offset.0 as usize]);
                }
            }
            let max = log.offset_of_max_timestamp().unwrap().unwrap();
            prop_assert_eq!(max.timestamp.0, *times.iter().max().unwrap());
            for from in start..end {
                let read = log.read(Offset(from), 1, Offset(end), true).unwrap();
                let bytes = read.records[0].read_all().unwrap();
                let first = ottla_protocol::record_batch::BatchView::parse(&bytes).unwrap();
                let expected = firsts[firsts.partition_point(|first| *first <= from) - 1];
                prop_assert_eq!(first.base_offset.0, expected);
                // A bound hides what lies at or behind it.
                let bound = Offset((from + 3).min(end));
                let read = log.read(Offset(from), 1 << 20, bound, false).unwrap();
                for records in &read.records {
                    let bytes = records.read_all().unwrap();
                    for batch in ottla_protocol::record_batch::batches(&bytes) {
                        prop_assert!(batch.unwrap().last_offset() < bound);
                    }
                }
            }
            Ok(())
        };
        check(&log)?;
        log.close().unwrap();
        let reopened = LogOptions { clean_shutdown: true, log_start: Offset(start), ..options(&disk.after_kill()) };
        check(&Log::open(dir(), reopened).unwrap().0)?;
        let recovered = LogOptions { log_start: Offset(start), ..options(&disk.after_kill()) };
        check(&Log::open(dir(), recovered).unwrap().0)?;
    }
}

fn at_time(timestamp: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(timestamp), Some(b"k"), Some(&[1; 40]), &[]);
    builder.build()
}

fn found_at(log: &Log, timestamp: i64) -> Option<i64> {
    log.offset_for_timestamp(Timestamp(timestamp)).unwrap().map(|found| found.offset.0)
}

#[test]
fn what_is_left_after_a_cut_is_still_found_by_its_time() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for time in [900, 500, 600] {
        log.append_as_leader(at_time(time), &context()).unwrap();
    }
    log.truncate_to(Offset(2)).unwrap();
    log.append_as_leader(at_time(10), &context()).unwrap();
    assert_eq!(found_at(&log, 800), Some(0));
}

#[test]
fn a_lost_or_damaged_time_index_hides_no_record() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for number in 0..100 {
        log.append_as_leader(at_time(1_000 + number), &context()).unwrap();
    }
    log.close().unwrap();
    let damages: [fn(&mut Vec<u8>); 2] = [Vec::clear, |bytes| bytes.fill(0xff)];
    for damage in damages {
        let disk = disk.after_kill();
        let name = |base: &str| dir().join(format!("{base}.timeindex"));
        disk.damage(&name("00000000000000000000"), damage).unwrap();
        let options = LogOptions { clean_shutdown: true, ..options(&disk) };
        let (log, _) = Log::open(dir(), options).unwrap();
        for number in 0..100 {
            assert_eq!(found_at(&log, 1_000 + number), Some(number));
        }
    }
}
