//! What a connection does with its client.
#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_metadata::MetadataImage;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;

use super::*;
use crate::api::{ApiSpec, RequestBody};
use crate::config::Settings;
use crate::config::sources::Given;
use crate::metadata_cache::MetadataCache;

struct Deaf;

impl Service for Deaf {
    fn call<'a>(&'a self, _cx: &'a RequestContext, _body: RequestBody) -> BoxFuture<'a, Reply> {
        Box::pin(async { Reply::None { throttle_ms: 0 } })
    }

    fn unsupported_api_versions(&self, _cx: &RequestContext) -> Reply {
        Reply::Close
    }
}

fn connect() -> DuplexStream {
    connect_to(Arc::new(Deaf), Memory::new(1 << 20))
}

fn connect_to(service: Arc<dyn Service>, memory: Memory) -> DuplexStream {
    let (here, there) = tokio::io::duplex(1 << 16);
    tokio::spawn(connection(there, service, memory).run());
    here
}

fn connection<S: AsyncRead + Outlet>(there: S, service: Arc<dyn Service>, memory: Memory) -> Connection<S> {
    let values = BTreeMap::from([("log.dirs".to_owned(), "/nowhere".to_owned())]);
    let settings = Arc::new(Settings::new(Given { values, ..Given::default() }).unwrap());
    let metadata = MetadataCache::new(Arc::new(MetadataImage::default()));
    let door = Door {
        service,
        table: Arc::new(ApiTable::new([ApiSpec::of(0), ApiSpec::of(3)])),
        listener: Arc::new(ListenerInfo {
            name: "PLAINTEXT".into(),
            advertised_host: "x".into(),
            advertised_port: 1,
            follows_client: false,
            is_controller: false,
        }),
        gateways: Arc::default(),
        memory,
        quotas: Quotas::new(&settings, metadata.clone()),
        config: Effective::new(settings, metadata),
        complaints: Complaints::default(),
        shutdown: CancellationToken::new(),
    };
    Connection::new(there, ConnectionId(1), ([127, 0, 0, 1], 1).into(), door)
}

/// Handles each request until it is let go.
#[derive(Default)]
struct Slow {
    called: AtomicUsize,
    let_go: Notify,
}

impl Service for Slow {
    fn call<'a>(&'a self, _cx: &'a RequestContext, _body: RequestBody) -> BoxFuture<'a, Reply> {
        Box::pin(async {
            self.called.fetch_add(1, Ordering::Relaxed);
            self.let_go.notified().await;
            Reply::None { throttle_ms: 0 }
        })
    }

    fn unsupported_api_versions(&self, _cx: &RequestContext) -> Reply {
        Reply::Close
    }
}

/// Tells of each request.
struct Telling(tokio::sync::mpsc::UnboundedSender<i32>);

impl Service for Telling {
    fn call<'a>(&'a self, cx: &'a RequestContext, _body: RequestBody) -> BoxFuture<'a, Reply> {
        self.0.send(cx.correlation_id).unwrap();
        Box::pin(async { Reply::None { throttle_ms: 0 } })
    }

    fn unsupported_api_versions(&self, _cx: &RequestContext) -> Reply {
        Reply::Close
    }
}

/// Produce v3 without a topic.
fn produce(correlation_id: i32) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 26, 0, 0, 0, 3];
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    // No client id, no transaction, acks=all, a time, no topic.
    frame.extend_from_slice(&[0xff; 2]);
    frame.extend_from_slice(&[0xff; 4]);
    frame.extend_from_slice(&30_000_i32.to_be_bytes());
    frame.extend_from_slice(&0_i32.to_be_bytes());
    frame[3] = u8::try_from(frame.len() - 4).unwrap();
    frame
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_whose_stream_ends_has_its_last_requests_handled() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (there, here) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
    let (mut client, here) = (there.unwrap(), here.unwrap().0);
    let (told, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let mut connection = connection(here, Arc::new(Telling(told)), Memory::new(1 << 20));
    // As if it had streamed so far.
    connection.wait_for(1000);
    connection.moderation.as_mut().unwrap().expect(1000);
    tokio::spawn(connection.run());
    // The first fall short of the mark, then each waits to be handled; many at a time are a stream.
    for id in 0..50 {
        client.write_all(&produce(id)).await.unwrap();
        assert_eq!(requests.recv().await, Some(id));
    }
    for round in 0..20 {
        let ids = 1000 * round..1000 * round + 333;
        for id in ids.clone() {
            client.write_all(&produce(id)).await.unwrap();
        }
        for id in ids {
            assert_eq!(requests.recv().await, Some(id));
        }
    }
    client.write_all(&produce(-1)).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(requests.recv().await, Some(-1));
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the end is seen, too");
}

/// Metadata v1 of so many topics without a name.
fn metadata(topics: usize) -> Vec<u8> {
    let mut frame = vec![0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff];
    frame.extend_from_slice(&u32::try_from(topics).unwrap().to_be_bytes());
    frame.resize(frame.len() + 2 * topics, 0);
    [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame[..]].concat()
}

#[tokio::test(start_paused = true)]
async fn requests_of_many_elements_share_the_memory_that_they_are_decoded_into() {
    let (service, memory) = (Arc::new(Slow::default()), Memory::new(1 << 20));
    let pause = || tokio::time::sleep(Duration::from_secs(1));
    let mut clients: Vec<DuplexStream> = Vec::new();
    // Each takes all of it, or all but a little; a small request asks for none.
    for topics in [ELEMENTS_ON_TRUST + 1, 7_000, 10] {
        let mut client = connect_to(Arc::clone(&service) as Arc<dyn Service>, memory.clone());
        client.write_all(&metadata(topics)).await.unwrap();
        clients.push(client);
        pause().await;
    }
    assert_eq!(service.called.load(Ordering::Relaxed), 2, "the second waits");
    assert_eq!(memory.elements.free_bytes(), 0);
    service.let_go.notify_waiters();
    pause().await;
    assert_eq!(service.called.load(Ordering::Relaxed), 3);
    service.let_go.notify_waiters();
    pause().await;
    assert_eq!(memory.elements.free_bytes(), 1 << 20, "it comes back");
}

/// Seconds until the connection is closed.
async fn lifetime(mut client: DuplexStream) -> u64 {
    let began = Instant::now();
    assert_eq!(client.read(&mut [0]).await.unwrap_or(0), 0);
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn silence_is_borne_for_ten_minutes() {
    assert_eq!(lifetime(connect()).await, 600);
}

#[tokio::test(start_paused = true)]
async fn a_request_must_be_sent_to_its_end() {
    let mut client = connect();
    client.write_all(&[0, 0]).await.unwrap();
    assert_eq!(lifetime(client).await, 30);
    let mut client = connect();
    // A produce request of 1 MiB, of which 10 bytes come: what was announced buys no time.
    let begun = [0, 0x10, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0];
    client.write_all(&begun).await.unwrap();
    assert_eq!(lifetime(client).await, 30);
    let mut client = connect();
    // What came does.
    client.write_all(&begun).await.unwrap();
    client.write_all(&[0; 256 * 1024]).await.unwrap();
    assert_eq!(lifetime(client).await, 32);
}
