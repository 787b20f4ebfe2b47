//! AddPartitionsToTxn and AddOffsetsToTxn, and the question whether a partition was added (KIP-890).

use std::sync::Arc;

use ottla_protocol::{ErrorCode, TopicPartition};
use ottla_state_machine::Outcome;

use super::message::TransactionResponse;
use super::shard::{Cx, Decided, Ruling, record, reply};
use super::state::{Transaction, TransactionState, Transactions};
use crate::shard::{Producer, Token};

impl Transactions {
    pub(super) fn add_partitions(
        &self,
        token: Token,
        id: &Arc<str>,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        client_version: i16,
        cx: &Cx<'_>,
    ) -> Ruling {
        // Before the question who asks: an end that used up the epochs has told the producer its new id already, and the
        // transaction gets to it only with its markers.
        if self.get(id).is_some_and(|current| current.state.is_prepared()) {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let current = self.current(id, producer)?;
        let done = reply(token, TransactionResponse::Done);
        match current.state {
            TransactionState::Ongoing if partitions.iter().all(|partition| current.contains(partition)) => {
                return Ok(Outcome::effect(done));
            }
            TransactionState::Dead | TransactionState::PrepareEpochFence => return Err(ErrorCode::UnknownServerError),
            _ => {}
        }
        let begins = current.state != TransactionState::Ongoing;
        let mut all: Vec<TopicPartition> = if begins { Vec::new() } else { current.partitions.to_vec() };
        all.extend(partitions);
        all.sort_unstable();
        all.dedup();
        let next = Transaction {
            previous_producer_id: current.producer.id,
            state: TransactionState::Ongoing,
            partitions: Arc::new(all),
            start: if begins { cx.now } else { current.start },
            last_update: cx.now,
            client_version,
            ..Transaction::clone(current)
        };
        Ok(Decided { records: vec![record(id, Arc::new(next), cx)], effects: vec![done] })
    }

    pub(super) fn verify_partitions(
        &self,
        token: Token,
        id: &str,
        producer: Producer,
        partitions: Vec<TopicPartition>,
    ) -> Ruling {
        let current = self.current(id, producer)?;
        if current.state.is_prepared() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let verified = |partition: TopicPartition| {
            let error = if current.contains(&partition) { ErrorCode::None } else { ErrorCode::TransactionAbortable };
            (partition, error)
        };
        let verified = partitions.into_iter().map(verified).collect();
        Ok(Outcome::effect(reply(token, TransactionResponse::Verified(verified))))
    }

    /// The transactional id, if `producer` is who owns it.
    fn current(&self, id: &str, producer: Producer) -> Result<&Arc<Transaction>, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidRequest);
        }
        let current = self.get(id).ok_or(ErrorCode::InvalidProducerIdMapping)?;
        if current.producer.id != producer.id {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if current.producer.epoch != producer.epoch {
            return Err(ErrorCode::ProducerFenced);
        }
        Ok(current)
    }
}
