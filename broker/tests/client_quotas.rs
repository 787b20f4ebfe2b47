//! A client over its quota is told how long to wait, and waits; others are not held up.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Broker, batch, produce_request, topic};
use ottla_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::metadata_request::MetadataRequestTopic;
use ottla_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, CreateTopicsRequest, CreateTopicsResponse, FetchRequest,
    FetchResponse, MetadataRequest, MetadataResponse, ProduceResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sets a quota for an entity of (type, name) pairs; an empty name is everybody's default.
async fn set(broker: &Broker, entity: &[(&'static str, &'static str)], key: &'static str, value: f64) {
    let (code, message) = alter(broker, entity, key, Some(value)).await;
    assert_eq!(code, 0, "{message}");
}

/// Sets a quota, or takes it away; how that went.
async fn alter(
    broker: &Broker,
    entity: &[(&'static str, &'static str)],
    key: &'static str,
    value: Option<f64>,
) -> (i16, String) {
    let entity = entity.iter().map(|(kind, name)| {
        EntityData::default()
            .with_entity_type(StrBytes::from_static_str(kind))
            .with_entity_name(Some(StrBytes::from_static_str(name)).filter(|name| !name.is_empty()))
    });
    let op = OpData::default()
        .with_key(StrBytes::from_static_str(key))
        .with_value(value.unwrap_or_default())
        .with_remove(value.is_none());
    let entry = EntryData::default().with_entity(entity.collect()).with_ops(vec![op]);
    let response: AlterClientQuotasResponse =
        broker.call(1, AlterClientQuotasRequest::default().with_entries(vec![entry])).await;
    let entry = &response.entries[0];
    (entry.error_code, entry.error_message.as_deref().unwrap_or_default().to_owned())
}

async fn produce_as(broker: &Broker, client: &str, values: &[&str]) -> ProduceResponse {
    broker.ask_as(client, 12, produce_request("t", 0, 1, batch(values))).await.value().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_over_its_rate_is_slowed_down_and_its_records_are_kept() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    set(&broker, &[("client-id", "greedy")], "producer_byte_rate", 1000.0).await;
    let large = "x".repeat(15_000);
    let response = produce_as(&broker, "greedy", &[&large]).await;
    // 15,000 bytes are a rate of 1,500 in ten seconds, half as much again as is allowed: five seconds to wait.
    assert!((4_500..7_000).contains(&response.throttle_time_ms), "{}", response.throttle_time_ms);
    assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    assert_eq!(produce_as(&broker, "modest", &[&large]).await.throttle_time_ms, 0);
    assert_eq!(produce_as(&broker, "modest", &["x"]).await.responses[0].partition_responses[0].base_offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_over_its_rate_gets_nothing_until_it_has_waited() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    let large = "x".repeat(30_000);
    for _ in 0..3 {
        produce_as(&broker, "p", &[&large]).await;
    }
    let fetch = |offset: i64| {
        let partition = FetchPartition::default()
            .with_fetch_offset(offset)
            .with_current_leader_epoch(-1)
            .with_last_fetched_epoch(-1)
            .with_partition_max_bytes(1 << 20);
        FetchRequest::default()
            .with_replica_id((-1).into())
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![FetchTopic::default().with_topic(topic("t")).with_partitions(vec![partition])])
    };
    set(&broker, &[("user", "ANONYMOUS")], "consumer_byte_rate", 5000.0).await;
    let first: FetchResponse = broker.ask_as("c", 12, fetch(0)).await.value().await;
    // No more than the quota of ten windows is read for one answer, and that is just within the rate.
    let bytes = first.responses[0].partitions[0].records.as_ref().unwrap().len();
    assert!((30_000..=50_000).contains(&bytes), "{bytes}");
    assert_eq!(first.throttle_time_ms, 0);
    // Quotas of a user are shared by all its clients.
    let second: FetchResponse = broker.ask_as("another", 12, fetch(1)).await.value().await;
    assert!(second.throttle_time_ms > 0);
    assert!(second.responses.is_empty(), "{:?}", second.responses);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_over_the_rate_are_refused_where_clients_understand_that() {
    let broker = Broker::start_with(&[("controller.quota.window.num", "2")]).await;
    set(&broker, &[("client-id", "builder")], "controller_mutation_rate", 1.0).await;
    let create = async |version: i16, name: &str| {
        let new = CreatableTopic::default().with_name(topic(name)).with_num_partitions(3).with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![new]).with_timeout_ms(5000);
        let response: CreateTopicsResponse = broker.ask_as("builder", version, request).await.value().await;
        (response.topics[0].error_code, response.throttle_time_ms > 0)
    };
    // The burst is two windows' worth, and goes into debt by one partition.
    assert_eq!(create(7, "a").await, (0, false));
    assert_eq!(create(7, "b").await, (ErrorCode::ThrottlingQuotaExceeded as i16, true));
    // An older client is let through and slowed down.
    assert_eq!(create(5, "b").await, (0, true));
    // A topic that is there already costs nothing.
    assert_eq!(create(7, "a").await, (ErrorCode::TopicAlreadyExists as i16, false));
    assert_eq!(broker.create_topic("c", 3).await.topics[0].error_code, 0, "another client has no quota");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_changes_that_could_be_made_are_counted() {
    let broker = Broker::start_with(&[("controller.quota.window.num", "2")]).await;
    set(&broker, &[("client-id", "builder")], "controller_mutation_rate", 1.0).await;
    let create = async |name: &str, replication_factor: i16, validate_only: bool| {
        let new = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(1000)
            .with_replication_factor(replication_factor);
        let request = CreateTopicsRequest::default()
            .with_topics(vec![new])
            .with_timeout_ms(5000)
            .with_validate_only(validate_only);
        let response: CreateTopicsResponse = broker.ask_as("builder", 7, request).await.value().await;
        (response.topics[0].error_code, response.throttle_time_ms > 0)
    };
    assert_eq!(create("a", 5, false).await, (ErrorCode::InvalidReplicationFactor as i16, false));
    assert_eq!(create("a", 1, true).await, (0, false), "the refused one has cost nothing, and a dry run costs");
    assert_eq!(create("b", 1, true).await, (ErrorCode::ThrottlingQuotaExceeded as i16, true));
    // A topic that is asked for and not there is created in the client's name.
    let wanted = MetadataRequestTopic::default().with_name(Some(topic("wanted")));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    let of_builder: MetadataResponse = broker.ask_as("builder", 12, request.clone()).await.value().await;
    assert_ne!(of_builder.topics[0].error_code, 0);
    let of_another: MetadataResponse = broker.ask_as("another", 12, request).await.value().await;
    assert_eq!(of_another.topics[0].error_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_time_has_a_quota_too() {
    let broker = Broker::start().await;
    set(&broker, &[("client-id", "busy")], "request_percentage", 0.000_001).await;
    let request = MetadataRequest::default().with_topics(None);
    let response: MetadataResponse = broker.ask_as("busy", 12, request.clone()).await.value().await;
    assert_eq!(response.throttle_time_ms, 1000, "no longer than a window");
    let response: MetadataResponse = broker.ask_as("idle", 12, request).await.value().await;
    assert_eq!(response.throttle_time_ms, 0);
}

/// Whether a connection from this address of the machine is served; it is closed without an answer otherwise.
async fn is_served(broker: &Broker, from: [u8; 4]) -> bool {
    let port = broker.server.bootstrap_servers()[0].rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut socket = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    // ApiVersions 0.
    socket.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).await.unwrap();
    let mut answer = [0; 8];
    let read = tokio::time::timeout(Duration::from_secs(30), socket.read_exact(&mut answer)).await;
    read.expect("an answer, or the end").is_ok_and(|_| answer[4..] == [0, 0, 0, 7])
}

/// How many connections of an address are served before one is not. A burst of ten seconds' worth is free.
async fn burst(broker: &Broker, from: [u8; 4]) -> usize {
    let mut served = 0;
    while served < 50 && is_served(broker, from).await {
        served += 1;
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_makes_only_so_many_connections() {
    const KEY: &str = "connection_creation_rate";
    // Of the broker itself nobody is held back.
    let broker = Broker::start().await;
    set(&broker, &[("ip", "127.0.0.2")], KEY, 1.0).await;
    let served = burst(&broker, [127, 0, 0, 2]).await;
    assert!((10..50).contains(&served), "{served}");
    assert_eq!(burst(&broker, [127, 0, 0, 3]).await, 50, "another address has no quota");
    set(&broker, &[("ip", "127.0.0.1")], KEY, 100_000.0).await;
    set(&broker, &[("ip", "")], KEY, 1.0).await;
    let served = burst(&broker, [127, 0, 0, 4]).await;
    assert!((10..50).contains(&served), "the default is for all others: {served}");
    assert_eq!(burst(&broker, [127, 0, 0, 1]).await, 50, "but for those who have their own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_for_a_host_holds_for_its_addresses_and_one_without_any_is_refused() {
    const KEY: &str = "connection_creation_rate";
    let broker = Broker::start().await;
    let host = [("ip", "no-such-host.invalid")];
    let (code, message) = alter(&broker, &host, KEY, Some(1.0)).await;
    assert_eq!(code, ErrorCode::InvalidRequest as i16);
    assert_eq!(message, "no-such-host.invalid is not a valid IP or resolvable host.");
    assert_eq!(alter(&broker, &host, KEY, None).await.0, 0, "what is gone can be taken away");
    set(&broker, &[("ip", "localhost")], KEY, 1.0).await;
    // Nobody is held back while it is looked up, which the first connection begins.
    assert!(is_served(&broker, [127, 0, 0, 1]).await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let served = burst(&broker, [127, 0, 0, 1]).await;
    assert!((5..50).contains(&served), "{served}");
}
