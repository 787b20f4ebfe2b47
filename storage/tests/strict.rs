//! `log.durability=strict`: what was called durable is there after the power went, at every step of a workload and in
//! every state of what was not synced.
//!
//! `OTTLA_CRASH_STATES` sets how many states are looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::{append, awaited, batch, config, contents, context, errors_of, expected};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::{Disk, read_file};
use ottla_storage::{Durability, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const LOGS: i32 = 3;

fn options(disk: &FaultyDisk) -> LogDirsOptions {
    LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        recovery_threads: 1,
        journal: JournalOptions { threads: false, file_bytes: 16 << 10, collect_from: 0 },
        reserve_bytes: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    }
}

fn open(disk: &FaultyDisk) -> Arc<LogDirs> {
    LogDirs::open(&[PathBuf::from("/a")], options(disk)).unwrap()
}

/// A log directory that is there for good.
fn disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    open(&disk).shutdown(1);
    disk
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn topic(number: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(number))
}

/// What is promised of one log.
#[derive(Debug, Clone, Copy, Default)]
struct Promise {
    topic: u128,
    /// Records below are on the disk.
    durable: i64,
    /// Records below may be there.
    appended: i64,
    /// Records below were deleted.
    start: i64,
}

type Promises = BTreeMap<i32, Promise>;

/// What a workload does. Every value says its own offset, so a log that was cut gets the same records again.
fn workload(disk: &FaultyDisk, seed: u64) -> Promises {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut promises = Promises::new();
    let Ok(dirs) = LogDirs::open(&[PathBuf::from("/a")], options(disk)) else { return promises };
    let mut logs: BTreeMap<i32, Arc<Log>> = BTreeMap::new();
    for _ in 0..90 {
        let at = rng.random_range(0..LOGS);
        let action = rng.random_range(0..100);
        let Some(log) = logs.get(&at).cloned() else {
            let Ok(log) = dirs.create_log(&id(at), topic(at as u128 + 1), Arc::new(config())) else { break };
            promises.insert(at, Promise { topic: at as u128 + 1, ..Promise::default() });
            logs.insert(at, log);
            continue;
        };
        let promise = promises.get_mut(&at).unwrap();
        let count = rng.random_range(1..6);
        match action {
            0..50 => {
                let how = if rng.random_ratio(2, 3) { awaited() } else { context() };
                let records = batch(promise.appended, count);
                // Where it fails it may be there all the same.
                promise.appended += count;
                if log.append_as_leader(records, &how).is_err() {
                    break;
                }
            }
            50..72 => {
                dirs.commit();
            }
            72..76 => dirs.write_out(),
            76..82 => dirs.trim(),
            82..86 => {
                if log.flush().is_err() {
                    break;
                }
            }
            86..92 => {
                let cut = rng.random_range(0..=promise.appended);
                // Not below what is committed: the leader would not ask for that.
                let cut = cut.max(log.high_watermark().0).max(promise.appended - 8);
                let durable = promise.durable;
                // A batch goes as a whole.
                promise.durable = promise.durable.min((cut - 5).max(0));
                if log.truncate_to(Offset(cut)).is_err() {
                    break;
                }
                promise.appended = log.offsets().log_end.0;
                promise.durable = durable.min(promise.appended);
            }
            92..96 => {
                log.set_high_watermark(log.durable_end());
                let start = rng.random_range(0..=log.high_watermark().0);
                // Where it fails it may have begun.
                promise.start = promise.start.max(start);
                if log.increment_log_start_offset(Offset(start)).is_err() {
                    break;
                }
            }
            96..98 => {
                log.set_high_watermark(log.durable_end());
                log.update_config(Arc::new(LogConfig { retention_bytes: 2_000, ..config() }));
                dirs.maintenance(Timestamp(10_000));
                promise.start = promise.start.max(log.offsets().log_start.0);
            }
            _ => {
                let mode = if log.config().durability == Durability::Strict {
                    Durability::Replicated
                } else {
                    Durability::Strict
                };
                log.update_config(Arc::new(LogConfig { durability: mode, ..config() }));
            }
        }
        for (at, log) in &logs {
            let promise = promises.get_mut(at).unwrap();
            promise.durable = promise.durable.max(log.durable_end().0.min(promise.appended));
        }
    }
    promises
}

fn check(disk: &FaultyDisk, promises: &Promises, what: &str) {
    let mut opened = None;
    let errors = errors_of(|| opened = Some(open(disk)));
    let dirs = opened.unwrap();
    assert!(dirs.dirs()[0].online, "{what}: {errors:?}");
    for (at, promise) in promises {
        let Some(log) = dirs.get(&id(*at)) else {
            assert_eq!(promise.durable, 0, "{what}: log {at} is gone, {promise:?}");
            continue;
        };
        let offsets = log.offsets();
        let (start, end) = (offsets.log_start.0, offsets.log_end.0);
        assert!(end >= promise.durable && end <= promise.appended, "{what}: log {at} ends at {end}, {promise:?}");
        assert!(start <= promise.start, "{what}: log {at} starts at {start}, {promise:?}");
        if promise.durable > 0 {
            assert_eq!(log.topic_id(), topic(promise.topic), "{what}");
        }
        let found: Vec<_> = contents(&log, Offset(start)).into_iter().filter(|record| record.0 >= start).collect();
        assert!(found == expected(end)[start as usize..], "{what}: log {at}, {promise:?}");
    }
}

#[test]
fn nothing_durable_is_lost_to_a_power_cut() {
    let states: u64 = std::env::var("OTTLA_CRASH_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let threads = std::thread::available_parallelism().map_or(2, |cores| cores.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let mut seen = 0;
                let mut seed = thread;
                while seen < states / threads {
                    seen += every_step(seed);
                    seed += threads;
                }
            });
        }
    });
}

/// Every step of one workload, several states each. How many were looked at.
fn every_step(seed: u64) -> u64 {
    let whole = disk();
    let before = whole.operations();
    workload(&whole, seed);
    let steps = whole.operations() - before;
    let mut seen = 0;
    for step in 0..=steps {
        let disk = disk();
        disk.stop_after(step);
        let promises = workload(&disk, seed);
        for cut in 0..12 {
            let mut rng = StdRng::seed_from_u64(seed ^ (step << 20) ^ (cut << 50));
            let crashed = disk.after_power_cut(|below| match cut {
                // The extremes: nothing that was not synced, and all of it.
                0 => 0,
                1 => below - 1,
                _ => rng.random_range(0..below),
            });
            let what = format!("seed {seed} step {step} cut {cut}");
            check(&crashed, &promises, &what);
            seen += 1;
            if cut == 0 {
                check(&disk.after_kill(), &promises, &format!("seed {seed} step {step} killed"));
                seen += 1;
            }
            if cut == 2 {
                // The power goes once more while it recovers.
                let again = disk.after_power_cut(|below| rng.random_range(0..below));
                again.stop_after(rng.random_range(0..40));
                let _ = LogDirs::open(&[PathBuf::from("/a")], options(&again));
                check(&again.after_power_cut(|below| rng.random_range(0..below)), &promises, &format!("{what} again"));
                seen += 1;
            }
        }
    }
    seen
}

#[test]
fn with_flush_messages_an_append_waits_for_the_disk() {
    let disk = disk();
    let dirs = open(&disk);
    let config = LogConfig { flush_messages: 3, ..config() };
    let log = dirs.create_log(&id(0), topic(1), Arc::new(config)).unwrap();
    append(&log, 2).unwrap();
    assert_eq!(log.durable_end(), Offset(0), "two may wait");
    append(&log, 1).unwrap();
    assert_eq!(log.durable_end(), Offset(3), "three may not");
    append(&log, 7).unwrap();
    assert_eq!(log.durable_end(), Offset(10));
    let cut = open(&disk.after_power_cut(|_| 0));
    assert_eq!(cut.get(&id(0)).unwrap().offsets().log_end, Offset(10));
}

fn create(dirs: &Arc<LogDirs>, durability: Durability) -> Arc<Log> {
    dirs.create_log(&id(0), topic(1), Arc::new(LogConfig { durability, ..config() })).unwrap()
}

/// Records as a leader of `epoch` has them.
fn fetched(first: i64, count: i64, epoch: i32) -> Bytes {
    let mut builder = BatchBuilder::new().base_offset(Offset(first)).leader_epoch(LeaderEpoch(epoch));
    for number in first..first + count {
        let value = if epoch == 0 { format!("value {number}") } else { format!("epoch {epoch} {number}") };
        builder.push(Timestamp(1_000), None, Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// It was flushed where it lies: no journal brings back its directory, nor whose it is.
#[test]
fn a_new_log_that_was_flushed_is_there_and_knows_its_topic() {
    for is_noted in [false, true] {
        let disk = disk();
        let dirs = open(&disk);
        let log = create(&dirs, Durability::Replicated);
        append(&log, 5).unwrap();
        log.flush().unwrap();
        assert_eq!(log.durable_end(), Offset(5));
        if is_noted {
            dirs.checkpoint_all().unwrap();
        }
        // Refused where the records are known to be a topic's, and not of which.
        let log = create(&open(&disk.after_power_cut(|_| 0)), Durability::Replicated);
        assert_eq!(contents(&log, Offset(0)), expected(5), "noted: {is_noted}");
    }
}

/// They lie in the page cache only, and no journal has them.
#[test]
fn records_that_a_killed_process_left_are_durable_with_what_follows_them() {
    let disk = disk();
    append(&create(&open(&disk), Durability::Replicated), 5).unwrap();
    let disk = disk.after_kill();
    let dirs = open(&disk);
    let log = dirs.get(&id(0)).unwrap();
    assert_eq!((log.offsets().log_end, log.durable_end()), (Offset(5), Offset(0)));
    append(&log, 1).unwrap();
    dirs.commit();
    assert_eq!(log.durable_end(), Offset(6));
    let log = create(&open(&disk.after_power_cut(|_| 0)), Durability::Strict);
    assert_eq!(contents(&log, Offset(0)), expected(6));
}

/// A follower gets several batches at once, and its new leader has only the first of them.
#[test]
fn records_that_were_cut_off_do_not_take_the_place_of_what_follows() {
    let disk = disk();
    let dirs = open(&disk);
    let log = create(&dirs, Durability::Strict);
    let two = [fetched(0, 3, 0), fetched(3, 3, 0)].concat();
    log.append_as_follower(two.into(), Timestamp(10_000)).unwrap();
    dirs.commit();
    log.truncate_to(Offset(3)).unwrap();
    log.append_as_follower(fetched(3, 2, 1), Timestamp(10_000)).unwrap();
    dirs.commit();
    assert_eq!(log.durable_end(), Offset(5));
    let log = create(&open(&disk.after_power_cut(|_| 0)), Durability::Strict);
    let found = contents(&log, Offset(0));
    assert_eq!(found[..3], expected(3));
    assert_eq!(found[3..], [(3, "epoch 1 3".to_owned()), (4, "epoch 1 4".to_owned())]);
}

/// The process was killed while it cut the file: the next one sees it cut, or not, and the disk may know better.
#[test]
fn what_follows_a_cut_that_was_interrupted_is_there_after_a_power_cut() {
    for (step, is_synced) in (0..40).flat_map(|step| [(step, true), (step, false)]) {
        let disk = disk();
        let dirs = open(&disk);
        let log = create(&dirs, Durability::Strict);
        for _ in 0..5 {
            append(&log, 2).unwrap();
        }
        dirs.commit();
        if is_synced {
            dirs.trim();
        }
        disk.stop_after(step);
        let is_done = log.truncate_to(Offset(4)).is_ok();
        assert!(is_done || step < 39, "it is longer than it was");
        let disk = disk.after_kill();
        let dirs = open(&disk);
        let log = dirs.get(&id(0)).unwrap();
        let end = log.offsets().log_end.0;
        assert!(end == 4 || (end == 10 && !is_done), "step {step}: {end}");
        log.append_as_leader(batch(100, 2), &context()).unwrap();
        dirs.commit();
        assert_eq!(log.durable_end(), Offset(end + 2));
        let mut rng = StdRng::seed_from_u64(step);
        for cut in 0..8 {
            let crashed = disk.after_power_cut(|below| if cut == 0 { 0 } else { rng.random_range(0..below) });
            let found = contents(&create(&open(&crashed), Durability::Strict), Offset(0));
            let mut wanted = expected(end);
            wanted.extend([(end, "value 100".to_owned()), (end + 1, "value 101".to_owned())]);
            assert_eq!(found, wanted, "step {step} cut {cut} synced {is_synced}");
        }
    }
}

#[test]
fn deleted_records_stay_deleted() {
    let disk = disk();
    let dirs = open(&disk);
    let log = create(&dirs, Durability::Strict);
    for _ in 0..5 {
        append(&log, 2).unwrap();
    }
    dirs.commit();
    log.set_high_watermark(log.durable_end());
    log.increment_log_start_offset(Offset(6)).unwrap();
    let log = create(&open(&disk.after_power_cut(|_| 0)), Durability::Strict);
    assert_eq!((log.offsets().log_start, log.offsets().log_end), (Offset(6), Offset(10)));
}

/// The log's file has lost what had been synced to it; the journal has only what came later.
#[test]
fn records_behind_a_hole_are_told_as_lost_and_not_taken_for_the_log() {
    let disk = disk();
    let dirs = open(&disk);
    let log = create(&dirs, Durability::Strict);
    // More than one file of the journal, of which the first is given free.
    for _ in 0..4 {
        append(&log, 2).unwrap();
        dirs.commit();
    }
    dirs.trim();
    append(&log, 2).unwrap();
    dirs.commit();
    let disk = disk.after_power_cut(|_| 0);
    disk.damage("/a/t-0/00000000000000000000.log".as_ref(), Vec::clear).unwrap();
    let mut opened = None;
    let errors = errors_of(|| opened = Some(open(&disk)));
    let log = opened.unwrap().get(&id(0)).unwrap();
    assert_eq!((log.offsets().log_end, log.durable_end()), (Offset(0), Offset(0)));
    let [error] = &errors[..] else { panic!("{errors:?}") };
    assert!(error.contains("t-0") && error.contains("from=0"), "{error}");
}

/// The end of what was said of it is written over first.
#[test]
fn a_deleted_log_stays_deleted_when_files_of_the_journal_are_used_again() {
    let disk = disk();
    // So that the journal's files do not grow.
    disk.set_capacity(64 * (16 << 10));
    let dirs = open(&disk);
    append(&create(&dirs, Durability::Strict), 5).unwrap();
    dirs.commit();
    let other = dirs.create_log(&id(1), topic(2), Arc::new(config())).unwrap();
    let write = |frames: i32| {
        for _ in 0..frames {
            append(&other, 1).unwrap();
            dirs.commit();
        }
    };
    // Three frames to a file: the first one has the records, the third one that they are gone.
    write(6);
    dirs.delete_log(&id(0)).unwrap();
    write(4);
    dirs.trim();
    write(4);
    let end = other.durable_end();
    assert_eq!(end, Offset(14));
    let mut opened = None;
    let errors = errors_of(|| opened = Some(open(&disk.after_power_cut(|_| 0))));
    let dirs = opened.unwrap();
    assert!(dirs.get(&id(0)).is_none(), "it is back");
    assert_eq!(contents(&dirs.get(&id(1)).unwrap(), Offset(0)), expected(14));
    assert!(errors.is_empty(), "{errors:?}");
}

/// Coordinators go on from the reserve: a file that the journal would make is as large as that.
#[test]
fn what_is_left_of_a_disk_is_not_for_the_journal() {
    let disk = disk();
    disk.set_capacity(64 * (16 << 10));
    let dirs = open(&disk);
    let log = create(&dirs, Durability::Strict);
    append(&log, 1).unwrap();
    dirs.commit();
    let files = || {
        let entries = disk.list("/a".as_ref()).unwrap();
        entries.iter().filter(|entry| entry.name.starts_with("ottla-journal")).count()
    };
    let before = files();
    // One more file of two blocks would find room.
    disk.set_capacity(disk.used() + (12 << 10));
    let space = || disk.space("/a".as_ref()).unwrap().usable;
    for count in 2..20 {
        let left = space();
        append(&log, 1).unwrap();
        dirs.commit();
        assert_eq!(log.durable_end(), Offset(count));
        assert_eq!(files(), before);
        assert!(left - space() < 500, "{left} bytes were left, then {}", space());
    }
    let dirs = open(&disk.after_power_cut(|_| 0));
    assert_eq!(contents(&dirs.get(&id(0)).unwrap(), Offset(0)), expected(19));
}

/// After a crash thousands of logs may be cut one after the other.
#[test]
fn only_a_cut_below_what_is_noted_is_noted() {
    let disk = disk();
    let dirs = open(&disk);
    let log = create(&dirs, Durability::Replicated);
    append(&log, 4).unwrap();
    log.flush().unwrap();
    append(&log, 4).unwrap();
    dirs.checkpoint_all().unwrap();
    let path: &Path = "/a/recovery-point-offset-checkpoint".as_ref();
    let noted = || read_file(&disk, path).unwrap().map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(noted().unwrap().contains("t 0 4"));
    disk.remove_file(path).unwrap();
    log.truncate_to(Offset(6)).unwrap();
    // A batch goes as a whole.
    assert_eq!((log.offsets().log_end, noted()), (Offset(4), None), "the tail was noted nowhere");
    // The note itself fails, and the cut is tried again.
    disk.set_fault(|_, path| path.to_string_lossy().contains("checkpoint").then(|| io::ErrorKind::StorageFull.into()));
    assert!(log.truncate_to(Offset(2)).is_err());
    disk.clear_fault();
    assert_eq!(noted(), None);
    log.truncate_to(Offset(2)).unwrap();
    assert!(noted().unwrap().contains("t 0 0"));
}
