//! A cluster of several `ottla` processes, on loopback or in a network of its own: each node with chosen roles, its own data and log, to be killed,
//! frozen and restarted one by one.
//!
//! ```no_run
//! # use ottla_compat_tests::cluster::Cluster;
//! let mut cluster = Cluster::combined(3, &["min.insync.replicas=2"]).unwrap();
//! cluster.kill(2);
//! cluster.restart(2).unwrap();
//! println!("{}", cluster.bootstrap());
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::broker::{free_port, tail};
use crate::network::Network;
use crate::process::{self, Daemon, Output};
use crate::{cache, kafka, ottla};

const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";
/// How long a node may take until it serves clients, the forming of a quorum included.
const READY_MAX: Duration = Duration::from_secs(60);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roles {
    Both,
    Controller,
    Broker,
}

impl Roles {
    const fn text(self) -> &'static str {
        match self {
            Self::Both => "broker,controller",
            Self::Controller => "controller",
            Self::Broker => "broker",
        }
    }

    const fn serves_clients(self) -> bool {
        !matches!(self, Self::Controller)
    }

    const fn votes(self) -> bool {
        !matches!(self, Self::Broker)
    }
}

/// One process of the cluster.
pub struct Node {
    pub id: i32,
    pub roles: Roles,
    /// Where it listens.
    pub host: String,
    /// Of the client listener; 0 without one.
    pub port: u16,
    /// Of the controller listener; 0 without one.
    pub controller_port: u16,
    dir: PathBuf,
    daemon: Option<Daemon>,
    /// How often it was started.
    starts: usize,
    environment: Vec<(String, String)>,
}

/// Several nodes, ended when dropped.
pub struct Cluster {
    dir: TempDir,
    nodes: BTreeMap<i32, Node>,
    /// Nodes have their ids as places in it.
    network: Option<Network>,
}

impl Cluster {
    /// `count` nodes in both roles, ids from 1, once all of them serve clients. `overrides` are `key=value`.
    pub fn combined(count: i32, overrides: &[&str]) -> Result<Self, String> {
        let nodes: Vec<(i32, Roles)> = (1..=count).map(|id| (id, Roles::Both)).collect();
        Self::start(&nodes, overrides)
    }

    /// Controllers from 1 on, brokers from 101 on.
    pub fn separate(controllers: i32, brokers: i32, overrides: &[&str]) -> Result<Self, String> {
        let controllers = (1..=controllers).map(|id| (id, Roles::Controller));
        let nodes: Vec<(i32, Roles)> = controllers.chain((101..101 + brokers).map(|id| (id, Roles::Broker))).collect();
        Self::start(&nodes, overrides)
    }

    /// Any mixture.
    pub fn start(nodes: &[(i32, Roles)], overrides: &[&str]) -> Result<Self, String> {
        let mut cluster = Self::prepare(nodes, overrides)?;
        for (id, _) in nodes {
            cluster.spawn(*id)?;
        }
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// As `prepare`, each node in a network namespace of its own; ids are places in it.
    pub fn prepare_networked(nodes: &[(i32, Roles)], overrides: &[&str]) -> Result<Self, String> {
        let places = nodes.iter().map(|(id, _)| u8::try_from(*id).expect("a place in the network"));
        let network = Some(Network::new(places.max().unwrap_or(0))?);
        Self::prepare_with(nodes, overrides, network, |cluster| {
            format!("controller.quorum.voters={}", cluster.voters())
        })
    }

    /// What its nodes are joined by.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("a networked cluster")
    }

    /// Writes every node's configuration and starts none.
    pub fn prepare(nodes: &[(i32, Roles)], overrides: &[&str]) -> Result<Self, String> {
        Self::prepare_with(nodes, overrides, None, |cluster| format!("controller.quorum.voters={}", cluster.voters()))
    }

    /// As `prepare`, with voters that change while the cluster runs: nobody is named but the controller `first`.
    pub fn prepare_dynamic(nodes: &[(i32, Roles)], first: i32, overrides: &[&str]) -> Result<Self, String> {
        Self::prepare_with(nodes, overrides, None, |cluster| {
            let port = cluster.node(first).controller_port;
            format!("controller.quorum.bootstrap.servers=127.0.0.1:{port}")
        })
    }

    fn prepare_with(
        nodes: &[(i32, Roles)],
        overrides: &[&str],
        network: Option<Network>,
        quorum: impl Fn(&Self) -> String,
    ) -> Result<Self, String> {
        let dir =
            tempfile::Builder::new().prefix("cluster").tempdir_in(cache::dir("run")).map_err(|e| e.to_string())?;
        let mut cluster = Self { dir, nodes: BTreeMap::new(), network };
        for (id, roles) in nodes {
            let dir = cluster.dir.path().join(format!("node-{id}"));
            fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
            let port = if roles.serves_clients() { free_port() } else { 0 };
            let controller_port = if roles.votes() { free_port() } else { 0 };
            let place = |network: &Network| network.address(u8::try_from(*id).expect("a place in the network"));
            let host = cluster.network.as_ref().map_or_else(|| "127.0.0.1".to_owned(), place);
            let node = Node {
                id: *id,
                roles: *roles,
                host,
                port,
                controller_port,
                dir,
                daemon: None,
                starts: 0,
                environment: Vec::new(),
            };
            cluster.nodes.insert(*id, node);
        }
        let quorum = quorum(&cluster);
        for node in cluster.nodes.values() {
            let text = configuration(node, &quorum, overrides);
            fs::write(node.properties(), text).map_err(|e| e.to_string())?;
        }
        Ok(cluster)
    }

    /// `controller.quorum.voters`
    pub fn voters(&self) -> String {
        let voters = self.nodes.values().filter(|node| node.roles.votes());
        voters.map(|node| format!("{}@{}:{}", node.id, node.host, node.controller_port)).collect::<Vec<_>>().join(",")
    }

    /// `bootstrap.servers`: every client listener.
    pub fn bootstrap(&self) -> String {
        let brokers = self.nodes.values().filter(|node| node.roles.serves_clients());
        brokers.map(|node| format!("{}:{}", node.host, node.port)).collect::<Vec<_>>().join(",")
    }

    /// Every controller listener.
    pub fn bootstrap_controllers(&self) -> String {
        let voters = self.nodes.values().filter(|node| node.roles.votes());
        voters.map(|node| format!("{}:{}", node.host, node.controller_port)).collect::<Vec<_>>().join(",")
    }

    pub fn node(&self, id: i32) -> &Node {
        &self.nodes[&id]
    }

    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Starts Apache Kafka on every node's configuration, and waits until all are there. The processes are the caller's.
    pub fn spawn_apache(&self) -> Result<BTreeMap<i32, Daemon>, String> {
        self.spawn_apache_as(None)
    }

    /// As `spawn_apache`, with the features of an older release.
    pub fn spawn_apache_as(&self, release: Option<&str>) -> Result<BTreeMap<i32, Daemon>, String> {
        let mut daemons = BTreeMap::new();
        for node in self.nodes.values() {
            let properties = node.properties();
            kafka::format_as(&properties, release)?;
            let mut command = kafka::server(&properties, &node.dir)?;
            let daemon = Daemon::spawn(&mut command, &node.log_path()).map_err(|e| e.to_string())?;
            daemons.insert(node.id, daemon);
        }
        let deadline = Instant::now() + READY_MAX;
        let is_there = || {
            let found = self.tool("kafka-broker-api-versions", &[]).stdout;
            let brokers = self.nodes.values().filter(|node| node.roles.serves_clients());
            brokers.into_iter().all(|node| found.contains(&format!("(id: {} ", node.id)))
        };
        while !is_there() {
            if Instant::now() > deadline {
                return Err("Apache Kafka's nodes do not form a cluster".to_owned());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(daemons)
    }

    /// Starts the process of a node and does not wait.
    pub fn spawn(&mut self, id: i32) -> Result<(), String> {
        self.spawn_in(id, CLUSTER_ID)
    }

    /// As `spawn`, as a node of a cluster with this id.
    pub fn spawn_in(&mut self, id: i32, cluster_id: &str) -> Result<(), String> {
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        let mut command = ottla::server(&node.properties())?;
        command.env("CLUSTER_ID", cluster_id).envs(node.environment.iter().map(|(name, value)| (name, value)));
        if let Some(network) = &self.network {
            command = network.command_at(u8::try_from(id).expect("a place in the network"), &command);
        }
        let daemon = Daemon::spawn(&mut command, &node.log_path()).map_err(|e| e.to_string())?;
        node.daemon = Some(daemon);
        node.starts += 1;
        Ok(())
    }

    /// Starts a node again on its data, and waits until it serves clients.
    pub fn restart(&mut self, id: i32) -> Result<(), String> {
        self.spawn(id)?;
        self.wait_until_ready()
    }

    /// Waits until every node that runs has its place in the cluster and serves.
    pub fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + READY_MAX;
        for node in self.nodes.values_mut() {
            let Some(daemon) = &mut node.daemon else { continue };
            loop {
                let log = fs::read_to_string(node.dir.join("broker.log")).unwrap_or_default();
                if log.matches("Kafka Server started").count() >= node.starts {
                    break;
                }
                if !daemon.is_running() || Instant::now() > deadline {
                    return Err(format!("node {} does not serve:\n{}", node.id, tail(&log, 40)));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self, id: i32) {
        if let Some(mut daemon) = self.nodes.get_mut(&id).and_then(|node| node.daemon.take()) {
            daemon.kill();
        }
    }

    /// SIGTERM; the exit code, `None` when it did not end by itself within 30 s.
    pub fn stop(&mut self, id: i32) -> Option<i32> {
        let mut daemon = self.nodes.get_mut(&id)?.daemon.take()?;
        daemon.terminate(Duration::from_secs(30))
    }

    /// The exit code of a node that ends by itself, `None` when it does not within `limit`.
    pub fn ends(&mut self, id: i32, limit: Duration) -> Option<i32> {
        let daemon = self.nodes.get_mut(&id)?.daemon.as_mut()?;
        let code = daemon.ends(limit)?;
        self.nodes.get_mut(&id)?.daemon = None;
        Some(code)
    }

    /// Adds a line to the configuration of one node, for its next start.
    pub fn configure(&self, id: i32, line: &str) -> Result<(), String> {
        let path = self.node(id).properties();
        let text = fs::read_to_string(&path).map_err(|e| e.to_string())?;
        fs::write(path, format!("{text}{line}\n")).map_err(|e| e.to_string())
    }

    /// Sets a variable of the environment of one node, for its next start.
    pub fn set_variable(&mut self, id: i32, name: &str, value: &str) {
        let node = self.nodes.get_mut(&id).expect("a node");
        node.environment.push((name.to_owned(), value.to_owned()));
    }

    /// SIGSTOP: the process keeps its connections and answers nothing.
    pub fn freeze(&self, id: i32) {
        self.signal(id, "-STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self, id: i32) {
        self.signal(id, "-CONT");
    }

    fn signal(&self, id: i32, signal: &str) {
        if let Some(daemon) = self.nodes.get(&id).and_then(|node| node.daemon.as_ref()) {
            Command::new("kill").args([signal, &daemon.pid().to_string()]).status().ok();
        }
    }

    /// Forgets everything a node has on its disk; it must not run.
    pub fn wipe(&self, id: i32) {
        fs::remove_dir_all(self.nodes[&id].dir.join("data")).ok();
    }

    /// Everything a node has printed so far.
    pub fn log(&self, id: i32) -> String {
        fs::read_to_string(self.nodes[&id].log_path()).unwrap_or_default()
    }

    /// Runs one of our own tools (`kafka-topics`, ...) against the cluster: its arguments without the bootstrap.
    pub fn tool(&self, name: &str, arguments: &[&str]) -> Output {
        self.tool_within(Duration::from_secs(60), name, arguments)
    }

    /// As `tool`, for one that works longer.
    pub fn tool_within(&self, limit: Duration, name: &str, arguments: &[&str]) -> Output {
        match self.tool_command(name, arguments) {
            Ok(mut command) => process::run(&mut command, b"", limit),
            Err(error) => Output { code: 127, stdout: String::new(), stderr: error },
        }
    }

    /// The command that runs one of our own tools.
    pub fn tool_command(&self, name: &str, arguments: &[&str]) -> Result<Command, String> {
        let mut command = Command::new(ottla::binary()?);
        command.arg(name).args(["--bootstrap-server", &self.bootstrap()]).args(arguments);
        Ok(command)
    }

    /// The node that leads the metadata quorum.
    pub fn active_controller(&self) -> Option<i32> {
        let output = self.tool("kafka-metadata-quorum", &["describe", "--status"]);
        let line = output.stdout.lines().find(|line| line.starts_with("LeaderId:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Node {
    /// Its configuration.
    pub fn properties(&self) -> PathBuf {
        self.dir.join("server.properties")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("broker.log")
    }

    /// `log.dirs`
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Process id; 0 while it does not run.
    pub fn pid(&self) -> u32 {
        self.daemon.as_ref().map_or(0, Daemon::pid)
    }

    /// Resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.daemon.as_ref().map_or(0, Daemon::resident_bytes)
    }
}

fn configuration(node: &Node, quorum: &str, overrides: &[&str]) -> String {
    let mut listeners = Vec::new();
    if node.roles.serves_clients() {
        listeners.push(format!("PLAINTEXT://{}:{}", node.host, node.port));
    }
    if node.roles.votes() {
        listeners.push(format!("CONTROLLER://{}:{}", node.host, node.controller_port));
    }
    let mut text = format!(
        "process.roles={}\n\
         node.id={}\n\
         {quorum}\n\
         controller.listener.names=CONTROLLER\n\
         listeners={}\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT\n\
         log.dirs={}\n\
         offsets.topic.num.partitions=4\n\
         transaction.state.log.num.partitions=4\n\
         share.coordinator.state.topic.num.partitions=4\n\
         group.initial.rebalance.delay.ms=0\n\
         group.min.session.timeout.ms=1000\n\
         log.retention.ms=-1\n",
        node.roles.text(),
        node.id,
        listeners.join(","),
        node.data_dir().display()
    );
    for line in overrides {
        text.push_str(line);
        text.push('\n');
    }
    text
}
