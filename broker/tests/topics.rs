//! Topics come, grow and go, and metadata tells of them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Broker, topic};
use ottla_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use ottla_protocol::messages::delete_topics_request::DeleteTopicState;
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla_protocol::messages::describe_producers_request::TopicRequest as ProducersTopic;
use ottla_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest, DescribeProducersResponse,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, MetadataRequest, MetadataResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};
use uuid::Uuid;

fn metadata(names: Option<&[&str]>, create: bool) -> MetadataRequest {
    let topics = names
        .map(|names| names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name)))).collect());
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(create)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_of_metadata_names_broker_and_topics() {
    let broker = Broker::start().await;
    broker.create_topic("t", 3).await;
    for version in 0..=13 {
        let response: MetadataResponse = broker.call(version, metadata(Some(&["t"]), true)).await;
        assert_eq!(response.brokers.len(), 1, "v{version}");
        assert_eq!(response.controller_id.0, if version >= 1 { 1 } else { -1 });
        let described = &response.topics[0];
        assert_eq!((described.error_code, described.partitions.len()), (0, 3), "v{version}");
        for (index, partition) in (0..).zip(&described.partitions) {
            assert_eq!((partition.error_code, partition.partition_index, partition.leader_id.0), (0, index, 1));
            assert_eq!(partition.isr_nodes.len(), 1);
        }
        assert_eq!(described.topic_authorized_operations, i32::MIN, "not asked for");
        assert_eq!(response.cluster_authorized_operations, i32::MIN);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_all_and_empty_is_none() {
    let broker = Broker::start().await;
    broker.create_topic("b", 1).await;
    broker.create_topic("a", 1).await;
    let names = async |version, request| {
        let response: MetadataResponse = broker.call(version, request).await;
        response.topics.iter().map(|t| t.name.as_ref().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(12, metadata(None, false)).await, ["a", "b"]);
    assert_eq!(names(0, metadata(Some(&[]), true)).await, ["a", "b"]);
    assert!(names(12, metadata(Some(&[]), false)).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_missing_come_into_being_when_asked_for() {
    let broker = Broker::start().await;
    let response: MetadataResponse = broker.call(12, metadata(Some(&["new"]), false)).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition as i16);
    let response: MetadataResponse = broker.call(12, metadata(Some(&["new", "not good"]), true)).await;
    assert_eq!((response.topics[0].error_code, response.topics[0].partitions.len()), (0, 1));
    assert_eq!(response.topics[1].error_code, ErrorCode::InvalidTopicException as i16);
    // What was named can be used at once.
    assert_eq!(broker.produce("new", 0, &["x"]).await.error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_found_by_id() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let id = broker.topic_id("t").await;
    let ask = |id: Uuid| MetadataRequestTopic::default().with_topic_id(id).with_name(None);
    let request = MetadataRequest::default().with_topics(Some(vec![ask(id), ask(Uuid::from_u128(5))]));
    let response: MetadataResponse = broker.call(12, request).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicId as i16);
    assert_eq!((response.topics[0].name.clone(), response.topics[0].topic_id), (None, Uuid::from_u128(5)));
    assert_eq!(response.topics[1].name, Some(topic("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![ask(id).with_name(Some(topic("t")))]));
    let response: MetadataResponse = broker.call(10, request).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::InvalidRequest as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_told_when_asked_for() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let request = metadata(Some(&["t"]), false)
        .with_include_topic_authorized_operations(true)
        .with_include_cluster_authorized_operations(true);
    let response: MetadataResponse = broker.call(8, request).await;
    assert_eq!(response.topics[0].topic_authorized_operations, 3576);
    assert_eq!(response.cluster_authorized_operations, 8096);
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_are_told_of_names_that_no_topic_has() {
    let broker = Broker::start().await;
    let asked = || metadata(Some(&["absent", "never ever"]), false).with_include_topic_authorized_operations(true);
    let by_name: MetadataResponse = broker.call(10, asked()).await;
    assert!(by_name.topics.iter().all(|topic| topic.error_code != 0 && topic.topic_authorized_operations > 0));
    let absent = MetadataRequestTopic::default().with_name(None).with_topic_id(Uuid::from_u128(1));
    let by_id: MetadataResponse = broker.call(12, asked().with_topics(Some(vec![absent]))).await;
    assert_eq!(by_id.topics[0].topic_authorized_operations, i32::MIN, "what has no name has no rules");
}

#[tokio::test(flavor = "multi_thread")]
async fn producers_of_what_is_no_topic_are_refused_with_words() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let told = async |name: &str, partition: i32| {
        let asked = ProducersTopic::default().with_name(topic(name)).with_partition_indexes(vec![partition]);
        let response: DescribeProducersResponse =
            broker.call(0, DescribeProducersRequest::default().with_topics(vec![asked])).await;
        let partition = response.topics[0].partitions[0].clone();
        (ErrorCode::from_code(partition.error_code).unwrap(), partition.error_message.map(|text| text.to_string()))
    };
    assert_eq!(told("t", 0).await, (ErrorCode::None, None));
    assert_eq!(told("t", 7).await, (ErrorCode::UnknownTopicOrPartition, None));
    let unknown = "This server does not host this topic-partition.".to_owned();
    assert_eq!(told("absent", 0).await, (ErrorCode::UnknownTopicOrPartition, Some(unknown)));
    let invalid = "Topic name is invalid: '..' is not allowed".to_owned();
    assert_eq!(told("..", 0).await, (ErrorCode::InvalidTopicException, Some(invalid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_kind_of_resource_that_is_none_spoils_the_whole_request() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let resource = |kind: i8| {
        let name = StrBytes::from_static_str("t");
        DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(vec![resource(2), resource(99)]);
    let response: DescribeConfigsResponse = broker.call(4, request).await;
    let told = response.results.iter().map(|result| (result.resource_type, result.error_code)).collect::<Vec<_>>();
    assert_eq!(told, [(2, ErrorCode::InvalidRequest as i16), (99, ErrorCode::InvalidRequest as i16)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn creation_answers_what_it_made_and_why_it_did_not() {
    let broker = Broker::start().await;
    let created = broker.create_topic("t", 2).await;
    let result = &created.topics[0];
    assert_eq!((result.error_code, result.num_partitions, result.replication_factor), (0, 2, 1));
    assert!(!result.topic_id.is_nil());
    let again = broker.create_topic("t", 2).await;
    assert_eq!(again.topics[0].error_code, ErrorCode::TopicAlreadyExists as i16);
    let bad = broker.create_topic("no good", 1).await;
    assert_eq!(bad.topics[0].error_code, ErrorCode::InvalidTopicException as i16);
    let internal = broker.create_topic("__cluster_metadata", 1).await;
    assert_eq!(internal.topics[0].error_code, ErrorCode::InvalidRequest as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_grow_but_do_not_shrink() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    let grow = async |count: i32| {
        let topics =
            vec![CreatePartitionsTopic::default().with_name(topic("t")).with_count(count).with_assignments(None)];
        let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(1000);
        let response: CreatePartitionsResponse = broker.call(3, request).await;
        response.results[0].error_code
    };
    assert_eq!(grow(4).await, 0);
    assert_eq!(broker.produce("t", 3, &["x"]).await.error_code, 0, "usable at once");
    assert_eq!(grow(3).await, ErrorCode::InvalidPartitions as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_topics_are_gone_at_once() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.produce("t", 0, &["x"]).await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic("t"), topic("u")]).with_timeout_ms(1000);
    let response: DeleteTopicsResponse = broker.call(5, request).await;
    let codes: Vec<i16> = response.responses.iter().map(|r| r.error_code).collect();
    assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition as i16]);
    assert_eq!(broker.produce("t", 0, &["x"]).await.error_code, ErrorCode::UnknownTopicOrPartition as i16);
    broker.create_topic("t", 1).await;
    assert_eq!(broker.produce("t", 0, &["x"]).await.base_offset, 0, "a new topic begins anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_named_by_name_and_by_id_is_not_deleted() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.create_topic("u", 1).await;
    let id = broker.topic_id("t").await;
    let by_name = |name| DeleteTopicState::default().with_name(Some(topic(name)));
    let by_id = DeleteTopicState::default().with_name(None).with_topic_id(id);
    let neither = DeleteTopicState::default().with_name(None);
    let asked = vec![by_id, by_name("t"), by_name("u"), by_name("v"), by_name("v"), neither];
    let request = DeleteTopicsRequest::default().with_topics(asked).with_timeout_ms(1000);
    let response: DeleteTopicsResponse = broker.call(6, request).await;
    let told = response.responses.iter().map(|result| {
        let message = result.error_message.as_ref().map(|message| message.to_string()).unwrap_or_default();
        (result.name.as_ref().map(|name| name.to_string()), result.error_code, message)
    });
    let refused = |name: Option<&str>, message: &str| {
        (name.map(str::to_owned), ErrorCode::InvalidRequest as i16, message.to_owned())
    };
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            refused(Some("t"), "The provided topic name maps to an ID that was already supplied."),
            (Some("u".to_owned()), 0, String::new()),
            refused(Some("v"), "Duplicate topic name."),
            refused(None, "Neither topic name nor id were specified."),
        ]
    );
    assert_eq!(broker.topic_id("t").await, id, "it is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_of_a_missing_topic_are_refused_without_words() {
    let broker = Broker::start().await;
    let name = StrBytes::from_static_str("t");
    let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(name);
    for version in 1..=4 {
        let request = DescribeConfigsRequest::default().with_resources(vec![resource.clone()]);
        let response: DescribeConfigsResponse = broker.call(version, request).await;
        let result = &response.results[0];
        assert_eq!(result.error_code, ErrorCode::UnknownTopicOrPartition as i16, "v{version}");
        assert_eq!(result.error_message, Some(StrBytes::default()), "v{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_describes_itself() {
    let broker = Broker::start().await;
    for version in 0..=2 {
        let response: DescribeClusterResponse = broker.call(version, DescribeClusterRequest::default()).await;
        assert_eq!((response.error_code, response.controller_id.0, response.brokers.len()), (0, 1, 1));
        assert_eq!(response.cluster_id.len(), 22);
    }
    let controllers = DescribeClusterRequest::default().with_endpoint_type(2);
    let response: DescribeClusterResponse = broker.call(1, controllers).await;
    assert_eq!(response.error_code, ErrorCode::MismatchedEndpointType as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_described_in_pages() {
    let broker = Broker::start().await;
    broker.create_topic("a", 3).await;
    broker.create_topic("b", 2).await;
    let mut cursor = None;
    let mut seen = Vec::new();
    for _page in 0..10 {
        let request =
            DescribeTopicPartitionsRequest::default().with_response_partition_limit(2).with_cursor(cursor.take());
        let response: DescribeTopicPartitionsResponse = broker.call(0, request).await;
        for topic in &response.topics {
            let name = topic.name.as_ref().unwrap().to_string();
            seen.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index)));
        }
        let Some(next) = response.next_cursor else { break };
        cursor = Some(Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index));
    }
    let expected = [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)];
    assert_eq!(seen, expected.map(|(name, index)| (name.to_owned(), index)));
    let asked = vec![TopicRequest::default().with_name(topic("zzz"))];
    let response: DescribeTopicPartitionsResponse =
        broker.call(0, DescribeTopicPartitionsRequest::default().with_topics(asked)).await;
    assert_eq!(response.topics[0].error_code, ErrorCode::UnknownTopicOrPartition as i16);
}

#[tokio::test(flavor = "multi_thread")]
async fn log_directories_tell_what_they_hold() {
    let broker = Broker::start().await;
    broker.create_topic("t", 2).await;
    broker.produce("t", 1, &["x"]).await;
    for version in 1..=5 {
        let response: DescribeLogDirsResponse =
            broker.call(version, DescribeLogDirsRequest::default().with_topics(None)).await;
        assert_eq!(response.results.len(), 1);
        let dir = &response.results[0];
        assert_eq!((dir.error_code, dir.topics.len(), dir.topics[0].partitions.len()), (0, 1, 2), "v{version}");
        assert!(dir.topics[0].partitions[1].partition_size > 0);
    }
}
