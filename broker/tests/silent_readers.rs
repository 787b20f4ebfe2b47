//! Clients that ask and never read: their neighbours are served, and memory stays bounded.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use bytes::BytesMut;
use common::{Broker, topic};
use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use ottla_protocol::messages::{FetchRequest, MetadataRequest, MetadataResponse, RequestHeader};
use ottla_protocol::{Encodable, StrBytes};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

const READERS_MAX: usize = 1_000;
/// Bytes that each of them asks for.
const ASKED: i32 = 8 << 20;
/// Far below what the answers would take (4 GiB and more), and below half a mebibyte for each reader.
const MEMORY_MAX: u64 = 300 << 20;

/// How many of them this machine lets one process have, both ends of each connection included.
fn readers() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let descriptors = usize::try_from(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)).unwrap();
    READERS_MAX.min(descriptors.saturating_sub(600) / 3)
}

/// Memory of this process, in which the broker runs.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

fn fetch(name: &str) -> Vec<u8> {
    let partition = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(ASKED);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_bytes(ASKED)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition])]);
    let mut frame = BytesMut::new();
    let header = RequestHeader::default().with_request_api_key(1).with_request_api_version(12).with_correlation_id(7);
    header.with_client_id(Some(StrBytes::from_static_str("silent"))).encode(&mut frame, 2).unwrap();
    request.encode(&mut frame, 12).unwrap();
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame[..]].concat()
}

/// A connection that can hold little of what comes in.
async fn connect(address: std::net::SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_of_them_slow_nobody_down_and_fill_no_memory() {
    let readers = readers();
    assert!(readers > 100, "{readers}");
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.create_topic("u", 1).await;
    let large = "x".repeat(900_000);
    for _ in 0..12 {
        assert_eq!(broker.produce("t", 0, &[&large]).await.error_code, 0);
    }
    let address = tokio::net::lookup_host(&broker.server.bootstrap_servers()[0])
        .await
        .unwrap()
        .find(std::net::SocketAddr::is_ipv4)
        .unwrap();
    let before = resident();
    let mut silent = Vec::with_capacity(readers);
    for _ in 0..readers {
        let mut socket = connect(address).await;
        // Several at once: an answer that is not taken must hold back the next.
        for _ in 0..4 {
            socket.write_all(&fetch("t")).await.unwrap();
        }
        silent.push(socket);
    }
    let mut peak = resident();
    for round in 0..50 {
        let honest = async {
            let produced = broker.produce("u", 0, &["y"]).await;
            assert_eq!((produced.error_code, produced.base_offset), (0, round));
            let known: MetadataResponse = broker.call(12, MetadataRequest::default().with_topics(None)).await;
            assert_eq!(known.topics.len(), 2);
        };
        // A guard against a hang, not a measure.
        tokio::time::timeout(Duration::from_secs(60), honest).await.expect("a neighbour is served");
        peak = peak.max(resident());
    }
    let grown = peak.saturating_sub(before);
    println!("{readers} silent readers: {} MiB", grown >> 20);
    assert!(grown < MEMORY_MAX, "{} MiB", grown >> 20);
    drop(silent);
    broker.server.shutdown().await;
}
