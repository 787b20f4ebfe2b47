//! What size costs: look-ups in a log of many segments, many idle partitions, retention of thousands of segments.
//!
//! `cargo run --release -p ottla-storage --example scale -- partitions 100000`, `-- segments 10000`, `-- retention 10000`;
//! `-- fill 10000 FOLDER` and `-- reopen 10000 FOLDER` are the two halves of the first.
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "a measurement: it ends where it cannot go on")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::{AppendContext, AppendOrigin, Log, LogConfig, LogDirs, LogDirsOptions, LogOptions, Verification};

const CONTEXT: AppendContext = AppendContext {
    leader_epoch: LeaderEpoch(0),
    origin: AppendOrigin::Client,
    now: Timestamp(10_000),
    verification: Verification::NotNeeded,
    is_awaited: false,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let many = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(10_000);
    let place = arguments.get(2).map_or(".", String::as_str);
    match arguments.first().map(String::as_str) {
        Some("fill") => return fill(Path::new(place), many),
        Some("reopen") => return reopen(Path::new(place), many),
        _ => {}
    }
    let folder = tempfile::tempdir_in(place).unwrap();
    match arguments.first().map(String::as_str) {
        Some("partitions") => partitions(folder.path(), many),
        Some("segments") => segments(folder.path(), many),
        Some("retention") => retention(folder.path(), many),
        _ => println!("partitions COUNT | segments COUNT | retention COUNT  [FOLDER]"),
    }
}

fn timed(offset: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1_000_000 + offset), None, Some(&[7; 100]), &[]);
    builder.build()
}

/// Time that this process has had a processor for: the clock counts what others do as well.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    // User and system, in hundredths of a second.
    Duration::from_millis(fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10)
}

/// Bytes of memory, and open descriptors, of this process.
fn own() -> (u64, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    (kib * 1024, std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count))
}

fn open(folder: &Path) -> Arc<LogDirs> {
    let options = LogDirsOptions { cleaner_threads: 0, ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw") };
    LogDirs::open(&[folder.join("data")], options).unwrap()
}

fn partitions(folder: &Path, many: i64) {
    fill(folder, many);
    // Another process, so that what this one has in its heap does not count.
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["reopen", &many.to_string()])
        .arg(folder)
        .status();
    assert!(again.is_ok_and(|status| status.success()));
}

fn fill(folder: &Path, many: i64) {
    let config = Arc::new(LogConfig::default());
    let dirs = open(folder);
    let begun = Instant::now();
    for partition in 0..i32::try_from(many).unwrap() {
        let id = TopicPartition::new(format!("t{}", partition / 100), partition % 100);
        let log = dirs.create_log(&id, TopicId(uuid::Uuid::from_u128(7)), Arc::clone(&config)).unwrap();
        log.append_as_leader(timed(0), &CONTEXT).unwrap();
    }
    println!("{many} partitions created, one record each, in {:?}", begun.elapsed());
    let begun = Instant::now();
    dirs.shutdown(1);
    println!("stopped cleanly in {:?}; {:?} of processor so far", begun.elapsed(), processor());
}

fn reopen(folder: &Path, many: i64) {
    let before = own();
    let begun = Instant::now();
    let dirs = open(folder);
    let took = begun.elapsed();
    let after = own();
    assert_eq!(dirs.logs().len() as i64, many);
    println!(
        "opened in {took:?} ({:?} of processor): {} bytes of memory and {} descriptors for {many} partitions ({} bytes each)",
        processor(),
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.1),
        after.0.saturating_sub(before.0) / u64::try_from(many).unwrap().max(1)
    );
    let begun = Instant::now();
    dirs.maintenance(Timestamp(20_000));
    println!("one round of retention over all: {:?}", begun.elapsed());
    std::mem::forget(dirs);
}

fn log_of(folder: &Path, segments: i64) -> Log {
    const BATCHES: i64 = 10;
    let size = i64::try_from(timed(0).len()).unwrap();
    let config = LogConfig {
        segment_bytes: i32::try_from(size * BATCHES).unwrap(),
        index_interval_bytes: 400,
        retention_ms: -1,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    let options = LogOptions { config: Arc::new(config), ..LogOptions::new(TopicPartition::new("t", 0), Timestamp(0)) };
    let (log, _) = Log::open(folder.join("t-0"), options).unwrap();
    for offset in 0..segments * BATCHES {
        log.append_as_leader(timed(offset), &CONTEXT).unwrap();
    }
    log
}

fn segments(folder: &Path, many: i64) {
    for segments in [1, many / 100, many].into_iter().filter(|segments| *segments > 0) {
        let log = log_of(&folder.join(segments.to_string()), segments);
        let end = log.offsets().log_end.0;
        let begun = Instant::now();
        log.offset_for_timestamp(Timestamp(i64::MAX)).unwrap();
        let first = begun.elapsed();
        let looks = 2_000;
        let target = |look: i64| (look * 7_919) % end;
        let begun = Instant::now();
        for look in 0..looks {
            log.read(Offset(target(look)), 1, Offset(i64::MAX), true).unwrap();
        }
        let by_offset = begun.elapsed() / u32::try_from(looks).unwrap();
        let begun = Instant::now();
        for look in 0..looks {
            log.offset_for_timestamp(Timestamp(1_000_000 + target(look))).unwrap();
        }
        let by_time = begun.elapsed() / u32::try_from(looks).unwrap();
        println!("{segments} segments: by offset {by_offset:?}, by time {by_time:?} (the first one {first:?})");
    }
}

fn retention(folder: &Path, many: i64) {
    let log = log_of(folder, many);
    log.set_high_watermark(log.offsets().log_end);
    let stop = AtomicBool::new(false);
    let slowest = |for_how_long: &dyn Fn() -> bool| {
        let mut times = Vec::new();
        let mut offset = 0;
        while for_how_long() {
            let begun = Instant::now();
            log.append_as_leader(timed(offset), &CONTEXT).unwrap();
            times.push(begun.elapsed());
            offset += 1;
            std::thread::sleep(Duration::from_micros(200));
        }
        times.sort();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        (at(0.5), at(0.99), at(1.0), times.len())
    };
    let begun = Instant::now();
    println!("appends (p50, p99, slowest, count) alone: {:?}", slowest(&|| begun.elapsed() < Duration::from_secs(2)));
    log.update_config(Arc::new(LogConfig { retention_bytes: 1, ..(*log.config()).clone() }));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            let gone = log.apply_retention(Timestamp(0)).unwrap();
            println!("{gone} segments deleted in {:?}", begun.elapsed());
            stop.store(true, Ordering::Relaxed);
        });
        println!("appends meanwhile: {:?}", slowest(&|| !stop.load(Ordering::Relaxed)));
    });
}
