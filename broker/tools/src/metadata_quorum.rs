//! kafka-metadata-quorum: the state of the controllers' quorum, and its members.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::describe_quorum_request as request;
use kafka_protocol::messages::describe_quorum_response::{Node, PartitionData, ReplicaState};
use kafka_protocol::messages::{
    AddRaftVoterRequest, DescribeClusterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest,
};
use ottla_protocol::ids;

use super::admin::{message, millis, text, topic_name};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties, table, time};

pub const TOOL: Tool =
    Tool { name: "metadata-quorum", about: "This tool describes kraft metadata quorum status.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "host:port,...", "The brokers to connect to."),
    value(&["bootstrap-controller"], Kind::Text, "host:port,...", "The controllers to connect to."),
    value(
        &["command-config"],
        Kind::Text,
        "file",
        "A file with properties for the connection; with add-controller, the new controller's configuration.",
    ),
    value(&["controller-directory-id", "d"], Kind::Text, "id", "With remove-controller: the directory id."),
    value(&["controller-id", "i"], Kind::Int, "id", "With remove-controller: the node id."),
    flag(&["dry-run"], "With add-controller, remove-controller: only show what would be done."),
    flag(&["help", "h"], "Print usage information."),
    flag(&["human-readable"], "With describe --replication: times as distances."),
    flag(&["replication"], "With describe: how far each node has got."),
    flag(&["status"], "With describe: a summary."),
];

const TIMEOUT: Duration = Duration::from_secs(60);

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let (servers, controllers) = (options.text("bootstrap-server"), options.text("bootstrap-controller"));
    let bootstrap = match (servers, controllers) {
        (Some(address), None) | (None, Some(address)) => address,
        (None, None) => {
            return Err(Failure::usage("one of the arguments --bootstrap-server --bootstrap-controller is required"));
        }
        _ => {
            return Err(Failure::usage(
                "argument --bootstrap-controller: not allowed with argument --bootstrap-server",
            ));
        }
    };
    let config = properties::of_connection(options.text("command-config"))?;
    let connect = || {
        Client::connect_to(bootstrap, TIMEOUT, controllers.is_some(), properties::client_id(&config, properties::ADMIN))
    };
    match options.positional.first().map(String::as_str).unwrap_or_default() {
        "describe" => {
            match (options.has("status"), options.has("replication")) {
                (true, true) => {
                    return Err(Failure::failed(
                        "Only one of --status or --replication should be specified with describe sub-command",
                    ));
                }
                (false, false) => {
                    return Err(Failure::failed(
                        "One of --status or --replication must be specified with describe sub-command",
                    ));
                }
                (true, false) if options.has("human-readable") => {
                    return Err(Failure::failed(
                        "The option --human-readable is only supported along with --replication",
                    ));
                }
                (true, false) => status(&mut connect()?, controllers.is_some(), out)?,
                (false, true) => replication(&mut connect()?, options.has("human-readable"), out)?,
            }
            Ok(ExitCode::SUCCESS)
        }
        "add-controller" => add(&connect, options, out),
        "remove-controller" => remove(&connect, options, out),
        "" => Err(Failure::usage("too few arguments")),
        other => Err(Failure::usage(format!(
            "invalid choice: '{other}' (choose from 'describe', 'add-controller', 'remove-controller')"
        ))),
    }
}

fn quorum(client: &mut Client) -> Result<(PartitionData, Vec<Node>), Failure> {
    let partition = request::PartitionData::default().with_partition_index(0);
    let topic = request::TopicData::default()
        .with_topic_name(topic_name("__cluster_metadata"))
        .with_partitions(vec![partition]);
    let response = client.send(&Target::Any, &DescribeQuorumRequest::default().with_topics(vec![topic]))?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    let partition = response.topics.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
    Failure::check(partition.error_code, message(partition.error_message.as_ref()))?;
    Ok((partition, response.nodes))
}

fn leader(quorum: &PartitionData) -> Result<&ReplicaState, Failure> {
    let is_leader = |voter: &&ReplicaState| voter.replica_id == quorum.leader_id;
    quorum.current_voters.iter().find(is_leader).ok_or_else(|| Failure::failed("No value present"))
}

fn status(client: &mut Client, is_controller: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let endpoints = if is_controller { 2 } else { 1 };
    let cluster = client.send(&Target::Any, &DescribeClusterRequest::default().with_endpoint_type(endpoints))?;
    Failure::check(cluster.error_code, message(cluster.error_message.as_ref()))?;
    let (quorum, nodes) = quorum(client)?;
    let leader = leader(&quorum)?;
    let last = quorum.current_voters.iter().min_by_key(|voter| voter.log_end_offset).unwrap_or(leader);
    let lag_ms = if last == leader {
        0
    } else if leader.last_caught_up_timestamp >= 0 && last.last_caught_up_timestamp >= 0 {
        leader.last_caught_up_timestamp - last.last_caught_up_timestamp
    } else {
        -1
    };
    writeln!(out, "ClusterId:              {}", cluster.cluster_id.as_str())?;
    writeln!(out, "LeaderId:               {}", quorum.leader_id.0)?;
    writeln!(out, "LeaderEpoch:            {}", quorum.leader_epoch)?;
    writeln!(out, "HighWatermark:          {}", quorum.high_watermark)?;
    writeln!(out, "MaxFollowerLag:         {}", leader.log_end_offset - last.log_end_offset)?;
    writeln!(out, "MaxFollowerLagTimeMs:   {lag_ms}")?;
    writeln!(out, "CurrentVoters:          {}", members(&quorum.current_voters, &nodes))?;
    writeln!(out, "CurrentObservers:       {}", members(&quorum.observers, &nodes))?;
    Ok(())
}

fn members(replicas: &[ReplicaState], nodes: &[Node]) -> String {
    let member = |replica: &ReplicaState| {
        let mut text = format!("{{\"id\": {}", replica.replica_id.0);
        if !replica.replica_directory_id.is_nil() {
            text.push_str(&format!(", \"directoryId\": \"{}\"", ids::encode_uuid(replica.replica_directory_id)));
        }
        let listeners = nodes.iter().find(|node| node.node_id == replica.replica_id).map(|node| &node.listeners);
        if let Some(listeners) = listeners.filter(|listeners| !listeners.is_empty()) {
            let endpoints: Vec<String> = listeners
                .iter()
                .map(|listener| format!("\"{}\"", endpoint(&listener.name, &listener.host, listener.port)))
                .collect();
            text.push_str(&format!(", \"endpoints\": [{}]", endpoints.join(", ")));
        }
        text + "}"
    };
    let all: Vec<String> = replicas.iter().map(member).collect();
    format!("[{}]", all.join(", "))
}

fn endpoint(name: &str, host: &str, port: u16) -> String {
    if host.contains(':') { format!("{name}://[{host}]:{port}") } else { format!("{name}://{host}:{port}") }
}

fn replication(client: &mut Client, is_human: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let (quorum, _) = quorum(client)?;
    let leader = leader(&quorum)?;
    let now = time::now_ms();
    let when = |timestamp: i64| match timestamp {
        timestamp if timestamp < 0 => "-1".to_owned(),
        timestamp if is_human => format!("{} ms ago", (now - timestamp).max(0)),
        timestamp => timestamp.to_string(),
    };
    let row = |replica: &ReplicaState, status: &str| {
        vec![
            replica.replica_id.0.to_string(),
            ids::encode_uuid(replica.replica_directory_id),
            replica.log_end_offset.to_string(),
            (leader.log_end_offset - replica.log_end_offset).to_string(),
            when(replica.last_fetch_timestamp),
            when(replica.last_caught_up_timestamp),
            status.to_owned(),
        ]
    };
    let mut rows = vec![row(leader, "Leader")];
    let followers = quorum.current_voters.iter().filter(|voter| voter.replica_id != leader.replica_id);
    rows.extend(followers.map(|voter| row(voter, "Follower")));
    rows.extend(quorum.observers.iter().map(|observer| row(observer, "Observer")));
    let titles =
        ["NodeId", "DirectoryId", "LogEndOffset", "Lag", "LastFetchTimestamp", "LastCaughtUpTimestamp", "Status"];
    table::print(&titles, &rows, out)?;
    Ok(())
}

fn add(
    connect: &dyn Fn() -> Result<Client, Failure>,
    options: &Options,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let path = options.text("command-config").ok_or_else(|| {
        Failure::failed(
            "You must supply the configuration file of the controller you are adding when using add-controller.",
        )
    })?;
    let config = properties::load(Some(path))?;
    let invalid = |what: String| Failure::failed(format!("{what}. Is this a valid controller configuration file?"));
    let id: i32 = match config.get("node.id").map(|text| text.trim().parse::<i32>()) {
        None => return Err(invalid("node.id not found in configuration file".into())),
        Some(Ok(id)) if id >= 0 => id,
        Some(_) => return Err(invalid("node.id was negative in configuration file".into())),
    };
    if !config.get("process.roles").is_some_and(|roles| roles.contains("controller")) {
        return Err(invalid("process.roles did not contain 'controller' in configuration file".into()));
    }
    let folder = config
        .get("metadata.log.dir")
        .map(String::as_str)
        .or_else(|| config.get("log.dirs").and_then(|list| list.trim().split(',').next()))
        .ok_or_else(|| invalid("Neither metadata.log.dir nor log.dirs were found".into()))?;
    let meta = Path::new(folder).join("meta.properties");
    let meta = properties::load(meta.to_str())
        .map_err(|_| Failure::failed(format!("Unable to read meta.properties from {folder}")))?;
    let directory = meta
        .get("directory.id")
        .and_then(|id| ids::decode_uuid(id))
        .ok_or_else(|| Failure::failed(format!("No directory id found in {folder}")))?;
    let listeners = controller_listeners(&config)?;
    if !options.has("dry-run") {
        let request = addition(id, directory, listeners.clone());
        let response = connect()?.send(&Target::Any, &request)?;
        Failure::check(response.error_code, message(response.error_message.as_ref())).map_err(traced)?;
    }
    let verb = if options.has("dry-run") { "DRY RUN of adding" } else { "Added" };
    let endpoints: Vec<String> =
        listeners.iter().map(|listener| endpoint(&listener.name, &listener.host, listener.port)).collect();
    writeln!(
        out,
        "{verb} controller {id} with directory id {} and endpoints: {}",
        ids::encode_uuid(directory),
        endpoints.join(", ")
    )?;
    Ok(ExitCode::SUCCESS)
}

fn controller_listeners(config: &std::collections::HashMap<String, String>) -> Result<Vec<Listener>, Failure> {
    let listed = |key: &str| config.get(key).map(String::as_str).unwrap_or_default().split(',');
    let names = config.get("controller.listener.names").ok_or_else(|| {
        Failure::failed("controller.listener.names was not found. Is this a valid controller configuration file?")
    })?;
    let find = |name: &str| {
        // What is advertised beats what is listened on.
        let all = listed("advertised.listeners").chain(listed("listeners"));
        all.filter_map(|entry| entry.trim().split_once("://"))
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .and_then(|(_, address)| {
                let (host, port) = address.rsplit_once(':')?;
                let host = host.trim_start_matches('[').trim_end_matches(']');
                Some((if host.is_empty() { "localhost" } else { host }, port.parse::<u16>().ok()?))
            })
    };
    names
        .split(',')
        .map(|name| {
            let name = name.trim().to_ascii_uppercase();
            let (host, port) = find(&name).ok_or_else(|| {
                Failure::failed(format!("Cannot find information about controller listener name: {name}"))
            })?;
            Ok(Listener::default().with_name(text(&name)).with_host(text(host)).with_port(port))
        })
        .collect()
}

fn remove(
    connect: &dyn Fn() -> Result<Client, Failure>,
    options: &Options,
    out: &mut dyn Write,
) -> Result<ExitCode, Failure> {
    let id = options
        .number::<i32>("controller-id")
        .ok_or_else(|| Failure::usage("argument --controller-id/-i is required"))?;
    let given = options
        .text("controller-directory-id")
        .ok_or_else(|| Failure::usage("argument --controller-directory-id/-d is required"))?;
    if id < 0 {
        return Err(Failure::failed(format!("Invalid negative --controller-id: {id}")));
    }
    let directory = ids::decode_uuid(given)
        .ok_or_else(|| Failure::failed(format!("Failed to parse --controller-directory-id: {given}")))?;
    let what = format!("KRaft controller {id} with directory id {}", ids::encode_uuid(directory));
    if options.has("dry-run") {
        writeln!(out, "DRY RUN of removing {what}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let request = removal(id, directory);
    let response = connect()?.send(&Target::Any, &request)?;
    Failure::check(response.error_code, message(response.error_message.as_ref())).map_err(traced)?;
    writeln!(out, "Removed {what}")?;
    Ok(ExitCode::SUCCESS)
}

/// Without a cluster id, as Kafka's tool asks: an empty one would be that of another cluster.
fn addition(id: i32, directory: uuid::Uuid, listeners: Vec<Listener>) -> AddRaftVoterRequest {
    AddRaftVoterRequest::default()
        .with_cluster_id(None)
        .with_timeout_ms(millis(TIMEOUT))
        .with_voter_id(id)
        .with_voter_directory_id(directory)
        .with_listeners(listeners)
}

/// As [`addition`].
fn removal(id: i32, directory: uuid::Uuid) -> RemoveRaftVoterRequest {
    RemoveRaftVoterRequest::default().with_cluster_id(None).with_voter_id(id).with_voter_directory_id(directory)
}

/// A refusal with the name of its exception, as it is wrapped on its way out of Kafka's admin client.
fn traced(failure: Failure) -> Failure {
    Failure { message: failure.as_java(), ..failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_changed_without_naming_a_cluster() {
        let directory = uuid::Uuid::from_u128(7);
        assert_eq!(addition(4, directory, Vec::new()).cluster_id, None);
        assert_eq!(removal(4, directory).cluster_id, None);
    }
}
