//! A listener in front of a service that the test directs, and a client that speaks raw frames.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ottla::api::{ApiSpec, ApiTable, BoxFuture, ListenerInfo, Reply, RequestBody, RequestContext, Response, Service};
use ottla::config::sources::Given;
use ottla::config::{Effective, Settings};
use ottla::metadata_cache::MetadataCache;
use ottla::network::{Admission, Complaints, Door, Memory, bind};
use ottla::quotas::Quotas;
use ottla_metadata::MetadataImage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What makes the service panic.
pub const PANIC: i32 = -666;

/// Answers every request with its correlation id, at once or when its gate is opened.
#[derive(Default)]
pub struct Puppet {
    gates: Mutex<HashMap<i32, oneshot::Receiver<()>>>,
    /// Correlation ids in the order in which requests were started.
    pub started: Mutex<Vec<i32>>,
    pub throttle_ms: Mutex<i32>,
}

impl Puppet {
    /// The request with this correlation id waits until the sender is used.
    pub fn gate(&self, correlation_id: i32) -> oneshot::Sender<()> {
        let (open, gate) = oneshot::channel();
        self.gates.lock().unwrap().insert(correlation_id, gate);
        open
    }

    pub fn started(&self) -> Vec<i32> {
        self.started.lock().unwrap().clone()
    }
}

fn answer(correlation_id: i32) -> Response {
    let mut frame = 4_u32.to_be_bytes().to_vec();
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    Response::from_frame(Bytes::from(frame))
}

impl Service for Puppet {
    fn call<'a>(&'a self, cx: &'a RequestContext, body: RequestBody) -> BoxFuture<'a, Reply> {
        Box::pin(async move {
            let id = cx.correlation_id;
            self.started.lock().unwrap().push(id);
            assert!(id != PANIC, "told to");
            if let RequestBody::Produce(produce) = &body
                && produce.acks == 0
            {
                return Reply::None { throttle_ms: 0 };
            }
            match self.gates.lock().unwrap().remove(&id) {
                Some(gate) => Reply::Later(Box::pin(async move {
                    let _ = gate.await;
                    answer(id)
                })),
                None => {
                    let mut response = answer(id);
                    response.throttle_ms = std::mem::take(&mut self.throttle_ms.lock().unwrap());
                    Reply::Now(response)
                }
            }
        })
    }

    fn unsupported_api_versions(&self, cx: &RequestContext) -> Reply {
        Reply::Now(answer(-cx.correlation_id))
    }
}

/// A listener with its puppet.
pub struct Stage {
    pub puppet: Arc<Puppet>,
    pub address: SocketAddr,
    pub shutdown: CancellationToken,
    pub tasks: TaskTracker,
}

impl Stage {
    /// Listens on a free port of this machine, with these keys set.
    pub async fn with(keys: &[(&str, &str)]) -> Self {
        let mut values: BTreeMap<String, String> =
            [("node.id", "1"), ("log.dirs", "/nowhere"), ("listeners", "PLAINTEXT://127.0.0.1:0")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        values.extend(keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let settings = Arc::new(Settings::new(Given { values, ..Given::default() }).unwrap());
        let metadata = MetadataCache::new(Arc::new(MetadataImage::default()));
        let quotas = Quotas::new(&settings, metadata.clone());
        let config = Effective::new(Arc::clone(&settings), metadata);
        let bound = bind(&settings.listeners[0], &settings).await.unwrap();
        let address = bound.addresses()[0];
        let (puppet, shutdown, tasks) = (Arc::new(Puppet::default()), CancellationToken::new(), TaskTracker::new());
        let door = Door {
            service: Arc::clone(&puppet) as Arc<dyn Service>,
            table: Arc::new(ApiTable::new([0, 1, 3, 18].map(|key| ApiSpec { min: 0, ..spec(key) }))),
            listener: Arc::new(ListenerInfo {
                name: "PLAINTEXT".into(),
                advertised_host: "localhost".into(),
                advertised_port: address.port(),
                follows_client: false,
                is_controller: false,
            }),
            gateways: Arc::default(),
            memory: Memory::new(64 << 20),
            config: config.clone(),
            quotas: quotas.clone(),
            complaints: Complaints::default(),
            shutdown: shutdown.clone(),
        };
        bound.open(&door, &Admission::new(config, quotas), &Arc::new(AtomicU64::new(1)), &tasks);
        Self { puppet, address, shutdown, tasks }
    }

    pub async fn connect(&self) -> Client {
        Client { socket: TcpStream::connect(self.address).await.unwrap() }
    }
}

fn spec(key: i16) -> ApiSpec {
    *ottla_protocol::versions::apis().iter().find(|spec| spec.key == key).unwrap()
}

/// A client of raw frames.
pub struct Client {
    pub socket: TcpStream,
}

impl Client {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.unwrap();
    }

    /// The next answer's correlation id; `None` when the connection was closed.
    pub async fn answer(&mut self) -> Option<i32> {
        tokio::time::timeout(Duration::from_secs(5), async {
            let mut frame = [0; 8];
            self.socket.read_exact(&mut frame).await.ok()?;
            Some(i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]))
        })
        .await
        .expect("an answer or an end within five seconds")
    }

    /// True when nothing comes for a while.
    pub async fn is_silent(&mut self) -> bool {
        let mut byte = [0];
        tokio::time::timeout(Duration::from_millis(100), self.socket.peek(&mut byte)).await.is_err()
    }
}

/// A request frame: length, key, version, correlation id, null client id, body.
pub fn request(api_key: i16, version: i16, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&u32::try_from(10 + body.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(&api_key.to_be_bytes());
    frame.extend_from_slice(&version.to_be_bytes());
    frame.extend_from_slice(&correlation_id.to_be_bytes());
    frame.extend_from_slice(&(-1_i16).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// ApiVersions v0.
pub fn api_versions(correlation_id: i32) -> Vec<u8> {
    request(18, 0, correlation_id, &[])
}

/// Metadata v1 of every topic.
pub fn metadata(correlation_id: i32) -> Vec<u8> {
    request(3, 1, correlation_id, &(-1_i32).to_be_bytes())
}

/// Produce v3 of nothing.
pub fn produce(correlation_id: i32, acks: i16) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend_from_slice(&acks.to_be_bytes());
    body.extend_from_slice(&1000_i32.to_be_bytes());
    body.extend_from_slice(&0_i32.to_be_bytes());
    request(0, 3, correlation_id, &body)
}

/// Produce v3 with one partition of `bytes` bytes that are no batch.
pub fn long_produce(correlation_id: i32, bytes: usize) -> Vec<u8> {
    let mut body = (-1_i16).to_be_bytes().to_vec();
    body.extend_from_slice(&1_i16.to_be_bytes());
    body.extend_from_slice(&1000_i32.to_be_bytes());
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&1_i16.to_be_bytes());
    body.push(b't');
    body.extend_from_slice(&1_i32.to_be_bytes());
    body.extend_from_slice(&0_i32.to_be_bytes());
    body.extend_from_slice(&u32::try_from(bytes).unwrap().to_be_bytes());
    body.resize(body.len() + bytes, 7);
    request(0, 3, correlation_id, &body)
}
