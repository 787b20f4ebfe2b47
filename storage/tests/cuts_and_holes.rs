//! A cut stays a cut when the power goes, and a log never has a hole where a file lost its end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, batch, contents, context, dir, expected, idempotent, options};
use ottla_protocol::record_batch::stamp;
use ottla_protocol::{LeaderEpoch, Offset, Timestamp};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::{Disk, read_file};
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

/// A leader that has compacted its log sends batches with gaps between them, and a follower's segment may be full at one.
#[test]
fn a_gap_where_a_segment_begins_is_no_missing_end() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    let mut next = 0;
    while log.segment_count() < 3 {
        let mut fetched = batch(next, 2).to_vec();
        stamp(&mut fetched, Offset(next), LeaderEpoch(1));
        log.append_as_follower(fetched.into(), Timestamp(1)).unwrap();
        next += 10;
    }
    let (end, held) = (log.offsets().log_end, contents(&log, Offset(0)));
    drop(log);
    let (log, report) = Log::open(dir(), options(&disk.after_kill())).unwrap();
    assert_eq!((report.cut, log.offsets().log_end, log.segment_count()), (None, end, 3));
    assert_eq!(contents(&log, Offset(0)), held);
}

/// A crash took the end of the log, and others have written there since. What was known of the producers at the old end
/// must not be believed when the log is cut behind it.
#[test]
fn what_a_lost_end_said_of_producers_is_forgotten() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for sequence in 0..10 {
        log.append_as_leader(idempotent(5, 0, sequence, 1), &context()).unwrap();
    }
    log.flush().unwrap();
    drop(log);
    let crashed = disk.after_kill();
    crashed.damage(&dir().join(format!("{:020}.log", 0)), |bytes| *bytes.last_mut().unwrap() ^= 1).unwrap();
    let (log, report) = Log::open(dir(), options(&crashed)).unwrap();
    assert_eq!(report.cut.map(|cut| cut.offset), Some(Offset(9)));
    for sequence in 0..5 {
        log.append_as_leader(idempotent(6, 0, sequence, 1), &context()).unwrap();
    }
    log.flush().unwrap();
    log.truncate_to(Offset(12)).unwrap();
    let known: Vec<(i64, i32)> = log.producers().iter().map(|p| (p.producer_id.0, p.last_sequence)).collect();
    assert_eq!(known, [(5, 8), (6, 2)]);
}

/// Also for Apache Kafka, which goes by this file alone.
#[test]
fn the_epochs_are_in_their_file_once_the_log_is_flushed_or_cut() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    let noted = || read_file(&disk, &dir().join("leader-epoch-checkpoint")).unwrap().map(String::from_utf8);
    append(&log, 2).unwrap();
    for epoch in [3, 7] {
        let at = AppendContext { leader_epoch: LeaderEpoch(epoch), ..context() };
        log.append_as_leader(batch(log.offsets().log_end.0, 2), &at).unwrap();
    }
    log.flush().unwrap();
    assert_eq!(noted(), Some(Ok("0\n3\n0 0\n3 2\n7 4\n".to_owned())));
    log.truncate_to(Offset(4)).unwrap();
    assert_eq!(noted(), Some(Ok("0\n2\n0 0\n3 2\n".to_owned())));
}

#[test]
fn the_high_watermark_never_passes_the_end_of_the_log() {
    let disk = disk();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 3).unwrap();
    // A follower hears of what its leader has committed before it has all of it.
    log.set_high_watermark(Offset(10));
    assert_eq!((log.high_watermark(), log.last_stable_offset()), (Offset(3), Offset(3)));
    append(&log, 2).unwrap();
    assert_eq!(log.high_watermark(), Offset(3), "what is appended since is not committed");
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
