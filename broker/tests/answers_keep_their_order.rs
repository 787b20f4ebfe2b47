//! One request after the other, answers in order; only produce requests overlap.
#![allow(clippy::unwrap_used)]

mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, api_versions, long_produce, metadata, produce};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn produce_requests_overlap_and_others_wait() {
    let stage = Stage::with(&[]).await;
    let gates: Vec<_> = (0..3).map(|id| stage.puppet.gate(id)).collect();
    let mut client = stage.connect().await;
    let frames = [produce(0, -1), produce(1, -1), produce(2, -1), metadata(3), produce(4, -1)];
    client.send(&frames.concat()).await;
    assert!(client.is_silent().await);
    assert_eq!(stage.puppet.started(), [0, 1, 2], "a request behind produce requests waits for them");
    let mut gates = gates.into_iter();
    let (first, second, third) = (gates.next().unwrap(), gates.next().unwrap(), gates.next().unwrap());
    third.send(()).unwrap();
    second.send(()).unwrap();
    assert!(client.is_silent().await, "the first answer comes first");
    first.send(()).unwrap();
    for id in 0..5 {
        assert_eq!(client.answer().await, Some(id));
    }
}

#[tokio::test]
async fn nothing_overtakes_a_long_poll() {
    let stage = Stage::with(&[]).await;
    let gate = stage.puppet.gate(1);
    let mut client = stage.connect().await;
    client.send(&[metadata(1), metadata(2), api_versions(3)].concat()).await;
    assert!(client.is_silent().await);
    assert_eq!(stage.puppet.started(), [1]);
    gate.send(()).unwrap();
    for id in 1..4 {
        assert_eq!(client.answer().await, Some(id));
    }
}

#[tokio::test]
async fn ten_thousand_requests_at_once() {
    let stage = Stage::with(&[]).await;
    let client = stage.connect().await;
    let (read, mut write) = client.socket.into_split();
    let writer = tokio::spawn(async move {
        for id in 0..10_000 {
            write.write_all(&metadata(id)).await.unwrap();
        }
        write
    });
    let _write = writer.await.unwrap();
    let mut read = tokio::io::BufReader::new(read);
    for id in 0..10_000 {
        let mut frame = [0; 8];
        tokio::io::AsyncReadExt::read_exact(&mut read, &mut frame).await.unwrap();
        assert_eq!(frame[4..], i32::to_be_bytes(id));
    }
}

#[tokio::test]
async fn without_acknowledgement_there_is_no_answer() {
    let stage = Stage::with(&[]).await;
    let mut client = stage.connect().await;
    client.send(&[produce(1, 0), metadata(2), produce(3, 0)].concat()).await;
    assert_eq!(client.answer().await, Some(2));
    assert!(client.is_silent().await);
    assert_eq!(stage.puppet.started(), [1, 2, 3]);
}

#[tokio::test]
async fn a_long_request_in_small_pieces() {
    let stage = Stage::with(&[]).await;
    let mut client = stage.connect().await;
    let frame = long_produce(1, 3_000_000);
    for piece in frame.chunks(99_991) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    client.send(&metadata(2)).await;
    assert_eq!(client.answer().await, Some(1));
    assert_eq!(client.answer().await, Some(2));
}

#[tokio::test]
async fn a_throttled_client_is_answered_and_then_not_heard() {
    let stage = Stage::with(&[]).await;
    let mut client = stage.connect().await;
    *stage.puppet.throttle_ms.lock().unwrap() = 200;
    let began = Instant::now();
    client.send(&[metadata(1), metadata(2)].concat()).await;
    assert_eq!(client.answer().await, Some(1));
    assert!(began.elapsed() < Duration::from_millis(150));
    assert_eq!(client.answer().await, Some(2));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_client_that_has_said_everything_still_hears_the_answer() {
    let stage = Stage::with(&[]).await;
    let gate = stage.puppet.gate(1);
    let mut client = stage.connect().await;
    client.send(&metadata(1)).await;
    client.socket.shutdown().await.unwrap();
    assert!(client.is_silent().await);
    gate.send(()).unwrap();
    assert_eq!(client.answer().await, Some(1));
    assert_eq!(client.answer().await, None);
}
