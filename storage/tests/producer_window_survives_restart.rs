//! A producer's retry is recognized after a restart, clean or not; open transactions are open again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, context, dir, idempotent, options, transactional};
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId, Timestamp};
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
