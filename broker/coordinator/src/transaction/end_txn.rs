//! EndTxn: v0-5. v5 is transaction version 2 (KIP-890): the end bumps the producer's epoch, and the answer tells it.
//!
//! How an end is judged when no transaction is open, by version 2 ("retry": the client's epoch is one behind):
//! ```text
//!                     abort                 commit
//!                 retry     current      retry     current
//! Empty           fenced    bump         fenced    invalid state
//! CompleteAbort   done      bump         invalid   invalid state
//! CompleteCommit  invalid   bump         done      invalid state
//! ```
//! Version 1 knows no retry: an equal end of a complete transaction is done, anything else an invalid state.

use std::sync::Arc;

use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId};
use ottla_state_machine::Outcome;

use super::message::TransactionResponse;
use super::shard::{Cx, Decided, Ruling, fresh_producer_id, record, reply, send_markers};
use super::state::{NO_EPOCH, Transaction, TransactionState, Transactions};
use crate::shard::{Producer, Token};

/// The first transaction version whose ends bump the epoch.
const EPOCH_BUMPS: i16 = 2;

/// What an end of the transaction leads to.
enum Judgement {
    /// Prepare, then markers.
    Prepare,
    /// It is so already.
    Done,
}

impl Transactions {
    pub(super) fn end_txn(
        &self,
        token: Token,
        id: &Arc<str>,
        producer: Producer,
        commit: bool,
        client_version: i16,
        cx: &mut Cx<'_>,
    ) -> Ruling {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let current = self.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let judgement = if client_version >= EPOCH_BUMPS {
            judge_version_2(current, producer, commit)?
        } else {
            judge_version_1(current, producer, commit)?
        };
        match judgement {
            Judgement::Done => Ok(Outcome::effect(reply(token, TransactionResponse::Producer(current.producer)))),
            Judgement::Prepare => {
                let mut decision = self.prepare(id, current, commit, client_version, false, cx)?;
                let after =
                    decision.records.first().and_then(|record| record.transaction.as_deref()).map(after_markers);
                let after = after.unwrap_or(current.producer);
                // Answered as soon as the decision is committed; the markers follow.
                decision.effects.insert(0, reply(token, TransactionResponse::Producer(after)));
                Ok(decision)
            }
        }
    }

    /// Decides the end of a transaction. `fencing` moves to the next epoch in version 1 too: the producer did not ask.
    pub(super) fn prepare(
        &self,
        id: &Arc<str>,
        current: &Arc<Transaction>,
        commit: bool,
        client_version: i16,
        fencing: bool,
        cx: &mut Cx<'_>,
    ) -> Ruling {
        let bumps = client_version >= EPOCH_BUMPS;
        let epoch = current.producer.epoch;
        let bumped = ProducerEpoch(epoch.0.saturating_add(1));
        let (next_epoch, last_producer_epoch) = match (bumps, fencing) {
            (true, _) => (bumped, epoch),
            (false, true) => (bumped, NO_EPOCH),
            (false, false) => (epoch, current.last_producer_epoch),
        };
        let next_producer_id =
            if bumps && Transaction::is_epoch_exhausted(epoch) { fresh_producer_id(cx)? } else { ProducerId::NONE };
        let open = current.state == TransactionState::Ongoing;
        let prepared = Arc::new(Transaction {
            producer: Producer { id: current.producer.id, epoch: next_epoch },
            previous_producer_id: current.producer.id,
            next_producer_id,
            last_producer_epoch,
            state: if commit { TransactionState::PrepareCommit } else { TransactionState::PrepareAbort },
            partitions: if open { Arc::clone(&current.partitions) } else { Arc::default() },
            start: if open { current.start } else { cx.now },
            last_update: cx.now,
            client_version: if bumps { client_version } else { 0 },
            ..Transaction::clone(current)
        });
        let mut decision = Decided { records: vec![record(id, Arc::clone(&prepared), cx)], effects: Vec::new() };
        if prepared.partitions.is_empty() {
            // No partition needs a marker.
            decision.records.push(record(id, Arc::new(completed(&prepared, cx)), cx));
        } else {
            decision.effects.push(send_markers(id, &prepared));
        }
        Ok(decision)
    }

    pub(super) fn markers_written(&self, token: Token, id: &Arc<str>, producer: Producer, cx: &Cx<'_>) -> Ruling {
        let current = self.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        let done = reply(token, TransactionResponse::Done);
        if !current.state.is_prepared() || current.producer != producer {
            // Said twice: markers may have been sent again after a reload.
            return Ok(Outcome::effect(done));
        }
        let complete = Arc::new(completed(current, cx));
        Ok(Decided { records: vec![record(id, complete, cx)], effects: vec![done] })
    }
}

/// Who the producer is once the prepared transaction is complete.
fn after_markers(prepared: &Transaction) -> Producer {
    if prepared.client_version >= EPOCH_BUMPS && prepared.next_producer_id != ProducerId::NONE {
        Producer { id: prepared.next_producer_id, epoch: ProducerEpoch(0) }
    } else {
        prepared.producer
    }
}

fn completed(prepared: &Transaction, cx: &Cx<'_>) -> Transaction {
    let commit = prepared.state == TransactionState::PrepareCommit;
    Transaction {
        producer: after_markers(prepared),
        previous_producer_id: prepared.producer.id,
        next_producer_id: ProducerId::NONE,
        state: if commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort },
        partitions: Arc::default(),
        last_update: cx.now,
        ..prepared.clone()
    }
}

fn judge_version_1(current: &Transaction, producer: Producer, commit: bool) -> Result<Judgement, ErrorCode> {
    if current.producer.id != producer.id {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    if current.producer.epoch != producer.epoch {
        return Err(ErrorCode::ProducerFenced);
    }
    match (current.state, commit) {
        (TransactionState::Ongoing, _) => Ok(Judgement::Prepare),
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) => Ok(Judgement::Done),
        // Its markers are being written: whether the client meant this end shows afterwards.
        (TransactionState::PrepareCommit | TransactionState::PrepareAbort, _) => Err(ErrorCode::ConcurrentTransactions),
        _ => Err(ErrorCode::InvalidTxnState),
    }
}

fn judge_version_2(current: &Transaction, producer: Producer, commit: bool) -> Result<Judgement, ErrorCode> {
    // First: the client may be the producer that this transaction moves to once it is complete.
    if current.state.is_prepared() {
        return Err(ErrorCode::ConcurrentTransactions);
    }
    let current_epoch = current.producer.epoch;
    // The answer to the last end was lost, and with it the new epoch ...
    let lost_bump = i32::from(current_epoch.0) == i32::from(producer.epoch.0) + 1;
    // ... or the new id.
    let lost_move = current.previous_producer_id == producer.id
        && current.producer.id != producer.id
        && producer.epoch.0 == i16::MAX - 1
        && current_epoch.0 == 0;
    let retry = lost_bump || lost_move;
    if current.producer.id != producer.id && !lost_move {
        return Err(ErrorCode::InvalidProducerIdMapping);
    }
    let same = current_epoch == producer.epoch;
    let known = match current.state {
        TransactionState::CompleteCommit | TransactionState::CompleteAbort => same || retry,
        _ => same,
    };
    if !known {
        return Err(ErrorCode::ProducerFenced);
    }
    match (current.state, commit) {
        (TransactionState::Ongoing, _) => Ok(Judgement::Prepare),
        (TransactionState::CompleteCommit, true) | (TransactionState::CompleteAbort, false) if retry => {
            Ok(Judgement::Done)
        }
        // The client cannot know whether anything reached the broker: the abort of nothing still bumps.
        (TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort, false)
            if !retry =>
        {
            Ok(Judgement::Prepare)
        }
        _ => Err(ErrorCode::InvalidTxnState),
    }
}
