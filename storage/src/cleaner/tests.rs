//! Model test: random keyed and transactional logs, before and after cleaning, tell every reader the same in the end.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::record_batch::{BatchBuilder, batches};
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::Verification;
use crate::config::LogConfig;
use crate::disk::faulty::FaultyDisk;
use crate::disk::{Disk, OpenMode};
use crate::log::{AppendContext, LogOptions};
use crate::validate::AppendOrigin;

const DAY: i64 = 86_400_000;

fn options(disk: &FaultyDisk) -> LogOptions {
    let config = LogConfig {
        compact: true,
        delete: false,
        segment_bytes: 2_000,
        index_interval_bytes: 200,
        message_timestamp_after_max_ms: i64::MAX,
        file_delete_delay_ms: 0,
        ..LogConfig::default()
    };
    LogOptions {
        config: Arc::new(config),
        disk: Arc::new(disk.clone()),
        ..LogOptions::new(TopicPartition::new("t", 0), Timestamp(0))
    }
}

fn cx(origin: AppendOrigin, now: i64) -> AppendContext {
    AppendContext {
        leader_epoch: LeaderEpoch(0),
        origin,
        now: Timestamp(now),
        verification: Verification::NotNeeded,
        is_awaited: false,
    }
}

/// Offset, key, value.
type Seen = (i64, Vec<u8>, Option<Vec<u8>>);

/// What a reader sees from an offset on, as (offset, key, value).
fn seen(log: &Log, from: Offset, committed_only: bool) -> Vec<Seen> {
    let end = if committed_only { log.last_stable_offset() } else { log.offsets().log_end };
    let mut next = from;
    let mut out = Vec::new();
    while next < end {
        let read = log.read(next, 1000, end, true).unwrap();
        if read.records.is_empty() {
            break;
        }
        let aborted = log.aborted_transactions(next, read.next_offset).unwrap();
        let mut to_come: Vec<_> = aborted.iter().map(|txn| (txn.first_offset, txn.producer_id)).collect();
        to_come.sort();
        let mut open: HashSet<ProducerId> = HashSet::new();
        let bytes = read.records[0].read_all().unwrap();
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            batch.check_crc().unwrap();
            to_come.retain(|(first, id)| {
                if *first <= batch.last_offset() {
                    open.insert(*id);
                    return false;
                }
                true
            });
            next = batch.next_offset();
            if batch.is_control() {
                open.remove(&batch.producer_id);
                continue;
            }
            if committed_only && batch.is_transactional() && open.contains(&batch.producer_id) {
                continue;
            }
            let mut records = batch.records().unwrap();
            while let Some(record) = records.next_record().unwrap() {
                let offset = batch.base_offset.0 + i64::from(record.offset_delta);
                if offset >= from.0 {
                    out.push((offset, record.key.unwrap().to_vec(), record.value.map(<[u8]>::to_vec)));
                }
            }
        }
    }
    out
}

/// The last value of each key.
fn fold(records: &[Seen]) -> BTreeMap<Vec<u8>, (i64, Vec<u8>)> {
    let mut map = BTreeMap::new();
    for (offset, key, value) in records {
        match value {
            Some(value) => map.insert(key.clone(), (*offset, value.clone())),
            None => map.remove(key),
        };
    }
    map
}

fn fill(log: &Log, rng: &mut StdRng, sequences: &mut HashMap<i64, i32>, rounds: usize, now: i64) {
    let mut open: HashSet<i64> = HashSet::new();
    for _ in 0..rounds {
        // Producers 0 and 1 write transactions, 2 is only idempotent, -1 is none.
        let producer = rng.random_range(-1..=2_i64);
        if (0..=1).contains(&producer) && open.contains(&producer) && rng.random_bool(0.3) {
            let marker =
                end_txn_marker(ProducerId(producer), ProducerEpoch(0), 0, rng.random_bool(0.5), Timestamp(now));
            log.append_as_leader(marker, &cx(AppendOrigin::Coordinator, now)).unwrap();
            open.remove(&producer);
            continue;
        }
        let mut builder = BatchBuilder::new();
        let count = rng.random_range(1..6);
        if producer >= 0 {
            let sequence = sequences.entry(producer).or_insert(0);
            builder = builder.producer(ProducerId(producer), ProducerEpoch(0), *sequence);
            *sequence += count;
        }
        if (0..=1).contains(&producer) {
            builder = builder.transactional(true);
            open.insert(producer);
        }
        for _ in 0..count {
            // Some keys are the bytes of a marker's key (KAFKA-14055).
            let key = match rng.random_range(0..12_u8) {
                0 => vec![0, 0, 0, 0],
                1 => vec![0, 0, 0, 1],
                key => vec![key],
            };
            let value: Option<[u8; 4]> = rng.random_bool(0.8).then(|| rng.random());
            builder.push(Timestamp(now), Some(&key), value.as_ref().map(|value| &value[..]), &[]);
        }
        log.append_as_leader(builder.build(), &cx(AppendOrigin::Client, now)).unwrap();
    }
    for producer in open {
        let marker = end_txn_marker(ProducerId(producer), ProducerEpoch(0), 0, true, Timestamp(now));
        log.append_as_leader(marker, &cx(AppendOrigin::Coordinator, now)).unwrap();
    }
    log.set_high_watermark(log.offsets().log_end);
}

fn clean_now(log: &Log, cleaned: Option<Offset>, now: i64, map_bytes: usize) -> Cleaned {
    let dirty = dirty_part(log, cleaned, Timestamp(now)).unwrap();
    clean(log, &dirty, map_bytes, Timestamp(now), &mut Throttle::new(f64::INFINITY)).unwrap()
}

#[test]
fn a_cleaned_log_tells_the_same_in_the_end() {
    for seed in 0..25 {
        let mut rng = StdRng::seed_from_u64(seed);
        let disk = FaultyDisk::default();
        let (log, _) = Log::open("/data/t-0".into(), options(&disk)).unwrap();
        let mut cleaned = None;
        let mut sequences = HashMap::new();
        let mut now = 1_000;
        for round in 0..4 {
            fill(&log, &mut rng, &mut sequences, 60, now);
            let whole: HashMap<bool, Vec<_>> =
                [false, true].into_iter().map(|committed| (committed, seen(&log, Offset(0), committed))).collect();
            let producers = log.producers();
            // Small maps are full before the dirty part is read.
            let map_bytes = if rng.random_bool(0.3) { 7 * 56 } else { 1 << 20 };
            cleaned = Some(clean_now(&log, cleaned, now, map_bytes).next_dirty);
            for (committed, before) in &whole {
                let after = seen(&log, Offset(0), *committed);
                let context = format!("seed {seed} round {round} committed {committed}");
                // Nothing new, nothing moved, nothing out of order.
                let known: HashSet<_> = before.iter().collect();
                assert!(after.iter().all(|record| known.contains(record)), "{context}");
                assert!(after.windows(2).all(|pair| pair[0].0 < pair[1].0), "{context}");
                for from in (0..log.offsets().log_end.0).step_by(7) {
                    let old = fold(&before.iter().filter(|record| record.0 >= from).cloned().collect::<Vec<_>>());
                    let new = fold(&seen(&log, Offset(from), *committed));
                    // To a reader of uncommitted records aborted ones may vanish.
                    if *committed {
                        assert_eq!(new, old, "{context} from {from}");
                    }
                }
            }
            assert_eq!(log.producers(), producers);
            now += if rng.random_bool(0.5) { 2 * DAY } else { DAY / 4 };
        }
        let end = log.offsets().log_end;
        let committed = seen(&log, Offset(0), true);
        let producers = log.producers();
        // The host has written it down before the first segment was replaced.
        let recovery_point = log.offsets().recovery_point;
        drop(log);
        let reopened = LogOptions { recovery_point, ..options(&disk) };
        let (log, report) = Log::open("/data/t-0".into(), reopened).unwrap();
        assert_eq!((report.cut, report.lost_below), (None, None), "seed {seed}");
        assert_eq!(log.offsets().log_end, end);
        log.set_high_watermark(end);
        assert_eq!(seen(&log, Offset(0), true), committed, "seed {seed}");
        let sequences = |entries: &[crate::ProducerSnapshotEntry]| {
            entries.iter().map(|entry| (entry.producer_id, entry.last_sequence)).collect::<Vec<_>>()
        };
        assert_eq!(sequences(&log.producers()), sequences(&producers), "seed {seed}");
    }
}

#[test]
fn tombstones_stay_for_their_time_and_not_longer() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open("/data/t-0".into(), options(&disk)).unwrap();
    let put = |key: &[u8], value: Option<&[u8]>| {
        let mut batch = BatchBuilder::new();
        batch.push(Timestamp(5), Some(key), value, &[]);
        log.append_as_leader(batch.build(), &cx(AppendOrigin::Client, 5)).unwrap();
        log.set_high_watermark(log.offsets().log_end);
    };
    put(b"a", Some(b"1"));
    put(b"a", None);
    for _ in 0..40 {
        put(b"other", Some(&[0; 100]));
    }
    let has_tombstone =
        |log: &Log| seen(log, Offset(0), true).iter().any(|(_, key, value)| key == b"a" && value.is_none());
    let first = clean_now(&log, None, 1_000, 1 << 20);
    assert!(first.bytes_after < first.bytes_before);
    assert!(has_tombstone(&log), "its horizon is set now");
    clean_now(&log, None, 1_000 + DAY - 1, 1 << 20);
    assert!(has_tombstone(&log), "a reader may still need it");
    clean_now(&log, None, 1_000 + DAY, 1 << 20);
    assert!(!has_tombstone(&log));
}

/// Where the markers are that still say something.
fn markers(log: &Log) -> Vec<i64> {
    let (mut next, end) = (Offset(0), log.offsets().log_end);
    let mut found = Vec::new();
    while next < end {
        let read = log.read(next, 1000, end, true).unwrap();
        let Some(records) = read.records.first() else { break };
        let bytes = records.read_all().unwrap();
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            next = batch.next_offset();
            if batch.is_control() && batch.record_count > 0 {
                found.push(batch.base_offset.0);
            }
        }
    }
    found
}

/// A reader that is in the middle of the transaction's records when they are cleaned needs the marker behind them.
#[test]
fn a_marker_outlives_its_records_by_the_horizon() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open("/data/t-0".into(), options(&disk)).unwrap();
    for (sequence, commit) in [(0, false), (1, true)] {
        let mut batch = BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), sequence).transactional(true);
        batch.push(Timestamp(5), Some(b"a"), Some(b"1"), &[]);
        log.append_as_leader(batch.build(), &cx(AppendOrigin::Client, 5)).unwrap();
        let marker = end_txn_marker(ProducerId(1), ProducerEpoch(0), 0, commit, Timestamp(5));
        log.append_as_leader(marker, &cx(AppendOrigin::Coordinator, 5)).unwrap();
    }
    for _ in 0..40 {
        let mut batch = BatchBuilder::new();
        batch.push(Timestamp(5), Some(b"other"), Some(&[0; 100]), &[]);
        log.append_as_leader(batch.build(), &cx(AppendOrigin::Client, 5)).unwrap();
    }
    log.set_high_watermark(log.offsets().log_end);
    clean_now(&log, None, 1_000, 1 << 20);
    assert!(!seen(&log, Offset(0), false).iter().any(|record| record.0 == 0), "what was aborted goes at once");
    assert_eq!(markers(&log), [1, 3]);
    clean_now(&log, None, 2_000, 1 << 20);
    assert_eq!(markers(&log), [1, 3], "nothing is left of the first transaction: its marker's horizon is set now");
    clean_now(&log, None, 2_000 + DAY - 1, 1 << 20);
    assert_eq!(markers(&log), [1, 3], "a reader may still need it");
    clean_now(&log, None, 2_000 + DAY, 1 << 20);
    assert_eq!(markers(&log), [3]);
}

/// A follower has nothing but the batches: of a producer whose records are all outdated one without records stays.
#[test]
fn a_follower_of_a_cleaned_log_knows_a_retry() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open("/data/t-0".into(), options(&disk)).unwrap();
    let produced = |sequence| {
        let mut batch = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), sequence);
        batch.push(Timestamp(5), Some(b"same"), Some(b"1"), &[]);
        batch.build()
    };
    for sequence in 0..3 {
        log.append_as_leader(produced(sequence), &cx(AppendOrigin::Client, 5)).unwrap();
    }
    for _ in 0..40 {
        let mut batch = BatchBuilder::new();
        batch.push(Timestamp(5), Some(b"same"), Some(&[0; 100]), &[]);
        log.append_as_leader(batch.build(), &cx(AppendOrigin::Client, 5)).unwrap();
    }
    log.set_high_watermark(log.offsets().log_end);
    clean_now(&log, None, 1_000, 1 << 20);
    assert!(seen(&log, Offset(0), true)[0].0 > 2, "its records are gone");

    let (follower, _) = Log::open("/data/follower-0".into(), options(&disk)).unwrap();
    while follower.offsets().log_end < log.offsets().log_end {
        let read = log.read(follower.offsets().log_end, 1, Offset(i64::MAX), true).unwrap();
        follower.append_as_follower(read.records[0].read_all().unwrap().into(), Timestamp(6)).unwrap();
    }
    let again = follower.append_as_leader(produced(2), &cx(AppendOrigin::Client, 7)).unwrap();
    assert!(again.duplicate && again.first_offset == Offset(2), "{again:?}");
    assert!(!follower.append_as_leader(produced(3), &cx(AppendOrigin::Client, 7)).unwrap().duplicate);
}

#[test]
fn nothing_at_or_above_the_last_stable_offset_is_cleaned() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open("/data/t-0".into(), options(&disk)).unwrap();
    for _ in 0..60 {
        let mut batch = BatchBuilder::new();
        batch.push(Timestamp(5), Some(b"same"), Some(&[0; 100]), &[]);
        log.append_as_leader(batch.build(), &cx(AppendOrigin::Client, 5)).unwrap();
    }
    log.set_high_watermark(Offset(30));
    let dirty = dirty_part(&log, None, Timestamp(10)).unwrap();
    assert!(dirty.end <= Offset(30) && dirty.end > Offset(0));
    clean_now(&log, None, 10, 1 << 20);
    let offsets: Vec<i64> = seen(&log, Offset(0), false).iter().map(|record| record.0).collect();
    assert!(offsets.iter().filter(|offset| **offset >= dirty.end.0).count() as i64 == 60 - dirty.end.0);
    assert!(offsets.contains(&(dirty.end.0 - 1)));
}

/// The `.log` gets its name last: by then the index of aborted transactions has its own.
#[test]
fn a_swap_that_ends_before_the_log_has_its_name_keeps_the_index_of_aborted_transactions() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open("/data/t-0".into(), options(&disk)).unwrap();
    fill(&log, &mut StdRng::seed_from_u64(5), &mut HashMap::new(), 60, 1_000);
    log.flush().unwrap();
    let end = log.offsets().log_end;
    let before = log.aborted_transactions(Offset(0), end).unwrap();
    let disk = disk.after_kill();
    let file = |suffix: &str| std::path::PathBuf::from(format!("/data/t-0/{:020}.log{suffix}", 0));
    disk.rename(&file(""), &file(".swap")).unwrap();
    let at = LogOptions { recovery_point: end, high_watermark: end, ..options(&disk) };
    let (log, _) = Log::open("/data/t-0".into(), at).unwrap();
    assert!(log.segments()[0].base == Offset(0) && !log.segments()[0].txn_index().is_empty());
    assert_eq!(log.aborted_transactions(Offset(0), end).unwrap(), before);
}

#[test]
fn a_swap_that_is_interrupted_anywhere_leaves_one_of_both() {
    let fill = |disk: &FaultyDisk| {
        let mut rng = StdRng::seed_from_u64(5);
        let (log, _) = Log::open("/data/t-0".into(), options(disk)).unwrap();
        fill(&log, &mut rng, &mut HashMap::new(), 60, 1_000);
        log.flush().unwrap();
        disk.sync_dir("/".as_ref()).unwrap();
        log
    };
    let whole = FaultyDisk::default();
    let log = fill(&whole);
    let before = fold(&seen(&log, Offset(0), true));
    let end = log.offsets().log_end;
    let start = whole.operations();
    clean_now(&log, None, 1_000, 1 << 20);
    let steps = whole.operations() - start;
    assert!(steps > 20);
    for step in 0..steps {
        let disk = FaultyDisk::default();
        let log = fill(&disk);
        disk.stop_after(step);
        let dirty = dirty_part(&log, None, Timestamp(1_000)).unwrap();
        let _ = clean(&log, &dirty, 1 << 20, Timestamp(1_000), &mut Throttle::new(f64::INFINITY));
        let mut rng = StdRng::seed_from_u64(step);
        disk.clear_fault();
        // What an earlier round that failed has left says nothing about this one.
        let file = disk.open("/data/t-0/00000000000000000990.log.cleaned".as_ref(), OpenMode::Create).unwrap();
        file.write_at(&[b"half"], 0).unwrap();
        let mut states = vec![disk.after_kill()];
        states.extend((0..6).map(|_| disk.after_power_cut(|below| rng.random_range(0..below))));
        for crashed in states {
            let at = LogOptions { recovery_point: end, high_watermark: end, ..options(&crashed) };
            let (log, report) = Log::open("/data/t-0".into(), at).unwrap();
            assert_eq!((report.cut, report.lost_below, log.offsets().log_end), (None, None, end), "step {step}");
            assert_eq!(fold(&seen(&log, Offset(0), true)), before, "step {step}");
        }
    }
}
