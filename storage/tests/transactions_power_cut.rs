//! Transactions and a power cut: whatever survives of the indexes and snapshots, what a log says about its producers and its
//! aborted transactions is what its records say.
//!
//! `OTTLA_TXN_CRASHES` sets how many workloads are cut at every step.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use common::{config, context};
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::record_batch::{BatchBuilder, batches};
use ottla_protocol::{BrokerId, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, AppendOrigin, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const PRODUCERS: i64 = 3;

/// Producers of long ago are forgotten.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(i64::try_from(since.as_millis()).unwrap())
}

fn options(disk: &FaultyDisk) -> LogDirsOptions {
    LogDirsOptions {
        disk: Arc::new(disk.clone()),
        default_config: Arc::new(config()),
        cleaner_threads: 0,
        recovery_threads: 1,
        journal: JournalOptions { threads: false, file_bytes: 16 << 10, collect_from: 0 },
        reserve_bytes: 0,
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    }
}

fn open(disk: &FaultyDisk) -> Option<Arc<LogDirs>> {
    LogDirs::open(&[PathBuf::from("/a")], options(disk)).ok()
}

fn id() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// A log directory with the log in it, there for good.
fn disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    let dirs = open(&disk).unwrap();
    dirs.create_log(&id(), TopicId(uuid::Uuid::from_u128(1)), Arc::new(log_config())).unwrap();
    dirs.shutdown(1);
    disk
}

fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 1_200, ..config() }
}

/// Appends for producers 0, 1 and 2 in any order, each batch of a transaction, and ends transactions either way. What is on
/// the disk for sure, and what may be there.
fn workload(disk: &FaultyDisk, seed: u64) -> (i64, i64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let now = now();
    let client = AppendContext { now, ..context() };
    let coordinator = AppendContext { origin: AppendOrigin::Coordinator, ..client };
    let (mut durable, mut appended) = (0, 0);
    let Some(dirs) = open(disk) else { return (0, 0) };
    let Some(log) = dirs.get(&id()) else { return (0, 0) };
    let mut sequences = [0; PRODUCERS as usize];
    for _ in 0..70 {
        let producer = rng.random_range(0..PRODUCERS);
        match rng.random_range(0..100) {
            0..45 => {
                let sequence = &mut sequences[usize::try_from(producer).unwrap()];
                appended += 1;
                let mut builder =
                    BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(0), *sequence).transactional(true);
                builder.push(now, Some(b"key"), Some(b"value"), &[]);
                *sequence += 1;
                if log.append_as_leader(builder.build(), &client).is_err() {
                    break;
                }
            }
            45..70 => {
                let marker = end_txn_marker(ProducerId(producer), ProducerEpoch(0), 0, rng.random_bool(0.5), now);
                appended += 1;
                if log.append_as_leader(marker, &coordinator).is_err() {
                    break;
                }
            }
            70..88 => {
                dirs.commit();
            }
            88..92 => dirs.trim(),
            92..96 => {
                if log.flush().is_err() {
                    break;
                }
            }
            _ => {
                log.set_high_watermark(log.durable_end());
                if dirs.checkpoint_all().is_err() {
                    break;
                }
            }
        }
        durable = durable.max(log.durable_end().0.min(appended));
    }
    (durable, appended)
}

/// (producer, first offset, offset of the marker) of every aborted transaction; of every producer its last sequence and
/// where its open transaction begins.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    aborted: Vec<(i64, i64)>,
    producers: BTreeMap<i64, (i32, Option<i64>)>,
}

/// What the records say.
fn of_records(log: &Log) -> State {
    of_records_from(log, Offset(0), false)
}

/// `gaps`: segments that retention had taken may be back, and others of them not.
fn of_records_from(log: &Log, start: Offset, gaps: bool) -> State {
    let mut state = State::default();
    let mut next = start;
    while next < log.offsets().log_end {
        let read = log.read(next, 1 << 20, Offset(i64::MAX), true).unwrap();
        let bytes = read.records[0].read_all().unwrap();
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            batch.check_crc().unwrap();
            assert!(batch.base_offset == next || gaps);
            next = batch.next_offset();
            let producer = state.producers.entry(batch.producer_id.0).or_insert((-1, None));
            if !batch.is_control() {
                *producer = (batch.base_sequence, producer.1.or(Some(batch.base_offset.0)));
                continue;
            }
            let first = producer.1.take();
            let mut records = batch.records().unwrap();
            let marker = records.next_record().unwrap().unwrap();
            // Version and type: 0 aborts.
            if let (Some(first), [_, _, _, 0]) = (first, marker.key.unwrap()) {
                state.aborted.push((batch.producer_id.0, first));
            }
        }
    }
    state
}

/// What the log says.
fn of_log(log: &Log) -> State {
    let aborted = log.aborted_transactions(Offset(0), log.offsets().log_end).unwrap();
    State {
        aborted: aborted.iter().map(|txn| (txn.producer_id.0, txn.first_offset.0)).collect(),
        producers: log
            .producers()
            .iter()
            .map(|known| {
                let open = known.current_txn_first_offset.map(|offset| offset.0);
                (known.producer_id.0, (known.last_sequence, open))
            })
            .collect(),
    }
}

fn check(disk: &FaultyDisk, (durable, appended): (i64, i64), what: &str) -> usize {
    let dirs = open(disk).unwrap();
    assert!(dirs.dirs()[0].online, "{what}");
    let log = dirs.get(&id()).unwrap();
    let end = log.offsets().log_end.0;
    assert!(end >= durable && end <= appended, "{what}: ends at {end}, durable {durable}, appended {appended}");
    let (records, said) = (of_records(&log), of_log(&log));
    assert_eq!(said, records, "{what}");
    let first_open = records.producers.values().filter_map(|(_, open)| *open).min();
    log.set_high_watermark(log.offsets().log_end);
    assert_eq!(log.last_stable_offset().0, first_open.unwrap_or(end), "{what}");
    records.aborted.len()
}

#[test]
fn what_a_log_says_of_transactions_is_what_its_records_say() {
    let workloads: u64 = std::env::var("OTTLA_TXN_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut aborted = 0;
    for seed in 0..workloads {
        let whole = disk();
        let before = whole.operations();
        workload(&whole, seed);
        let steps = whole.operations() - before;
        for step in 0..=steps {
            let disk = disk();
            disk.stop_after(step);
            let promised = workload(&disk, seed);
            for cut in 0..8 {
                let mut rng = StdRng::seed_from_u64(seed ^ (step << 20) ^ (cut << 50));
                let crashed = disk.after_power_cut(|below| rng.random_range(0..below));
                let what = format!("seed {seed} step {step} cut {cut}");
                aborted += check(&crashed, promised, &what);
                // And once more by whoever comes next, after a mere kill.
                check(&crashed.after_kill(), promised, &format!("{what} again"));
            }
        }
    }
    assert!(aborted > 1_000, "{aborted} aborted transactions were looked at");
}

/// A process that dies, and a power cut, while retention takes segments away: what comes back of them has its aborted
/// transactions.
#[test]
fn segments_that_were_not_quite_deleted_know_what_was_aborted() {
    let fill = || {
        let disk = disk();
        let dirs = open(&disk).unwrap();
        let log = dirs.get(&id()).unwrap();
        let now = now();
        let client = AppendContext { now, ..context() };
        let coordinator = AppendContext { origin: AppendOrigin::Coordinator, ..client };
        log.update_config(Arc::new(log_config()));
        for sequence in 0..30 {
            let mut builder =
                BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), sequence).transactional(true);
            builder.push(now, Some(b"key"), Some(b"value"), &[]);
            log.append_as_leader(builder.build(), &client).unwrap();
            let marker = end_txn_marker(ProducerId(1), ProducerEpoch(0), 0, false, now);
            log.append_as_leader(marker, &coordinator).unwrap();
        }
        dirs.commit();
        log.set_high_watermark(log.offsets().log_end);
        log.update_config(Arc::new(LogConfig { retention_bytes: 1, ..log_config() }));
        dirs.checkpoint_all().unwrap();
        (disk, dirs, log)
    };
    let (whole, _dirs, log) = fill();
    assert!(log.segment_count() > 3 && !of_log(&log).aborted.is_empty());
    let before = whole.operations();
    assert!(log.apply_retention(now()).unwrap() > 2);
    for step in 0..=whole.operations() - before {
        let (disk, _dirs, log) = fill();
        disk.stop_after(step);
        let _ = log.apply_retention(now());
        let mut rng = StdRng::seed_from_u64(step);
        let mut states = vec![disk.after_kill()];
        states.extend((0..20).map(|_| disk.after_power_cut(|below| rng.random_range(0..below))));
        for crashed in states {
            let dirs = open(&crashed).unwrap();
            let log = dirs.get(&id()).unwrap();
            let start = log.offsets().log_start;
            let records = of_records_from(&log, start, true);
            let known = log.aborted_transactions(start, log.offsets().log_end).unwrap();
            // One whose data are gone may be known besides.
            assert!(known.len() >= records.aborted.len(), "step {step}: {:?}, only {known:?} known", records.aborted);
        }
    }
}
