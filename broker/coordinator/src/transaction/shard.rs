//! The coordinator as its host sees it.

use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, ProducerId, Timestamp};
use ottla_state_machine::Outcome;

use super::TRANSACTION_VERSION;
use super::explain::{self, Explain};
use super::message::{Markers, TransactionAction, TransactionConfig, TransactionRequest, TransactionResponse};
use super::record::TransactionRecord;
use super::state::{Transaction, TransactionState, Transactions};
use crate::shard::{BadRecord, Context, Decision, Effect, Shard, Stored, Token};

/// The longest string that a record holds; newer requests can carry longer ones.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// After a failed append, before transactions are looked through again.
const FAILED_SWEEP_AGAIN_MS: i64 = 1_000;

/// The soft half: when time was last looked at, and who was fenced.
#[derive(Debug, Clone)]
pub struct TransactionShard {
    explain: Explain,
    pub(super) last_abort_sweep: Timestamp,
    pub(super) last_expiry_sweep: Timestamp,
}

pub(super) type Cx<'a> = Context<'a, TransactionShard>;
pub(super) type Decided = Decision<TransactionShard>;

/// An error ends a request; what follows from none is in the decision.
pub(super) type Ruling = Result<Decided, ErrorCode>;

impl Shard for TransactionShard {
    type Hard = Transactions;
    type Record = TransactionRecord;
    type Request = TransactionRequest;
    type Response = TransactionResponse;
    type Action = TransactionAction;
    type Image = MetadataImage;
    type Config = TransactionConfig;

    #[expect(clippy::expect_used, reason = "handle refuses longer ids, and topics with longer names do not exist")]
    fn encode(record: &TransactionRecord) -> Stored {
        record.encode().expect("a transaction's strings are short")
    }

    fn decode(stored: Stored) -> Result<Option<TransactionRecord>, BadRecord> {
        TransactionRecord::decode(&stored)
    }

    fn loaded(hard: &Transactions, cx: &mut Cx<'_>) -> (Self, Decided) {
        let mut decision = Decided::nothing();
        for (id, transaction) in hard.iter().filter(|(_, transaction)| transaction.state.is_prepared()) {
            decision.effects.push(send_markers(id, transaction));
        }
        let soft =
            Self { explain: Explain::default(), last_abort_sweep: Timestamp(i64::MIN), last_expiry_sweep: cx.now };
        (soft, decision)
    }

    fn handle(&mut self, hard: &Transactions, token: Token, request: TransactionRequest, cx: &mut Cx<'_>) -> Decided {
        if request.transactional_id().is_some_and(|id| id.len() > STRING_BYTES_MAX) {
            return Outcome::effect(Effect::Refuse(token, ErrorCode::InvalidRequest));
        }
        let asker = explain::asker(&request);
        let ruling = match request {
            TransactionRequest::Explain { transactional_id } => {
                let fences = self.explain.of(&transactional_id);
                Ok(Outcome::effect(reply(token, TransactionResponse::Explained(fences))))
            }
            TransactionRequest::InitProducerId { .. } => hard.init_producer_id(token, request, cx),
            TransactionRequest::AddPartitions { transactional_id, producer, partitions, client_version } => {
                hard.add_partitions(token, &transactional_id, producer, partitions, client_version, cx)
            }
            TransactionRequest::VerifyPartitions { transactional_id, producer, partitions } => {
                hard.verify_partitions(token, &transactional_id, producer, partitions)
            }
            TransactionRequest::EndTxn { transactional_id, producer, commit, client_version } => {
                hard.end_txn(token, &transactional_id, producer, commit, client_version, cx)
            }
            TransactionRequest::MarkersWritten { transactional_id, producer } => {
                hard.markers_written(token, &transactional_id, producer, cx)
            }
            TransactionRequest::Describe { transactional_id } => hard.describe(token, &transactional_id),
            TransactionRequest::List(filter) => Ok(hard.list(token, &filter, cx.now)),
        };
        match ruling {
            Ok(decision) => {
                self.explain.note_decision(&decision, cx.now);
                decision
            }
            Err(error) => {
                if let Some(asker) = asker {
                    self.explain.note_refusal(hard, asker, error, cx.now);
                }
                Outcome::effect(Effect::Refuse(token, error))
            }
        }
    }

    fn next_deadline(&self, hard: &Transactions) -> Option<Timestamp> {
        // The settings may change any time, so the intervals are looked at when the moment has come.
        [self.next_abort(hard), self.next_expiry(hard)].into_iter().flatten().min()
    }

    fn on_deadline(&mut self, hard: &Transactions, cx: &mut Cx<'_>) -> Decided {
        let mut decision = self.abort_timed_out(hard, cx);
        self.explain.note_decision(&decision, cx.now);
        decision.extend(self.expire_ids(hard, cx));
        decision
    }

    fn append_failed(&mut self, _hard: &Transactions, _error: ErrorCode, cx: &mut Cx<'_>) -> Decided {
        // All that this half knows is when it last looked; what it decided then is looked at again, but not at once: the log
        // may take nothing for a while.
        self.last_abort_sweep = Timestamp(cx.now.0.saturating_add(FAILED_SWEEP_AGAIN_MS));
        self.last_expiry_sweep = cx.now;
        Decided::nothing()
    }
}

/// The level that the cluster agreed on.
pub(super) fn server_version(cx: &Cx<'_>) -> i16 {
    cx.image.features.level(TRANSACTION_VERSION)
}

/// The record that makes `transaction` the newest state of its id.
pub(super) fn record(id: &Arc<str>, transaction: Arc<Transaction>, cx: &Cx<'_>) -> TransactionRecord {
    TransactionRecord {
        transactional_id: Arc::clone(id),
        transaction: Some(transaction),
        value_version: i16::from(server_version(cx) >= 1),
    }
}

pub(super) fn reply(token: Token, response: TransactionResponse) -> Effect<TransactionResponse, TransactionAction> {
    Effect::Reply(token, response)
}

pub(super) fn send_markers(id: &Arc<str>, transaction: &Transaction) -> Effect<TransactionResponse, TransactionAction> {
    Effect::Act(TransactionAction::SendMarkers(Markers {
        transactional_id: Arc::clone(id),
        producer: transaction.producer,
        commit: transaction.state == TransactionState::PrepareCommit,
        partitions: Arc::clone(&transaction.partitions),
        client_version: transaction.client_version,
    }))
}

/// A fresh producer id, if the host has one at hand; it fetches more meanwhile.
pub(super) fn fresh_producer_id(cx: &mut Cx<'_>) -> Result<ProducerId, ErrorCode> {
    cx.ids.producer_id().ok_or(ErrorCode::CoordinatorLoadInProgress)
}
