//! kill -9 of a process that writes: idempotent, transactional, compacted, cut by retention and by DeleteRecords, on a real
//! disk. What it called durable is there when the next one opens the directory, once and in order.
//!
//! `OTTLA_KILLS` sets how often. The child is this very test binary.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{awaited, batch, context};
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::record_batch::{BatchBuilder, BatchError, batches};
use ottla_protocol::{BrokerId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
use ottla_storage::{AppendContext, AppendOrigin, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PLAIN: i32 = 0;
const IDEMPOTENT: i32 = 1;
const TRANSACTIONAL: i32 = 2;
const COMPACTED: i32 = 3;
const LOGS: [i32; 4] = [PLAIN, IDEMPOTENT, TRANSACTIONAL, COMPACTED];
const KEYS: i64 = 20;
/// What runs as the child.
const CHILD: &str = "OTTLA_KILL_CHILD";

fn config(partition: i32) -> Arc<LogConfig> {
    Arc::new(LogConfig {
        compact: partition == COMPACTED,
        delete: partition != COMPACTED,
        retention_bytes: 200_000,
        segment_bytes: 20_000,
        min_cleanable_dirty_ratio: 0.01,
        file_delete_delay_ms: 1,
        ..LogConfig::default()
    })
}

fn id(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn open(dir: &Path) -> Arc<LogDirs> {
    let options = LogDirsOptions {
        cleaner_backoff_ms: 5,
        journal: JournalOptions { collect_from: 0, ..JournalOptions::default() },
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    let dirs = LogDirs::open(&[dir.join("a")], options).unwrap();
    for partition in LOGS {
        let topic = TopicId(uuid::Uuid::from_u128(1 + u128::from(partition.unsigned_abs())));
        dirs.create_log(&id(partition), topic, config(partition)).unwrap();
    }
    dirs
}

/// (first offset, last offset, base sequence, is control, values) of every batch.
type Batch = (i64, i64, i32, bool, Vec<(i64, String)>);

fn read_all(log: &Log, from: Offset) -> Vec<Batch> {
    let mut next = from;
    let mut out = Vec::new();
    while next < log.offsets().log_end {
        let read = log.read(next, 1 << 20, Offset(i64::MAX), true).unwrap();
        assert!(!read.records.is_empty(), "nothing at {next}");
        let bytes = read.records[0].read_all().unwrap();
        for batch in batches(&bytes) {
            let batch = match batch {
                // The range ends within it.
                Err(BatchError::Incomplete { .. }) => break,
                batch => batch.unwrap(),
            };
            batch.check_crc().unwrap();
            let mut values = Vec::new();
            let mut records = batch.records().unwrap();
            while let Some(record) = records.next_record().unwrap() {
                let offset = batch.base_offset.0 + i64::from(record.offset_delta);
                values.push((offset, String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned()));
            }
            let last = batch.last_offset().0;
            out.push((batch.base_offset.0, last, batch.base_sequence, batch.is_control(), values));
            next = batch.next_offset();
        }
    }
    out
}

/// Holds what is there against what was promised.
fn verify(dirs: &LogDirs, durable: &BTreeMap<i32, i64>) {
    for partition in LOGS {
        let log = dirs.get(&id(partition)).unwrap();
        let offsets = log.offsets();
        let promised = durable.get(&partition).copied().unwrap_or(0);
        assert!(offsets.log_end.0 >= promised, "log {partition} ends at {}, {promised} promised", offsets.log_end);
        let found = read_all(&log, offsets.log_start);
        for pair in found.windows(2) {
            let (before, next) = (&pair[0], &pair[1]);
            match partition {
                COMPACTED => assert!(before.1 < next.0),
                _ => assert_eq!(before.1 + 1, next.0, "log {partition}: nothing is missing, nothing is twice"),
            }
            if partition == IDEMPOTENT {
                assert_eq!(before.2 + 1, next.2, "sequences go on at offset {}", next.0);
            }
        }
        match partition {
            PLAIN => {
                for (offset, value) in found.iter().flat_map(|batch| &batch.4) {
                    assert_eq!(*value, format!("value {offset}"));
                }
            }
            COMPACTED => {
                // The newest record of every key: its value is its offset, its key what is left of a division.
                let mut last: BTreeMap<i64, i64> = BTreeMap::new();
                for (offset, value) in found.iter().flat_map(|batch| &batch.4) {
                    assert_eq!(*value, format!("value {offset}"));
                    last.insert(offset % KEYS, *offset);
                }
                let end = offsets.log_end.0;
                for offset in (end - KEYS).max(0)..end {
                    assert_eq!(last.get(&(offset % KEYS)), Some(&offset), "the last value of a key");
                }
            }
            TRANSACTIONAL => {
                // Two records, then their marker: every second transaction is aborted.
                let aborted = log.aborted_transactions(offsets.log_start, offsets.log_end).unwrap();
                let mut firsts: Vec<i64> = Vec::new();
                for three in found.windows(3).filter(|three| !three[0].3 && !three[1].3 && three[2].3) {
                    if three[0].4[0].1 == "abort" {
                        firsts.push(three[0].0);
                    }
                }
                let known: Vec<i64> = aborted.iter().map(|txn| txn.first_offset.0).collect();
                for first in firsts {
                    assert!(known.contains(&first), "the aborted transaction at {first} is not known as one");
                }
            }
            _ => {}
        }
    }
}

fn keyed(offset: i64) -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    let key = format!("key {}", offset % KEYS);
    builder.push(Timestamp(1_000), Some(key.as_bytes()), Some(format!("value {offset}").as_bytes()), &[]);
    builder.build()
}

fn produced(id: i64, sequence: i32, transactional: bool, value: &str) -> bytes::Bytes {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(0), sequence).transactional(transactional);
    builder.push(Timestamp(9_000), Some(b"key"), Some(value.as_bytes()), &[]);
    builder.build()
}

/// Writes until it is killed; says what is durable.
fn load(dirs: &LogDirs, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let now = Timestamp(10_000);
    let coordinator = AppendContext { origin: AppendOrigin::Coordinator, ..context() };
    let next_sequence = |log: &Log, producer: i64| {
        let known = log.producers().into_iter().find(|known| known.producer_id == ProducerId(producer));
        known.map_or(0, |known| known.last_sequence + 1)
    };
    let log = |partition| dirs.get(&id(partition)).unwrap();
    let mut sequences = (next_sequence(&log(IDEMPOTENT), 5), next_sequence(&log(TRANSACTIONAL), 6));
    // A transaction that the process before left open.
    if log(TRANSACTIONAL).producers().iter().any(|producer| producer.current_txn_first_offset.is_some()) {
        let marker = end_txn_marker(ProducerId(6), ProducerEpoch(0), 0, false, now);
        log(TRANSACTIONAL).append_as_leader(marker, &coordinator).unwrap();
    }
    for round in 0_u64.. {
        let how = if rng.random() { awaited() } else { context() };
        let plain = log(PLAIN);
        plain.append_as_leader(batch(plain.offsets().log_end.0, rng.random_range(1..20)), &how).unwrap();
        for _ in 0..rng.random_range(1..4) {
            let bytes = produced(5, sequences.0, false, "x");
            let first = log(IDEMPOTENT).append_as_leader(bytes.clone(), &how).unwrap();
            let again = log(IDEMPOTENT).append_as_leader(bytes, &context()).unwrap();
            assert!(again.duplicate && again.first_offset == first.first_offset);
            sequences.0 += 1;
        }
        let commit = round.is_multiple_of(2);
        for _ in 0..2 {
            let value = if commit { "commit" } else { "abort" };
            log(TRANSACTIONAL).append_as_leader(produced(6, sequences.1, true, value), &how).unwrap();
            sequences.1 += 1;
        }
        let marker = end_txn_marker(ProducerId(6), ProducerEpoch(0), 0, commit, now);
        log(TRANSACTIONAL).append_as_leader(marker, &coordinator).unwrap();
        for _ in 0..rng.random_range(1..10) {
            let compacted = log(COMPACTED);
            compacted.append_as_leader(keyed(compacted.offsets().log_end.0), &how).unwrap();
        }
        let mut out = std::io::stdout().lock();
        for partition in LOGS {
            let log = log(partition);
            log.set_high_watermark(log.durable_end());
            writeln!(out, "durable {partition} {}", log.durable_end()).unwrap();
        }
        out.flush().unwrap();
        if round % 16 == 7 {
            dirs.maintenance(now);
            let plain = log(PLAIN);
            let start = plain.offsets().log_start.0;
            let to = rng.random_range(start..=plain.high_watermark().0);
            plain.increment_log_start_offset(Offset(to)).unwrap();
        }
        if round % 64 == 9 {
            dirs.checkpoint_all().unwrap();
        }
    }
}

#[test]
fn killed_child() {
    let Ok(text) = std::env::var(CHILD) else { return };
    let mut words = text.split(' ');
    let dir = PathBuf::from(words.next().unwrap());
    let seed = words.next().unwrap().parse().unwrap();
    let durable = words.map(|word| word.split_once('=').unwrap());
    let durable = durable.map(|(at, end)| (at.parse().unwrap(), end.parse().unwrap())).collect();
    let begun = Instant::now();
    let dirs = open(&dir);
    println!("opened {}", begun.elapsed().as_millis());
    verify(&dirs, &durable);
    println!("verified");
    load(&dirs, seed);
}

#[test]
fn nothing_durable_is_lost_to_a_kill() {
    let kills: u64 = std::env::var("OTTLA_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let mut durable: BTreeMap<i32, i64> = BTreeMap::new();
    let mut slowest = 0;
    for kill in 0..kills {
        let mut text = format!("{} {kill}", folder.path().display());
        for (at, end) in &durable {
            text.push_str(&format!(" {at}={end}"));
        }
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed_child", "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, text)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut end = None;
        let mut verified = false;
        for line in lines.map_while(Result::ok) {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                [.., "opened", ms] => slowest = slowest.max(ms.parse().unwrap()),
                ["verified"] => {
                    verified = true;
                    end = Some(Instant::now() + Duration::from_millis(rng.random_range(20..250)));
                }
                // The last line may be cut off.
                ["durable", at, offset] => {
                    if let (Ok(at), Ok(offset)) = (at.parse(), offset.parse::<i64>()) {
                        let known = durable.entry(at).or_insert(0);
                        *known = (*known).max(offset);
                    }
                }
                _ => {}
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                // SIGKILL; what it had said by then still counts.
                child.kill().unwrap();
                end = None;
            }
        }
        let status = child.wait().unwrap();
        assert!(verified && status.code().is_none(), "kill {kill}: the child ended by itself, see its output above");
    }
    println!("{kills} kills, slowest start {slowest} ms, durable {durable:?}");
    assert!(durable.values().all(|end| *end > 100));
}
