//! Builds the house bottom-up and takes it down top-down.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ottla_metadata::Endpoint;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::api::{Api, ApiTable, House, ListenerInfo, Service};
use crate::config::{Effective, ListenerSettings, Settings};
use crate::coordinators::{Coordinators, Needs};
use crate::network::{self, Admission, BoundListener, Door, RequestMemory, limits};
use crate::node::{self, Node};
use crate::quotas::Quotas;
use crate::telemetry::Loggers;

/// How long connections may take to end by themselves.
const CONNECTIONS_END_MAX: Duration = Duration::from_millis(300);

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Bind(#[from] std::io::Error),
    #[error(transparent)]
    Node(#[from] node::StartError),
}

/// A running broker.
pub struct Server {
    pub house: House,
    pub api: Arc<Api>,
    listeners: Vec<ListenerInfo>,
    node: Node,
    /// Tells listeners and connections to end.
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Starts everything in the order in which one part needs the other: addresses, then data, controller and partitions
    /// (`Node`), then coordinators, and last the doors.
    ///
    /// # Errors
    /// When an address or a data directory is taken, or the data cannot be used.
    pub async fn start(settings: Arc<Settings>, loggers: Loggers) -> Result<Self, StartError> {
        let mut bound = Vec::with_capacity(settings.listeners.len());
        for listener in &settings.listeners {
            bound.push(network::bind(listener, &settings).await?);
        }
        let listeners: Vec<ListenerInfo> = bound.iter().map(advertise).collect();
        let endpoints = |of_controller: bool| -> Vec<Endpoint> {
            let all = listeners.iter().zip(&bound);
            all.filter(|(info, bound)| if of_controller { info.is_controller } else { bound.settings.is_advertised })
                .map(|(info, _)| endpoint(info))
                .collect()
        };
        let node = Node::start(Arc::clone(&settings), endpoints(false), endpoints(true)).await?;
        let config = Effective::new(Arc::clone(&settings), node.metadata.clone());
        let coordinators = Coordinators::start(Needs {
            controller: node.controller.clone(),
            publisher: node.publisher.clone(),
            metadata: node.metadata.clone(),
            effective: config.clone(),
            partitions: node.partitions.clone(),
        });
        let quotas = Quotas::new(&settings, node.metadata.clone());
        let house = House {
            settings: Arc::clone(&settings),
            effective: config.clone(),
            loggers,
            metadata: node.metadata.clone(),
            cluster_id: Arc::clone(&node.cluster_id),
            controller: node.controller.clone(),
            publisher: node.publisher.clone(),
            partitions: node.partitions.clone(),
            log_dirs: Arc::clone(&node.log_dirs),
            transaction_gate: Some(Arc::new(coordinators.clone())),
            coordinators,
            quotas: quotas.clone(),
        };
        let api = Arc::new(Api::new(&house));
        info!(broker = settings.node_id.0, "the broker is unfenced. Transitioning from RECOVERY to RUNNING");

        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let memory = RequestMemory::new(match settings.usize("queued.max.request.bytes") {
            0 => limits::REQUEST_MEMORY_BYTES.max(settings.usize("socket.request.max.bytes")),
            bytes => bytes,
        });
        let (admission, ids) = (Admission::new(config.clone(), quotas.clone()), Arc::new(AtomicU64::new(1)));
        let (of_broker, of_controller) = (Arc::new(ApiTable::of_broker()), Arc::new(ApiTable::of_controller()));
        for (bound, info) in bound.into_iter().zip(&listeners) {
            let advertised = format!("{}:{}", info.advertised_host, info.advertised_port);
            info!(listener = &*info.name, addresses = ?bound.addresses(), advertised, "listening");
            let door = Door {
                service: Arc::clone(&api) as Arc<dyn Service>,
                table: Arc::clone(if info.is_controller { &of_controller } else { &of_broker }),
                listener: Arc::new(info.clone()),
                memory: memory.clone(),
                config: config.clone(),
                quotas: quotas.clone(),
                shutdown: shutdown.clone(),
            };
            bound.open(&door, &admission, &ids, &tasks);
        }
        let server = Self { house, api, listeners, node, shutdown, tasks };
        server.greet();
        Ok(server)
    }

    /// Where clients reach this broker: `host:port` of each advertised listener.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        let public = self.listeners.iter().filter(|listener| !listener.is_controller);
        public.map(|listener| format!("{}:{}", listener.advertised_host, listener.advertised_port)).collect()
    }

    fn greet(&self) {
        let settings = &self.house.settings;
        let folders: Vec<String> =
            settings.log_dirs.iter().map(|folder| absolute(folder).display().to_string()).collect();
        info!(
            "Kafka Server started. Ottla {} (node {}, cluster {}): bootstrap.servers={}, data in {}",
            env!("CARGO_PKG_VERSION"),
            settings.node_id,
            self.house.cluster_id,
            self.bootstrap_servers().join(","),
            folders.join(", ")
        );
    }

    /// Ends in the opposite order: listeners and connections, coordinators, then the node.
    pub async fn shutdown(self) {
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(CONNECTIONS_END_MAX, self.tasks.wait()).await.is_err() {
            info!(count = self.tasks.len(), "connections that did not end by themselves are cut off");
        }
        self.house.coordinators.shutdown();
        self.node.shutdown().await;
    }
}

/// What clients are told of a listener.
fn advertise(bound: &BoundListener) -> ListenerInfo {
    let ListenerSettings { name, advertised_host, advertised_port, is_controller, .. } = &bound.settings;
    ListenerInfo {
        name: name.as_str().into(),
        advertised_host: if advertised_host.is_empty() { host_name() } else { advertised_host.as_str().into() },
        advertised_port: if *advertised_port == 0 { bound.port() } else { *advertised_port },
        is_controller: *is_controller,
    }
}

fn endpoint(info: &ListenerInfo) -> Endpoint {
    const PLAINTEXT: i16 = 0;
    Endpoint {
        name: Arc::clone(&info.name),
        host: Arc::clone(&info.advertised_host),
        port: info.advertised_port,
        security_protocol: PLAINTEXT,
    }
}

/// This machine's name, for listeners that name no host.
fn host_name() -> Arc<str> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name.into() }
}

fn absolute(folder: &Path) -> std::path::PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf())
}
