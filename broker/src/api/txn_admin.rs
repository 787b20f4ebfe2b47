//! DescribeProducers v0, DescribeTransactions v0, ListTransactions v0-2. v1 filters by duration, v2 by a pattern of the id.

use std::collections::HashSet;

use ottla_coordinator::pattern::{self, PatternError};
use ottla_coordinator::transaction::{
    Transaction, TransactionFilter, TransactionRequest, TransactionResponse, TransactionState,
};
use ottla_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use ottla_protocol::messages::describe_transactions_response::{TopicData, TransactionState as DescribedTransaction};
use ottla_protocol::messages::list_transactions_response::TransactionState as ListedTransaction;
use ottla_protocol::messages::{
    DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse,
    ListTransactionsRequest, ListTransactionsResponse, ProducerId, TopicName, TransactionalId,
};
use ottla_protocol::topic_names::validate_topic_name;
use ottla_protocol::{ErrorCode, LeaderEpoch, StrBytes};

use super::wire::{once, text};
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::Coordinators;
use crate::metadata_cache::MetadataCache;
use crate::replica::{Epochs, Partitions};

/// Handler of DescribeProducers, DescribeTransactions, ListTransactions.
#[derive(Clone)]
pub struct TxnAdmin {
    coordinators: Coordinators,
    partitions: Partitions,
    metadata: MetadataCache,
}

impl TxnAdmin {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(61), ApiSpec::of(65), ApiSpec::of(66)];

    pub fn new(house: &House) -> Self {
        Self {
            coordinators: house.coordinators.clone(),
            partitions: house.partitions.clone(),
            metadata: house.metadata.clone(),
        }
    }

    pub async fn describe_producers(&self, cx: &RequestContext, request: DescribeProducersRequest) -> Reply {
        let image = self.metadata.load();
        let topic = |topic: ottla_protocol::messages::describe_producers_request::TopicRequest| {
            let refusal = match validate_topic_name(&topic.name) {
                Err(message) => Some((ErrorCode::InvalidTopicException, message)),
                Ok(()) if image.topics.by_name(&topic.name).is_none() => {
                    let code = ErrorCode::UnknownTopicOrPartition;
                    Some((code, code.message().to_owned()))
                }
                Ok(()) => None,
            };
            let partition = |index: i32| match &refusal {
                Some((code, message)) => PartitionResponse::default()
                    .with_partition_index(index)
                    .with_error_code(code.code())
                    .with_error_message(Some(text(message))),
                None => self.producers_of(&topic.name, index),
            };
            let partitions = once(topic.partition_indexes).into_iter().map(partition).collect();
            TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions)
        };
        let mut seen = HashSet::new();
        let topics = request.topics.into_iter().filter(|topic| seen.insert(topic.name.clone())).map(topic).collect();
        cx.reply(&DescribeProducersResponse::default().with_topics(topics))
    }

    fn producers_of(&self, topic: &str, index: i32) -> PartitionResponse {
        let response = PartitionResponse::default().with_partition_index(index);
        // Any replica answers: who looks for hanging transactions may ask for the one on a certain broker.
        let any_replica = Epochs { current: LeaderEpoch::UNKNOWN, leader_only: false };
        let found = self.partitions.get(topic, index).and_then(|partition| {
            partition.check_epochs(any_replica)?;
            Ok(partition)
        });
        let partition = match found {
            Ok(partition) => partition,
            Err(error) => return response.with_error_code(error.code()),
        };
        let state = |entry: ottla_storage::ProducerSnapshotEntry| {
            ProducerState::default()
                .with_producer_id(ProducerId(entry.producer_id.0))
                .with_producer_epoch(i32::from(entry.producer_epoch.0))
                .with_last_sequence(entry.last_sequence)
                .with_last_timestamp(entry.last_timestamp.0)
                .with_coordinator_epoch(entry.coordinator_epoch)
                .with_current_txn_start_offset(entry.current_txn_first_offset.map_or(-1, |offset| offset.0))
        };
        response.with_active_producers(partition.log().producers().into_iter().map(state).collect())
    }

    pub async fn describe_transactions(&self, cx: &RequestContext, request: DescribeTransactionsRequest) -> Reply {
        let (coordinators, cx) = (self.coordinators.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let mut states = Vec::with_capacity(request.transactional_ids.len());
            for id in once(request.transactional_ids) {
                let ask = TransactionRequest::Describe { transactional_id: id.as_str().into() };
                states.push(match coordinators.transaction(&id, ask).await {
                    Ok(TransactionResponse::Described(transaction)) => described(id, &transaction),
                    Ok(_) => refused(id, ErrorCode::UnknownServerError),
                    Err(error) => refused(id, error),
                });
            }
            cx.respond(&DescribeTransactionsResponse::default().with_transaction_states(states))
        }))
    }

    pub async fn list_transactions(&self, cx: &RequestContext, request: ListTransactionsRequest) -> Reply {
        let (coordinators, cx) = (self.coordinators.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let response = match list(&coordinators, request).await {
                Ok(response) => response,
                Err(error) => ListTransactionsResponse::default().with_error_code(error.code()),
            };
            cx.respond(&response)
        }))
    }
}

async fn list(
    coordinators: &Coordinators,
    request: ListTransactionsRequest,
) -> Result<ListTransactionsResponse, ErrorCode> {
    let mut response = ListTransactionsResponse::default();
    let mut filter = TransactionFilter {
        producer_ids: request.producer_id_filters.iter().map(|id| id.0).collect(),
        by_state: !request.state_filters.is_empty(),
        duration_ms: (request.duration_filter >= 0).then_some(request.duration_filter),
        ..TransactionFilter::default()
    };
    for name in request.state_filters {
        match TransactionState::from_name(&name) {
            Some(state) => filter.states.push(state),
            None => response.unknown_state_filters.push(name),
        }
    }
    if let Some(pattern) = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty()) {
        filter.pattern = Some(pattern::whole(&pattern).map_err(|_| PatternError::CODE)?);
    }
    let host = coordinators.transactions();
    for (partition, _) in host.partitions() {
        match host.call(partition, TransactionRequest::List(filter.clone())).await {
            Ok(TransactionResponse::Listed(listed)) => {
                response.transaction_states.extend(listed.into_iter().map(|listing| {
                    ListedTransaction::default()
                        .with_transactional_id(TransactionalId(StrBytes::from_string(
                            listing.transactional_id.to_string(),
                        )))
                        .with_producer_id(ProducerId(listing.producer_id.0))
                        .with_transaction_state(StrBytes::from_static_str(listing.state.name()))
                }));
            }
            // The partition has just moved away, and its transactions with it.
            Ok(_) | Err(ErrorCode::NotCoordinator) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(response)
}

fn refused(id: TransactionalId, error: ErrorCode) -> DescribedTransaction {
    DescribedTransaction::default().with_transactional_id(id).with_error_code(error.code())
}

fn described(id: TransactionalId, transaction: &Transaction) -> DescribedTransaction {
    let mut topics: Vec<TopicData> = Vec::new();
    for partition in transaction.partitions.iter() {
        match topics.last_mut().filter(|topic| topic.topic.as_str() == &*partition.topic) {
            Some(topic) => topic.partitions.push(partition.partition),
            None => topics.push(
                TopicData::default()
                    .with_topic(TopicName(StrBytes::from_string(partition.topic.to_string())))
                    .with_partitions(vec![partition.partition]),
            ),
        }
    }
    DescribedTransaction::default()
        .with_transactional_id(id)
        .with_transaction_state(StrBytes::from_static_str(transaction.state.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.start.0)
        .with_producer_id(ProducerId(transaction.producer.id.0))
        .with_producer_epoch(transaction.producer.epoch.0)
        .with_topics(topics)
}
