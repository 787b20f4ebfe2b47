//! What things cost as logs grow, in bytes and requests: a look-up reads the same in one segment and in thousands, a large
//! partition opens by reading its unflushed tail, idle partitions hold no descriptor, and deleting thousands of segments
//! lets appends pass. `examples/scale.rs` tells the times.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{append, config, contents, context, dir, expected};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::watched::{Change, Counts, WatchedDisk};
use ottla_storage::disk::{Disk, OpenMode, RealDisk};
use ottla_storage::{JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions, LogOptions};

fn options(disk: &WatchedDisk, config: LogConfig) -> LogOptions {
    LogOptions {
        disk: Arc::new(disk.clone()),
        config: Arc::new(config),
        ..LogOptions::new(TopicPartition::new("t", 0), Timestamp(10_000))
    }
}

/// One batch whose time is its offset.
fn timed(offset: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1_000_000 + offset), None, Some(&[7; 100]), &[]);
    builder.build()
}

/// A log of so many segments, opened anew; `batches` of them in each.
fn log_of(segments: i64, batches: i64) -> (WatchedDisk, Log) {
    let disk = WatchedDisk::new(FaultyDisk::default());
    let size = timed(0).len() as i64;
    let config = LogConfig {
        segment_bytes: i32::try_from(size * batches).unwrap(),
        index_interval_bytes: 400,
        retention_ms: -1,
        ..config()
    };
    let (log, _) = Log::open(dir(), options(&disk, config.clone())).unwrap();
    for offset in 0..segments * batches {
        log.append_as_leader(timed(offset), &context()).unwrap();
    }
    assert_eq!(log.segment_count() as i64, segments);
    log.close().unwrap();
    let end = log.offsets().log_end;
    let at = LogOptions { clean_shutdown: true, recovery_point: end, ..options(&disk, config) };
    let (log, _) = Log::open(dir(), at).unwrap();
    (disk, log)
}

fn spent(disk: &WatchedDisk, work: impl FnOnce()) -> Counts {
    let before = disk.counts();
    work();
    disk.counts().since(&before)
}

#[test]
fn a_look_up_reads_the_same_in_one_segment_and_in_ten_thousand() {
    const BATCHES: i64 = 20;
    let mut known: Option<(Counts, Counts)> = None;
    for segments in [1, 100, 10_000] {
        let (disk, log) = log_of(segments, BATCHES);
        let target = (segments / 2) * BATCHES + BATCHES / 2;
        // What is read once for every segment: the last entry of its time index.
        log.offset_for_timestamp(Timestamp(i64::MAX)).unwrap();
        let by_offset = spent(&disk, || {
            let read = log.read(Offset(target), 1, Offset(i64::MAX), true).unwrap();
            assert_eq!(read.records.len(), 1);
        });
        let by_time = spent(&disk, || {
            let found = log.offset_for_timestamp(Timestamp(1_000_000 + target)).unwrap().unwrap();
            assert_eq!(found.offset, Offset(target));
        });
        let (offset, time) = *known.get_or_insert((by_offset, by_time));
        // A segment that was not looked at before has the end of its index read once.
        let is_flat =
            |now: Counts, then: Counts| now.bytes_read <= then.bytes_read + 100 && now.reads <= then.reads + 4;
        assert!(is_flat(by_offset, offset), "{segments} segments: {by_offset:?}, one: {offset:?}");
        assert!(is_flat(by_time, time), "{segments} segments: {by_time:?}, one: {time:?}");
        println!("{segments} segments: by offset {by_offset:?}, by time {by_time:?}");
    }
}

#[test]
fn a_hundred_gigabytes_open_by_reading_the_unflushed_tail() {
    const SEGMENTS: i64 = 100;
    const SEGMENT_BYTES: u64 = 1 << 30;
    const RECORDS: i64 = 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("t-0");
    std::fs::create_dir(&place).unwrap();
    // Full segments take no space here: they are not looked at.
    for base in (0..SEGMENTS).map(|at| at * RECORDS) {
        let file = |kind: &str| std::fs::File::create(place.join(format!("{base:020}.{kind}"))).unwrap();
        file("log").set_len(SEGMENT_BYTES).unwrap();
        file("index");
        file("timeindex");
    }
    let begin = SEGMENTS * RECORDS;
    std::fs::File::create(place.join(format!("{begin:020}.log"))).unwrap();
    let config = LogConfig { retention_ms: -1, ..LogConfig::default() };
    let disk = WatchedDisk::new(RealDisk);
    let open = |recovery_point: Offset, clean_shutdown: bool| {
        let at = LogOptions { recovery_point, clean_shutdown, ..options(&disk, config.clone()) };
        Log::open(place.clone(), at).unwrap()
    };
    let (log, _) = open(Offset(begin), true);
    assert!(log.size() >= 100 << 30 && log.offsets().log_end == Offset(begin));
    for offset in 0..20_000 {
        log.append_as_leader(timed(offset), &context()).unwrap();
    }
    log.flush().unwrap();
    let flushed = (log.offsets().recovery_point, log.size());
    for offset in 0..10_000 {
        log.append_as_leader(timed(offset), &context()).unwrap();
    }
    let tail = log.size() - flushed.1;
    drop(log);
    let before = disk.counts();
    let (log, report) = open(flushed.0, false);
    let read = disk.counts().since(&before);
    assert_eq!((log.offsets().log_end, report.bytes_checked), (Offset(begin + 30_000), tail));
    println!("{} bytes in the log, {tail} behind the flushed point, {read:?}", log.size());
    // Headers are read to find the batches, and the batches to check them.
    assert!(read.bytes_read <= 2 * tail + (64 << 10), "{read:?} for a tail of {tail}");
    assert!(read.opened < 20, "{read:?}");
}

#[test]
fn idle_partitions_hold_no_descriptor() {
    const PARTITIONS: i32 = 300;
    let disk = WatchedDisk::new(FaultyDisk::default());
    let open = || {
        let options = LogDirsOptions {
            disk: Arc::new(disk.clone()),
            cleaner_threads: 0,
            journal: JournalOptions { threads: false, file_bytes: 64 << 10, collect_from: 0 },
            reserve_bytes: 0,
            ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
        };
        LogDirs::open(&[PathBuf::from("/a")], options).unwrap()
    };
    let id = |partition| TopicPartition::new("t", partition);
    let dirs = open();
    let topic = TopicId(uuid::Uuid::from_u128(3));
    for partition in 0..PARTITIONS {
        let log = dirs.create_log(&id(partition), topic, Arc::new(config())).unwrap();
        append(&log, 2).unwrap();
    }
    dirs.commit();
    assert!(disk.counts().open_now >= 300);
    // Once to see that they rest, once to close them.
    dirs.maintenance(Timestamp(10_000));
    dirs.maintenance(Timestamp(10_000));
    let at_rest = disk.counts().open_now;
    assert!(at_rest < 10, "{at_rest} files are open");
    dirs.shutdown(1);
    drop(dirs);
    let before = disk.counts();
    let dirs = open();
    let counts = disk.counts().since(&before);
    assert!(dirs.was_clean() && dirs.logs().len() == 300);
    assert!(counts.open_now < 10, "{counts:?}");
    println!("opening {PARTITIONS} partitions: {counts:?}");
    for partition in [0, 299] {
        let log = dirs.get(&id(partition)).unwrap();
        append(&log, 1).unwrap();
        assert_eq!(contents(&log, Offset(0)), expected(3), "a file is opened when it is needed");
    }
}

#[test]
fn appends_pass_while_ten_thousand_segments_are_deleted() {
    const SEGMENTS: i64 = 10_000;
    let (disk, log) = log_of(SEGMENTS, 1);
    log.update_config(Arc::new(LogConfig { retention_bytes: 1_000, file_delete_delay_ms: 0, ..config() }));
    log.set_high_watermark(Offset(SEGMENTS));
    // The first rename waits until somebody has appended.
    let (renaming, seen) = mpsc::channel();
    let (go_on, appended) = mpsc::channel::<()>();
    let gate = Mutex::new(Some((renaming, appended)));
    disk.set_hook(move |change, path| {
        let is_old = |path: &Path| path.extension().is_some_and(|kind| kind == "log");
        if change == Change::Rename && is_old(path) {
            let first = gate.lock().unwrap().take();
            if let Some((renaming, appended)) = first {
                renaming.send(()).unwrap();
                // Where appends have to wait this is the end of the test, not of the machine.
                appended.recv_timeout(Duration::from_secs(30)).unwrap();
            }
        }
    });
    std::thread::scope(|scope| {
        let retention = scope.spawn(|| log.apply_retention(Timestamp(10_000)).unwrap());
        seen.recv().unwrap();
        let before = log.offsets().log_end;
        for count in 0..50 {
            log.append_as_leader(timed(count), &context()).unwrap();
        }
        assert_eq!(log.offsets().log_end, before.plus(50));
        assert!(log.read(Offset(0), 1, Offset(i64::MAX), true).is_err(), "the old ones are not found any more");
        go_on.send(()).unwrap();
        assert!(retention.join().unwrap() > 9_900);
    });
    assert!(log.segment_count() < 100);
    let left = disk.list(&dir()).unwrap().into_iter().filter(|entry| entry.name.ends_with(".log")).count();
    assert_eq!(left, log.segment_count());
    assert!(disk.open(&dir().join(format!("{:020}.log", 0)), OpenMode::Read).is_err());
}
