//! Why producers were fenced and transactions aborted without their asking: the last of each kind, in memory only.

use std::collections::VecDeque;
use std::sync::Arc;

use ottla_protocol::{ErrorCode, Timestamp};

use super::message::{TransactionAction, TransactionRequest};
use super::shard::Decided;
use super::state::Transactions;
use crate::shard::{Effect, Producer};

/// How many are kept, over all transactional ids of a partition.
const FENCES_MAX: usize = 1024;

/// A producer that was fenced, or whose transaction was ended for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    pub at: Timestamp,
    pub producer: Producer,
    /// In words.
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Explain {
    fences: VecDeque<(Arc<str>, Fence)>,
}

impl Explain {
    /// Oldest first.
    pub(super) fn of(&self, transactional_id: &str) -> Vec<Fence> {
        self.fences.iter().filter(|(id, _)| &**id == transactional_id).map(|(_, fence)| fence.clone()).collect()
    }

    fn note(&mut self, id: &Arc<str>, fence: Fence) {
        if self.fences.len() == FENCES_MAX {
            self.fences.pop_front();
        }
        self.fences.push_back((Arc::clone(id), fence));
    }

    /// What the decision does to producers that did not ask for it.
    pub(super) fn note_decision(&mut self, decision: &Decided, now: Timestamp) {
        for effect in &decision.effects {
            if let Effect::Act(TransactionAction::Fenced { transactional_id, producer, reason, started }) = effect {
                let ran_ms = now.0.saturating_sub(started.0);
                let reason = format!("its transaction, open for {ran_ms} ms, was aborted: {reason}");
                self.note(transactional_id, Fence { at: now, producer: *producer, reason });
            }
        }
    }

    /// A request that was refused because its producer is not the current one.
    pub(super) fn note_refusal(
        &mut self,
        hard: &Transactions,
        (id, producer, what): (Arc<str>, Producer, &str),
        error: ErrorCode,
        now: Timestamp,
    ) {
        if !matches!(
            error,
            ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidProducerIdMapping
        ) {
            return;
        }
        let current = hard.get(&id).map_or_else(
            || "the id has no producer".to_owned(),
            |current| {
                let Producer { id, epoch } = current.producer;
                format!("the current producer is {} with epoch {}", id.0, epoch.0)
            },
        );
        let reason = format!("{what} was refused ({error:?}): {current}");
        self.note(&id, Fence { at: now, producer, reason });
    }
}

/// Whose request it is, when that can be the wrong producer's.
pub(super) fn asker(request: &TransactionRequest) -> Option<(Arc<str>, Producer, &'static str)> {
    let (id, producer, what) = match request {
        TransactionRequest::InitProducerId { transactional_id, expected, .. } => {
            (transactional_id, (*expected)?, "InitProducerId")
        }
        TransactionRequest::AddPartitions { transactional_id, producer, .. } => {
            (transactional_id, *producer, "adding partitions")
        }
        TransactionRequest::VerifyPartitions { transactional_id, producer, .. } => {
            (transactional_id, *producer, "a write")
        }
        TransactionRequest::EndTxn { transactional_id, producer, commit, .. } => {
            (transactional_id, *producer, if *commit { "a commit" } else { "an abort" })
        }
        _ => return None,
    };
    Some((Arc::clone(id), producer, what))
}
