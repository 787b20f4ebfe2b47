//! Directories of many logs: what did not move costs nothing, and where a new log goes is found without looking at all.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{append, config};
use ottla_protocol::{BrokerId, Offset, TopicId, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::watched::WatchedDisk;
use ottla_storage::{JournalOptions, LogDirs, LogDirsOptions};

fn open(disk: &WatchedDisk, dirs: &[&str]) -> Arc<LogDirs> {
    let options = LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        journal: JournalOptions { threads: false, ..JournalOptions::default() },
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    let paths: Vec<PathBuf> = dirs.iter().map(PathBuf::from).collect();
    LogDirs::open(&paths, options).unwrap()
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn create(dirs: &Arc<LogDirs>, partition: i32) {
    dirs.create_log(&id(partition), TopicId(uuid::Uuid::from_u128(7)), Arc::new(config())).unwrap();
}

#[test]
fn checkpoints_are_written_when_something_moved_and_only_then() {
    let disk = WatchedDisk::new(FaultyDisk::default());
    let dirs = open(&disk, &["/a"]);
    for partition in 0..50 {
        create(&dirs, partition);
        append(&dirs.get(&id(partition)).unwrap(), 10).unwrap();
    }
    // How many files are opened to write them.
    let written = || {
        let before = disk.counts();
        dirs.checkpoint_all().unwrap();
        disk.counts().since(&before).opened
    };
    assert!(written() > 0);
    assert_eq!(written(), 0);
    let log = dirs.get(&id(7)).unwrap();
    log.set_high_watermark(Offset(10));
    assert!(written() > 0, "a high watermark");
    assert_eq!(written(), 0);
    log.increment_log_start_offset(Offset(5)).unwrap();
    let _ = written();
    assert_eq!(written(), 0);
    log.flush().unwrap();
    assert!(written() > 0, "a recovery point");
    // A cut is told at once, and what was told before it is told again once it is true again.
    let other = dirs.get(&id(8)).unwrap();
    other.set_high_watermark(Offset(10));
    assert!(written() > 0);
    other.truncate_to(Offset(0)).unwrap();
    assert_eq!(written(), 0, "the cut has written it");
    append(&other, 10).unwrap();
    other.set_high_watermark(Offset(10));
    assert!(written() > 0, "what was written before the cut is not on the disk any more");
    dirs.delete_log(&id(9)).unwrap();
    assert!(written() > 0, "a log that is gone");
    create(&dirs, 9);
    let _ = written();
    assert_eq!(written(), 0);
    drop(dirs);
    let again = open(&disk, &["/a"]);
    let log = again.get(&id(7)).unwrap();
    assert_eq!((log.high_watermark(), log.offsets().log_start), (Offset(10), Offset(5)));
    assert_eq!(again.get(&id(8)).unwrap().high_watermark(), Offset(10));
    assert_eq!(again.get(&id(9)).unwrap().high_watermark(), Offset(0));
}

#[test]
fn a_new_log_goes_where_few_are_after_deletions_and_restarts_too() {
    let disk = WatchedDisk::new(FaultyDisk::default());
    let dirs = open(&disk, &["/a", "/b", "/c"]);
    for partition in 0..9 {
        create(&dirs, partition);
    }
    let place = |dirs: &Arc<LogDirs>, partition: i32| dirs.get(&id(partition)).unwrap().parent_dir();
    let in_b: Vec<i32> = (0..9).filter(|partition| place(&dirs, *partition) == Path::new("/b")).collect();
    assert_eq!(in_b.len(), 3, "spread evenly");
    for partition in &in_b[..2] {
        dirs.delete_log(&id(*partition)).unwrap();
    }
    create(&dirs, 10);
    create(&dirs, 11);
    assert_eq!((place(&dirs, 10), place(&dirs, 11)), ("/b".into(), "/b".into()));
    dirs.delete_log(&id(10)).unwrap();
    dirs.shutdown(1);
    drop(dirs);
    let dirs = open(&disk, &["/a", "/b", "/c"]);
    create(&dirs, 12);
    assert_eq!(place(&dirs, 12), PathBuf::from("/b"));
}
