//! A file that is written fast has zeros behind its records: nobody ever reads them, and they go.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{append, batch, config, contents, context, expected, options};
use ottla_protocol::record_batch::batches;
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::{Disk, read_file};
use ottla_storage::{AppendContext, Durability, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions};

fn open(disk: &FaultyDisk) -> Arc<LogDirs> {
    let options = LogDirsOptions {
        disk: Arc::new(disk.clone()),
        cleaner_threads: 0,
        recovery_threads: 1,
        journal: JournalOptions { threads: false, file_bytes: 16 << 10, collect_from: 0 },
        reserve_bytes: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    LogDirs::open(&[PathBuf::from("/a")], options).unwrap()
}

fn log_in(dirs: &Arc<LogDirs>, durability: Durability) -> Arc<Log> {
    let config = LogConfig { durability, ..config() };
    dirs.create_log(&TopicPartition::new("t", 0), TopicId(uuid::Uuid::from_u128(1)), Arc::new(config)).unwrap()
}

/// A log whose file has zeros behind its records.
fn written_fast() -> (FaultyDisk, Arc<LogDirs>, Arc<Log>) {
    let disk = FaultyDisk::default();
    let dirs = open(&disk);
    let log = log_in(&dirs, Durability::Replicated);
    until_there_are_zeros(&log, &disk);
    (disk, dirs, log)
}

/// Bases and lengths of the `.log` files.
fn lengths(disk: &FaultyDisk) -> Vec<(i64, u64)> {
    let mut found: Vec<(i64, u64)> = disk
        .list(Path::new("/a/t-0"))
        .unwrap()
        .into_iter()
        .filter_map(|entry| Some((entry.name.strip_suffix(".log")?.parse().unwrap(), entry.len)))
        .collect();
    found.sort_unstable();
    found
}

/// What the whole batches of a file take.
fn bytes_of_batches(disk: &FaultyDisk, base: i64) -> u64 {
    let bytes = read_file(disk, Path::new(&format!("/a/t-0/{base:020}.log"))).unwrap().unwrap();
    batches(&bytes).map_while(Result::ok).map(|batch| batch.size() as u64).sum()
}

/// Appends until the file has zeros behind its records; how many bytes.
fn until_there_are_zeros(log: &Log, disk: &FaultyDisk) -> u64 {
    for _ in 0..30 {
        append(log, 2).unwrap();
        let behind = lengths(disk).iter().map(|(_, len)| len).sum::<u64>() - log.size();
        if behind > 0 {
            return behind;
        }
    }
    panic!("no zeros");
}

#[test]
fn a_file_that_is_written_fast_is_longer_than_its_records_until_it_rests() {
    for durability in [Durability::Strict, Durability::Replicated, Durability::Ephemeral] {
        let disk = FaultyDisk::default();
        let dirs = open(&disk);
        let log = log_in(&dirs, durability);
        let behind = until_there_are_zeros(&log, &disk);
        assert!(behind < 256 && lengths(&disk)[0].1.is_multiple_of(256), "{behind}");
        let end = log.offsets().log_end.0;
        assert_eq!(contents(&log, Offset(0)), expected(end), "nobody reads them");
        while dirs.commit() {}
        assert_eq!(lengths(&disk), [(0, log.size())], "the log is at rest");
        append(&log, 2).unwrap();
        assert_eq!(contents(&log, Offset(0)), expected(end + 2));
    }
}

#[test]
fn a_file_that_is_written_slowly_ends_with_its_records() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk);
    let log = log_in(&dirs, Durability::Replicated);
    for at in 0..60 {
        // 256 bytes take three of them, and more than a second.
        let cx = AppendContext { now: Timestamp(10_000 + at * 1000), ..context() };
        log.append_as_leader(batch(log.offsets().log_end.0, 1), &cx).unwrap();
        assert_eq!(lengths(&disk).iter().map(|(_, len)| len).sum::<u64>(), log.size());
    }
}

#[test]
fn closed_segments_and_closed_logs_have_no_zeros() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk);
    let log = log_in(&dirs, Durability::Replicated);
    let mut rolled_with_zeros = 0;
    while log.segment_count() < 8 {
        let had_zeros = lengths(&disk).iter().map(|(_, len)| len).sum::<u64>() > log.size();
        let before = log.segment_count();
        append(&log, 2).unwrap();
        rolled_with_zeros += usize::from(had_zeros && log.segment_count() > before);
        let lengths = lengths(&disk);
        for (base, len) in &lengths[..lengths.len() - 1] {
            assert_eq!(*len, bytes_of_batches(&disk, *base), "{lengths:?}");
        }
    }
    assert!(rolled_with_zeros > 3, "{rolled_with_zeros}");
    until_there_are_zeros(&log, &disk);
    dirs.shutdown(1);
    assert_eq!(lengths(&disk).iter().map(|(_, len)| len).sum::<u64>(), log.size());
}

#[test]
fn a_cut_takes_the_zeros_along() {
    let (disk, _dirs, log) = written_fast();
    log.truncate_to(Offset(2)).unwrap();
    assert_eq!(lengths(&disk), [(0, log.size())]);
    until_there_are_zeros(&log, &disk);
    let end = log.offsets().log_end.0;
    assert_eq!(contents(&log, Offset(0)), expected(end));
}

#[test]
fn a_killed_process_leaves_zeros_that_are_no_damage() {
    let (disk, dirs, log) = written_fast();
    let (end, size) = (log.offsets().log_end, log.size());
    let crashed = disk.after_kill();
    drop(dirs);
    let dirs = open(&crashed);
    let log = dirs.get(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!((log.offsets().log_end, log.size()), (end, size));
    assert_eq!(lengths(&crashed), [(0, size)]);
    assert_eq!(contents(&log, Offset(0)), expected(end.0));
}

#[test]
fn what_is_not_only_zeros_is_told() {
    let (disk, _dirs, log) = written_fast();
    let (end, size) = (log.offsets().log_end, log.size());
    for (change, is_told) in [(0, false), (1, true)] {
        let crashed = disk.after_kill();
        crashed
            .damage(Path::new("/a/t-0/00000000000000000000.log"), |bytes| *bytes.last_mut().unwrap() = change)
            .unwrap();
        let (log, report) = Log::open(PathBuf::from("/a/t-0"), options(&crashed)).unwrap();
        assert_eq!((log.offsets().log_end, report.cut.is_some()), (end, is_told));
        assert_eq!(lengths(&crashed), [(0, size)]);
    }
}

/// A flush notes the log end as flushed, and the next append begins a segment there: no later flush looks at the one before again.
#[test]
fn the_length_of_a_flushed_file_is_flushed() {
    let (disk, dirs, log) = written_fast();
    log.flush().unwrap();
    let before = log.segment_count();
    // As large as a segment may be: it begins one.
    log.append_as_leader(batch(log.offsets().log_end.0, 140), &context()).unwrap();
    assert_eq!(log.segment_count(), before + 1);
    while dirs.commit() {}
    dirs.checkpoint_all().unwrap();
    let end = log.offsets().log_end;
    // The power goes, and with it all that was not synced.
    let crashed = disk.after_power_cut(|_| 0);
    let closed = lengths(&crashed)[0];
    assert_eq!(closed.1, lengths(&disk)[0].1, "the zeros came back");
    let dirs = open(&crashed);
    let log = dirs.get(&TopicPartition::new("t", 0)).unwrap();
    let kept = log.offsets().log_end.0;
    assert!(kept <= end.0 && kept > 0);
    assert_eq!(contents(&log, Offset(0)), expected(kept));
}

#[test]
fn records_that_fit_without_the_zeros_are_taken() {
    let (disk, dirs, log) = written_fast();
    while dirs.commit() {}
    let mut without = 0;
    for room in (100..400).step_by(5) {
        disk.set_capacity(disk.used() + room);
        let end = log.offsets().log_end.0;
        let (size, segments) = (log.size(), log.segment_count());
        let taken = append(&log, 2).is_ok();
        disk.set_capacity(u64::MAX);
        if taken {
            let bytes = log.size() - size;
            let zone_ends = size / 256 < log.size() / 256 && segments == log.segment_count();
            without += usize::from(
                zone_ends && !log.size().is_multiple_of(256) && !lengths(&disk).last().unwrap().1.is_multiple_of(256),
            );
            assert!(bytes <= room);
        } else {
            assert_eq!((log.offsets().log_end.0, log.size()), (end, size));
            // A new segment takes space itself.
            assert!(room < 200 || segments < log.segment_count(), "{room}");
        }
        dirs.flush_due(Timestamp(10_000));
        assert_eq!(contents(&log, Offset(0)), expected(log.offsets().log_end.0));
    }
    assert!(without > 2, "{without}");
}

/// The file of the first segment is closed, and cannot be opened for want of descriptors while `work` is done.
fn without_descriptors<T>(disk: &FaultyDisk, dirs: &LogDirs, work: impl FnOnce() -> T) -> T {
    // It is closed when it was not used from one time to the next.
    dirs.maintenance(Timestamp(10_000));
    dirs.maintenance(Timestamp(10_000));
    disk.set_open_fault(move |path| {
        path.ends_with("00000000000000000000.log").then(|| std::io::Error::from_raw_os_error(24))
    });
    let done = work();
    disk.clear_fault();
    done
}

#[test]
fn an_append_that_finds_no_descriptor_does_not_forget_the_zeros() {
    let (disk, dirs, log) = written_fast();
    let end = log.offsets().log_end.0;
    without_descriptors(&disk, &dirs, || append(&log, 2).unwrap_err());
    // That a batch of a whole segment begins the next one.
    log.append_as_leader(batch(end, 140), &context()).unwrap();
    assert_eq!(lengths(&disk)[0].1, bytes_of_batches(&disk, 0));
    assert_eq!(contents(&log, Offset(0)), expected(end + 140));
}

#[test]
fn a_roll_that_cannot_cut_the_zeros_leaves_no_segment() {
    let (disk, dirs, log) = written_fast();
    let end = log.offsets().log_end.0;
    without_descriptors(&disk, &dirs, || {
        log.append_as_leader(batch(end, 140), &context()).unwrap_err();
    });
    assert_eq!(lengths(&disk).len(), 1);
    append(&log, 2).unwrap();
    dirs.shutdown(1);
    let log = open(&disk).get(&TopicPartition::new("t", 0)).unwrap();
    assert_eq!(log.offsets().log_end.0, end + 2);
    assert_eq!(contents(&log, Offset(0)), expected(end + 2));
}
