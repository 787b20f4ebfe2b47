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
        assert!(state.check(&header, AppendOrigin::Client, Verification::NotNeeded).unwrap().is_none());
        state.apply_batch(&header);
    }
    for at in 1..6 {
        let again =
            state.check(&batch(1, 0, at * 2, 2, 100), AppendOrigin::Client, Verification::NotNeeded).unwrap().unwrap();
        assert_eq!(again.first_offset(), Offset(i64::from(at) * 2));
    }
    let forgotten = state.check(&batch(1, 0, 0, 2, 100), AppendOrigin::Client, Verification::NotNeeded);
    assert_eq!(code(forgotten), Some(ErrorCode::OutOfOrderSequenceNumber));
    let gap = state.check(&batch(1, 0, 13, 1, 100), AppendOrigin::Client, Verification::NotNeeded);
    assert_eq!(code(gap), Some(ErrorCode::OutOfOrderSequenceNumber));
}

#[test]
fn sequences_wrap_behind_the_largest() {
    let mut state = ProducerState::default();
    state.apply_batch(&batch(1, 0, i32::MAX - 1, 2, 0));
    let next = batch(1, 0, 0, 1, 2);
    assert!(state.check(&next, AppendOrigin::Client, Verification::NotNeeded).unwrap().is_none());
    let across = batch(2, 0, i32::MAX, 3, 10);
    state.apply_batch(&across);
    assert_eq!(across.last_sequence(), 1);
    assert!(state.check(&across, AppendOrigin::Client, Verification::NotNeeded).unwrap().is_some());
    assert!(state.check(&batch(2, 0, 2, 1, 13), AppendOrigin::Client, Verification::NotNeeded).unwrap().is_none());
}

#[test]
fn epochs_fence_and_begin_at_zero() {
    let mut state = ProducerState::default();
    state.apply_batch(&batch(1, 3, 7, 1, 0));
    let old = state.check(&batch(1, 2, 8, 1, 1), AppendOrigin::Client, Verification::NotNeeded);
    assert_eq!(code(old), Some(ErrorCode::InvalidProducerEpoch));
    let not_zero = state.check(&batch(1, 4, 8, 1, 1), AppendOrigin::Client, Verification::NotNeeded);
    assert_eq!(code(not_zero), Some(ErrorCode::OutOfOrderSequenceNumber));
    assert!(state.check(&batch(1, 4, 0, 1, 1), AppendOrigin::Client, Verification::NotNeeded).is_ok());
    // Nothing is known of producer 9: any sequence will do.
    assert!(state.check(&batch(9, 0, 55, 1, 1), AppendOrigin::Client, Verification::NotNeeded).is_ok());
}

#[test]
fn transactions_hold_the_last_stable_offset_until_their_marker_is_committed() {
    let mut state = ProducerState::default();
    let refused = state.check(&transactional(1, 0, 0, 5), AppendOrigin::Client, Verification::Missing);
    assert_eq!(code(refused), Some(ErrorCode::InvalidTxnState));
    state.apply_batch(&transactional(1, 0, 0, 5));
    state.apply_batch(&transactional(2, 0, 0, 6));
    assert!(state.check(&transactional(1, 0, 1, 7), AppendOrigin::Client, Verification::Missing).is_ok());
    let plain = state.check(&batch(1, 0, 1, 1, 7), AppendOrigin::Client, Verification::NotNeeded);
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
    let fenced = state
        .check_marker(&marker, Marker { commit: true, coordinator_epoch: 3 }, Verification::NotNeeded)
        .unwrap_err();
    assert_eq!(fenced.error_code(), ErrorCode::TransactionCoordinatorFenced);
}

/// KIP-890: a marker of version 2 that is sent again when the next transaction has begun must not end that one.
#[test]
fn a_marker_that_comes_again_spares_the_next_transaction() {
    let mut state = ProducerState::default();
    let commit = Marker { commit: true, coordinator_epoch: 0 };
    let ends = |transaction_version| Verification::Ends { transaction_version };
    state.apply_batch(&transactional(1, 0, 0, 5));
    let marker = |epoch| {
        let mut marker = batch(1, epoch, -1, 1, 6);
        marker.attributes = Attributes::default().with_transactional(true).with_control(true);
        marker
    };
    // The data's own epoch ends a transaction of version 1 only.
    assert!(state.check_marker(&marker(0), commit, ends(1)).is_ok());
    let same = state.check_marker(&marker(0), commit, ends(2)).unwrap_err();
    assert_eq!(same.error_code(), ErrorCode::InvalidProducerEpoch);
    assert!(state.check_marker(&marker(1), commit, ends(2)).is_ok());
    state.apply_marker(&marker(1), commit);
    // Nothing is open: the second copy does no harm.
    assert!(state.check_marker(&marker(1), commit, ends(2)).is_ok());
    state.apply_batch(&transactional(1, 1, 0, 7));
    let late = state.check_marker(&marker(1), commit, ends(2)).unwrap_err();
    assert_eq!(late.error_code(), ErrorCode::InvalidProducerEpoch);
    // At the end of the epochs there is no other way to end it.
    state.apply_marker(&marker(2), commit);
    state.apply_batch(&transactional(1, i16::MAX, 0, 9));
    assert!(state.check_marker(&marker(i16::MAX), commit, ends(2)).is_ok());
}

#[test]
fn producers_expire_unless_they_have_an_open_transaction() {
    let mut state = ProducerState::default();
    state.apply_batch(&batch(1, 0, 0, 1, 0));
    state.apply_batch(&transactional(2, 0, 0, 1));
    state.expire(Timestamp(1_001), 1_000);
    assert_eq!(state.entries().iter().map(|entry| entry.producer_id.0).collect::<Vec<_>>(), [2]);
}

/// KIP-890: the coordinator has said yes, a marker ends the transaction, then the batch comes.
#[test]
fn a_yes_that_was_overtaken_by_the_marker_lets_nothing_in() {
    let mut state = ProducerState::default();
    let producer = (ProducerId(1), ProducerEpoch(0));
    let asked = state.start_verification(producer, 0, false, Timestamp(0)).unwrap();
    assert_eq!(state.start_verification(producer, 0, false, Timestamp(0)), Some(asked), "one question at a time");
    state.apply_marker(&transactional(1, 0, -1, 4), Marker { commit: false, coordinator_epoch: 0 });
    let late = state.check(&transactional(1, 0, 0, 5), AppendOrigin::Client, Verification::Guard(asked));
    assert_eq!(late.unwrap_err().error_code(), ErrorCode::InvalidTxnState);
    assert!(!state.is_verified(producer.0, producer.1, Some(asked)));
    // The next transaction asks for itself.
    let next = state.start_verification(producer, 0, false, Timestamp(0)).unwrap();
    assert!(next != asked);
    let first = transactional(1, 0, 0, 5);
    assert!(state.check(&first, AppendOrigin::Client, Verification::Guard(asked)).is_err());
    assert!(state.check(&first, AppendOrigin::Client, Verification::Guard(next)).is_ok());
    state.apply_batch(&first);
    assert_eq!(state.start_verification(producer, 1, false, Timestamp(0)), None, "the transaction is open");
    assert!(state.is_verified(producer.0, producer.1, None));
}

/// Version 2: the marker of the last transaction carries the epoch of the next, which may already be asking.
#[test]
fn a_marker_of_the_transaction_before_does_not_void_the_next_question() {
    let mut state = ProducerState::default();
    let producer = (ProducerId(1), ProducerEpoch(1));
    let asked = state.start_verification(producer, 0, true, Timestamp(0));
    state.apply_marker(&transactional(1, 1, -1, 4), Marker { commit: true, coordinator_epoch: 0 });
    assert!(state.is_verified(producer.0, producer.1, asked));
    state.apply_marker(&transactional(1, 2, -1, 5), Marker { commit: true, coordinator_epoch: 0 });
    assert!(!state.is_verified(producer.0, producer.1, asked));
}

#[test]
fn while_a_lower_sequence_is_asked_about_no_higher_one_gets_in() {
    let mut state = ProducerState::default();
    let producer = (ProducerId(1), ProducerEpoch(0));
    let guard = state.start_verification(producer, 5, false, Timestamp(0)).unwrap();
    state.start_verification(producer, 3, false, Timestamp(0));
    let check =
        |sequence| state.check(&transactional(1, 0, sequence, 9), AppendOrigin::Client, Verification::Guard(guard));
    assert_eq!(check(5).unwrap_err().error_code(), ErrorCode::OutOfOrderSequenceNumber);
    assert!(check(3).is_ok());
    // A bumped epoch counts anew.
    state.start_verification((ProducerId(1), ProducerEpoch(1)), 0, true, Timestamp(0));
    let first = state.check(&transactional(1, 1, 0, 9), AppendOrigin::Client, Verification::Guard(guard));
    assert!(first.is_ok());
}
