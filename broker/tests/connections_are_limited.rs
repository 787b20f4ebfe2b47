//! How many connections there may be, and how long a silent one may stay.
#![allow(clippy::unwrap_used)]

mod stage;

use std::time::{Duration, Instant};

use stage::{Stage, metadata};

#[tokio::test]
async fn one_address_may_have_only_so_many() {
    let stage = Stage::with(&[("max.connections.per.ip", "2")]).await;
    let mut clients = Vec::new();
    for id in 0..2 {
        let mut client = stage.connect().await;
        client.send(&metadata(id)).await;
        assert_eq!(client.answer().await, Some(id));
        clients.push(client);
    }
    assert_eq!(stage.connect().await.answer().await, None, "the third is closed");
    drop(clients.pop());
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut again = stage.connect().await;
    again.send(&metadata(9)).await;
    assert_eq!(again.answer().await, Some(9));
}

#[tokio::test]
async fn an_address_may_have_a_limit_of_its_own() {
    let stage = Stage::with(&[("max.connections.per.ip.overrides", "no.such.host.invalid:7, localhost:0")]).await;
    assert_eq!(stage.connect().await.answer().await, None);
}

#[tokio::test]
async fn when_there_is_no_room_a_connection_waits() {
    let stage = Stage::with(&[("max.connections", "1")]).await;
    let mut first = stage.connect().await;
    first.send(&metadata(1)).await;
    assert_eq!(first.answer().await, Some(1));
    let mut second = stage.connect().await;
    second.send(&metadata(2)).await;
    assert!(second.is_silent().await);
    drop(first);
    assert_eq!(second.answer().await, Some(2));
}

#[tokio::test]
async fn a_listener_may_have_a_limit_of_its_own() {
    let stage = Stage::with(&[("max.connections", "9"), ("listener.name.plaintext.max.connections", "1")]).await;
    let mut first = stage.connect().await;
    first.send(&metadata(1)).await;
    assert_eq!(first.answer().await, Some(1));
    let mut second = stage.connect().await;
    second.send(&metadata(2)).await;
    assert!(second.is_silent().await);
    drop(first);
    assert_eq!(second.answer().await, Some(2));
}

/// One each second, measured over two: the second connection has to wait for its second.
#[tokio::test]
async fn connections_that_come_too_fast_wait() {
    for key in ["max.connection.creation.rate", "listener.name.plaintext.max.connection.creation.rate"] {
        let stage = Stage::with(&[(key, "1"), ("quota.window.num", "2")]).await;
        let mut first = stage.connect().await;
        first.send(&metadata(1)).await;
        assert_eq!(first.answer().await, Some(1), "{key}");
        let mut second = stage.connect().await;
        second.send(&metadata(2)).await;
        assert!(second.is_silent().await, "{key}");
        assert_eq!(second.answer().await, Some(2), "{key}: it is let in later");
    }
}

#[tokio::test]
async fn a_stop_waits_for_no_connection_that_was_held_back() {
    let stage = Stage::with(&[("max.connection.creation.rate", "1"), ("quota.window.num", "2")]).await;
    let mut clients = Vec::new();
    for id in 0..20 {
        let mut client = stage.connect().await;
        client.send(&metadata(id)).await;
        clients.push(client);
    }
    stage.shutdown.cancel();
    stage.tasks.close();
    // All twenty would take as many seconds.
    tokio::time::timeout(Duration::from_secs(5), stage.tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let stage = Stage::with(&[("connections.max.idle.ms", "200")]).await;
    let mut client = stage.connect().await;
    client.send(&metadata(1)).await;
    assert_eq!(client.answer().await, Some(1));
    let began = Instant::now();
    assert_eq!(client.answer().await, None);
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    // One that waits for an answer is not idle.
    let gate = stage.puppet.gate(2);
    let mut client = stage.connect().await;
    client.send(&metadata(2)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.send(()).unwrap();
    assert_eq!(client.answer().await, Some(2));
}

#[tokio::test]
async fn a_stop_closes_every_connection() {
    let stage = Stage::with(&[]).await;
    let mut clients = Vec::new();
    for id in 0..20 {
        let mut client = stage.connect().await;
        client.send(&metadata(id)).await;
        assert_eq!(client.answer().await, Some(id));
        clients.push(client);
    }
    stage.shutdown.cancel();
    stage.tasks.close();
    tokio::time::timeout(Duration::from_secs(1), stage.tasks.wait()).await.unwrap();
    for client in &mut clients {
        assert_eq!(client.answer().await, None);
    }
    assert!(tokio::net::TcpStream::connect(stage.address).await.is_err());
}
