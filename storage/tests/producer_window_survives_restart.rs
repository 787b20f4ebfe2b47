//! A producer's retry is recognized after a restart, clean or not; open transactions are open again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, context, dir, idempotent, options, transactional};
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, AppendOrigin, Log, LogOptions};

#[test]
fn retries_get_their_first_answer() {
    for (clean, flush) in [(true, true), (false, true), (false, false)] {
        let disk = FaultyDisk::default();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        for round in 0..40 {
            log.append_as_leader(idempotent(7, 1, round * 2, 2), &context()).unwrap();
        }
        let again = log.append_as_leader(idempotent(7, 1, 72, 2), &context()).unwrap();
        assert!(again.duplicate);
        assert_eq!(again.first_offset, Offset(72));
        let before = log.producers();
        if flush {
            log.flush().unwrap();
        }
        if clean {
            log.close().unwrap();
        }
        let recovery_point = log.offsets().recovery_point;
        drop(log);
        let (log, _) =
            Log::open(dir(), LogOptions { clean_shutdown: clean, recovery_point, ..options(&disk.after_kill()) })
                .unwrap();
        assert_eq!(log.producers(), before);
        // Five requests may have been in flight, and a snapshot may have been written between any two of them.
        for first in [78, 76, 74, 72, 70] {
            let again = log.append_as_leader(idempotent(7, 1, first, 2), &context()).unwrap();
            assert!(again.duplicate);
            let first = i64::from(first);
            assert_eq!((again.first_offset, again.last_offset), (Offset(first), Offset(first + 1)));
        }
        let gap = log.append_as_leader(idempotent(7, 1, 90, 2), &context()).unwrap_err();
        assert_eq!(gap.error_code(), ErrorCode::OutOfOrderSequenceNumber);
        assert_eq!(log.append_as_leader(idempotent(7, 1, 80, 2), &context()).unwrap().first_offset, Offset(80));
    }
}

#[test]
fn transactions_and_their_aborts_survive() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    log.append_as_leader(transactional(1, 0), &context()).unwrap();
    log.append_as_leader(transactional(2, 0), &context()).unwrap();
    append(&log, 2).unwrap();
    let marker = end_txn_marker(ProducerId(1), ProducerEpoch(0), 3, false, Timestamp(9_500));
    let cx = AppendContext { origin: AppendOrigin::Coordinator, ..context() };
    log.append_as_leader(marker, &cx).unwrap();
    log.set_high_watermark(log.offsets().log_end);
    assert_eq!(log.last_stable_offset(), Offset(1));
    for (at, high_watermark) in [(0, 5), (3, 5), (5, 5)] {
        let options = LogOptions {
            recovery_point: Offset(at),
            high_watermark: Offset(high_watermark),
            ..options(&disk.after_kill())
        };
        let (log, _) = Log::open(dir(), options).unwrap();
        assert_eq!(log.last_stable_offset(), Offset(1));
        let aborted = log.aborted_transactions(Offset(0), Offset(5)).unwrap();
        assert_eq!(aborted.iter().map(|txn| (txn.producer_id.0, txn.first_offset.0)).collect::<Vec<_>>(), [(1, 0)]);
        assert!(log.aborted_transactions(Offset(5), Offset(6)).unwrap().is_empty());
        assert!(log.is_verified(ProducerId(2), ProducerEpoch(0), None));
        assert!(!log.is_verified(ProducerId(1), ProducerEpoch(0), None));
        let old = end_txn_marker(ProducerId(2), ProducerEpoch(0), 1, true, Timestamp(9_600));
        log.append_as_leader(old, &cx).unwrap();
        assert_eq!(log.last_stable_offset(), Offset(1), "the marker is not committed yet");
        log.set_high_watermark(Offset(6));
        assert_eq!(log.last_stable_offset(), Offset(6));
    }
}

/// Whether it was opened since the start or not: left behind, it would be that of a log that begins there anew.
#[test]
fn the_index_of_aborted_transactions_goes_with_its_segment() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    log.append_as_leader(transactional(1, 0), &context()).unwrap();
    let marker = end_txn_marker(ProducerId(1), ProducerEpoch(0), 3, false, Timestamp(9_500));
    log.append_as_leader(marker, &AppendContext { origin: AppendOrigin::Coordinator, ..context() }).unwrap();
    log.close().unwrap();
    drop(log);
    let indexes = || {
        let names = disk.list(&dir()).unwrap().into_iter().map(|entry| entry.name);
        names.filter(|name| name.contains(".txnindex")).collect::<Vec<_>>()
    };
    assert_eq!(indexes(), ["00000000000000000000.txnindex"]);
    let found = LogOptions { clean_shutdown: true, recovery_point: Offset(2), ..options(&disk) };
    let (log, _) = Log::open(dir(), found).unwrap();
    log.truncate_fully_and_start_at(Offset(0)).unwrap();
    assert!(indexes().is_empty(), "{:?}", indexes());
}

/// What becomes of the index's bytes; told how long an entry is.
type Damage = fn(&mut Vec<u8>, usize);

/// After a power cut a file may be longer than what was written to it. Read as an entry, zeros would say that producer 0 has
/// aborted from offset 0 on, and committed readers would skip what it has committed.
#[test]
fn zeros_in_the_index_abort_nothing() {
    let entry_bytes = 34;
    let damages: [(&str, Damage); 4] = [
        ("behind the entries", |bytes, entry| bytes.resize(bytes.len() + 2 * entry, 0)),
        ("among them", |bytes, entry| drop(bytes.splice(entry..entry, vec![0; entry]))),
        ("before them", |bytes, entry| drop(bytes.splice(0..0, vec![0; entry]))),
        ("part of one", |bytes, _| bytes.resize(bytes.len() + 10, 0)),
    ];
    for (place, damage) in damages {
        let disk = FaultyDisk::default();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        let cx = AppendContext { origin: AppendOrigin::Coordinator, ..context() };
        let end = |id: i64, sequence: i32, commit: bool| {
            log.append_as_leader(transactional(id, sequence), &context()).unwrap();
            let marker = end_txn_marker(ProducerId(id), ProducerEpoch(0), 3, commit, Timestamp(9_500));
            log.append_as_leader(marker, &cx).unwrap();
        };
        end(0, 0, true);
        end(1, 0, false);
        end(0, 1, true);
        end(1, 1, false);
        let log_end = log.offsets().log_end;
        for recovery_point in [Offset(0), Offset(4), log_end] {
            let disk = disk.after_kill();
            disk.damage(&dir().join(format!("{:020}.txnindex", 0)), |bytes| damage(bytes, entry_bytes)).unwrap();
            let options = LogOptions { recovery_point, high_watermark: log_end, ..options(&disk) };
            let (log, _) = Log::open(dir(), options).unwrap();
            let aborted = log.aborted_transactions(Offset(0), log_end).unwrap();
            let aborted: Vec<_> = aborted.iter().map(|txn| (txn.producer_id.0, txn.first_offset.0)).collect();
            assert_eq!(aborted, [(1, 2), (1, 6)], "zeros {place}, recovery from {recovery_point} on");
            // The next entry has its place.
            log.append_as_leader(transactional(2, 0), &context()).unwrap();
            let marker = end_txn_marker(ProducerId(2), ProducerEpoch(0), 3, false, Timestamp(9_500));
            log.append_as_leader(marker, &cx).unwrap();
            let now = log.aborted_transactions(Offset(0), log.offsets().log_end).unwrap();
            assert_eq!(now.last().map(|txn| (txn.producer_id.0, txn.first_offset.0)), Some((2, 8)));
        }
    }
}
