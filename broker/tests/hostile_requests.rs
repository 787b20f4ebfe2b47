//! Small requests whose answers, or whose work, would be thousands of times their size.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Broker, produce_request, topic};
use ottla_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use ottla_protocol::messages::describe_producers_request::TopicRequest;
use ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use ottla_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use ottla_protocol::messages::{
    AlterReplicaLogDirsRequest, DescribeGroupsRequest, DescribeGroupsResponse, DescribeProducersRequest,
    DescribeProducersResponse, DescribeTransactionsRequest, DescribeTransactionsResponse, OffsetFetchRequest,
    OffsetFetchResponse, ProduceResponse, TransactionalId, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{ErrorCode, StrBytes, Timestamp};

/// What is asked for a thousand times is told once.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_again_and_again_is_told_once() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let group = || StrBytes::from_static_str("g").into();
    let groups = DescribeGroupsRequest::default().with_groups(vec![group(); 1000]);
    let answer: DescribeGroupsResponse = broker.call(5, groups).await;
    assert_eq!(answer.groups.len(), 1);
    let partitions = TopicRequest::default().with_name(topic("t")).with_partition_indexes(vec![0; 1000]);
    let producers = DescribeProducersRequest::default().with_topics(vec![partitions; 10]);
    let answer: DescribeProducersResponse = broker.call(0, producers).await;
    assert_eq!((answer.topics.len(), answer.topics[0].partitions.len()), (1, 1));
    let ids = vec![TransactionalId(StrBytes::from_static_str("x")); 1000];
    let transactions = DescribeTransactionsRequest::default().with_transactional_ids(ids);
    let answer: DescribeTransactionsResponse = broker.call(0, transactions).await;
    assert_eq!(answer.transaction_states.len(), 1);
    let all = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(None);
    let offsets = OffsetFetchRequest::default().with_groups(vec![all; 1000]);
    let answer: OffsetFetchResponse = broker.call(8, offsets).await;
    assert_eq!(answer.groups.len(), 1);
}

/// Each marker and each move has its answer, in the place where it was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_numbers_are_answered_in_their_places() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    let numbers: Vec<i32> = (0..3000).collect();
    let topics = vec![WritableTxnMarkerTopic::default().with_name(topic("t")).with_partition_indexes(numbers.clone())];
    let marker = WritableTxnMarker::default().with_producer_id(7.into()).with_topics(topics);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let answer: WriteTxnMarkersResponse = broker.call(1, request).await;
    let partitions = &answer.markers[0].topics[0].partitions;
    assert_eq!(partitions.iter().map(|partition| partition.partition_index).collect::<Vec<_>>(), numbers);
    let unknown = ErrorCode::UnknownTopicOrPartition as i16;
    assert!(partitions[..2].iter().all(|partition| partition.error_code != unknown));
    assert!(partitions[2..].iter().all(|partition| partition.error_code == unknown));
    let topics = vec![AlterReplicaLogDirTopic::default().with_name(topic("t")).with_partitions(numbers)];
    let path = StrBytes::from_string("/no/such/directory".repeat(500));
    let dir = AlterReplicaLogDir::default().with_path(path).with_topics(topics);
    let answer = broker.call(2, AlterReplicaLogDirsRequest::default().with_dirs(vec![dir])).await;
    assert_eq!(answer.results[0].partitions.len(), 3000);
}

/// A record that no coordinator wrote, in the topic of the groups: those that did are still read.
#[tokio::test(flavor = "multi_thread")]
async fn records_that_mean_nothing_do_not_take_the_coordinator_with_them() {
    let broker = Broker::start_with(&[("offsets.topic.num.partitions", "1")]).await;
    broker.create_topic("__consumer_offsets", 1).await;
    let mut builder = BatchBuilder::new();
    builder.push(Timestamp(1_700_000_000_000), Some(b"\0\x01no key"), Some(b"no group"), &[]);
    builder.push(Timestamp(1_700_000_000_000), Some(b"k"), Some(b""), &[]);
    let garbage = produce_request("__consumer_offsets", 0, -1, builder.build());
    let answer: ProduceResponse = broker.ask_as("__admin_client", 12, garbage).await.value().await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    let broker = broker.restart_with(&[("offsets.topic.num.partitions", "1")]).await;
    for _ in 0..100 {
        let groups = vec![StrBytes::from_static_str("g").into()];
        let request = DescribeGroupsRequest::default().with_groups(groups);
        let described: DescribeGroupsResponse = broker.call(5, request).await;
        if described.groups[0].error_code == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the coordinator does not load");
}
