//! Appends that somebody awaits: a `strict` log collects them for its files, and its journal has them meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{awaited, batch, contents, context, errors_of, expected, idempotent};
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::{FaultyDisk, Operation};
use ottla_storage::{AppendError, Durability, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions};

const SEGMENT: &str = "/a/t-0/00000000000000000000.log";
/// A quarter of it is written as one piece.
const SEGMENT_BYTES: i32 = 40_000;

fn open(disk: &FaultyDisk) -> Arc<LogDirs> {
    open_collecting_from(disk, 0)
}

fn open_collecting_from(disk: &FaultyDisk, collect_from: usize) -> Arc<LogDirs> {
    let options = LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config(Durability::Strict)),
        cleaner_threads: 0,
        journal: JournalOptions { threads: false, file_bytes: 64 << 10, collect_from },
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    LogDirs::open(&[PathBuf::from("/a")], options).unwrap()
}

fn config(durability: Durability) -> LogConfig {
    LogConfig { durability, segment_bytes: SEGMENT_BYTES, file_delete_delay_ms: 0, ..LogConfig::default() }
}

fn create(dirs: &Arc<LogDirs>, durability: Durability) -> Arc<Log> {
    let topic = TopicId(uuid::Uuid::from_u128(1));
    dirs.create_log(&TopicPartition::new("t", 0), topic, Arc::new(config(durability))).unwrap()
}

fn append(log: &Log, count: i64) {
    log.append_as_leader(batch(log.offsets().log_end.0, count), &awaited()).unwrap();
}

fn len(disk: &FaultyDisk) -> u64 {
    disk.open(Path::new(SEGMENT), ottla_storage::disk::OpenMode::Read).unwrap().len().unwrap()
}

/// From now on writes to the segment fail.
fn refuse_writes(disk: &FaultyDisk, error: fn() -> io::Error) {
    disk.set_fault(move |operation, path| {
        (matches!(operation, Operation::Write) && path == Path::new(SEGMENT)).then(error)
    });
}

/// A log that was told of 20 records in ten batches, and a journal that has them.
fn collected(disk: &FaultyDisk) -> (Arc<LogDirs>, Arc<Log>) {
    let dirs = open(disk);
    let log = create(&dirs, Durability::Strict);
    (0..10).for_each(|_| append(&log, 2));
    dirs.commit();
    assert_eq!((log.durable_end(), len(disk)), (Offset(20), 0), "the journal has them, the file does not");
    (dirs, log)
}

#[test]
fn small_appends_are_written_as_one_and_a_reader_misses_none() {
    let disk = FaultyDisk::default();
    let (_dirs, log) = collected(&disk);
    let writes = disk.operations();
    assert_eq!(contents(&log, Offset(0)), expected(20));
    assert_eq!(disk.operations() - writes, 1, "all of them in one write");
    assert_eq!(len(&disk), log.size());
    assert_eq!(contents(&log, Offset(7))[0], (6, "value 6".to_owned()));
}

#[test]
fn enough_for_a_piece_is_written_without_being_asked_for() {
    let disk = FaultyDisk::default();
    let (_dirs, log) = collected(&disk);
    while log.size() < 10_000 {
        assert_eq!(len(&disk), 0);
        append(&log, 2);
    }
    assert_eq!(len(&disk), log.size());
    append(&log, 300);
    assert_eq!(len(&disk), log.size(), "half a piece is not collected");
    append(&log, 2);
    assert!(len(&disk) < log.size());
    log.append_as_leader(batch(log.offsets().log_end.0, 1), &context()).unwrap();
    assert_eq!(len(&disk), log.size(), "what comes behind it and is not awaited brings it along");
}

#[test]
fn the_file_of_a_log_that_is_little_used_has_what_was_answered() {
    let disk = FaultyDisk::default();
    let dirs = open_collecting_from(&disk, 3);
    let log = create(&dirs, Durability::Strict);
    for _ in 0..9 {
        append(&log, 1);
        append(&log, 1);
        assert_eq!(len(&disk), log.size());
        dirs.commit();
    }
    (0..3).for_each(|_| append(&log, 1));
    dirs.commit();
    append(&log, 1);
    assert!(len(&disk) < log.size(), "the last round was a busy one");
    // What is left of the load, and the time that shows that it is over.
    dirs.write_out();
    append(&log, 1);
    assert!(len(&disk) < log.size());
    dirs.commit();
    dirs.write_out();
    append(&log, 1);
    assert_eq!(len(&disk), log.size());
    assert_eq!(contents(&log, Offset(0)), expected(24));
}

#[test]
fn a_kill_loses_nothing_that_was_answered_or_that_nobody_awaited() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    append(&log, 3);
    let killed = disk.after_kill();
    assert_eq!(contents(&create(&open(&killed), Durability::Strict), Offset(0)), expected(20));
    log.append_as_leader(batch(23, 2), &context()).unwrap();
    let killed = disk.after_kill();
    let found = contents(&create(&open(&killed), Durability::Strict), Offset(0));
    assert_eq!(found, expected(25), "with them what lay before them");
    append(&log, 2);
    assert!(log.roll_if_old(Timestamp(i64::MAX)).unwrap());
    log.append_as_leader(batch(27, 1), &context()).unwrap();
    let found = contents(&create(&open(&disk.after_kill()), Durability::Strict), Offset(0));
    assert_eq!(found, expected(28), "no hole is left between two segments");
    drop(dirs);
}

#[test]
fn what_counts_as_replicated_or_is_answered_without_the_journal_is_with_the_system() {
    // Awaited under `strict`, answered under `replicated`.
    for durability in [Durability::Replicated, Durability::Ephemeral] {
        let disk = FaultyDisk::default();
        let log = create(&open(&disk), Durability::Strict);
        append(&log, 3);
        assert_eq!(log.replicated_end(), Offset(0));
        log.update_config(Arc::new(config(durability)));
        assert_eq!(log.replicated_end(), Offset(3));
        assert_eq!(contents(&create(&open(&disk.after_kill()), durability), Offset(0)), expected(3), "{durability:?}");
        append(&log, 1);
        assert_eq!(len(&disk), log.size(), "{durability:?}");
    }
    // Sent again by somebody who does not wait.
    let disk = FaultyDisk::default();
    let log = create(&open(&disk), Durability::Strict);
    log.append_as_leader(idempotent(7, 0, 0, 2), &awaited()).unwrap();
    assert_eq!(len(&disk), 0);
    assert!(log.append_as_leader(idempotent(7, 0, 0, 2), &awaited()).unwrap().duplicate);
    assert_eq!(len(&disk), 0);
    assert!(log.append_as_leader(idempotent(7, 0, 0, 2), &context()).unwrap().duplicate);
    assert_eq!(len(&disk), log.size());
}

#[test]
fn a_log_that_was_emptied_gets_nothing_of_what_was_collected_before() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    log.truncate_fully_and_start_at(Offset(0)).unwrap();
    dirs.write_out();
    assert_eq!((len(&disk), log.size()), (0, 0));
    append(&log, 5);
    dirs.write_out();
    assert_eq!(contents(&log, Offset(0)), expected(5));
    let reopened = create(&open(&disk.after_kill()), Durability::Strict);
    assert_eq!(contents(&reopened, Offset(0)), expected(5));
}

#[test]
fn a_flush_a_stop_and_another_durability_leave_nothing_behind() {
    let disk = FaultyDisk::default();
    let (_dirs, log) = collected(&disk);
    log.flush().unwrap();
    assert_eq!(len(&disk), log.size());
    let reopened = create(&open(&disk.after_power_cut(|_| 0)), Durability::Strict);
    assert_eq!(contents(&reopened, Offset(0)), expected(20));

    for durability in [Durability::Strict, Durability::Replicated, Durability::Ephemeral] {
        let disk = FaultyDisk::default();
        let (dirs, log) = collected(&disk);
        log.update_config(Arc::new(config(durability)));
        dirs.shutdown(1);
        assert_eq!(len(&disk), log.size(), "{durability:?}");
        // No journal is left that could bring them back.
        assert_eq!(contents(&create(&open(&disk.after_kill()), durability), Offset(0)), expected(20), "{durability:?}");
    }
}

#[test]
fn a_cut_and_a_roll_find_what_was_collected() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    log.truncate_to(Offset(13)).unwrap();
    assert_eq!((log.offsets().log_end, log.size()), (Offset(12), len(&disk)), "the batch went as a whole");
    append(&log, 2);
    log.truncate_to(Offset(12)).unwrap();
    assert_eq!((log.offsets().log_end, log.size()), (Offset(12), len(&disk)), "nothing of it was in the file");
    append(&log, 2);
    assert!(log.roll_if_old(Timestamp(i64::MAX)).unwrap());
    assert_eq!(len(&disk), log.size());
    append(&log, 1);
    dirs.commit();
    let reopened = create(&open(&disk.after_power_cut(|_| 0)), Durability::Strict);
    assert_eq!(contents(&reopened, Offset(0)), expected(15));
}

#[test]
fn where_the_disk_is_full_it_is_kept_and_written_once_there_is_space() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    refuse_writes(&disk, || io::ErrorKind::StorageFull.into());
    let errors = errors_of(|| dirs.write_out());
    assert!(errors.iter().any(|error| error.contains("the disk is full")), "{errors:?}");
    assert!(log.read(Offset(0), 1 << 20, Offset(20), true).is_err(), "no reader takes a part of it for all");
    assert!(log.is_online(), "a disk is not broken because it is full");
    let refused = log.append_as_leader(batch(20, 1), &awaited());
    assert!(matches!(refused, Err(AppendError::DiskFull)), "{refused:?}");
    let killed = disk.after_kill();
    assert_eq!(contents(&create(&open(&killed), Durability::Strict), Offset(0)), expected(20));
    disk.clear_fault();
    dirs.write_out();
    assert_eq!(len(&disk), log.size());
    assert_eq!(contents(&log, Offset(0)), expected(20));
}

#[test]
fn an_append_that_makes_a_piece_and_finds_no_space_leaves_nothing() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    while log.size() < 9_900 {
        append(&log, 2);
    }
    let end = log.offsets().log_end;
    refuse_writes(&disk, || io::ErrorKind::StorageFull.into());
    errors_of(|| {
        let refused = log.append_as_leader(batch(end.0, 20), &awaited());
        assert!(matches!(refused, Err(AppendError::DiskFull)), "{refused:?}");
    });
    disk.clear_fault();
    assert_eq!(log.offsets().log_end, end);
    dirs.write_out();
    assert_eq!((len(&disk), contents(&log, Offset(0))), (log.size(), expected(end.0)));
}

#[test]
fn a_disk_that_fails_takes_its_directory_offline_and_the_next_start_has_all() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    refuse_writes(&disk, || io::Error::from_raw_os_error(5));
    let errors = errors_of(|| dirs.write_out());
    assert!(errors.iter().any(|error| error.contains("offline")), "{errors:?}");
    assert!(!log.is_online());
    let reopened = create(&open(&disk.after_power_cut(|_| 0)), Durability::Strict);
    assert_eq!(contents(&reopened, Offset(0)), expected(20));
}

#[test]
fn a_log_that_is_deleted_takes_along_what_was_collected() {
    let disk = FaultyDisk::default();
    let (dirs, log) = collected(&disk);
    let id = log.topic_partition().clone();
    drop(log);
    dirs.delete_log(&id).unwrap();
    dirs.commit();
    dirs.write_out();
    dirs.trim();
    let left = disk.list(Path::new("/a")).unwrap();
    assert!(!left.iter().any(|entry| entry.name.starts_with("t-0")), "{left:?}");
    assert!(dirs.dirs()[0].online);
    let log = create(&dirs, Durability::Strict);
    assert_eq!(contents(&log, Offset(0)), expected(0));
}
