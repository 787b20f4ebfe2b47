//! A broker's directories over restarts: what was created, deleted, cut and committed is as it was left.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{append, config, contents, expected};
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::{FaultyDisk, Operation};
use ottla_storage::{Durability, JournalOptions, LogConfig, LogDirs, LogDirsOptions, OpenError};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn options(disk: &FaultyDisk) -> LogDirsOptions {
    LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    }
}

fn open(disk: &FaultyDisk, dirs: &[&str]) -> Arc<LogDirs> {
    let paths: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    LogDirs::open(&paths, options(disk)).unwrap()
}

fn id(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

fn topic(number: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(number))
}

/// The checkpoints still tell where the deleted log began and what of it was flushed.
#[test]
fn a_new_log_of_a_deleted_ones_name_takes_over_nothing_of_it() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a"]);
    let old = dirs.create_log(&id("x", 0), topic(1), Arc::new(config())).unwrap();
    for _ in 0..30 {
        append(&old, 2).unwrap();
    }
    old.set_high_watermark(Offset(60));
    old.increment_log_start_offset(Offset(17)).unwrap();
    dirs.checkpoint_all().unwrap();
    dirs.delete_log(&id("x", 0)).unwrap();
    let new = dirs.create_log(&id("x", 0), topic(2), Arc::new(config())).unwrap();
    for _ in 0..30 {
        append(&new, 2).unwrap();
    }
    let killed = open(&disk.after_kill(), &["/a"]);
    let log = killed.get(&id("x", 0)).unwrap();
    assert_eq!((log.topic_id(), log.offsets().log_start), (topic(2), Offset(0)));
    assert_eq!(contents(&log, Offset(0)), expected(60));
    // The process before was killed between deletion and checkpoint.
    let disk = disk.after_kill();
    let dirs = open(&disk, &["/a"]);
    let log = dirs.get(&id("x", 0)).unwrap();
    log.set_high_watermark(Offset(60));
    log.increment_log_start_offset(Offset(17)).unwrap();
    dirs.checkpoint_all().unwrap();
    dirs.delete_log(&id("x", 0)).unwrap();
    let disk = disk.after_kill();
    let dirs = open(&disk, &["/a"]);
    let new = dirs.create_log(&id("x", 0), topic(3), Arc::new(config())).unwrap();
    append(&new, 2).unwrap();
    let killed = open(&disk.after_kill(), &["/a"]);
    let log = killed.get(&id("x", 0)).unwrap();
    assert_eq!((log.offsets().log_start, log.offsets().log_end), (Offset(0), Offset(2)));
}

#[test]
fn logs_come_back_after_a_clean_stop_and_after_a_kill() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a", "/b"]);
    assert!(!dirs.was_clean());
    for partition in 0..4 {
        let log = dirs.create_log(&id("x", partition), topic(9), Arc::new(config())).unwrap();
        for _ in 0..30 {
            append(&log, 2).unwrap();
        }
        log.set_high_watermark(Offset(60));
    }
    assert_ne!(dirs.directory_of(&id("x", 0)), dirs.directory_of(&id("x", 1)), "spread over the directories");
    dirs.get(&id("x", 2)).unwrap().increment_log_start_offset(Offset(17)).unwrap();
    dirs.checkpoint_all().unwrap();
    let killed = open(&disk.after_kill(), &["/a", "/b"]);
    dirs.shutdown(42);
    let stopped = open(&disk.after_kill(), &["/a", "/b"]);
    assert!(stopped.was_clean() && !killed.was_clean());
    assert_eq!((stopped.previous_broker_epoch(), killed.previous_broker_epoch()), (42, -1));
    for dirs in [killed, stopped] {
        assert_eq!(dirs.logs().len(), 4);
        for partition in 0..4 {
            let log = dirs.get(&id("x", partition)).unwrap();
            assert_eq!((log.topic_id(), log.high_watermark()), (topic(9), Offset(60)));
            let start = if partition == 2 { 17 } else { 0 };
            assert_eq!(log.offsets().log_start, Offset(start));
            let found: Vec<_> = contents(&log, Offset(start)).into_iter().filter(|record| record.0 >= start).collect();
            assert_eq!(found, expected(60)[start as usize..]);
        }
    }
}

#[test]
fn deleted_logs_go_and_strays_stay_aside() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a"]);
    for name in ["gone", "stray", "kept"] {
        let log = dirs.create_log(&id(name, 0), topic(1), Arc::new(config())).unwrap();
        append(&log, 1).unwrap();
    }
    let deleted = dirs.get(&id("gone", 0)).unwrap();
    dirs.delete_log(&id("gone", 0)).unwrap();
    dirs.move_aside(&id("stray", 0)).unwrap();
    assert!(append(&deleted, 1).is_err(), "nothing is appended to a log that was deleted");
    let again = dirs.create_log(&id("gone", 0), topic(2), Arc::new(config())).unwrap();
    assert_eq!(again.offsets().log_end, Offset(0));
    assert!(dirs.create_log(&id("gone", 0), topic(3), Arc::new(config())).is_err(), "another topic id");
    let deadline = Instant::now() + Duration::from_secs(10);
    let names = || disk.list("/a".as_ref()).unwrap().into_iter().map(|entry| entry.name).collect::<Vec<_>>();
    while names().iter().any(|name| name.ends_with("-delete")) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(names().iter().any(|name| name.starts_with("stray-0.") && name.ends_with("-stray")));
    let mut found: Vec<_> =
        open(&disk.after_kill(), &["/a"]).logs().iter().map(|log| log.topic_partition().to_string()).collect();
    found.sort();
    assert_eq!(found, ["gone-0", "kept-0"]);
}

#[test]
fn a_directory_of_somebody_else_is_refused() {
    let disk = FaultyDisk::default();
    open(&disk, &["/a"]).shutdown(1);
    let refused = |options: LogDirsOptions| LogDirs::open(&[PathBuf::from("/a")], options).unwrap_err();
    let other_node = LogDirsOptions { broker_id: BrokerId(2), ..options(&disk) };
    assert!(matches!(refused(other_node), OpenError::Mismatch { .. }));
    let other_cluster = LogDirsOptions { cluster_id: "other".into(), ..options(&disk) };
    assert!(matches!(refused(other_cluster), OpenError::Mismatch { .. }));
}

#[test]
fn logs_without_a_meta_properties_get_no_new_identity() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a"]);
    dirs.create_log(&id("x", 0), topic(9), Arc::new(config())).unwrap();
    dirs.shutdown(1);
    disk.remove_file(&PathBuf::from("/a/meta.properties")).unwrap();
    let error = LogDirs::open(&[PathBuf::from("/a")], options(&disk)).unwrap_err();
    assert!(matches!(&error, OpenError::Mismatch { reason, .. } if reason.contains("no meta.properties")), "{error}");
}

#[test]
fn one_failing_directory_leaves_the_others_alone() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a", "/b"]);
    let logs: Vec<_> = (0..2).map(|at| dirs.create_log(&id("x", at), topic(1), Arc::new(config())).unwrap()).collect();
    let failing = logs[0].parent_dir();
    let path = failing.clone();
    disk.set_fault(move |operation, at| {
        (operation == Operation::Write && at.starts_with(&path)).then(|| std::io::Error::from_raw_os_error(5))
    });
    assert!(append(&logs[0], 1).is_err());
    append(&logs[1], 1).unwrap();
    let online: Vec<_> = dirs.dirs().into_iter().filter(|dir| dir.online).map(|dir| dir.path).collect();
    assert_eq!(online, [logs[1].parent_dir()]);
    let next = dirs.create_log(&id("y", 0), topic(2), Arc::new(config())).unwrap();
    assert_eq!(next.parent_dir(), logs[1].parent_dir());
}

#[test]
fn retention_deletes_whole_segments_and_moves_the_start() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a"]);
    let limited = LogConfig { retention_bytes: 5_000, ..config() };
    let log = dirs.create_log(&id("x", 0), topic(1), Arc::new(limited)).unwrap();
    for _ in 0..200 {
        append(&log, 1).unwrap();
    }
    dirs.maintenance(Timestamp(10_000));
    assert_eq!(log.offsets().log_start, Offset(0), "nothing is committed");
    log.set_high_watermark(Offset(200));
    dirs.maintenance(Timestamp(10_000));
    let start = log.offsets().log_start;
    assert!(start > Offset(0) && log.size() >= 5_000 && log.size() < 8_000);
    assert_eq!(contents(&log, start), expected(200)[start.0 as usize..]);
    assert!(log.read(Offset(0), 100, Offset(200), true).is_err());
    // By time everything goes, the active segment included.
    log.update_config(Arc::new(LogConfig { retention_ms: 100, ..config() }));
    dirs.maintenance(Timestamp(1_000_000));
    assert_eq!(log.offsets().log_start, Offset(200));
    append(&log, 1).unwrap();
    let reopened = open(&disk.after_kill(), &["/a"]);
    let log = reopened.get(&id("x", 0)).unwrap();
    assert_eq!((log.offsets().log_start, log.offsets().log_end), (Offset(200), Offset(201)));
}

/// Deletion needs space itself, for the note that keeps deleted records deleted.
#[test]
fn records_can_be_deleted_on_a_full_disk_and_make_room() {
    for last_bytes in [0, 1, 300, 100_000] {
        let disk = FaultyDisk::default();
        disk.set_capacity(1 << 20);
        let dirs = open(&disk, &["/a"]);
        let log = dirs.create_log(&id("x", 0), topic(1), Arc::new(config())).unwrap();
        let mut end = 0;
        // Full to the last byte, the reserve included.
        while append(&log, 2).is_ok() {
            end += 2;
            if end % 100 == 0 {
                log.set_high_watermark(Offset(end));
            }
        }
        log.set_high_watermark(Offset(end));
        disk.set_capacity(disk.used() + last_bytes);
        let refused = append(&log, 1).unwrap_err();
        assert!(matches!(refused, ottla_storage::AppendError::DiskFull), "{refused}");
        log.increment_log_start_offset(Offset(end)).unwrap();
        assert!(dirs.dirs()[0].online);
        assert!(log.size() < 5_000, "{} bytes are left of what was deleted", log.size());
        // The next look at the disk finds the space.
        disk.set_capacity(1 << 20);
        dirs.flush_due(Timestamp(10_000));
        append(&log, 1).unwrap();
        let reopened = open(&disk.after_kill(), &["/a"]);
        assert_eq!(reopened.get(&id("x", 0)).unwrap().offsets().log_start, Offset(end), "deleted for good");
    }
}

/// Many logs are closed with one sync of everything. Wherever the power goes: who finds the marker of a clean end finds all
/// that there was, and nobody finds anything else than a prefix.
#[test]
fn the_power_goes_while_many_logs_are_closed() {
    const LOGS: i32 = 6;
    let run = |step: Option<u64>| {
        let disk = FaultyDisk::default();
        open(&disk, &["/a"]).shutdown(1);
        let journal = JournalOptions { threads: false, file_bytes: 64 << 10, collect_from: 0 };
        let options = LogDirsOptions { reserve_bytes: 0, recovery_threads: 1, journal, ..options(&disk) };
        let dirs = LogDirs::open(&[PathBuf::from("/a")], options).unwrap();
        let config = Arc::new(LogConfig { durability: Durability::Replicated, ..config() });
        for at in 0..LOGS {
            let log = dirs.create_log(&id("x", at), topic(1), Arc::clone(&config)).unwrap();
            for _ in 0..12 {
                append(&log, 2).unwrap();
            }
        }
        let before = disk.operations();
        if let Some(step) = step {
            disk.stop_after(step);
        }
        dirs.shutdown(7);
        let steps = disk.operations() - before;
        (disk, steps)
    };
    let (whole, steps) = run(None);
    assert!(open(&whole.after_kill(), &["/a"]).was_clean());
    let mut clean = 0;
    for step in 0..=steps + 5 {
        let (disk, _) = run(Some(step));
        for seed in 0..4 {
            let mut rng = StdRng::seed_from_u64(step * 10 + seed);
            let crashed = disk.after_power_cut(|below| rng.random_range(0..below));
            let dirs = open(&crashed, &["/a"]);
            for at in 0..LOGS {
                let Some(log) = dirs.get(&id("x", at)) else {
                    assert!(!dirs.was_clean(), "step {step} seed {seed}: a log is gone");
                    continue;
                };
                let end = log.offsets().log_end.0;
                assert!(end == 24 || !dirs.was_clean(), "step {step} seed {seed}: clean, and {end} of 24");
                assert_eq!(contents(&log, Offset(0)), expected(end), "step {step} seed {seed}");
            }
            clean += usize::from(dirs.was_clean());
        }
    }
    assert!(clean > 0);
}

#[test]
fn a_name_that_is_none_is_refused_and_harms_nobody() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a"]);
    let long = "x".repeat(249);
    let config = || Arc::new(config());
    for (name, partition) in
        [("", 0), (".", 0), ("..", 0), ("../evil", 0), ("a/b", 0), ("naïve", 0), ("t", -1), (&*long, 1_000_000)]
    {
        let refused = dirs.create_log(&id(name, partition), topic(1), config()).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput, "{name:?} {refused}");
    }
    let refused = dirs.find_or_create_log(&id(&"x".repeat(250), 0), topic(1), config()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
    assert!(dirs.dirs()[0].online);
    dirs.create_log(&id(&long, 99_999), topic(1), config()).unwrap();
    dirs.shutdown(1);
    // The marker vouches for what was there.
    assert!(dirs.create_log(&id("t", 0), topic(2), config()).is_err());
    drop(dirs);
    assert_eq!(open(&disk.after_kill(), &["/a"]).logs().len(), 1);
}
