//! Logs move between log directories while they are written to, cut and read: nothing is lost and nothing is there twice,
//! at whichever step the process or the machine ends.
//!
//! `OTTLA_MOVE_STATES` sets how many states after a power cut are looked at.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{append, config, contents, context, errors_of, expected, idempotent, transactional};
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::{BrokerId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::{FaultyDisk, Operation};
use ottla_storage::{
    AppendContext, AppendOrigin, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions, MoveError, MoveStep,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const DIRS: [&str; 2] = ["/a", "/b"];

fn options(disk: &FaultyDisk) -> LogDirsOptions {
    LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        recovery_threads: 1,
        journal: JournalOptions { threads: false, file_bytes: 64 << 10, collect_from: 0 },
        reserve_bytes: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    }
}

fn open_only(disk: &FaultyDisk, dirs: &[&str]) -> Arc<LogDirs> {
    LogDirs::open(&dirs.iter().map(PathBuf::from).collect::<Vec<_>>(), options(disk)).unwrap()
}

fn open(disk: &FaultyDisk) -> Arc<LogDirs> {
    open_only(disk, &DIRS)
}

/// Log directories that are there for good.
fn disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    open(&disk).shutdown(1);
    disk
}

fn id() -> TopicPartition {
    TopicPartition::new("t", 0)
}

fn topic() -> TopicId {
    TopicId(uuid::Uuid::from_u128(9))
}

/// Where the log is not.
fn other_dir(log: &Log) -> &'static Path {
    let here = log.parent_dir();
    DIRS.iter().map(Path::new).find(|dir| *dir != here).unwrap()
}

#[test]
fn cordoned_directories_get_new_logs_only_where_there_is_no_other() {
    let dirs = open(&disk());
    let new = |partition: i32| {
        let id = TopicPartition::new("c", partition);
        dirs.create_log(&id, topic(), Arc::new(config())).unwrap().parent_dir()
    };
    let ids: Vec<_> = dirs.dirs().into_iter().map(|dir| dir.id).collect();
    dirs.cordon(&ids[..1]);
    assert!((0..4).all(|partition| new(partition) == Path::new(DIRS[1])));
    dirs.cordon(&ids);
    // All alike: the one with the fewest logs, as ever.
    assert_eq!(new(4), Path::new(DIRS[0]));
    dirs.cordon(&[]);
    assert_eq!(new(5), Path::new(DIRS[0]));
}

#[test]
fn no_log_is_moved_into_a_cordoned_directory() {
    let dirs = open(&disk());
    let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
    let (to, absent) = (other_dir(&log), TopicPartition::new("absent", 0));
    assert!(dirs.start_move(&id(), to).unwrap());
    let ids: Vec<_> = dirs.dirs().into_iter().map(|dir| dir.id).collect();
    dirs.cordon(&ids);
    // Before anything is asked of the log; and even to where it is.
    assert!(matches!(dirs.start_move(&absent, to), Err(MoveError::Cordoned)));
    assert!(matches!(dirs.start_move(&id(), &log.parent_dir()), Err(MoveError::Cordoned)));
    assert!(matches!(dirs.prefer(&absent, to), Err(MoveError::Cordoned)));
    // What was on its way arrives.
    finish(&dirs).unwrap();
    assert_eq!(log.parent_dir(), to);
    dirs.cordon(&[]);
    assert!(dirs.prefer(&absent, to).is_ok());
}

fn finish(dirs: &Arc<LogDirs>) -> io::Result<()> {
    while dirs.move_on(&id(), 1_000)? != MoveStep::Done {}
    Ok(())
}

fn names(disk: &FaultyDisk, dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = disk.list(dir).unwrap().into_iter().map(|entry| entry.name).collect();
    names.retain(|name| name.starts_with("t-0"));
    names.sort();
    names
}

#[test]
fn a_log_moves_with_all_that_it_knows() {
    let disk = disk();
    let dirs = open(&disk);
    let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
    let (from, to) = (log.parent_dir(), other_dir(&log));
    for sequence in 0..40 {
        log.append_as_leader(idempotent(7, 0, sequence, 1), &context()).unwrap();
    }
    log.append_as_leader(transactional(8, 0), &context()).unwrap();
    let coordinator = AppendContext { origin: AppendOrigin::Coordinator, ..context() };
    let marker = end_txn_marker(ProducerId(8), ProducerEpoch(0), 3, false, Timestamp(10_000));
    log.append_as_leader(marker, &coordinator).unwrap();
    log.append_as_leader(transactional(9, 0), &context()).unwrap();
    log.set_high_watermark(Offset(42));
    log.increment_log_start_offset(Offset(5)).unwrap();
    let before = (log.offsets().log_end, log.producers(), log.aborted_transactions(Offset(5), Offset(43)).unwrap());

    assert!(dirs.start_move(&id(), to).unwrap());
    assert!(!dirs.start_move(&id(), to).unwrap(), "it is on its way");
    assert_eq!(dirs.moving().len(), 1);
    assert!(dirs.moving()[0].lag > 0 && dirs.moving()[0].to == to);
    assert!(names(&disk, to)[0].ends_with("-future"));
    assert!(!dirs.start_move(&id(), &from).unwrap(), "it stays");
    assert!(dirs.moving().is_empty());
    assert!(dirs.start_move(&id(), to).unwrap());
    finish(&dirs).unwrap();
    assert!(dirs.moving().is_empty());
    assert_eq!(log.parent_dir(), to, "the same log in another place");
    assert_eq!(dirs.directory_of(&id()), dirs.dirs().iter().find(|dir| dir.path == to).map(|dir| dir.id));
    dirs.commit();
    assert_eq!((names(&disk, &from), names(&disk, to)), (vec![], vec!["t-0".to_owned()]), "what was left is removed");
    assert!(!dirs.start_move(&id(), to).unwrap(), "it is there");

    let look = |log: &Log| {
        let (start, end) = (log.offsets().log_start, log.offsets().log_end);
        (end, log.producers(), log.aborted_transactions(start, end).unwrap())
    };
    assert_eq!(look(&log), before);
    assert_eq!(log.last_stable_offset(), Offset(42), "a transaction is open");
    // A retry is known, and what comes next goes on.
    assert!(log.append_as_leader(idempotent(7, 0, 39, 1), &context()).unwrap().duplicate);
    assert_eq!(log.append_as_leader(idempotent(7, 0, 40, 1), &context()).unwrap().first_offset, Offset(43));
    dirs.commit();
    assert_eq!(log.durable_end(), Offset(44));
    for disk in [disk.after_kill(), disk.after_power_cut(|_| 0)] {
        let dirs = open(&disk);
        let log = dirs.get(&id()).unwrap();
        assert_eq!((log.parent_dir(), log.topic_id()), (to.to_path_buf(), topic()));
        assert_eq!((log.offsets().log_start, log.offsets().log_end), (Offset(5), Offset(44)));
        assert_eq!(look(&log).2, before.2);
    }
    // And back again.
    assert!(dirs.start_move(&id(), &from).unwrap());
    finish(&dirs).unwrap();
    assert_eq!(look(&log).0, Offset(44));
    dirs.shutdown(3);
    let dirs = open(&disk);
    assert!(dirs.was_clean());
    assert_eq!(look(&dirs.get(&id()).unwrap()).2, before.2);
}

#[test]
fn what_cannot_be_moved_is_refused() {
    let disk = disk();
    let dirs = open(&disk);
    assert!(matches!(dirs.start_move(&id(), Path::new("/a")), Err(MoveError::NoLog)));
    let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
    assert!(matches!(dirs.start_move(&id(), Path::new("/c")), Err(MoveError::NoSuchDirectory)));
    let to = other_dir(&log);
    disk.set_fault(move |operation, at| {
        (operation == Operation::Write && at.starts_with(to)).then(|| io::Error::from_raw_os_error(5))
    });
    for count in 0..20 {
        append(&log, 1 + count % 3).unwrap();
    }
    let end = log.offsets().log_end;
    let failed = dirs.start_move(&id(), to).map(|_| finish(&dirs));
    assert!(matches!(failed, Err(_) | Ok(Err(_))), "the destination fails");
    assert!(dirs.moving().is_empty());
    append(&log, 1).unwrap();
    dirs.commit();
    assert_eq!((log.durable_end(), log.parent_dir() == to), (end.plus(1), false), "the log is not concerned");
    assert!(matches!(dirs.start_move(&id(), to), Err(MoveError::Offline)));
    let long = TopicPartition::new("x".repeat(249), 0);
    dirs.create_log(&long, topic(), Arc::new(config())).unwrap();
    let here = dirs.get(&long).unwrap().parent_dir();
    assert!(matches!(dirs.start_move(&long, &here), Err(MoveError::NameTooLong)));
}

#[test]
fn new_logs_go_where_they_are_wanted_or_where_few_are() {
    let disk = disk();
    let dirs = open(&disk);
    let log = |number| TopicPartition::new("n", number);
    dirs.prefer(&log(0), Path::new("/b")).unwrap();
    dirs.prefer(&log(1), Path::new("/b")).unwrap();
    assert!(matches!(dirs.prefer(&log(1), Path::new("/c")), Err(MoveError::NoSuchDirectory)));
    let place = |number| dirs.create_log(&log(number), topic(), Arc::new(config())).unwrap().parent_dir();
    assert_eq!((place(0), place(1)), ("/b".into(), "/b".into()));
    assert_eq!((place(2), place(3)), ("/a".into(), "/a".into()));
    // One that is on its way counts where it goes to.
    dirs.start_move(&log(0), Path::new("/a")).unwrap();
    dirs.delete_log(&log(1)).unwrap();
    assert_eq!(place(4), PathBuf::from("/b"));
}

#[test]
fn a_move_ends_with_its_topic_and_begins_anew_after_a_restart() {
    let disk = disk();
    let dirs = open(&disk);
    let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
    for _ in 0..100 {
        append(&log, 1).unwrap();
    }
    let to = other_dir(&log);
    dirs.start_move(&id(), to).unwrap();
    assert!(matches!(dirs.move_on(&id(), 500).unwrap(), MoveStep::Copied(_)));
    for (disk, clean) in [(disk.after_kill(), false), (disk.clone(), true)] {
        if clean {
            dirs.shutdown(1);
        }
        let dirs = open(&disk);
        assert_eq!(dirs.was_clean(), clean);
        assert_eq!(dirs.moving().len(), 1, "it goes on");
        finish(&dirs).unwrap();
        let log = dirs.get(&id()).unwrap();
        assert_eq!((log.parent_dir(), contents(&log, Offset(0))), (to.to_path_buf(), expected(100)));
    }
    let dirs = open(&disk.after_kill());
    let log = dirs.get(&id()).unwrap();
    dirs.start_move(&id(), other_dir(&log)).unwrap();
    dirs.delete_log(&id()).unwrap();
    assert_eq!(dirs.move_on(&id(), 500).unwrap(), MoveStep::Gone);
    assert!(dirs.moving().is_empty());
}

#[test]
fn compaction_waits_for_the_move_and_knows_how_far_it_came() {
    let disk = disk();
    let dirs = open(&disk);
    let compacted = LogConfig { compact: true, delete: false, min_cleanable_dirty_ratio: 0.01, ..config() };
    let log = dirs.create_log(&id(), topic(), Arc::new(compacted.clone())).unwrap();
    for _ in 0..200 {
        append(&log, 1).unwrap();
    }
    log.set_high_watermark(Offset(200));
    dirs.commit();
    assert!(dirs.clean_one(Timestamp(20_000)));
    let cleaned = contents(&log, Offset(0));
    assert!(cleaned.len() < 100, "every record has the same key");
    for _ in 0..100 {
        append(&log, 1).unwrap();
    }
    log.set_high_watermark(Offset(300));
    dirs.start_move(&id(), other_dir(&log)).unwrap();
    assert!(!dirs.clean_one(Timestamp(20_000)), "not while it is copied");
    finish(&dirs).unwrap();
    assert!(contents(&log, Offset(0)).starts_with(&cleaned));
    let noted = |dir: &Path| {
        let file = disk.open(&dir.join("cleaner-offset-checkpoint"), ottla_storage::disk::OpenMode::Read).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_at(&mut bytes, 0).unwrap();
        String::from_utf8(bytes).unwrap()
    };
    assert!(noted(&log.parent_dir()).contains("t 0 "), "{}", noted(&log.parent_dir()));
    dirs.commit();
    assert!(dirs.clean_one(Timestamp(20_000)));
    assert!(contents(&log, Offset(0)).len() < 100);
}

#[test]
fn a_log_moves_while_threads_append_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<PathBuf> = ["a", "b"].iter().map(|name| folder.path().join(name)).collect();
    let options = LogDirsOptions {
        default_config: Arc::new(config()),
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    let dirs = LogDirs::open(&paths, options.clone()).unwrap();
    let config = LogConfig { segment_bytes: 100_000, message_timestamp_after_max_ms: i64::MAX, ..config() };
    let log = dirs.create_log(&id(), topic(), Arc::new(config)).unwrap();
    let stop = AtomicBool::new(false);
    let appended = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut appended = 0;
            // As many as are read in the end.
            while !stop.load(Ordering::Relaxed) && appended < 300_000 {
                append(&log, 3).unwrap();
                appended += 3;
            }
            appended
        });
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let end = log.offsets().log_end;
                let from = Offset((end.0 - 50).max(0));
                let found: Vec<_> = contents(&log, from).into_iter().filter(|record| record.0 >= from.0).collect();
                for (offset, (at, value)) in (from.0..).zip(&found) {
                    assert_eq!((*at, value), (offset, &format!("value {offset}")));
                }
            }
        });
        for round in 1..=6 {
            let to = &paths[round % 2];
            assert!(dirs.start_move(&id(), to).unwrap() || log.parent_dir() == *to);
            while !matches!(dirs.move_on(&id(), 64 << 10).unwrap(), MoveStep::Done | MoveStep::Gone) {}
            assert_eq!(log.parent_dir(), *to);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    assert!(log.is_online());
    assert_eq!(contents(&log, Offset(0)), expected(appended));
    drop(log);
    // As after a kill: nothing is closed.
    std::mem::forget(dirs.clone());
    let copy = folder.path().join("copy");
    std::process::Command::new("cp").arg("-r").arg(folder.path().join("a")).arg(&copy).status().unwrap();
    let reopened = LogDirs::open(&[copy], options).unwrap();
    let log = reopened.get(&id()).unwrap();
    assert_eq!(contents(&log, Offset(0)), expected(appended));
}

/// The copy has the log's name already, the log has it still. Whichever directory is away later on, nobody gets the older.
#[test]
fn a_move_that_is_killed_between_its_two_names_leaves_one_log() {
    let mut had_both = 0;
    for step in 0.. {
        let disk = disk();
        let dirs = open(&disk);
        let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
        for _ in 0..5 {
            append(&log, 4).unwrap();
        }
        dirs.commit();
        dirs.start_move(&id(), other_dir(&log)).unwrap();
        disk.stop_after(step);
        let moved = finish(&dirs).is_ok();
        let disk = disk.after_kill();
        let has = |dir: &str| names(&disk, Path::new(dir)).contains(&"t-0".to_owned());
        had_both += u32::from(DIRS.into_iter().all(has));
        let dirs = open(&disk);
        let log = dirs.get(&id()).unwrap();
        assert_eq!(contents(&log, Offset(0)), expected(20), "step {step}");
        append(&log, 2).unwrap();
        dirs.commit();
        for there in [&DIRS[..1], &DIRS[1..], &DIRS] {
            let dirs = open_only(&disk.after_kill(), there);
            match dirs.get(&id()) {
                Some(log) => assert_eq!(contents(&log, Offset(0)), expected(22), "step {step}, {there:?}"),
                None => assert_eq!(there.len(), 1, "step {step}"),
            }
        }
        if moved {
            break;
        }
    }
    assert!(had_both > 0);
}

/// What is promised of the log.
#[derive(Debug, Clone, Copy, Default)]
struct Promise {
    exists: bool,
    /// Records below are on the disk.
    durable: i64,
    /// Records below may be there.
    appended: i64,
    /// Records below were deleted for certain ...
    deleted: i64,
    /// ... or may have been.
    start: i64,
}

fn workload(disk: &FaultyDisk, seed: u64) -> Promise {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut promise = Promise::default();
    let paths: Vec<PathBuf> = DIRS.iter().map(PathBuf::from).collect();
    let Ok(dirs) = LogDirs::open(&paths, options(disk)) else { return promise };
    let Ok(log) = dirs.create_log(&id(), topic(), Arc::new(config())) else { return promise };
    promise.exists = true;
    for _ in 0..80 {
        match rng.random_range(0..100) {
            0..35 => {
                let count = rng.random_range(1..6);
                promise.appended += count;
                if append(&log, count).is_err() {
                    break;
                }
            }
            35..55 => {
                dirs.commit();
            }
            55..59 => dirs.trim(),
            59..63 => {
                let cut = log.high_watermark().0.max(promise.appended - 8);
                let durable = promise.durable;
                promise.durable = promise.durable.min((cut - 5).max(0));
                if log.truncate_to(Offset(cut)).is_err() {
                    break;
                }
                promise.appended = log.offsets().log_end.0;
                promise.durable = durable.min(promise.appended);
            }
            63..67 => {
                log.set_high_watermark(log.durable_end());
                let start = rng.random_range(0..=log.high_watermark().0);
                promise.start = promise.start.max(start);
                if log.increment_log_start_offset(Offset(start)).is_err() {
                    break;
                }
                promise.deleted = promise.start;
            }
            67..70 => {
                let _ = dirs.checkpoint_all();
            }
            70..76 => {
                if dirs.start_move(&id(), other_dir(&log)).is_err() {
                    break;
                }
            }
            _ => {
                if dirs.move_on(&id(), 400).is_err() {
                    break;
                }
            }
        }
        promise.durable = promise.durable.max(log.durable_end().0.min(promise.appended));
    }
    promise
}

/// Holds what is there against what was promised. `dirs` may lack one of the directories.
fn check(dirs: &LogDirs, promise: Promise, what: &str) -> bool {
    let Some(log) = dirs.get(&id()) else { return false };
    let offsets = log.offsets();
    let (start, end) = (offsets.log_start.0, offsets.log_end.0);
    let context = format!("{what}: {start}..{end} in {}, {promise:?}", log.dir().display());
    assert!(end >= promise.durable && end <= promise.appended, "{context}");
    assert!(start <= promise.start, "{context}");
    assert!(start >= promise.deleted.min(end), "{context}: deleted records are back");
    assert!(promise.durable == 0 || log.topic_id() == topic(), "{context}");
    let found: Vec<_> = contents(&log, Offset(start)).into_iter().filter(|record| record.0 >= start).collect();
    assert!(found == expected(end)[start as usize..], "{context}");
    // It goes on, and so does the move.
    true
}

#[test]
fn nothing_is_lost_at_any_step_of_a_move() {
    let wanted: u64 = std::env::var("OTTLA_MOVE_STATES").ok().and_then(|text| text.parse().ok()).unwrap_or(4_000);
    let (mut seen, mut seed, mut moved) = (0, 0, 0);
    while seen < wanted {
        let whole = disk();
        let before = whole.operations();
        workload(&whole, seed);
        moved += u64::from(names(&whole, Path::new(DIRS[1])).contains(&"t-0".to_owned()));
        for step in 0..=whole.operations() - before {
            let disk = disk();
            disk.stop_after(step);
            let promise = workload(&disk, seed);
            for cut in 0..4 {
                let mut rng = StdRng::seed_from_u64(seed ^ (step << 20) ^ (cut << 50));
                let crashed = match cut {
                    0 => disk.after_kill(),
                    1 => disk.after_power_cut(|_| 0),
                    _ => disk.after_power_cut(|below| rng.random_range(0..below)),
                };
                let what = format!("seed {seed} step {step} cut {cut}");
                // With one directory away there is nothing rather than something old.
                for alone in DIRS {
                    let only = crashed.after_kill();
                    check(&open_only(&only, &[alone]), promise, &format!("{what}, only {alone}"));
                }
                let dirs = open(&crashed);
                assert!(dirs.dirs().iter().all(|dir| dir.online), "{what}");
                assert!(check(&dirs, promise, &what) || promise.durable == 0, "{what}: the log is gone, {promise:?}");
                if dirs.get(&id()).is_some() {
                    // The broker names the topic where a power cut has taken the name.
                    let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
                    let end = log.offsets().log_end.0;
                    append(&log, 2).unwrap();
                    if !dirs.moving().is_empty() {
                        finish(&dirs).unwrap();
                    }
                    dirs.commit();
                    let later = Promise { durable: end + 2, appended: end + 2, ..promise };
                    assert!(check(&open(&crashed.after_power_cut(|_| 0)), later, &format!("{what}, later")));
                }
                seen += 1;
            }
        }
        seed += 1;
    }
    assert!(moved > 0, "some logs moved");
}

/// The directory that a log was moved from does not come back, and somebody says so by removing the file of the move.
#[test]
fn a_log_that_waits_for_the_directory_it_came_from_keeps_what_the_journal_has() {
    let disk = disk();
    let dirs = open_only(&disk, &["/b"]);
    let log = dirs.create_log(&id(), topic(), Arc::new(config())).unwrap();
    for offset in 0..10 {
        log.append_as_leader(common::batch(offset, 1), &common::awaited()).unwrap();
    }
    dirs.commit();
    assert_eq!(log.durable_end(), Offset(10));
    let properties = ottla_storage::disk::read_file(&disk, "/a/meta.properties".as_ref()).unwrap().unwrap();
    let properties = String::from_utf8(properties).unwrap();
    let from = properties.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap();
    let swap = PathBuf::from(format!("/b/{}.{}-swap", id(), "0".repeat(32)));
    let killed = disk.after_power_cut(|_| 0);
    let file = killed.open(&swap, ottla_storage::disk::OpenMode::Truncate).unwrap();
    file.write_at(&[from.as_bytes()], 0).unwrap();
    let errors = errors_of(|| {
        let dirs = open_only(&killed, &["/b"]);
        assert!(dirs.get(&id()).is_none(), "it waits");
        assert!(dirs.dirs()[0].online);
        dirs.trim();
    });
    assert!(errors.iter().any(|error| error.contains("is not here")), "{errors:?}");
    let killed = killed.after_kill();
    killed.remove_file(&swap).unwrap();
    let log = open_only(&killed, &["/b"]).get(&id()).unwrap();
    assert_eq!(contents(&log, Offset(0)), expected(10));
}
