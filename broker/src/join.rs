//! `--join`: what a node asks the cluster before it is one of its nodes: the cluster's id, where its controllers are, and
//! which node id is free. And what a node without a configuration knows of itself from its data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ottla_controller::{Assigned, Destination, Lane, Transport as _, assignment_request, read_assignment};
use ottla_metadata::Endpoint;
use ottla_protocol::messages::{DescribeClusterRequest, DescribeQuorumRequest, describe_quorum_request};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes};
use uuid::Uuid;

use crate::config::sources::Given;
use crate::config::{ConfigError, split_address};
use crate::peer::quorum::{QuorumPeers, QuorumTransport};
use crate::peer::{Limits, Peers};

const NODE_ID: &str = "node.id";
const LISTENERS: &str = "listeners";
const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";
/// What is listened on when nobody says so, and how far a second node on the same machine looks for a free port.
const PORT: u16 = 9092;
const PORTS_TRIED: u16 = 100;

/// In the first data folder: the address that a node found for itself when it joined. The others know it by this one.
const FOUND_FILE: &str = "join.properties";

const PAUSE: Duration = Duration::from_millis(250);
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// A node that is asked to join is started by somebody who watches: who cannot be reached for this long is told of.
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that was killed just now is taken for alive for a moment; whoever answers for longer than this is somebody else.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// Controllers that have done nothing but close the connection for so long are taken for Kafka's.
const CLOSED_MAX: Duration = Duration::from_secs(10);

/// What the cluster told.
struct Cluster {
    id: String,
    controllers: Vec<Endpoint>,
    /// The brokers that are alive.
    brokers: Vec<i32>,
}

/// Adds to the configuration what a node knows from its data and, with `join`, from the cluster.
///
/// # Errors
/// When the cluster cannot be joined, or the data belong to another one.
pub async fn complete(mut given: Given, join: Option<&str>) -> Result<Given, ConfigError> {
    let of_data = meta_properties(&given)?;
    let asks_for_id = given.presumed.contains(NODE_ID);
    if let Some(id) = of_data.get(NODE_ID).filter(|_| asks_for_id) {
        given.values.insert(NODE_ID.to_owned(), id.clone());
    }
    if given.presumed.contains(LISTENERS)
        && let Some(listeners) = found_before(&given)?
    {
        given.values.insert(LISTENERS.to_owned(), listeners);
        given.presumed.remove(LISTENERS);
    }
    let Some(address) = join else { return Ok(given) };
    let cluster = find(address).await?;
    let own_cluster = of_data.get("cluster.id").or(given.cluster_id.as_ref());
    if let Some(own) = own_cluster.filter(|own| **own != cluster.id) {
        return Err(ConfigError(format!(
            "--join {address}: this node belongs to cluster {own}, that one is cluster {}: give this node an empty data \
             folder (log.dirs) to join it with",
            cluster.id
        )));
    }
    if asks_for_id && !of_data.contains_key(NODE_ID) {
        let id = assign_node_id(&cluster).await?;
        tracing::info!(node = id, cluster = cluster.id, "joining: the cluster gave this node its id");
        given.values.insert(NODE_ID.to_owned(), id.to_string());
    } else if !of_data.contains_key(NODE_ID)
        && let Some(id) = given.values.get(NODE_ID).or(given.values.get("broker.id"))
        && let Ok(id) = id.trim().parse()
    {
        // Before the data folder is made that of this node.
        refuse_taken(address, &cluster, id).await?;
    }
    if given.presumed.contains(LISTENERS) {
        let listeners = listeners_towards(address).await?;
        keep_found(&given, &listeners)?;
        given.values.insert(LISTENERS.to_owned(), listeners);
    }
    let controllers: Vec<String> = cluster.controllers.iter().map(show).collect();
    given.values.insert(BOOTSTRAP.to_owned(), controllers.join(","));
    // One node's presumptions do not hold for one among several.
    for key in ["offsets.topic.replication.factor", "transaction.state.log.replication.factor"]
        .iter()
        .chain(&["transaction.state.log.min.isr", "share.coordinator.state.topic.replication.factor"])
        .chain(&["share.coordinator.state.topic.min.isr"])
    {
        if given.presumed.remove(*key) {
            given.values.remove(*key);
        }
    }
    given.cluster_id = Some(cluster.id);
    given.joins = true;
    Ok(given)
}

/// What the first of the data folders says of its node.
fn meta_properties(given: &Given) -> Result<BTreeMap<String, String>, ConfigError> {
    for dir in log_dirs(given) {
        if let Some(properties) = read_file(&dir.join("meta.properties"))? {
            return Ok(properties);
        }
    }
    Ok(BTreeMap::new())
}

fn log_dirs(given: &Given) -> Vec<PathBuf> {
    let dirs = given.values.get("log.dirs").or(given.values.get("log.dir")).map(String::as_str).unwrap_or_default();
    dirs.split(',').map(str::trim).filter(|dir| !dir.is_empty()).map(PathBuf::from).collect()
}

/// `None` where there is no such file.
fn read_file(file: &Path) -> Result<Option<BTreeMap<String, String>>, ConfigError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(read_properties(&text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError(format!("{}: {error}", file.display()))),
    }
}

/// The listeners of the start at which this node joined, if it found them itself.
fn found_before(given: &Given) -> Result<Option<String>, ConfigError> {
    let Some(dir) = log_dirs(given).into_iter().next() else { return Ok(None) };
    Ok(read_file(&dir.join(FOUND_FILE))?.and_then(|mut found| found.remove(LISTENERS)))
}

fn keep_found(given: &Given, listeners: &str) -> Result<(), ConfigError> {
    let Some(dir) = log_dirs(given).into_iter().next() else { return Ok(()) };
    let file = dir.join(FOUND_FILE);
    let text = format!(
        "# Found when this node joined its cluster; any configuration of listeners is heeded instead.\n{LISTENERS}={listeners}\n"
    );
    let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, text));
    written.map_err(|error| ConfigError(format!("{}: {error}", file.display())))
}

fn read_properties(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', '!']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().replace("\\=", "="))).collect()
}

fn endpoint(address: &str) -> Result<Endpoint, ConfigError> {
    let (host, port) = split_address(address).ok_or_else(|| {
        ConfigError(format!("--join {address}: host:port is expected, as of any node of the cluster"))
    })?;
    Ok(Endpoint { name: "PLAINTEXT".into(), host: host.into(), port, security_protocol: 0 })
}

fn show(endpoint: &Endpoint) -> String {
    match endpoint.host.contains(':') {
        true => format!("[{}]:{}", endpoint.host, endpoint.port),
        false => format!("{}:{}", endpoint.host, endpoint.port),
    }
}

/// Asks until there is an answer: nodes may be started in any order.
async fn find(address: &str) -> Result<Cluster, ConfigError> {
    let endpoint = endpoint(address)?;
    let peers = Peers::new("join", Limits { request_timeout: ANSWER_MAX, ..Limits::default() });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut warned = false;
    loop {
        let reason = match ask(&peers, &endpoint).await {
            Ok(cluster) => return Ok(cluster),
            Err(reason) => reason,
        };
        if tokio::time::Instant::now() >= deadline {
            return Err(ConfigError(format!("--join {address}: {reason}")));
        }
        if !warned {
            warned = true;
            tracing::warn!("--join {address}: no answer yet: {reason}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Sees to it that nobody else has the node id that this node was told to have.
async fn refuse_taken(address: &str, cluster: &Cluster, id: i32) -> Result<(), ConfigError> {
    let deadline = tokio::time::Instant::now() + GONE_AFTER;
    let mut has_it = cluster.brokers.contains(&id);
    while has_it {
        if tokio::time::Instant::now() >= deadline {
            return Err(ConfigError(format!(
                "--join {address}: another node is broker {id} of cluster {} and alive, as far as its session \
                 (broker.session.timeout.ms) tells: leave out node.id to be given a free one, or stop that node first",
                cluster.id
            )));
        }
        tokio::time::sleep(PAUSE).await;
        has_it = find(address).await?.brokers.contains(&id);
    }
    Ok(())
}

async fn ask(peers: &Peers, endpoint: &Endpoint) -> Result<Cluster, String> {
    const OF_BROKERS: i8 = 1;
    const OF_CONTROLLERS: i8 = 2;
    let mut cluster = None;
    let mut brokers = Vec::new();
    for endpoint_type in [OF_BROKERS, OF_CONTROLLERS] {
        let request = DescribeClusterRequest::default().with_endpoint_type(endpoint_type);
        let answer = peers.call(endpoint, 1, &request).await.map_err(|error| error.to_string())?;
        if answer.error_code == 0 {
            cluster = Some(answer.cluster_id.to_string());
            if endpoint_type == OF_BROKERS {
                brokers = answer.brokers.iter().map(|broker| broker.broker_id.0).collect();
            }
            break;
        }
    }
    let id = cluster.ok_or("it does not say which cluster it belongs to")?;
    let partition = describe_quorum_request::PartitionData::default().with_partition_index(0);
    let topic = describe_quorum_request::TopicData::default()
        .with_topic_name(StrBytes::from_static_str("__cluster_metadata").into())
        .with_partitions(vec![partition]);
    let request = DescribeQuorumRequest::default().with_topics(vec![topic]);
    let answer = peers.call(endpoint, 2, &request).await.map_err(|error| error.to_string())?;
    let controllers: Vec<Endpoint> = answer
        .nodes
        .iter()
        .filter_map(|node| {
            let listener = node.listeners.first()?;
            Some(Endpoint {
                name: listener.name.as_str().into(),
                host: listener.host.as_str().into(),
                port: listener.port,
                security_protocol: 0,
            })
        })
        .collect();
    if controllers.is_empty() {
        return Err("it does not say where the controllers of its cluster are".to_owned());
    }
    Ok(Cluster { id, controllers, brokers })
}

/// Has the active controller give out a node id; the token makes it the same one when an answer was lost.
async fn assign_node_id(cluster: &Cluster) -> Result<i32, ConfigError> {
    let who = QuorumPeers { cluster_id: cluster.id.as_str().into(), node_id: BrokerId(-1), addresses: BTreeMap::new() };
    let transport = QuorumTransport::new(who, &Limits::default());
    let token = Uuid::new_v4();
    let message = assignment_request(token).map_err(|error| ConfigError(error.to_string()))?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let mut next: Vec<Endpoint> = Vec::new();
    let mut reason = "no controller is known".to_owned();
    let (mut warned, mut closed_since) = (false, None);
    loop {
        if next.is_empty() {
            next.clone_from(&cluster.controllers);
        }
        let asked = next.remove(0);
        let to = Destination { id: None, endpoint: Some(asked) };
        let answer = tokio::time::timeout(ANSWER_MAX, transport.call(to, Lane::Control, message.clone())).await;
        match answer.map_err(std::io::Error::other).and_then(|answer| answer).and_then(|bytes| read_assignment(&bytes))
        {
            Ok(Assigned::Id(id)) => return Ok(id),
            Ok(Assigned::Ask(leader)) => {
                closed_since = None;
                match leader {
                    Some(leader) => next.insert(0, leader),
                    None => reason = ErrorCode::NotController.message().to_owned(),
                }
            }
            Err(error) => {
                reason = error.to_string();
                let is_closed = error.kind() == std::io::ErrorKind::ConnectionReset;
                closed_since = is_closed.then(|| closed_since.unwrap_or_else(tokio::time::Instant::now));
            }
        }
        if closed_since.is_some_and(|since| since.elapsed() >= CLOSED_MAX) {
            return Err(ConfigError(format!(
                "--join: the controllers of cluster {} close the connection when they are asked for a node id, as Apache \
                 Kafka's do: its nodes and those of Ottla form no cluster with each other ({reason})",
                cluster.id
            )));
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(ConfigError(format!("--join: no node id was given: {reason}")));
        }
        if !warned {
            warned = true;
            tracing::warn!("--join: no node id yet: {reason}");
        }
        tokio::time::sleep(PAUSE / 5).await;
    }
}

/// Where a node listens that was told nothing: on this machine, at the first free port, if that is where the other node
/// is; else at the address by which it reaches the other node, as that is how the others reach it.
async fn listeners_towards(address: &str) -> Result<String, ConfigError> {
    let fail = |error: std::io::Error| ConfigError(format!("--join {address}: {error}"));
    let other = endpoint(address)?;
    let socket = tokio::net::TcpStream::connect((&*other.host, other.port)).await.map_err(fail)?;
    let own = socket.local_addr().map_err(fail)?.ip();
    let host = if own.is_loopback() { "localhost".to_owned() } else { own.to_string() };
    for port in PORT..PORT + PORTS_TRIED {
        if is_free(&host, port).await {
            let host = if host.contains(':') { format!("[{host}]") } else { host };
            return Ok(format!("PLAINTEXT://{host}:{port}"));
        }
    }
    Err(ConfigError(format!("no free port from {PORT} on: name one with --override listeners=PLAINTEXT://{host}:PORT")))
}

async fn is_free(host: &str, port: u16) -> bool {
    let Ok(addresses) = tokio::net::lookup_host((host, port)).await else { return false };
    let addresses: Vec<_> = addresses.collect();
    !addresses.is_empty() && addresses.iter().all(|address| std::net::TcpListener::bind(address).is_ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn given(dir: &Path, more: &[(&str, &str)]) -> Given {
        let mut values: BTreeMap<String, String> =
            [(NODE_ID.to_owned(), "1".to_owned()), ("log.dirs".to_owned(), dir.display().to_string())].into();
        values.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let presumed = [NODE_ID.to_owned()].into();
        Given { values, presumed, ..Given::default() }
    }

    #[tokio::test]
    async fn a_node_keeps_the_id_that_its_data_has() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("meta.properties"), "#\nversion=1\ncluster.id=abc\\=\\=\nnode.id=7\n").unwrap();
        let completed = complete(given(dir.path(), &[]), None).await.unwrap();
        assert_eq!(completed.values[NODE_ID], "7");
        let mut asked = given(dir.path(), &[]);
        asked.presumed.clear();
        assert_eq!(complete(asked, None).await.unwrap().values[NODE_ID], "1", "what was asked for is checked later");
        assert_eq!(read_properties("cluster.id=abc\\=\\=")["cluster.id"], "abc==");
    }

    #[tokio::test]
    async fn a_node_keeps_the_address_that_it_found_when_it_joined() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let presuming = || {
            let mut given = given(&data, &[(LISTENERS, "PLAINTEXT://localhost:9092")]);
            given.presumed.insert(LISTENERS.to_owned());
            given
        };
        assert_eq!(complete(presuming(), None).await.unwrap().values[LISTENERS], "PLAINTEXT://localhost:9092");
        keep_found(&presuming(), "PLAINTEXT://localhost:9093").unwrap();
        assert_eq!(complete(presuming(), None).await.unwrap().values[LISTENERS], "PLAINTEXT://localhost:9093");
        let mut asked = presuming();
        asked.presumed.clear();
        assert_eq!(complete(asked, None).await.unwrap().values[LISTENERS], "PLAINTEXT://localhost:9092");
    }

    #[tokio::test]
    async fn an_address_is_host_and_port() {
        let dir = tempfile::tempdir().unwrap();
        let error = complete(given(dir.path(), &[]), Some("nowhere")).await.unwrap_err();
        assert!(error.0.contains("host:port"), "{error}");
    }
}
