//! What is no request of Kafka's ends the connection, at once and without an answer.
#![allow(clippy::unwrap_used)]

mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, api_versions, long_produce, metadata, request};

async fn is_closed_at_once(stage: &Stage, bytes: &[u8]) {
    let mut client = stage.connect().await;
    let began = Instant::now();
    client.send(bytes).await;
    assert_eq!(client.answer().await, None, "{bytes:?}");
    assert!(began.elapsed() < Duration::from_secs(1), "{bytes:?} took {:?}", began.elapsed());
}

#[tokio::test]
async fn other_protocols() {
    let stage = Stage::with(&[]).await;
    is_closed_at_once(&stage, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    is_closed_at_once(&stage, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).await;
    is_closed_at_once(&stage, b"SSH-2.0-OpenSSH\r\n").await;
    assert!(stage.puppet.started().is_empty());
}

#[tokio::test]
async fn lengths_that_cannot_be() {
    let stage = Stage::with(&[("socket.request.max.bytes", "1000")]).await;
    is_closed_at_once(&stage, &(-1_i32).to_be_bytes()).await;
    is_closed_at_once(&stage, &3_u32.to_be_bytes()).await;
    is_closed_at_once(&stage, &1001_u32.to_be_bytes()).await;
    // The limit itself is allowed.
    let mut client = stage.connect().await;
    let frame = long_produce(1, 1000 - (long_produce(1, 0).len() - 4));
    assert_eq!(frame.len(), 1004);
    client.send(&frame).await;
    assert_eq!(client.answer().await, Some(1));
}

#[tokio::test]
async fn a_request_without_records_may_be_as_long_as_any_other() {
    let stage = Stage::with(&[]).await;
    let name = vec![b'x'; 30_000];
    let mut body = 400_i32.to_be_bytes().to_vec();
    for _ in 0..400 {
        body.extend_from_slice(&30_000_i16.to_be_bytes());
        body.extend_from_slice(&name);
    }
    let mut client = stage.connect().await;
    client.send(&request(3, 1, 7, &body)).await;
    assert_eq!(client.answer().await, Some(7));
    // But not of millions of elements: twelve bytes would become a thousand each.
    let mut body = 3_000_000_i32.to_be_bytes().to_vec();
    body.resize(4 + 2 * 3_000_000, 0);
    let mut client = stage.connect().await;
    client.send(&request(3, 1, 8, &body)).await;
    assert_eq!(client.answer().await, None);
}

#[tokio::test]
async fn requests_that_nobody_knows() {
    let stage = Stage::with(&[]).await;
    is_closed_at_once(&stage, &request(999, 0, 1, &[])).await;
    is_closed_at_once(&stage, &request(4, 0, 1, &[])).await;
    is_closed_at_once(&stage, &request(-1, 0, 1, &[])).await;
    is_closed_at_once(&stage, &request(3, 99, 1, &[])).await;
    // Known, but not served at this door.
    is_closed_at_once(&stage, &request(32, 4, 1, &[])).await;
    // A count that the frame cannot hold.
    is_closed_at_once(&stage, &request(3, 1, 1, &i32::MAX.to_be_bytes())).await;
    assert!(stage.puppet.started().is_empty());
}

#[tokio::test]
async fn api_versions_of_the_future_is_answered() {
    let stage = Stage::with(&[]).await;
    let mut client = stage.connect().await;
    client.send(&request(18, 99, 7, &[0, 1, 2, 3])).await;
    assert_eq!(client.answer().await, Some(-7));
    client.send(&api_versions(8)).await;
    assert_eq!(client.answer().await, Some(8));
}

#[tokio::test]
async fn one_request_that_panics_costs_one_connection() {
    let stage = Stage::with(&[]).await;
    let mut other = stage.connect().await;
    is_closed_at_once(&stage, &metadata(stage::PANIC)).await;
    other.send(&metadata(1)).await;
    assert_eq!(other.answer().await, Some(1));
}
