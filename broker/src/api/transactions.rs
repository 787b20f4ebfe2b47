//! InitProducerId v0-5, AddPartitionsToTxn v0-5, AddOffsetsToTxn v0-4, EndTxn v0-5.
//!
//! InitProducerId v3 names the producer the client believes to be (KIP-360). AddPartitionsToTxn v4 and later come from
//! brokers: batches, which may only verify (KIP-890). EndTxn v5 answers with the producer of the next transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_coordinator::shard::Producer;
use ottla_coordinator::transaction::{TransactionRequest, TransactionResponse};
use ottla_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use ottla_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use ottla_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId, TopicName,
};
use ottla_protocol::{ErrorCode, ProducerEpoch, StrBytes, TopicPartition};
use tokio::task::JoinSet;

use super::coordinated::{fenced_for_old, producer};
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::Coordinators;
use crate::metadata_cache::MetadataCache;

/// Handler of InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn.
#[derive(Clone)]
pub struct Transactions {
    coordinators: Coordinators,
    metadata: MetadataCache,
}

/// Transactions of one request that are asked about at a time: each costs a task.
const TRANSACTIONS_AT_ONCE_MAX: usize = 256;

const NO_PRODUCER: Producer = Producer { id: ottla_protocol::ProducerId::NONE, epoch: ProducerEpoch(-1) };

impl Transactions {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(22), ApiSpec::of(24), ApiSpec::of(25), ApiSpec::of(26)];

    pub fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone(), metadata: house.metadata.clone() }
    }

    pub async fn init_producer_id(&self, cx: &RequestContext, request: InitProducerIdRequest) -> Reply {
        let (handler, cx) = (self.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let (who, error) = match handler.new_producer(request).await {
                Ok(who) => (who, ErrorCode::None),
                Err(error) => (NO_PRODUCER, fenced_for_old(error, cx.version < 4)),
            };
            let response = InitProducerIdResponse::default()
                .with_error_code(error.code())
                .with_producer_id(ProducerId(who.id.0))
                .with_producer_epoch(who.epoch.0);
            cx.respond(&response)
        }))
    }

    async fn new_producer(&self, request: InitProducerIdRequest) -> Result<Producer, ErrorCode> {
        let expected = match (request.producer_id.0, request.producer_epoch) {
            (-1, -1) => None,
            (-1, _) | (_, -1) => return Err(ErrorCode::InvalidRequest),
            (_, epoch) => Some(producer(request.producer_id, epoch)),
        };
        let Some(transactional_id) = request.transactional_id else {
            // An idempotent producer: any id that nobody has will do.
            return Ok(Producer { id: self.coordinators.producer_ids().next().await?, epoch: ProducerEpoch(0) });
        };
        let ask = TransactionRequest::InitProducerId {
            transactional_id: transactional_id.as_str().into(),
            timeout_ms: request.transaction_timeout_ms,
            expected,
        };
        match self.coordinators.transaction(&transactional_id, ask).await? {
            TransactionResponse::Producer(who) => Ok(who),
            _ => Err(ErrorCode::UnknownServerError),
        }
    }

    pub async fn add_partitions_to_txn(&self, cx: &RequestContext, request: AddPartitionsToTxnRequest) -> Reply {
        let (handler, cx) = (self.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let response = AddPartitionsToTxnResponse::default();
            if cx.version >= 4 {
                // Many at once: each waits for the in-sync replicas, and a broker that asks sends its next batch only after
                // the answer.
                let mut asked = JoinSet::new();
                let mut results = Vec::new();
                for transaction in request.transactions {
                    if asked.len() == TRANSACTIONS_AT_ONCE_MAX {
                        results.extend(asked.join_next().await.and_then(Result::ok));
                    }
                    let (handler, version) = (handler.clone(), cx.version);
                    asked.spawn(async move {
                        let id = transaction.transactional_id.clone();
                        let topics = handler.add_partitions(transaction, version).await;
                        AddPartitionsToTxnResult::default().with_transactional_id(id).with_topic_results(topics)
                    });
                }
                while let Some(answered) = asked.join_next().await {
                    results.extend(answered.ok());
                }
                return cx.respond(&response.with_results_by_transaction(results));
            }
            let transaction = AddPartitionsToTxnTransaction::default()
                .with_transactional_id(request.v3_and_below_transactional_id)
                .with_producer_id(request.v3_and_below_producer_id)
                .with_producer_epoch(request.v3_and_below_producer_epoch)
                .with_topics(request.v3_and_below_topics);
            let topics = handler.add_partitions(transaction, cx.version).await;
            cx.respond(&response.with_results_by_topic_v3_and_below(topics))
        }))
    }

    async fn add_partitions(
        &self,
        transaction: AddPartitionsToTxnTransaction,
        version: i16,
    ) -> Vec<AddPartitionsToTxnTopicResult> {
        let partitions = partitions_of(&transaction.topics);
        let image = self.metadata.load();
        let exists =
            |partition: &TopicPartition| image.topics.partition(&partition.topic, partition.partition).is_some();
        if !partitions.iter().all(exists) {
            // All or nothing: one that is not there keeps the others out.
            let judge = |partition: TopicPartition| {
                let known = exists(&partition);
                let error = if known { ErrorCode::OperationNotAttempted } else { ErrorCode::UnknownTopicOrPartition };
                (partition, error)
            };
            return results(partitions.into_iter().map(judge));
        }
        let id: Arc<str> = transaction.transactional_id.as_str().into();
        let who = producer(transaction.producer_id, transaction.producer_epoch);
        let ask = if transaction.verify_only {
            TransactionRequest::VerifyPartitions {
                transactional_id: Arc::clone(&id),
                producer: who,
                partitions: partitions.clone(),
            }
        } else {
            TransactionRequest::AddPartitions {
                transactional_id: Arc::clone(&id),
                producer: who,
                partitions: partitions.clone(),
                // Only brokers that know version 2 send more than v3.
                client_version: if version > 3 { 2 } else { 0 },
            }
        };
        match self.coordinators.transaction(&id, ask).await {
            Ok(TransactionResponse::Verified(verified)) => results(verified.into_iter()),
            Ok(_) => results(partitions.into_iter().map(|partition| (partition, ErrorCode::None))),
            Err(error) => {
                let error = fenced_for_old(error, version < 2);
                results(partitions.into_iter().map(|partition| (partition, error)))
            }
        }
    }

    pub async fn add_offsets_to_txn(&self, cx: &RequestContext, request: AddOffsetsToTxnRequest) -> Reply {
        let (handler, cx) = (self.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let ask = TransactionRequest::AddPartitions {
                transactional_id: request.transactional_id.as_str().into(),
                producer: producer(request.producer_id, request.producer_epoch),
                partitions: vec![handler.coordinators.group_partition(&request.group_id)],
                // Clients of version 2 do not ask.
                client_version: 0,
            };
            let answer = handler.coordinators.transaction(&request.transactional_id, ask).await;
            let error = answer.err().map_or(ErrorCode::None, |error| fenced_for_old(error, cx.version < 2));
            cx.respond(&AddOffsetsToTxnResponse::default().with_error_code(error.code()))
        }))
    }

    pub async fn end_txn(&self, cx: &RequestContext, request: EndTxnRequest) -> Reply {
        let (handler, cx) = (self.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let ask = TransactionRequest::EndTxn {
                transactional_id: request.transactional_id.as_str().into(),
                producer: producer(request.producer_id, request.producer_epoch),
                commit: request.committed,
                client_version: if cx.version >= 5 { 2 } else { 0 },
            };
            let (who, error) = match handler.coordinators.transaction(&request.transactional_id, ask).await {
                Ok(TransactionResponse::Producer(who)) => (who, ErrorCode::None),
                Ok(_) => (NO_PRODUCER, ErrorCode::UnknownServerError),
                Err(error) => (NO_PRODUCER, fenced_for_old(error, cx.version < 2)),
            };
            // The producer came with v5.
            let who = if cx.version >= 5 { who } else { NO_PRODUCER };
            let response = EndTxnResponse::default()
                .with_error_code(error.code())
                .with_producer_id(ProducerId(who.id.0))
                .with_producer_epoch(who.epoch.0);
            cx.respond(&response)
        }))
    }
}

fn partitions_of(topics: &[AddPartitionsToTxnTopic]) -> Vec<TopicPartition> {
    let mut partitions = Vec::new();
    for topic in topics {
        let name: Arc<str> = topic.name.as_str().into();
        partitions.extend(topic.partitions.iter().map(|index| TopicPartition::new(Arc::clone(&name), *index)));
    }
    partitions
}

/// Groups answers by topic, in the order of the partitions.
fn results(answers: impl Iterator<Item = (TopicPartition, ErrorCode)>) -> Vec<AddPartitionsToTxnTopicResult> {
    let mut topics: Vec<AddPartitionsToTxnTopicResult> = Vec::new();
    let mut places: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for (partition, error) in answers {
        let result = AddPartitionsToTxnPartitionResult::default()
            .with_partition_index(partition.partition)
            .with_partition_error_code(error.code());
        let place = *places.entry(Arc::clone(&partition.topic)).or_insert_with(|| {
            let name = TopicName(StrBytes::from_string(partition.topic.to_string()));
            topics.push(AddPartitionsToTxnTopicResult::default().with_name(name));
            topics.len() - 1
        });
        topics[place].results_by_partition.push(result);
    }
    topics
}
