//! Whatever a crash leaves of the unflushed tail: the log ends before the first batch that is not sound, and recovery
//! says where and what it cut.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, contents, dir, errors_of, expected, options};
use ottla_protocol::Offset;
use ottla_protocol::record_batch::batches;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::{Disk, read_file};
use ottla_storage::{Log, LogOptions};

const LOG: &str = "00000000000000000000.log";

/// A log in one segment; where each batch begins and with which offset.
fn small_log() -> (FaultyDisk, Vec<(usize, i64)>) {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for count in [1, 3, 2, 1, 4, 1] {
        append(&log, count).unwrap();
    }
    let bytes = read_file(&disk, &dir().join(LOG)).unwrap().unwrap();
    let mut position = 0;
    let mut starts = Vec::new();
    for batch in batches(&bytes) {
        let batch = batch.unwrap();
        starts.push((position, batch.base_offset.0));
        position += batch.size();
    }
    starts.push((position, log.offsets().log_end.0));
    (disk, starts)
}

fn reopen(disk: &FaultyDisk, recovery_point: i64) -> (Log, ottla_storage::RecoveryReport) {
    Log::open(dir(), LogOptions { recovery_point: Offset(recovery_point), ..options(disk) }).unwrap()
}

#[test]
fn every_truncation_leaves_the_whole_batches_before_it() {
    let (disk, starts) = small_log();
    let size = starts.last().unwrap().0;
    for len in 0..=size {
        let crashed = disk.after_kill();
        crashed.damage(&dir().join(LOG), |bytes| bytes.truncate(len)).unwrap();
        let (position, end) = *starts.iter().rfind(|(position, _)| *position <= len).unwrap();
        let (log, report) = reopen(&crashed, 0);
        assert_eq!(log.offsets().log_end, Offset(end), "{len} bytes");
        assert_eq!(contents(&log, Offset(0)), expected(end));
        match report.cut {
            None => assert_eq!(position, len),
            Some(cut) => {
                assert_eq!((cut.offset.0, cut.position, cut.bytes), (end, position as u64, (len - position) as u64))
            }
        }
        append(&log, 2).unwrap();
        assert_eq!(contents(&log, Offset(0)), expected(end + 2));
    }
}

#[test]
fn zeros_behind_the_end_are_cut() {
    let (disk, starts) = small_log();
    let (size, end) = *starts.last().unwrap();
    for zeros in [1, 11, 12, 60, 61, 62, 4096] {
        let crashed = disk.after_kill();
        crashed.damage(&dir().join(LOG), |bytes| bytes.resize(size + zeros, 0)).unwrap();
        let (log, report) = reopen(&crashed, 0);
        assert_eq!(log.offsets().log_end, Offset(end));
        assert_eq!(report.cut.unwrap().bytes, zeros as u64);
    }
}

#[test]
fn every_flipped_bit_in_the_tail_is_noticed() {
    let (disk, starts) = small_log();
    for pair in starts.windows(2) {
        let ((start, base), (end, _)) = (pair[0], pair[1]);
        for bit in start * 8..end * 8 {
            let crashed = disk.after_kill();
            crashed.damage(&dir().join(LOG), |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
            let (log, _) = reopen(&crashed, 0);
            let within = bit / 8 - start;
            // The checksum covers neither the base offset nor the leader epoch: the leader stamps them afterwards.
            if !(0..8).contains(&within) && !(12..16).contains(&within) {
                assert_eq!(log.offsets().log_end, Offset(base), "bit {bit}");
                assert_eq!(contents(&log, Offset(0)), expected(base), "bit {bit}");
            }
        }
    }
}

#[test]
fn what_was_flushed_is_not_read_again_and_never_cut() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for _ in 0..100 {
        append(&log, 2).unwrap();
    }
    log.flush().unwrap();
    let flushed = log.offsets().recovery_point;
    assert_eq!(flushed, log.offsets().log_end);
    append(&log, 1).unwrap();
    let size = log.size();
    let crashed = disk.after_kill();
    let (log, report) = reopen(&crashed, flushed.0);
    assert_eq!(report.batches_checked, 1);
    assert!(report.bytes_checked < size / 50);
    // A batch in the flushed part is damaged: it stays where it is, for readers to complain about.
    drop(log);
    crashed.damage(&dir().join(LOG), |bytes| bytes[200] ^= 1).unwrap();
    let (log, report) = reopen(&crashed, flushed.0);
    assert_eq!((report.cut, log.offsets().log_end), (None, flushed.plus(1)));
}

#[test]
fn flushed_records_that_are_missing_are_reported() {
    let (disk, starts) = small_log();
    let crashed = disk.after_kill();
    crashed.damage(&dir().join(LOG), |bytes| bytes.truncate(starts[3].0)).unwrap();
    let (log, report) = reopen(&crashed, starts[5].1);
    assert_eq!(log.offsets().log_end, Offset(starts[3].1));
    assert_eq!(report.lost_below, Some(Offset(starts[5].1)));
}

#[test]
fn damaged_indexes_do_not_change_what_is_read() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for _ in 0..60 {
        append(&log, 2).unwrap();
    }
    let end = log.offsets().log_end;
    log.close().unwrap();
    for name in ["00000000000000000000.index", "00000000000000000000.timeindex"] {
        let whole = read_file(&disk, &dir().join(name)).unwrap().unwrap();
        assert!(!whole.is_empty());
        for damage in 0..whole.len() + 3 {
            let damaged = disk.after_kill();
            damaged
                .damage(&dir().join(name), |bytes| match damage.checked_sub(whole.len()) {
                    None => bytes[damage] ^= 0x55,
                    Some(0) => bytes.clear(),
                    Some(1) => bytes.truncate(5),
                    Some(_) => bytes.extend([0; 4096]),
                })
                .unwrap();
            let (log, _) = Log::open(dir(), LogOptions { clean_shutdown: true, ..options(&damaged) }).unwrap();
            assert_eq!(log.offsets().log_end, end);
            for from in (0..end.0).step_by(5) {
                let seen = contents(&log, Offset(from));
                assert_eq!(seen.last(), expected(end.0).last());
                assert!(seen[0].0 <= from && seen.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0), "{name} {damage}");
            }
        }
    }
}

/// After a clean stop nothing is looked for; bytes that somebody took away are missed all the same.
#[test]
fn what_is_missing_after_a_clean_stop_is_told_as_an_error() {
    let (disk, starts) = small_log();
    let end = starts.last().unwrap().1;
    let (log, _) = reopen(&disk, 0);
    log.close().unwrap();
    drop(log);
    let size = starts.last().unwrap().0;
    let reopen = |damage: &dyn Fn(&FaultyDisk)| {
        let damaged = disk.after_kill();
        damage(&damaged);
        let mut opened = None;
        let told = errors_of(|| {
            let options = LogOptions { clean_shutdown: true, recovery_point: Offset(end), ..options(&damaged) };
            opened = Some(Log::open(dir(), options).unwrap());
        });
        let (log, report) = opened.unwrap();
        (log, report, told)
    };
    let (log, report, told) = reopen(&|_| {});
    assert_eq!((log.offsets().log_end, report.lost_below, told.len()), (Offset(end), None, 0));
    for len in 0..size {
        let (position, kept) = *starts.iter().rfind(|(position, _)| *position <= len).unwrap();
        let (log, report, told) = reopen(&|disk| disk.damage(&dir().join(LOG), |bytes| bytes.truncate(len)).unwrap());
        assert_eq!(log.offsets().log_end, Offset(kept), "{len} bytes");
        assert_eq!((report.lost_below, report.cut.is_some()), (Some(Offset(end)), position != len), "{len} bytes");
        let [line] = &told[..] else { panic!("{len} bytes: {told:?}") };
        assert!(line.contains("are lost") && line.contains("t-0"), "{line}");
        assert!(line.contains(&format!("from={kept}")) && line.contains(&format!("to={end}")), "{line}");
        assert_eq!(contents(&log, Offset(0)), expected(kept));
    }
    let (log, report, told) = reopen(&|disk| disk.remove_file(&dir().join(LOG)).unwrap());
    assert_eq!((log.offsets().log_end, report.lost_below, told.len()), (Offset(0), Some(Offset(end)), 1), "{told:?}");
}
