//! A log directory that is away: what it holds is not begun anew in another one, and counts again when it is back.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{append, config, contents, expected};
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{LogDirs, LogDirsOptions};
use uuid::Uuid;

const EIO: i32 = 5;

fn open(disk: &FaultyDisk, dirs: &[&str]) -> Arc<LogDirs> {
    let paths: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    let options = LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    LogDirs::open(&paths, options).unwrap()
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
    dirs.dirs().into_iter().find(|dir| dir.path == PathBuf::from(path)).unwrap().id
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
