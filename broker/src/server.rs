//! Builds the house bottom-up and takes it down top-down.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ottla_metadata::Endpoint;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::api::{Api, ApiTable, Gate, House, ListenerInfo, QuorumMessages, Service};
use crate::config::container::is_alone;
use crate::config::{Effective, ListenerSettings, Settings};
use crate::coordinators::{Coordinators, Needs};
use crate::declared_topics;
use crate::fatal::Fatal;
use crate::network::{self, Admission, BoundListener, Complaints, Door, Memory, dialled, reachable};
use crate::node::{self, Ground, Node};
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
    /// As [`Self::start_with`]; nobody hears what the broker cannot go on after.
    ///
    /// # Errors
    /// As there.
    pub async fn start(settings: Arc<Settings>, loggers: Loggers) -> Result<Self, StartError> {
        Self::start_with(settings, loggers, Fatal::default()).await
    }

    /// Starts everything in the order in which one part needs the other: addresses, then data and controller (`Ground`),
    /// the controller listeners, without which there may be no quorum, then partitions and coordinators (`Node`), and last
    /// the other doors.
    ///
    /// # Errors
    /// When an address or a data directory is taken, or the data cannot be used.
    pub async fn start_with(settings: Arc<Settings>, loggers: Loggers, fatal: Fatal) -> Result<Self, StartError> {
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
        let public = endpoints(false);
        // A controller without a listener for other nodes is reached by them as by clients.
        let anywhere = settings.is_controller() && !listeners.iter().any(|listener| listener.is_controller);
        let of_controller = if anywhere { public.clone() } else { endpoints(true) };
        let ground = Ground::lay(Arc::clone(&settings), of_controller, fatal).await?;
        let metadata = ground.metadata.clone();
        let config = Effective::new(Arc::clone(&settings), metadata);
        let quotas = Quotas::new(&settings, ground.metadata.clone());
        let mut doors = Doors::new(&settings, &config, &quotas);
        let (controller, cluster_id) = (ground.controller.clone(), Arc::clone(&ground.cluster_id));
        let messages = QuorumMessages::new(controller, cluster_id, settings.node_id, anywhere);
        let (ready, api_when_ready) = watch::channel(None);
        let gate: Arc<dyn Service> = Arc::new(Gate::new(messages, api_when_ready));
        let (of_controllers, mut of_clients): (Vec<_>, Vec<_>) =
            bound.into_iter().zip(listeners.clone()).partition(|(_, info)| info.is_controller);
        doors.open(of_controllers, &gate, &ApiTable::of_controller());
        if anywhere && !ground.controller.is_alone().await {
            // Without the others there is no quorum, and they come by this door.
            doors.open(std::mem::take(&mut of_clients), &gate, &ApiTable::of_both());
        }

        let mut node = Node::start(ground, public).await?;
        let coordinators = Coordinators::start(Needs {
            controller: node.controller.clone(),
            publisher: node.publisher.clone(),
            metadata: node.metadata.clone(),
            effective: config.clone(),
            partitions: node.partitions.clone(),
        });
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
            log_dir_moves: node.log_dir_moves.clone(),
            transaction_gate: Some(Arc::new(coordinators.clone())),
            coordinators,
            quotas: quotas.clone(),
        };
        let api = Arc::new(Api::new(&house));
        ready.send_replace(Some(Arc::clone(&api)));
        let (service, table) = match anywhere {
            true => (gate, ApiTable::of_both()),
            false => (Arc::clone(&api) as Arc<dyn Service>, ApiTable::of_broker()),
        };
        doors.open(of_clients, &service, &table);
        node.open().await?;
        let Doors { shutdown, tasks, .. } = doors;
        reachable::check(&listeners, settings.in_container);
        let server = Self { house, api, listeners, node, shutdown, tasks };
        if settings.is_broker() {
            let declaring = declared_topics::create(server.house.clone());
            if is_alone(&settings.explicit) {
                declaring.await;
            } else {
                server.tasks.spawn(declaring);
            }
            info!(broker = settings.node_id.0, "the broker is unfenced. Transitioning from RECOVERY to RUNNING");
        }
        server.greet();
        Ok(server)
    }

    /// Where clients reach this broker: `host:port` of each advertised listener.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        let public = self.listeners.iter().filter(|listener| !listener.is_controller);
        public.map(shown).collect()
    }

    fn greet(&self) {
        let settings = &self.house.settings;
        let folders: Vec<String> =
            settings.log_dirs.iter().map(|folder| absolute(folder).display().to_string()).collect();
        // Files, environment and dynamic configs may each have set it, and Kafka's flush keys.
        let image = self.house.metadata.load();
        let durability = self.house.effective.at(&image).broker_text("log.durability").unwrap_or_default();
        info!(
            "Kafka Server started. Ottla {} (node {}, cluster {}): bootstrap.servers={}, data in {} (log.durability={durability})",
            env!("CARGO_PKG_VERSION"),
            settings.node_id,
            self.house.cluster_id,
            self.bootstrap_servers().join(","),
            folders.join(", ")
        );
        if settings.is_of_zookeeper_age {
            // What Kafka said when it had ZooKeeper, and what scripts of that age wait for.
            info!("[KafkaServer id={}] started", settings.node_id);
        }
    }

    /// Ends in the opposite order: leadership is handed over while the doors are open, then listeners and connections,
    /// coordinators, and last the node. Where nobody takes over the doors are closed first: what clients still sent would only
    /// keep the disk from what has to be on it.
    pub async fn shutdown(mut self) {
        if self.node.is_alone().await {
            self.shutdown.cancel();
        }
        self.node.leave().await;
        self.close().await;
    }

    /// Ends after what the broker cannot go on after: nothing is handed over, and what can be saved is.
    pub async fn end(mut self) {
        self.node.abandon();
        self.close().await;
    }

    async fn close(self) {
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(CONNECTIONS_END_MAX, self.tasks.wait()).await.is_err() {
            info!(count = self.tasks.len(), "connections that did not end by themselves are cut off");
        }
        self.house.coordinators.shutdown();
        self.node.shutdown().await;
    }
}

/// What all listeners share, and the connections behind them.
struct Doors {
    memory: Memory,
    config: Effective,
    quotas: Quotas,
    complaints: Complaints,
    admission: Admission,
    /// Those of the container that this runs in, if it does.
    gateways: Arc<[IpAddr]>,
    ids: Arc<AtomicU64>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

impl Doors {
    fn new(settings: &Settings, config: &Effective, quotas: &Quotas) -> Self {
        Self {
            memory: Memory::of(settings),
            config: config.clone(),
            admission: Admission::new(config.clone(), quotas.clone()),
            quotas: quotas.clone(),
            complaints: Complaints::default(),
            gateways: if settings.in_container { dialled::gateways().into() } else { Arc::default() },
            ids: Arc::new(AtomicU64::new(1)),
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }
    }

    fn open(&mut self, bound: Vec<(BoundListener, ListenerInfo)>, service: &Arc<dyn Service>, table: &ApiTable) {
        let table = Arc::new(table.clone());
        for (bound, info) in bound {
            let advertised = shown(&info);
            let is_controller = info.is_controller;
            info!(listener = &*info.name, addresses = ?bound.addresses(), advertised, "listening");
            let door = Door {
                service: Arc::clone(service),
                table: Arc::clone(&table),
                listener: Arc::new(info),
                gateways: Arc::clone(&self.gateways),
                // Clients must not keep the quorum's messages from coming in.
                memory: if is_controller { Memory::of(&self.config.settings) } else { self.memory.clone() },
                config: self.config.clone(),
                quotas: self.quotas.clone(),
                complaints: self.complaints.clone(),
                shutdown: self.shutdown.clone(),
            };
            bound.open(&door, &self.admission, &self.ids, &self.tasks);
        }
    }
}

/// What clients are told of a listener.
fn advertise(bound: &BoundListener) -> ListenerInfo {
    let ListenerSettings { name, advertised_host, advertised_port, follows_client, is_controller, .. } =
        &bound.settings;
    ListenerInfo {
        name: name.as_str().into(),
        advertised_host: if advertised_host.is_empty() { host_name() } else { advertised_host.as_str().into() },
        advertised_port: if *advertised_port == 0 { bound.port() } else { *advertised_port },
        follows_client: *follows_client,
        is_controller: *is_controller,
    }
}

/// An address for people.
fn shown(info: &ListenerInfo) -> String {
    format!("{}:{}", info.advertised_host, info.advertised_port)
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
