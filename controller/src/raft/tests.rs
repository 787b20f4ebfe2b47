//! The durable side under test: openraft's own suite, crashes at every byte, damage that must not pass for a crash.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::log_store::LogStore;
use super::segment::EntryId;
use super::segment_log::SegmentLog;
use super::snapshot::SnapshotDir;
use super::state_machine::ImageMachine;
use super::types::TypeConfig;

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, ImageMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, ImageMachine), StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        // Small segments, so that every test crosses some.
        let (log, _) = LogStore::open(dir.path(), dir.path(), 100).unwrap();
        let (machine, _) = ImageMachine::open(SnapshotDir::new(dir.path(), log.space())).unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn openrafts_storage_suite() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}

fn entry(index: u64) -> (EntryId, Vec<u8>) {
    (EntryId { term: 1 + index / 4, index }, vec![index as u8; (index % 7) as usize * 5])
}

fn everything(log: &SegmentLog) -> Vec<(EntryId, Vec<u8>)> {
    log.read(0..u64::MAX).unwrap()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Copies a log and cuts its last segment.
fn copy_cut(dir: &Path, to: &Path, size: u64) {
    let paths = segments(dir);
    for path in &paths {
        fs::copy(path, to.join(path.file_name().unwrap())).unwrap();
    }
    let last = to.join(paths.last().unwrap().file_name().unwrap());
    fs::OpenOptions::new().write(true).open(last).unwrap().set_len(size).unwrap();
}

#[test]
fn a_cut_at_any_byte_leaves_the_entries_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = SegmentLog::open(dir.path(), 400).unwrap();
    let entries: Vec<_> = (0..20).map(entry).collect();
    for written in &entries {
        log.append(std::slice::from_ref(written)).unwrap();
    }
    drop(log);
    let last = segments(dir.path()).pop().unwrap();
    let size = fs::metadata(&last).unwrap().len();
    let mut kept_before = 0;
    for cut in 0..=size {
        let copy = tempfile::tempdir().unwrap();
        copy_cut(dir.path(), copy.path(), cut);
        let (mut log, recovery) = SegmentLog::open(copy.path(), 400).unwrap();
        let kept = everything(&log);
        assert_eq!(kept, entries[..kept.len()], "cut at {cut}");
        assert!(kept.len() >= kept_before && (cut < size || recovery.cut == 0));
        kept_before = kept.len();
        // The log goes on where it was cut, and that survives too.
        log.append(&[entry(kept.len() as u64)]).unwrap();
        drop(log);
        let (log, recovery) = SegmentLog::open(copy.path(), 400).unwrap();
        assert_eq!(everything(&log), (0..=kept.len() as u64).map(entry).collect::<Vec<_>>());
        assert_eq!(recovery.cut, 0);
    }
    assert_eq!(kept_before, entries.len());
}

#[test]
fn damage_before_synced_entries_is_no_torn_tail() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = SegmentLog::open(dir.path(), 1 << 20).unwrap();
    for index in 0..6 {
        log.append(&[entry(index)]).unwrap();
        let active = log.active().unwrap();
        active.synced.store(active.end, std::sync::atomic::Ordering::Release);
    }
    drop(log);
    let path = segments(dir.path()).pop().unwrap();
    let good = fs::read(&path).unwrap();
    for position in 0..good.len() {
        let mut bytes = good.clone();
        bytes[position] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        match SegmentLog::open(dir.path(), 1 << 20) {
            Err(error) => assert!(error.to_string().contains("damaged") || error.to_string().contains("bad header")),
            // Only the last frame has nothing behind it that proves it was acknowledged.
            Ok((log, recovery)) => {
                assert_eq!(everything(&log), (0..5).map(entry).collect::<Vec<_>>(), "bit flip at {position}");
                assert!(recovery.cut > 0);
            }
        }
    }
}

#[test]
fn a_purge_survives_and_removes_whole_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = SegmentLog::open(dir.path(), 200).unwrap();
    for index in 0..30 {
        log.append(&[entry(index)]).unwrap();
    }
    let before = segments(dir.path()).len();
    log.purge(entry(20).0).unwrap();
    assert_eq!(everything(&log), (21..30).map(entry).collect::<Vec<_>>());
    assert!(segments(dir.path()).len() < before);
    drop(log);
    let (log, _) = SegmentLog::open(dir.path(), 200).unwrap();
    let kept = everything(&log);
    assert_eq!(kept.last(), Some(&entry(29)));
    assert!(kept.first().unwrap().0.index <= 21, "never more is gone than was purged");
}

#[test]
fn a_purge_beyond_the_end_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = SegmentLog::open(dir.path(), 200).unwrap();
    for index in 0..5 {
        log.append(&[entry(index)]).unwrap();
    }
    let old = segments(dir.path());
    let kept: Vec<(PathBuf, Vec<u8>)> = old.iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let ahead = EntryId { term: 9, index: 100 };
    log.purge(ahead).unwrap();
    assert_eq!((log.last(), log.purged()), (Some(ahead), Some(ahead)));
    drop(log);
    // A crash before the old segments were removed: they are removed now.
    for (path, bytes) in kept {
        fs::write(path, bytes).unwrap();
    }
    let (mut log, _) = SegmentLog::open(dir.path(), 200).unwrap();
    assert_eq!((log.last(), everything(&log).len()), (Some(ahead), 0));
    assert_eq!(segments(dir.path()).len(), 1);
    log.append(&[(EntryId { term: 9, index: 101 }, vec![1])]).unwrap();
    assert_eq!(everything(&log).len(), 1);
}

#[test]
fn a_truncation_goes_back_over_segments() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _) = SegmentLog::open(dir.path(), 200).unwrap();
    for index in 0..30 {
        log.append(&[entry(index)]).unwrap();
    }
    for from in [29, 12, 3, 0] {
        log.truncate_from(from).unwrap();
        assert_eq!(everything(&log), (0..from).map(entry).collect::<Vec<_>>());
        drop(log);
        log = SegmentLog::open(dir.path(), 200).unwrap().0;
        assert_eq!(everything(&log), (0..from).map(entry).collect::<Vec<_>>());
    }
    log.append(&[entry(0)]).unwrap();
    assert_eq!(everything(&log).len(), 1);
}

/// A file system in memory that holds hardly anything, gone when this is dropped.
struct Tiny(TempDir);

impl Tiny {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(dir.path());
        mount.output().ok()?.status.success().then_some(Self(dir))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_refuses_entries_until_there_is_space() {
    let Some(disk) = Tiny::mount() else {
        println!("skipped: a tmpfs cannot be mounted without root");
        return;
    };
    let dir = disk.0.path();
    let (mut log, _) = SegmentLog::open(dir, 2_000).unwrap();
    let ballast = dir.join("ballast");
    let mut refused = 0;
    let entries: Vec<_> = (0..60).map(|index| (entry(index).0, vec![index as u8; 700])).collect();
    // Several at a time, so that a part of them may have been written.
    for (number, some) in entries.chunks(3).enumerate() {
        if number % 4 == 1 {
            let _ = fs::write(&ballast, vec![1; 256 << 10]);
        }
        let mut appended = log.append(some);
        if let Err(error) = &appended {
            refused += 1;
            assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
            assert!(log.append(some).is_err(), "it is still full");
            // What is there can be read, and a crash here loses nothing.
            assert_eq!(everything(&log), entries[..number * 3]);
            fs::remove_file(&ballast).unwrap();
            let (crashed, _) = SegmentLog::open(dir, 2_000).unwrap();
            let kept = everything(&crashed);
            assert!(kept.len() >= number * 3 && kept == entries[..kept.len()]);
            appended = log.append(some);
        }
        appended.unwrap();
    }
    assert!(refused > 2, "{refused}");
    assert_eq!(everything(&log), entries);
    drop(log);
    assert_eq!(everything(&SegmentLog::open(dir, 2_000).unwrap().0), entries);
}
