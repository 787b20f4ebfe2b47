//! Transactional records are appended only to partitions that belong to their producer's open transaction (KIP-890):
//! the transaction coordinator is asked before the first append to each, or adds the partition itself.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_coordinator::shard::Producer;
use ottla_protocol::messages::ProduceRequest;
use ottla_protocol::record_batch::BatchHeader;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, TopicPartition};

use super::context::BoxFuture;
use crate::coordinators::Coordinators;

/// Since this version of Produce, clients know TRANSACTION_ABORTABLE.
const ABORTABLE_VERSION: i16 = 11;
/// Since this version of Produce, the first append adds the partition to the transaction.
const ADDS_PARTITIONS_VERSION: i16 = 12;

/// What the transaction coordinator is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    pub transactional_id: Arc<str>,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub partitions: Vec<TopicPartition>,
    /// Add the partitions instead of only checking that they were added.
    pub adds: bool,
}

/// The way to the transaction coordinator, wherever it is.
pub trait TransactionGate: Send + Sync {
    /// The partitions that are not part of the open transaction, with the coordinator's code for each; those that are
    /// part of it are left out.
    fn admit(&self, question: Question) -> BoxFuture<'_, HashMap<TopicPartition, ErrorCode>>;
}

impl TransactionGate for Coordinators {
    fn admit(&self, question: Question) -> BoxFuture<'_, HashMap<TopicPartition, ErrorCode>> {
        Box::pin(async move {
            let producer = Producer { id: question.producer_id, epoch: question.producer_epoch };
            let partitions = question.partitions.clone();
            let id = &question.transactional_id;
            let answer = if question.adds {
                self.add_when_complete(id, producer, partitions).await
            } else {
                self.verify_or_add(id, producer, partitions, false).await
            };
            match answer {
                Ok(answers) => answers.into_iter().filter(|(_, code)| *code != ErrorCode::None).collect(),
                Err(code) => question.partitions.into_iter().map(|partition| (partition, code)).collect(),
            }
        })
    }
}

/// The producer of a request's transactional records, and the partitions they go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transactional {
    pub(super) producer_id: ProducerId,
    pub(super) producer_epoch: ProducerEpoch,
    /// Place of the topic and of the partition in the request, and the sequence of the first record.
    pub(super) places: Vec<((usize, usize), i32)>,
}

/// Finds the transactional records of a request; `None` when it has none.
///
/// # Errors
/// `InvalidProducerIdMapping` when they are of more than one producer.
pub(super) fn transactional(request: &ProduceRequest) -> Result<Option<Transactional>, ErrorCode> {
    let mut found: Option<Transactional> = None;
    for (topic_place, topic) in request.topic_data.iter().enumerate() {
        for (place, data) in topic.partition_data.iter().enumerate() {
            let header = data.records.as_deref().and_then(|bytes| BatchHeader::read(bytes).ok());
            let Some(header) = header.filter(|header| header.is_transactional() && header.has_producer_id()) else {
                continue;
            };
            let (id, epoch) = (header.producer_id, header.producer_epoch);
            let of_producer =
                found.get_or_insert(Transactional { producer_id: id, producer_epoch: epoch, places: Vec::new() });
            if (of_producer.producer_id, of_producer.producer_epoch) != (id, epoch) {
                return Err(ErrorCode::InvalidProducerIdMapping);
            }
            of_producer.places.push(((topic_place, place), header.base_sequence));
        }
    }
    Ok(found)
}

/// Whether a version of Produce lets the broker add partitions to transactions.
pub(super) const fn adds_partitions(version: i16) -> bool {
    version >= ADDS_PARTITIONS_VERSION
}

/// The coordinator's refusal in a code that the version's clients handle well, and what there is to say with it.
pub(super) fn told(version: i16, code: ErrorCode) -> (ErrorCode, Option<String>) {
    // Producers retry this one without looking for another leader.
    let again = |underlying: &str| {
        let message =
            format!("Unable to verify the partition has been added to the transaction. Underlying error: {underlying}");
        (ErrorCode::NotEnoughReplicas, Some(message))
    };
    let not_added = || (ErrorCode::InvalidTxnState, Some("Partition was not added to the transaction".to_owned()));
    match code {
        ErrorCode::InvalidTxnState => not_added(),
        ErrorCode::TransactionAbortable if version < ABORTABLE_VERSION => not_added(),
        ErrorCode::ProducerFenced => (ErrorCode::InvalidProducerEpoch, None),
        ErrorCode::NetworkException => again("NETWORK_EXCEPTION"),
        ErrorCode::CoordinatorLoadInProgress => again("COORDINATOR_LOAD_IN_PROGRESS"),
        ErrorCode::CoordinatorNotAvailable => again("COORDINATOR_NOT_AVAILABLE"),
        ErrorCode::NotCoordinator => again("NOT_COORDINATOR"),
        ErrorCode::ConcurrentTransactions if !adds_partitions(version) => again("CONCURRENT_TRANSACTIONS"),
        code => (code, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_in_words_that_the_client_knows() {
        let told = |version, code| told(version, code).0;
        assert_eq!(told(10, ErrorCode::TransactionAbortable), ErrorCode::InvalidTxnState);
        assert_eq!(told(11, ErrorCode::TransactionAbortable), ErrorCode::TransactionAbortable);
        assert_eq!(told(11, ErrorCode::ConcurrentTransactions), ErrorCode::NotEnoughReplicas);
        assert_eq!(told(12, ErrorCode::ConcurrentTransactions), ErrorCode::ConcurrentTransactions);
        assert_eq!(told(12, ErrorCode::NotCoordinator), ErrorCode::NotEnoughReplicas);
    }
}
