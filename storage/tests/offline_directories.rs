//! A log directory that is away: what it holds is not begun anew in another one, and counts again when it is back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{append, config, contents, expected};
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{Durability, JournalOptions, LogConfig, LogDirs, LogDirsOptions};
use uuid::Uuid;

const EIO: i32 = 5;

fn open(disk: &FaultyDisk, dirs: &[&str]) -> Arc<LogDirs> {
    try_open(disk, dirs).unwrap()
}

fn try_open(disk: &FaultyDisk, dirs: &[&str]) -> Option<Arc<LogDirs>> {
    let paths: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    let options = LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        journal: JournalOptions { threads: false, file_bytes: 64 << 10, collect_from: 0 },
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    LogDirs::open(&paths, options).ok()
}

/// The disk as the next process finds it, with one directory that gives errors.
fn without(disk: &FaultyDisk, dir: &'static str) -> FaultyDisk {
    let disk = disk.after_kill();
    disk.set_open_fault(move |path| path.starts_with(dir).then(|| std::io::Error::from_raw_os_error(EIO)));
    disk
}

fn id() -> TopicPartition {
    TopicPartition::new("x", 0)
}

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn path_of(dirs: &LogDirs) -> PathBuf {
    dirs.get(&id()).unwrap().parent_dir()
}

fn dir_id(dirs: &LogDirs, path: &str) -> Uuid {
    dirs.dirs().into_iter().find(|dir| dir.path == *Path::new(path)).unwrap().id
}

#[test]
fn a_log_is_not_begun_anew_while_it_may_be_in_a_directory_that_is_offline() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a", "/b"]);
    let log = dirs.create_log(&id(), topic(1), Arc::new(config())).unwrap();
    append(&log, 3).unwrap();
    assert_eq!(path_of(&dirs), PathBuf::from("/a"));
    drop((dirs, log));
    let disk = without(&disk, "/a");
    let dirs = open(&disk, &["/a", "/b"]);
    let why = dirs.find_or_create_log(&id(), topic(1), Arc::new(config())).unwrap_err().to_string();
    assert!(why.contains("/a, which is offline"), "{why}");
    assert!(!disk.list("/b".as_ref()).unwrap().iter().any(|entry| entry.name == "x-0"));
    // What this broker never had is in no directory.
    let other = TopicPartition::new("y", 0);
    assert_eq!(dirs.create_log(&other, topic(2), Arc::new(config())).unwrap().parent_dir(), PathBuf::from("/b"));
    drop(dirs);
    let dirs = open(&disk.after_kill(), &["/a", "/b"]);
    let log = dirs.find_or_create_log(&id(), topic(1), Arc::new(config())).unwrap();
    assert_eq!(contents(&log, Offset(0)), expected(3));
}

/// Two logs of one partition: that in /a was there first.
fn in_both(of_b: TopicId) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a", "/b"]);
    append(&dirs.create_log(&id(), topic(1), Arc::new(config())).unwrap(), 3).unwrap();
    drop(dirs);
    let disk = without(&disk, "/a");
    let dirs = open(&disk, &["/a", "/b"]);
    let log = dirs.create_log(&id(), of_b, Arc::new(config())).unwrap();
    log.assign_leader_epoch(LeaderEpoch(0), Offset(0)).unwrap();
    append(&log, 5).unwrap();
    dirs.checkpoint_all().unwrap();
    disk.after_kill()
}

#[test]
fn of_two_logs_the_one_counts_that_the_metadata_names() {
    for (named, kept, other) in [("/a", 3, "/b"), ("/b", 5, "/a")] {
        let disk = in_both(topic(1));
        let dirs = open(&disk, &["/a", "/b"]);
        let named_id = dir_id(&dirs, named);
        dirs.settle_copies(|of| (*of == id()).then_some((topic(1), named_id)));
        assert_eq!(path_of(&dirs), PathBuf::from(named));
        let log = dirs.find_or_create_log(&id(), topic(1), Arc::new(config())).unwrap();
        assert_eq!(contents(&log, Offset(0)), expected(kept));
        append(&log, 1).unwrap();
        let names: Vec<String> = disk.list(other.as_ref()).unwrap().into_iter().map(|entry| entry.name).collect();
        assert!(names.iter().any(|name| name.starts_with("x-0.") && name.ends_with("-stray")), "{names:?}");
        dirs.shutdown(1);
        let dirs = open(&disk.after_kill(), &["/a", "/b"]);
        assert_eq!(path_of(&dirs), PathBuf::from(named));
        assert_eq!(contents(&dirs.get(&id()).unwrap(), Offset(0)), expected(kept + 1));
    }
}

#[test]
fn of_two_logs_of_which_nothing_is_known_the_further_one_counts() {
    let dirs = open(&in_both(topic(1)), &["/a", "/b"]);
    dirs.settle_copies(|_| Some((topic(1), Uuid::from_u128(7))));
    assert_eq!(path_of(&dirs), PathBuf::from("/b"));
    // Of another topic of that name nothing counts.
    let dirs = open(&in_both(topic(2)), &["/a", "/b"]);
    let named = dir_id(&dirs, "/b");
    dirs.settle_copies(|_| Some((topic(1), named)));
    assert_eq!(path_of(&dirs), PathBuf::from("/a"));
}

/// A log of 40 records that begins at 17, and whose tail was not flushed; the checkpoints say so.
fn begun_at_17(strict: bool, clean: bool) -> (FaultyDisk, i64) {
    let disk = FaultyDisk::default();
    let dirs = open(&disk, &["/a", "/b"]);
    let durability = if strict { Durability::Strict } else { Durability::Replicated };
    let config = Arc::new(LogConfig { durability, ..config() });
    let log = dirs.create_log(&id(), topic(1), config).unwrap();
    for _ in 0..20 {
        append(&log, 2).unwrap();
    }
    log.set_high_watermark(Offset(40));
    log.increment_log_start_offset(Offset(17)).unwrap();
    dirs.checkpoint_all().unwrap();
    if strict {
        while dirs.commit() {}
    }
    if clean {
        dirs.shutdown(1);
    }
    let path = log.dir().join("00000000000000000000.log");
    if !clean && !strict {
        // A power cut: bytes of the unflushed tail that never were a batch.
        let last = disk.list(&log.dir()).unwrap().into_iter().filter(|entry| entry.name.ends_with(".log"));
        let last = last.map(|entry| entry.name).max().unwrap();
        let path = path.with_file_name(last);
        let disk = disk.after_kill();
        disk.damage(&path, |bytes| {
            // Behind it there may be zeros.
            let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
            bytes[last - 10] ^= 1;
        })
        .unwrap();
        return (disk, 38);
    }
    (disk.after_kill(), 40)
}

/// Whatever is wanting when it happens: a log that could not be opened is opened as it should have been, or not at all.
#[test]
fn a_log_that_could_not_be_opened_is_not_opened_as_if_it_had_been_closed() {
    const SHORTAGES: [i32; 2] = [24, 28];
    let mut absent = 0;
    for (strict, clean) in [(false, false), (false, true), (true, false)] {
        let (before, end) = begun_at_17(strict, clean);
        for (errno, of_opens) in SHORTAGES.into_iter().flat_map(|errno| [(errno, true), (errno, false)]) {
            for (many, at) in [1, 2, 1_000].into_iter().flat_map(|many| (0..60).map(move |at| (many, at))) {
                let disk = before.after_kill();
                let mut count = 0;
                let mut fault = move || {
                    count += 1;
                    (count > at && count <= at + many).then(|| std::io::Error::from_raw_os_error(errno))
                };
                match of_opens {
                    true => disk.set_open_fault(move |_| fault()),
                    false => disk.set_fault(move |_, _| fault()),
                }
                let what = format!("strict {strict}, clean {clean}, error {errno}, opens {of_opens}, {many} from {at}");
                let Some(dirs) = try_open(&disk, &["/a", "/b"]) else { continue };
                let was_there = dirs.get(&id()).is_some();
                disk.clear_fault();
                check(&dirs, end, &what);
                absent += usize::from(!was_there);
                dirs.checkpoint_all().unwrap_or_default();
                // And whatever became of it, the next start has it all.
                let killed = open(&disk.after_kill(), &["/a", "/b"]);
                check(&killed, end, &what);
                dirs.shutdown(2);
                check(&open(&disk.after_kill(), &["/a", "/b"]), end, &what);
            }
        }
    }
    assert!(absent > 20, "{absent}");
}

fn check(dirs: &Arc<LogDirs>, end: i64, what: &str) {
    let Ok(log) = dirs.find_or_create_log(&id(), topic(1), Arc::new(config())) else {
        // Its directory is offline, and no other has it.
        assert!(dirs.dirs().iter().any(|dir| !dir.online), "{what}");
        return;
    };
    let offsets = log.offsets();
    assert_eq!((offsets.log_start, offsets.log_end), (Offset(17), Offset(end)), "{what}");
    let found: Vec<_> = contents(&log, Offset(17)).into_iter().filter(|record| record.0 >= 17).collect();
    assert_eq!(found, expected(end)[17..], "{what}");
}
