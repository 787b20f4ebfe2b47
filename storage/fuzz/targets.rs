//! What every fuzz target asserts; also run over mutated fixtures by `tests/fuzz_targets.rs`, where no sanitizer is at hand.
//!
//! An input is a folder: flags, two offsets, then files as (which, length, bytes).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::compression::Codec;
use ottla_protocol::record_batch::{BatchBuilder, TimestampType, batches};
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::{Disk, OpenMode, read_file};
use ottla_storage::{
    AppendContext, AppendOrigin, CompressionType, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions, LogOptions,
    Verification,
};

/// Files of a partition, by the number that an input gives them.
pub const LOG_FILES: &[&str] = &[
    "00000000000000000000.log",
    "00000000000000000000.index",
    "00000000000000000000.timeindex",
    "00000000000000000000.txnindex",
    "00000000000000000000.snapshot",
    "leader-epoch-checkpoint",
    "partition.metadata",
    "00000000000000000006.log",
    "00000000000000000006.index",
    "00000000000000000006.timeindex",
    "00000000000000000006.snapshot",
    "00000000000000000012.snapshot",
    // The furthest that a base offset can be away.
    "09223372036854775807.log",
    "09223372036854775800.log",
    "00000000000000000006.log.swap",
    "00000000000000000000.log.cleaned",
    "00000000000000000006.log.deleted",
];

/// Files of a log directory.
pub const DIR_FILES: &[&str] = &[
    "recovery-point-offset-checkpoint",
    "replication-offset-checkpoint",
    "log-start-offset-checkpoint",
    "cleaner-offset-checkpoint",
    ".kafka_cleanshutdown",
    "meta.properties",
    "ottla-journal-000000",
    "ottla-journal-000001",
    "t-0/00000000000000000000.log",
    "t-0/partition.metadata",
    "t-0/leader-epoch-checkpoint",
    "t-1-delete/00000000000000000000.log",
];

/// Flags of an input.
pub const CLEAN: u8 = 1;
pub const COMPACT: u8 = 2;
pub const LOG_APPEND_TIME: u8 = 4;
pub const RECOMPRESS: u8 = 8;
pub const AS_FOLLOWER: u8 = 16;

const NOW: Timestamp = Timestamp(10_000);

/// An input that says this.
pub fn folder(flags: u8, offsets: [u8; 2], files: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![flags, offsets[0], offsets[1]];
    for (which, contents) in files {
        bytes.push(*which);
        bytes.extend_from_slice(&u16::try_from(contents.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend_from_slice(&contents[..contents.len().min(usize::from(u16::MAX))]);
    }
    bytes
}

/// Small offsets are themselves; the last few stand for those that overflow.
fn offset(byte: u8) -> Offset {
    Offset(match byte {
        251 => i64::MAX,
        252 => i64::MAX - 1,
        253 => -1,
        254 => i64::MIN,
        255 => i64::from(i32::MAX) + 1,
        small => i64::from(small),
    })
}

fn files(mut bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut files = Vec::new();
    while let Some(([which, high, low], rest)) = bytes.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        files.push((usize::from(*which), &rest[..length]));
        bytes = &rest[length..];
    }
    files
}

fn write(disk: &FaultyDisk, path: &Path, contents: &[u8]) {
    let parent = path.parent().expect("a file lies in a folder");
    disk.create_dir_all(parent).expect("a folder");
    disk.open(path, OpenMode::Truncate).and_then(|file| file.write_at(&[contents], 0)).expect("a file");
}

fn config(flags: u8) -> Arc<LogConfig> {
    let mut config = LogConfig { segment_bytes: 3_000, index_interval_bytes: 200, ..LogConfig::default() };
    config.compact = flags & COMPACT != 0;
    if flags & LOG_APPEND_TIME != 0 {
        config.message_timestamp_type = TimestampType::LogAppendTime;
    }
    if flags & RECOMPRESS != 0 {
        config.compression_type = CompressionType::Codec { codec: Codec::Lz4, level: None };
    }
    Arc::new(config)
}

fn context() -> AppendContext {
    AppendContext {
        leader_epoch: LeaderEpoch(i32::MAX),
        origin: AppendOrigin::Client,
        now: NOW,
        verification: Verification::NotNeeded,
        is_awaited: false,
    }
}

/// A partition's directory of anything: a log whose batches are a prefix of what was there, or an error.
pub fn recovery(bytes: &[u8]) {
    let Some(([flags, recovery_point, log_start], rest)) = bytes.split_first_chunk::<3>() else { return };
    let dir = PathBuf::from("/data/t-0");
    let disk = FaultyDisk::default();
    disk.create_dir_all(&dir).expect("a folder");
    for (which, contents) in files(rest) {
        write(&disk, &dir.join(LOG_FILES[which % LOG_FILES.len()]), contents);
    }
    let found = disk.after_kill();
    let options = LogOptions {
        disk: Arc::new(disk.clone()),
        config: config(*flags),
        clean_shutdown: flags & CLEAN != 0,
        recovery_point: offset(*recovery_point),
        log_start: offset(*log_start),
        high_watermark: offset(*recovery_point),
        ..LogOptions::new(TopicPartition::new("t", 0), NOW)
    };
    let everything_is_checked = flags & CLEAN == 0 && options.recovery_point.0 <= 0;
    let Ok((log, _)) = Log::open(dir.clone(), options.clone()) else { return };
    let offsets = log.offsets();
    assert!(offsets.log_start <= offsets.log_end, "{offsets:?}");
    assert!(offsets.recovery_point <= offsets.log_end, "{offsets:?}");
    assert!((offsets.log_start..=offsets.log_end).contains(&log.high_watermark()), "{offsets:?}");
    // Interrupted changes are carried out: files may have come under new names then.
    let is_interrupted = |(which, _): &(usize, &[u8])| LOG_FILES[which % LOG_FILES.len()].len() > 24;
    if !files(rest).iter().any(is_interrupted) {
        for name in LOG_FILES.iter().filter(|name| name.ends_with(".log")) {
            let kept = read_file(&disk, &dir.join(name)).expect("the file").unwrap_or_default();
            let before = read_file(&found, &dir.join(name)).expect("the file").unwrap_or_default();
            assert!(before.starts_with(&kept), "{name}: {} of {} bytes", kept.len(), before.len());
        }
    }
    read(&log, everything_is_checked);
    let end = log.offsets().log_end;
    let appended = log.append_as_leader(sound_batch(), &context());
    read(&log, everything_is_checked);
    drop(log);
    // What recovery has made sound stays so.
    let options = LogOptions { clean_shutdown: false, recovery_point: Offset::ZERO, ..options };
    if everything_is_checked && let Ok((log, report)) = Log::open(dir, options) {
        assert_eq!(report.cut, None);
        assert_eq!(log.offsets().log_end, appended.map_or(end, |info| info.last_offset.plus(1)));
    }
}

/// Reads all of a log. Where all of it was checked nothing unsound may be left.
fn read(log: &Log, is_sound: bool) {
    let offsets = log.offsets();
    let mut next = offsets.log_start;
    while next < offsets.log_end {
        let Ok(read) = log.read(next, 700, Offset(i64::MAX), true) else { return };
        let before = next;
        for region in &read.records {
            let Ok(bytes) = region.read_all() else { return };
            for batch in batches(&bytes) {
                let Ok(batch) = batch else { break };
                if is_sound {
                    batch.check_crc().expect("what was checked is sound");
                    assert!(batch.base_offset < offsets.log_end);
                }
                next = next.max(batch.next_offset());
            }
        }
        if next == before {
            return;
        }
    }
}

fn sound_batch() -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(NOW, Some(b"key"), Some(b"value"), &[]);
    builder.build()
}

/// A log directory of anything: it is refused, or its logs hold together and it can be closed and opened again.
pub fn log_dir(bytes: &[u8]) {
    let Some((_, rest)) = bytes.split_first_chunk::<3>() else { return };
    let dir = PathBuf::from("/data");
    let disk = FaultyDisk::default();
    disk.create_dir_all(&dir).expect("a folder");
    write(
        &disk,
        &dir.join("meta.properties"),
        b"version=1\ncluster.id=5L6g3nShT-eMCtK--X86sw\nnode.id=1\ndirectory.id=AAAAAAAAAAAAAAAAAAAABQ\n",
    );
    for (which, contents) in files(rest) {
        write(&disk, &dir.join(DIR_FILES[which % DIR_FILES.len()]), contents);
    }
    let options = LogDirsOptions {
        disk: Arc::new(disk),
        recovery_threads: 1,
        cleaner_threads: 0,
        journal: JournalOptions { threads: false, file_bytes: 64 << 10, collect_from: 0 },
        reserve_bytes: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    let Ok(dirs) = LogDirs::open(std::slice::from_ref(&dir), options.clone()) else { return };
    let mut ends = Vec::new();
    for log in dirs.logs() {
        let offsets = log.offsets();
        assert!(offsets.log_start <= offsets.log_end, "{offsets:?}");
        read(&log, false);
        ends.push((log.topic_partition().clone(), offsets.log_end));
    }
    let is_online = dirs.dirs().iter().all(|dir| dir.online);
    dirs.shutdown(1);
    drop(dirs);
    if is_online {
        let dirs = LogDirs::open(&[dir], options).expect("what was closed can be opened");
        for (id, end) in ends {
            assert_eq!(dirs.get(&id).map(|log| log.offsets().log_end), Some(end), "{id}");
        }
    }
}

/// Anything as a produce request's records: refused, or appended and read back whole.
pub fn append(bytes: &[u8]) {
    let Some((flags, records)) = bytes.split_first() else { return };
    let options = LogOptions {
        disk: Arc::new(FaultyDisk::default()),
        config: config(*flags),
        ..LogOptions::new(TopicPartition::new("t", 0), NOW)
    };
    let (log, _) = Log::open(PathBuf::from("/data/t-0"), options).expect("an empty log");
    let records = Bytes::copy_from_slice(records);
    let appended = match flags & AS_FOLLOWER {
        0 => log.append_as_leader(records, &context()),
        _ => log.append_as_follower(records, NOW),
    };
    if let Ok(info) = appended {
        assert_eq!(log.offsets().log_end, info.last_offset.plus(1));
        read(&log, true);
    } else {
        assert_eq!(log.offsets().log_end, Offset::ZERO);
        assert_eq!(log.size(), 0);
    }
}
