//! A broker that is told to stop waits for none of its clients: not for fetches that wait for records, nor for groups that
//! wait for members, nor for readers that do not read. What it has acknowledged is there afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use common::{Broker, Sent, batch, produce_request, topic};
use ottla::server::Server;
use ottla::telemetry::Loggers;
use ottla_protocol::StrBytes;
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{
    FetchRequest, FetchResponse, JoinGroupRequest, JoinGroupResponse, ListOffsetsRequest, ListOffsetsResponse,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// What the clients would wait: far longer than this test may take.
const CLIENTS_WAIT_MS: i32 = 600_000;
/// Only against a test that hangs.
const GUARD: Duration = Duration::from_secs(90);

fn fetch(name: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(CLIENTS_WAIT_MS)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition])])
}

/// A member that waits for the others of its group.
async fn join(broker: &Broker) -> Sent<JoinGroupResponse> {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"\0\0"));
    let request = JoinGroupRequest::default()
        .with_group_id(StrBytes::from_static_str("g").into())
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_session_timeout_ms(300_000)
        .with_rebalance_timeout_ms(CLIENTS_WAIT_MS)
        .with_protocols(vec![protocol]);
    for _ in 0..100 {
        let sent = broker.ask(3, request.clone()).await;
        if sent.is_waiting().await {
            return sent;
        }
    }
    panic!("no group waits for its members");
}

/// Produces until the broker is gone; the highest offset that was acknowledged.
async fn produce(address: String, name: &'static str, acknowledged: Arc<AtomicI64>) {
    use ottla_protocol::messages::{ProduceResponse, RequestHeader, ResponseHeader};
    use ottla_protocol::{Decodable, Encodable};
    use tokio::io::AsyncReadExt;

    let mut frame = bytes::BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(0)
        .with_request_api_version(12)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("producer")))
        .encode(&mut frame, 2)
        .unwrap();
    let value = "x".repeat(20_000);
    produce_request(name, 0, -1, batch(&[&value])).encode(&mut frame, 12).unwrap();
    let Ok(mut socket) = TcpStream::connect(address).await else { return };
    loop {
        let mut length = [0; 4];
        if socket.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).await.is_err()
            || socket.write_all(&frame).await.is_err()
            || socket.read_exact(&mut length).await.is_err()
        {
            return;
        }
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        if socket.read_exact(&mut answer).await.is_err() {
            return;
        }
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, 1).unwrap();
        let answer = ProduceResponse::decode(&mut answer, 12).unwrap();
        let partition = &answer.responses[0].partition_responses[0];
        if partition.error_code == 0 {
            acknowledged.fetch_max(partition.base_offset, Ordering::Relaxed);
        }
    }
}

async fn log_end(broker: &Broker, name: &str) -> i64 {
    let partition = ListOffsetsPartition::default().with_timestamp(-1).with_current_leader_epoch(-1);
    let asked = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let response: ListOffsetsResponse = broker.call(7, request).await;
    response.topics[0].partitions[0].offset
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_clients_and_producers_in_flight() {
    let broker = Broker::start_with(&[("group.initial.rebalance.delay.ms", "600000")]).await;
    for name in ["empty", "__consumer_offsets", "a", "b"] {
        broker.create_topic(name, 1).await;
    }
    let joining = join(&broker).await;
    let mut waiting: Vec<Sent<FetchResponse>> = Vec::new();
    for _ in 0..20 {
        waiting.push(broker.ask(12, fetch("empty", 0)).await);
    }
    assert!(waiting[19].is_waiting().await);
    let address = broker.server.bootstrap_servers()[0].clone();
    let acknowledged: Vec<(&'static str, Arc<AtomicI64>)> = ["a", "b"].map(|name| (name, Arc::default())).into();
    let mut producers = Vec::new();
    for (name, highest) in &acknowledged {
        for _ in 0..3 {
            producers.push(tokio::spawn(produce(address.clone(), name, Arc::clone(highest))));
        }
    }
    for (_, highest) in &acknowledged {
        while highest.load(Ordering::Relaxed) < 50 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    // Readers that do not read hold up their own connection only.
    let mut silent = Vec::new();
    for _ in 0..5 {
        let mut sent = broker.ask(12, fetch("a", 0)).await;
        sent.limit_what_comes_in();
        silent.push(sent);
    }

    let Broker { server, dir } = broker;
    tokio::time::timeout(GUARD, server.shutdown()).await.expect("a stop that waits for clients");
    assert!(dir.path().join("data/.kafka_cleanshutdown").exists(), "a clean end");

    // Everybody was told by the end of the connection, and nobody by a made-up answer.
    assert_eq!(tokio::time::timeout(GUARD, joining.bytes_to_the_end()).await.expect("the end"), 0);
    for sent in waiting {
        assert_eq!(tokio::time::timeout(GUARD, sent.bytes_to_the_end()).await.expect("the end"), 0);
    }
    for producer in producers {
        tokio::time::timeout(GUARD, producer).await.expect("the end").unwrap();
    }
    drop(silent);
    let server = Server::start(common::settings(dir.path(), &[]), Loggers::default()).await.unwrap();
    let broker = Broker { server, dir };
    for (name, highest) in acknowledged {
        let (end, highest) = (log_end(&broker, name).await, highest.load(Ordering::Relaxed));
        assert!(end > highest, "{name} ends at {end}, {highest} was acknowledged");
    }
    broker.server.shutdown().await;
}

/// A client that has sent half a request is no reason to wait either.
#[tokio::test(flavor = "multi_thread")]
async fn half_requests() {
    let broker = Broker::start().await;
    let mut half = TcpStream::connect(&broker.server.bootstrap_servers()[0]).await.unwrap();
    half.write_all(&[0, 0, 1, 0, 0, 3, 0, 1]).await.unwrap();
    let idle = TcpStream::connect(&broker.server.bootstrap_servers()[0]).await.unwrap();
    tokio::time::timeout(GUARD, broker.server.shutdown()).await.expect("a stop that waits for clients");
    drop((half, idle));
}
