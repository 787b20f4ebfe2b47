//! The fuzz targets over mutated fixtures: folders that a broker left, with bytes flipped, cut, repeated and put together
//! anew. Whatever they hold, memory stays in proportion to them.
//!
//! `OTTLA_MUTATIONS` sets how many inputs each target gets, `OTTLA_SEED` which.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "../../protocol/fuzz/mutate.rs"]
mod mutate;
#[path = "../fuzz/targets.rs"]
mod targets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicIsize, Ordering};

use common::{append, context, dir, idempotent, options};
use ottla_protocol::compression::Codec;
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::read_file;
use ottla_storage::{JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions, LogOptions};
use parking_lot::Mutex;
use targets::{AS_FOLLOWER, CLEAN, COMPACT, DIR_FILES, LOG_APPEND_TIME, LOG_FILES, RECOMPRESS, folder};

const MUTATIONS_DEFAULT: u64 = 8_000;

/// A byte of the folder is held by the disk in memory, by its copies and by what is read of it.
const RATIO: usize = 64;
/// What a log takes, whatever its files hold.
const FIXED: usize = 4 << 20;

/// Counts what the process holds and the most it ever held: recovery has threads of its own.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);
static PEAK: AtomicIsize = AtomicIsize::new(0);

fn count(bytes: isize) {
    let held = HELD.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(held, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator can be no other; every call goes straight to the system's")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One target at a time, or they would count each other's memory.
static TURN: Mutex<()> = Mutex::new(());

fn bounded(target: fn(&[u8]), input: &[u8]) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    target(input);
    let peak = (PEAK.load(Ordering::Relaxed) - before).unsigned_abs();
    assert!(peak <= RATIO * input.len() + FIXED, "{} bytes of input took {peak}", input.len());
}

/// What a disk has of these files.
fn pack(flags: u8, offsets: [u8; 2], names: &[&str], disk: &FaultyDisk, dir: &Path) -> Vec<u8> {
    let found: Vec<(u8, Vec<u8>)> = (0_u8..)
        .zip(names)
        .filter_map(|(which, name)| {
            let mut contents = read_file(disk, &dir.join(name)).unwrap()?;
            // What a journal has not used of its file.
            contents.truncate(contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
            Some((which, contents))
        })
        .collect();
    assert!(found.len() > 2, "{names:?}");
    let files: Vec<(u8, &[u8])> = found.iter().map(|(which, contents)| (*which, &contents[..])).collect();
    folder(flags, offsets, &files)
}

/// Batches of such a size that the second segment begins at 6.
fn large(producer: i64, sequence: i32) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    if producer > 0 {
        builder = builder.producer(ottla_protocol::ProducerId(producer), ottla_protocol::ProducerEpoch(0), sequence);
    }
    builder.push(Timestamp(9_000), Some(b"key"), Some(&[7; 400]), &[]);
    builder.build()
}

/// Partitions as brokers left them: killed or stopped, in one segment or in two.
fn partitions() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for (closes, counts) in [(false, 3), (true, 3), (false, 9), (true, 9)] {
        let disk = FaultyDisk::default();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        for number in 0..counts {
            if number == 2 {
                log.append_as_leader(idempotent(7, 0, 0, 1), &context()).unwrap();
            } else {
                log.append_as_leader(large(number % 2, (number / 2) as i32), &context()).unwrap();
            }
        }
        if closes {
            log.close().unwrap();
        } else {
            log.flush().unwrap();
            let _ = append(&log, 1);
        }
        let flags = if closes { CLEAN } else { 0 };
        let end = u8::try_from(log.offsets().log_end.0).unwrap();
        for recovery_point in [0, end] {
            seeds.push(pack(flags, [recovery_point, 0], LOG_FILES, &disk, &dir()));
            seeds.push(pack(flags | COMPACT, [recovery_point, 1], LOG_FILES, &disk, &dir()));
        }
    }
    seeds
}

/// Log directories: killed and stopped ones.
fn log_dirs() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for closes in [false, true] {
        let disk = FaultyDisk::default();
        let path = PathBuf::from("/data");
        let options = LogDirsOptions {
            disk: Arc::new(disk.clone()),
            recovery_threads: 1,
            cleaner_threads: 0,
            journal: JournalOptions { threads: false, file_bytes: 64 << 10, collect_from: 0 },
            reserve_bytes: 0,
            ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
        };
        let dirs = LogDirs::open(std::slice::from_ref(&path), options).unwrap();
        let topic = TopicId(uuid::Uuid::from_u128(5));
        let config = Arc::new(LogConfig { segment_bytes: 3_000, ..LogConfig::default() });
        let log = dirs.create_log(&TopicPartition::new("t", 0), topic, config).unwrap();
        for _ in 0..4 {
            append(&log, 2).unwrap();
            while dirs.commit() {}
        }
        log.set_high_watermark(Offset(8));
        log.increment_log_start_offset(Offset(1)).unwrap();
        dirs.checkpoint_all().unwrap();
        if closes {
            dirs.shutdown(3);
        }
        let names: Vec<String> = disk.list(&path).unwrap().into_iter().map(|entry| entry.name).collect();
        let has_journal = names.iter().any(|name| name == "ottla-journal-000000");
        assert_eq!(has_journal, !closes, "a killed one leaves its journal: {names:?}");
        seeds.push(pack(0, [0, 0], DIR_FILES, &disk, &path));
    }
    seeds
}

fn batches() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        for flags in [0, COMPACT, LOG_APPEND_TIME, RECOMPRESS, AS_FOLLOWER] {
            let mut builder = BatchBuilder::new().compression(codec, None);
            for number in 0..3_u8 {
                builder.push(Timestamp(9_000), Some(&[number]), Some(&[number; 40]), &[]);
            }
            seeds.push([&[flags][..], &builder.build()[..]].concat());
        }
    }
    seeds.push([&[0][..], &idempotent(7, 0, 0, 2)[..], &common::transactional(8, 0)[..]].concat());
    seeds
}

/// The seeds are what they are taken for, or nothing but refusals would be tested.
#[test]
fn the_fixtures_are_opened() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    for _ in 0..7 {
        log.append_as_leader(large(0, 0), &context()).unwrap();
    }
    assert_eq!(log.segment_count(), 2);
    assert!(read_file(&disk, &dir().join("00000000000000000006.log")).unwrap().is_some());
    let (log, report) = Log::open(dir(), LogOptions { ..options(&disk.after_kill()) }).unwrap();
    assert_eq!((report.cut, log.offsets().log_end), (None, Offset(7)));
}

#[test]
fn no_folder_brings_recovery_down() {
    let _turn = TURN.lock();
    mutate::run(&partitions(), |input| bounded(targets::recovery, input), MUTATIONS_DEFAULT);
}

#[test]
fn no_log_directory_brings_the_start_down() {
    let _turn = TURN.lock();
    mutate::run(&log_dirs(), |input| bounded(targets::log_dir, input), MUTATIONS_DEFAULT / 4);
}

#[test]
fn no_batch_brings_an_append_down() {
    let _turn = TURN.lock();
    mutate::run(&batches(), |input| bounded(targets::append, input), MUTATIONS_DEFAULT * 2);
}
