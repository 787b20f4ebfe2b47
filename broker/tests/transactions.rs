//! Transactions, as clients and other brokers ask for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Broker, topic};
use ottla_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use ottla_protocol::messages::{
    AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, InitProducerIdRequest, InitProducerIdResponse, ProducerId,
    TransactionalId,
};
use ottla_protocol::{ErrorCode, StrBytes};

fn id(name: &str) -> TransactionalId {
    TransactionalId(StrBytes::from_string(name.to_owned()))
}

async fn init(broker: &Broker, name: &str) -> (ProducerId, i16) {
    let request =
        InitProducerIdRequest::default().with_transactional_id(Some(id(name))).with_transaction_timeout_ms(60_000);
    for _ in 0..100 {
        let response: InitProducerIdResponse = broker.call(4, request.clone()).await;
        if response.error_code == 0 {
            return (response.producer_id, response.producer_epoch);
        }
        // The topic of the transactions has to be loaded.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no producer id");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_transaction_of_a_batch_is_answered() {
    let broker = Broker::start().await;
    broker.create_topic("__transaction_state", 1).await;
    broker.create_topic("t", 1).await;
    let mut transactions = Vec::new();
    for name in ["a", "b", "c"] {
        let (producer_id, producer_epoch) = init(&broker, name).await;
        // The last one is of another producer.
        let producer_id = if name == "c" { ProducerId(producer_id.0 + 1000) } else { producer_id };
        transactions.push(
            AddPartitionsToTxnTransaction::default()
                .with_transactional_id(id(name))
                .with_producer_id(producer_id)
                .with_producer_epoch(producer_epoch)
                .with_topics(vec![AddPartitionsToTxnTopic::default().with_name(topic("t")).with_partitions(vec![0])]),
        );
    }
    let request = AddPartitionsToTxnRequest::default().with_transactions(transactions);
    let response: AddPartitionsToTxnResponse = broker.call(4, request).await;
    let mut answers: BTreeMap<String, i16> = BTreeMap::new();
    for result in &response.results_by_transaction {
        let partition = &result.topic_results[0].results_by_partition[0];
        answers.insert(result.transactional_id.to_string(), partition.partition_error_code);
    }
    let mapping = ErrorCode::InvalidProducerIdMapping as i16;
    assert_eq!(answers, BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 0), ("c".to_owned(), mapping)]));
}
