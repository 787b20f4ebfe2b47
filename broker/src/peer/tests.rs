#![allow(clippy::unwrap_used)]
use ottla_protocol::messages::{ApiVersionsRequest, HeartbeatRequest, HeartbeatResponse};
use ottla_protocol::request::RequestBody;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

fn limits() -> Limits {
    Limits {
        request_timeout: Duration::from_secs(20),
        connect_timeout: Duration::from_secs(5),
        backoff: Duration::from_millis(1),
        backoff_max: Duration::from_millis(10),
        in_flight_max: 4,
        response_bytes_max: 1 << 20,
    }
}

async fn listener() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Endpoint { name: "X".into(), host: "127.0.0.1".into(), port, security_protocol: 0 })
}

/// Reads one heartbeat: its correlation id and generation.
async fn read_heartbeat(socket: &mut TcpStream) -> (i32, i32) {
    let mut frame = vec![0; socket.read_u32().await.unwrap() as usize];
    socket.read_exact(&mut frame).await.unwrap();
    let request = request::decode(frame.into()).unwrap();
    let RequestBody::Heartbeat(body) = request.body else { panic!("another request") };
    (request.header.correlation_id, body.generation_id)
}

/// Answers with the generation as throttle time.
async fn answer(socket: &mut TcpStream, (correlation_id, generation): (i32, i32)) {
    let response = HeartbeatResponse::default().with_throttle_time_ms(generation);
    let frame = response::encode(correlation_id, 4, &response).unwrap();
    socket.write_all(&frame).await.unwrap();
}

fn heartbeat(generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default().with_generation_id(generation)
}

#[tokio::test]
async fn requests_share_a_connection_and_each_gets_its_answer() {
    let (listener, endpoint) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for _ in 0..5 {
            // Two are on their way before the first is answered.
            let (one, two) = (read_heartbeat(&mut socket).await, read_heartbeat(&mut socket).await);
            answer(&mut socket, one).await;
            answer(&mut socket, two).await;
        }
    });
    let peers = Peers::new("test", limits());
    let calls: Vec<_> = (0..10)
        .map(|generation| {
            let (peers, endpoint) = (peers.clone(), endpoint.clone());
            tokio::spawn(async move {
                let answer = peers.call(&endpoint, 4, &heartbeat(generation)).await.unwrap();
                assert_eq!(answer.throttle_time_ms, generation);
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_fails_what_was_sent_and_the_next_request_opens_another() {
    let (listener, endpoint) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_heartbeat(&mut socket).await;
        drop(socket);
        let (mut socket, _) = listener.accept().await.unwrap();
        let request = read_heartbeat(&mut socket).await;
        answer(&mut socket, request).await;
    });
    let peers = Peers::new("test", limits());
    let lost = peers.call(&endpoint, 4, &heartbeat(1)).await.unwrap_err();
    assert!(matches!(lost, PeerError::Disconnected { .. }), "{lost}");
    assert_eq!(lost.code(), ErrorCode::NetworkException);
    assert_eq!(peers.call(&endpoint, 4, &heartbeat(2)).await.unwrap().throttle_time_ms, 2);
    server.await.unwrap();
}

#[tokio::test]
async fn a_closed_port_is_told_from_a_lost_connection() {
    let (listener, endpoint) = listener().await;
    drop(listener);
    let error = Peers::new("test", limits()).call(&endpoint, 4, &heartbeat(1)).await.unwrap_err();
    assert!(matches!(error, PeerError::Unreachable { kind: io::ErrorKind::ConnectionRefused, .. }), "{error}");
}

#[tokio::test]
async fn silence_ends_a_request_and_its_connection() {
    let (listener, endpoint) = listener().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        read_heartbeat(&mut socket).await;
        assert_eq!(socket.read(&mut [0]).await.unwrap(), 0, "closed by who waited");
    });
    let peers = Peers::new("test", limits());
    let error = peers.call_within(&endpoint, 4, &heartbeat(1), Duration::from_millis(30)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RequestTimedOut);
    server.await.unwrap();
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_takes_no_memory() {
    for bytes in [&b"HTTP/1.1 400"[..], &[0, 0, 0, 2, 0, 0], &[0, 0, 0, 5, 0x7f, 0, 0, 0, 0]] {
        let (listener, endpoint) = listener().await;
        let server = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_heartbeat(&mut socket).await;
            socket.write_all(bytes).await.unwrap();
            let _ = socket.read(&mut [0]).await;
        });
        let error = Peers::new("test", limits()).call(&endpoint, 4, &heartbeat(1)).await.unwrap_err();
        assert!(matches!(error, PeerError::Malformed(_)), "{error}");
        server.await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_does_not_fit_its_version_is_not_sent() {
    let (_listener, endpoint) = listener().await;
    let request = ApiVersionsRequest::default();
    let error = Peers::new("test", limits()).call(&endpoint, 99, &request).await.unwrap_err();
    assert!(matches!(error, PeerError::Unsendable(_)), "{error}");
}
