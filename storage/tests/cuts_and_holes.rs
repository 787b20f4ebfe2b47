//! A cut stays a cut when the power goes, and a log never has a hole where a file lost its end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, batch, contents, context, dir, expected, options};
use ottla_protocol::{LeaderEpoch, Offset};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, Log, LogOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    disk.create_dir_all("/data".as_ref()).unwrap();
    disk.sync_dir("/".as_ref()).unwrap();
    disk
}

#[test]
fn a_cut_is_durable_before_anything_is_written_behind_it() {
    for segments in [1, 3] {
        let disk = disk();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        while log.segment_count() < segments || log.offsets().log_end.0 < 20 {
            append(&log, 1).unwrap();
        }
        log.flush().unwrap();
        log.truncate_to(Offset(10)).unwrap();
        let recovery_point = log.offsets().recovery_point;
        log.assign_leader_epoch(LeaderEpoch(4), Offset(10)).unwrap();
        log.append_as_leader(batch(100, 2), &AppendContext { leader_epoch: LeaderEpoch(4), ..context() }).unwrap();
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let crashed = disk.after_power_cut(|below| rng.random_range(0..below));
            let (log, _) = Log::open(dir(), LogOptions { recovery_point, ..options(&crashed) }).unwrap();
            let found = contents(&log, Offset(0));
            assert_eq!(found[..10], expected(10));
            let behind: Vec<&str> = found[10..].iter().map(|(_, value)| value.as_str()).collect();
            assert!(behind.is_empty() || behind == ["value 100", "value 101"], "{seed}: {behind:?}");
        }
    }
}

#[test]
fn records_of_an_epoch_that_has_passed_are_cut() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 2).unwrap();
    let at = |epoch| AppendContext { leader_epoch: LeaderEpoch(epoch), ..context() };
    log.append_as_leader(batch(2, 2), &at(4)).unwrap();
    let size = log.size() as usize;
    log.append_as_leader(batch(4, 2), &at(4)).unwrap();
    drop(log);
    let crashed = disk.after_kill();
    // The epoch in the header is not covered by the checksum: as if older bytes had come back.
    crashed.damage(&dir().join("00000000000000000000.log"), |bytes| bytes[size + 12..size + 16].fill(0)).unwrap();
    let (log, report) = Log::open(dir(), options(&crashed)).unwrap();
    assert_eq!(log.offsets().log_end, Offset(4));
    assert!(report.cut.unwrap().reason.contains("epoch"));
}

#[test]
fn the_end_of_a_closed_segment_is_missed() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    while log.segment_count() < 2 {
        append(&log, 1).unwrap();
    }
    append(&log, 5).unwrap();
    let second = log.offsets().log_end.0 - 6;
    drop(log);
    let crashed = disk.after_kill();
    let mut kept = 0;
    crashed
        .damage(&dir().join("00000000000000000000.log"), |bytes| {
            // As if the last write of the closed segment had never reached the disk.
            let last = ottla_protocol::record_batch::batches(bytes).map(|batch| batch.unwrap().size()).last().unwrap();
            bytes.truncate(bytes.len() - last);
            kept = second - 1;
        })
        .unwrap();
    let (log, report) = Log::open(dir(), options(&crashed)).unwrap();
    assert_eq!((log.offsets().log_end, log.segment_count()), (Offset(kept), 1));
    assert!(report.cut.unwrap().reason.contains("missing"));
    append(&log, 3).unwrap();
    assert_eq!(contents(&log, Offset(0)), expected(kept + 3));
}

#[test]
fn the_high_watermark_stays_at_or_behind_the_log_start() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for _ in 0..5 {
        append(&log, 4).unwrap();
    }
    log.set_high_watermark(Offset(18));
    log.increment_log_start_offset(Offset(18)).unwrap();
    // A new leader knows less of what is committed than this replica does.
    log.set_high_watermark(Offset(3));
    assert_eq!(log.high_watermark(), Offset(18));
    // The batch that the log start lies in goes as a whole.
    log.truncate_to(Offset(19)).unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.log_start, log.high_watermark(), offsets.log_end), (Offset(16), Offset(16), Offset(16)));
    append(&log, 4).unwrap();
    assert_eq!(contents(&log, Offset(16)), expected(20)[16..]);
}
