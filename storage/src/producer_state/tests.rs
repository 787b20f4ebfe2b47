#![allow(clippy::unwrap_used, clippy::expect_used)]
use ottla_protocol::LeaderEpoch;
use ottla_protocol::record_batch::{Attributes, MAGIC};

use super::*;

fn batch(id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(offset),
        batch_length: 49,
        partition_leader_epoch: LeaderEpoch(0),
        magic: MAGIC,
        crc: 0,
        attributes: Attributes::default(),
        last_offset_delta: count - 1,
        base_timestamp: Timestamp(1),
        max_timestamp: Timestamp(1),
        producer_id: ProducerId(id),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: sequence,
        record_count: count,
    }
}

fn transactional(id: i64, epoch: i16, sequence: i32, offset: i64) -> BatchHeader {
    let mut header = batch(id, epoch, sequence, 1, offset);
    header.attributes = Attributes::default().with_transactional(true);
    header
}

fn code(result: Result<Option<BatchMetadata>, AppendError>) -> Option<ErrorCode> {
    result.err().map(|error| error.error_code())
}

#[test]
fn any_of_the_last_five_batches_is_recognized_and_no_sixth() {
    let mut state = ProducerState::default();
    for at in 0..6 {
        let header = batch(1, 0, at * 2, 2, i64::from(at) * 2);
        assert!(state.check(&header, AppendOrigin::Client, true).unwrap().is_none());
        state.apply_batch(&header);
    }
    for at in 1..6 {
        let again = state.check(&batch(1, 0, at * 2, 2, 100), AppendOrigin::Client, true).unwrap().unwrap();
        assert_eq!(again.first_offset(), Offset(i64::from(at) * 2));
    }
    let forgotten = state.check(&batch(1, 0, 0, 2, 100), AppendOrigin::Client, true);
    assert_eq!(code(forgotten), Some(ErrorCode::OutOfOrderSequenceNumber));
    let gap = state.check(&batch(1, 0, 13, 1, 100), AppendOrigin::Client, true);
    assert_eq!(code(gap), Some(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn sequences_wrap_behind_the_largest() {
    let mut state = ProducerState::default();
    state.apply_batch(&batch(1, 0, i32::MAX - 1, 2, 0));
    let next = batch(1, 0, 0, 1, 2);
    assert!(state.check(&next, AppendOrigin::Client, true).unwrap().is_none());
    let across = batch(2, 0, i32::MAX, 3, 10);
    state.apply_batch(&across);
    assert_eq!(across.last_sequence(), 1);
    assert!(state.check(&across, AppendOrigin::Client, true).unwrap().is_some());
    assert!(state.check(&batch(2, 0, 2, 1, 13), AppendOrigin::Client, true).unwrap().is_none());
}

#[test]
fn epochs_fence_and_begin_at_zero() {
    let mut state = ProducerState::default();
    state.apply_batch(&batch(1, 3, 7, 1, 0));
    let old = state.check(&batch(1, 2, 8, 1, 1), AppendOrigin::Client, true);
    assert_eq!(code(old), Some(ErrorCode::InvalidProducerEpoch));
    let not_zero = state.check(&batch(1, 4, 8, 1, 1), AppendOrigin::Client, true);
    assert_eq!(code(not_zero), Some(ErrorCode::OutOfOrderSequenceNumber));
    assert!(state.check(&batch(1, 4, 0, 1, 1), AppendOrigin::Client, true).is_ok());
    // Nothing is known of producer 9: any sequence will do.
    assert!(state.check(&batch(9, 0, 55, 1, 1), AppendOrigin::Client, true).is_ok());
}

#[test]
fn transactions_hold_the_last_stable_offset_until_their_marker_is_committed() {
    let mut state = ProducerState::default();
    let refused = state.check(&transactional(1, 0, 0, 5), AppendOrigin::Client, false);
    assert_eq!(code(refused), Some(ErrorCode::InvalidTxnState));
    state.apply_batch(&transactional(1, 0, 0, 5));
    state.apply_batch(&transactional(2, 0, 0, 6));
    assert!(state.check(&transactional(1, 0, 1, 7), AppendOrigin::Client, false).is_ok());
    let plain = state.check(&batch(1, 0, 1, 1, 7), AppendOrigin::Client, true);
    assert_eq!(code(plain), Some(ErrorCode::InvalidTxnState));
    assert_eq!(state.first_unstable(), Some(Offset(5)));

    let mut marker = batch(1, 0, -1, 1, 7);
    marker.attributes = Attributes::default().with_transactional(true).with_control(true);
    let aborted = state.apply_marker(&marker, Marker { commit: false, coordinator_epoch: 4 }).unwrap();
    assert_eq!(aborted.first_offset, Offset(5));
    assert_eq!(aborted.last_stable_offset, Offset(6));
    assert_eq!(state.first_unstable(), Some(Offset(5)));
    state.on_high_watermark(Offset(8));
    assert_eq!(state.first_unstable(), Some(Offset(6)));
    let fenced = state.check_marker(&marker, Marker { commit: true, coordinator_epoch: 3 }).unwrap_err();
    assert_eq!(fenced.error_code(), ErrorCode::TransactionCoordinatorFenced);
}

#[test]
fn producers_expire_unless_they_have_an_open_transaction() {
    let mut state = ProducerState::default();
    state.apply_batch(&batch(1, 0, 0, 1, 0));
    state.apply_batch(&transactional(2, 0, 0, 1));
    state.expire(Timestamp(1_001), 1_000);
    assert_eq!(state.entries().iter().map(|entry| entry.producer_id.0).collect::<Vec<_>>(), [2]);
}
