//! InitProducerId: v0-5 for transactional ids. v3 names the producer the client believes to be (KIP-360).

use std::sync::Arc;

use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};
use ottla_state_machine::Outcome;

use super::message::{TransactionRequest, TransactionResponse};
use super::shard::{Cx, Decided, Ruling, fresh_producer_id, record, reply};
use super::state::{NO_EPOCH, Transaction, TransactionState, Transactions};
use crate::shard::{Effect, Producer, Token};

impl Transactions {
    pub(super) fn init_producer_id(&self, token: Token, request: TransactionRequest, cx: &mut Cx<'_>) -> Ruling {
        let TransactionRequest::InitProducerId { transactional_id: id, timeout_ms, expected } = request else {
            return Err(ErrorCode::InvalidRequest);
        };
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        if timeout_ms <= 0 || timeout_ms > cx.config.timeout_ms_max {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let current = match self.get(&id) {
            Some(current) => Arc::clone(current),
            None => Arc::new(unborn(fresh_producer_id(cx)?, timeout_ms, cx.now)),
        };
        // First: the client may be the producer that this transaction moves to once it is complete.
        if current.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if expected.is_some_and(|expected| !may_be(expected, &current)) {
            return Err(ErrorCode::ProducerFenced);
        }
        match current.state {
            TransactionState::Ongoing => {
                // Whoever runs that transaction is fenced and it is aborted; the client asks again until that is done.
                let mut decision = self.fence(&id, "a new producer took over the transactional id", cx)?;
                decision.effects.push(Effect::Refuse(token, ErrorCode::ConcurrentTransactions));
                Ok(decision)
            }
            TransactionState::Empty | TransactionState::CompleteCommit | TransactionState::CompleteAbort => {
                let next = Arc::new(renewed(&current, expected, timeout_ms, cx)?);
                let producer = next.producer;
                let records = vec![record(&id, next, cx)];
                Ok(Decided { records, effects: vec![reply(token, TransactionResponse::Producer(producer))] })
            }
            // A prepared one has been refused above.
            TransactionState::PrepareCommit
            | TransactionState::PrepareAbort
            | TransactionState::Dead
            | TransactionState::PrepareEpochFence => Err(ErrorCode::UnknownServerError),
        }
    }

    /// Aborts an ongoing transaction under the next epoch, so that its producer can do nothing more.
    pub(super) fn fence(&self, id: &Arc<str>, reason: &'static str, cx: &mut Cx<'_>) -> Ruling {
        let Some(current) = self.get(id) else { return Ok(Outcome::nothing()) };
        let server_version = super::shard::server_version(cx);
        let mut decision = self.prepare(id, current, false, server_version, true, cx)?;
        decision.effects.push(Effect::Act(super::message::TransactionAction::Fenced {
            transactional_id: Arc::clone(id),
            producer: current.producer,
            reason,
            started: current.start,
        }));
        Ok(decision)
    }
}

/// An id that was never seen: its first bump gives epoch 0.
fn unborn(producer_id: ProducerId, timeout_ms: i32, now: Timestamp) -> Transaction {
    Transaction {
        producer: Producer { id: producer_id, epoch: NO_EPOCH },
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        last_producer_epoch: NO_EPOCH,
        timeout_ms,
        state: TransactionState::Empty,
        partitions: Arc::default(),
        start: Timestamp(-1),
        last_update: now,
        client_version: 0,
    }
}

/// Could the client be the current producer? Its epoch is looked at when it is bumped.
fn may_be(expected: Producer, current: &Transaction) -> bool {
    // A new id suits anybody: the client recovers from UNKNOWN_PRODUCER_ID.
    current.producer.epoch == NO_EPOCH
        || expected.id == current.producer.id
        // The move to a new id happened, but the client never got the answer.
        || (expected.id == current.previous_producer_id && Transaction::is_epoch_exhausted(expected.epoch))
}

fn renewed(
    current: &Transaction,
    expected: Option<Producer>,
    timeout_ms: i32,
    cx: &mut Cx<'_>,
) -> Result<Transaction, ErrorCode> {
    let epoch = current.producer.epoch;
    let exhausted = Transaction::is_epoch_exhausted(epoch);
    let (producer, last_producer_epoch) = match expected {
        Some(expected) if epoch != NO_EPOCH && expected.epoch != epoch => {
            // The same request once more: the answer was lost. A producer that came between would have set this to -1.
            if expected.epoch != current.last_producer_epoch || expected.epoch == NO_EPOCH {
                return Err(ErrorCode::ProducerFenced);
            }
            (current.producer, current.last_producer_epoch)
        }
        _ if exhausted => {
            let producer = Producer { id: fresh_producer_id(cx)?, epoch: ProducerEpoch(0) };
            (producer, if expected.is_some() { epoch } else { NO_EPOCH })
        }
        _ => {
            let producer = Producer { id: current.producer.id, epoch: ProducerEpoch(epoch.0 + 1) };
            (producer, if expected.is_some() { epoch } else { NO_EPOCH })
        }
    };
    Ok(Transaction {
        producer,
        // A retry leaves what it repeats as it was.
        previous_producer_id: if producer == current.producer {
            current.previous_producer_id
        } else {
            current.producer.id
        },
        next_producer_id: ProducerId::NONE,
        last_producer_epoch,
        timeout_ms,
        state: TransactionState::Empty,
        partitions: Arc::default(),
        start: Timestamp(-1),
        last_update: cx.now,
        client_version: current.client_version,
    })
}
