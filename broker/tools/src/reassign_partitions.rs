//! kafka-reassign-partitions: moves replicas between brokers and between the folders of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterReplicaLogDirsRequest, DescribeLogDirsRequest,
    ListPartitionReassignmentsRequest,
};
use ottla_protocol::ErrorCode;

use super::admin::{Partition, by_topic, message, millis, shown, text, topic_name, topic_outcomes};
use super::client::{Client, Target};
use super::configs::{Changes, alter};
use super::options::{Kind, Options, Spec, flag, value};
use super::reassignment_plan::{self as plan, Plan, Replica, commas, repeated};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(60);

pub const TOOL: Tool = Tool {
    name: "reassign-partitions",
    about: "This tool helps to move topic partitions between replicas.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    flag(&["additional"], "Execute in addition to what is moving already."),
    value(&["bootstrap-controller"], Kind::OptionalText, "controller", "The controller, for --cancel and --list."),
    value(
        &["bootstrap-server"],
        Kind::OptionalText,
        "server(s) to use for bootstrapping",
        "The brokers to connect to.",
    ),
    value(&["broker-list"], Kind::Text, "brokerlist", "With --generate: the brokers to move to, as 0,1,2."),
    flag(&["cancel"], "Cancel reassignments."),
    value(&["command-config"], Kind::Text, "Admin client property file", "A file with properties for the connection."),
    flag(&["disable-rack-aware"], "Do not look at racks."),
    flag(&["disallow-replication-factor-change"], "Refuse to change how many replicas a partition has."),
    flag(&["execute"], "Start what the file asks for."),
    flag(&["generate"], "Propose a reassignment; nothing is moved."),
    flag(&["help"], "Print usage information."),
    flag(&["list"], "List all active reassignments."),
    flag(&["preserve-throttles"], "Leave throttles as they are."),
    value(&["reassignment-json-file"], Kind::Text, "manual assignment json file path", "The reassignment."),
    value(&["replica-alter-log-dirs-throttle"], Kind::Long, "bytes/sec", "Bound of moves between folders."),
    value(&["throttle"], Kind::Long, "throttle", "Bound of moves between brokers, in bytes per second."),
    value(&["timeout"], Kind::Long, "timeout", "Milliseconds that a move between folders may take to begin."),
    value(
        &["topics-to-move-json-file"],
        Kind::Text,
        "topics to reassign json file path",
        "With --generate: the topics.",
    ),
    flag(&["verify"], "Tell whether the reassignment is complete; if it is, throttles are removed."),
    flag(&["version"], "Display the version."),
];

const ACTIONS: [&str; 5] = ["generate", "execute", "verify", "cancel", "list"];
const BROKER_THROTTLES: [&str; 3] = [
    "leader.replication.throttled.rate",
    "follower.replication.throttled.rate",
    "replica.alter.log.dirs.io.max.bytes.per.second",
];
const LEADER_REPLICAS: &str = "leader.replication.throttled.replicas";
const FOLLOWER_REPLICAS: &str = "follower.replication.throttled.replicas";

/// A reassignment under way.
struct Moving {
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let action = check(options)?;
    let outcome = act(action, options, out);
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(Ended::Told(text)) => {
            writeln!(out, "{text}")?;
            Ok(ExitCode::FAILURE)
        }
        Err(Ended::Failed(failure)) => {
            writeln!(out, "Error: {}", failure.as_java())?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Kafka's tool prints the failures that it expects as they are, and others as errors.
enum Ended {
    Told(String),
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

fn act(action: &str, options: &Options, out: &mut dyn Write) -> Result<(), Ended> {
    properties::refuse_security(&properties::load(options.text("command-config"))?)?;
    let controller = options.text("bootstrap-controller");
    let bootstrap = controller.or(options.text("bootstrap-server")).unwrap_or_default();
    let mut client = Client::connect_to(bootstrap, TIMEOUT, controller.is_some())?;
    let read = |option: &str| {
        let path = options.text(option).unwrap_or_default();
        std::fs::read_to_string(path).map_err(|_| Failure::failed(path))
    };
    match action {
        "list" => list(&mut client, out),
        "generate" => generate(&mut client, options, &read("topics-to-move-json-file")?, out),
        "execute" => execute(&mut client, options, &plan::read(&read("reassignment-json-file")?)?, out),
        "verify" => verify(&mut client, options, &plan::read(&read("reassignment-json-file")?)?, out),
        _ => cancel(&mut client, options, &plan::read(&read("reassignment-json-file")?)?, out),
    }
}

fn list(client: &mut Client, out: &mut dyn Write) -> Result<(), Ended> {
    let moving = moving(client, None)?;
    if moving.is_empty() {
        writeln!(out, "No partition reassignments found.")?;
        return Ok(());
    }
    writeln!(out, "Current partition reassignments:")?;
    for (partition, Moving { replicas, adding, removing }) in &moving {
        let part = |word: &str, list: &[i32]| match list {
            [] => String::new(),
            list => format!(" {word}: {}.", commas(list)),
        };
        let (adding, removing) = (part("adding", adding), part("removing", removing));
        writeln!(out, "{}: replicas: {}.{adding}{removing}", shown(partition), commas(replicas))?;
    }
    Ok(())
}

fn generate(client: &mut Client, options: &Options, topics: &str, out: &mut dyn Write) -> Result<(), Ended> {
    let brokers = options.text("broker-list").unwrap_or_default();
    let brokers: Vec<i32> = brokers
        .split(',')
        .map(|id| id.parse().map_err(|_| Failure::failed(format!("For input string: \"{id}\""))))
        .collect::<Result<_, _>>()?;
    let twice = repeated(&brokers);
    if !twice.is_empty() {
        let list = plan::bracketed(&twice);
        return Err(Failure::failed(format!("Broker list contains duplicate entries: {list}")).into());
    }
    let topics: BTreeSet<String> = plan::read_topics(topics)?.into_iter().collect();
    let current = replicas_of(client, &topics)?;
    let usable: Vec<i32> = brokers.into_iter().filter(|id| client.brokers().contains_key(id)).collect();
    let racks = usable.iter().filter(|id| client.racks().contains_key(id)).count();
    if !options.has("disable-rack-aware") && racks != 0 && racks != usable.len() {
        return Err(Failure::failed(
            "Not all brokers have rack information. Add --disable-rack-aware in command line to make replica assignment \
             without rack information.",
        )
        .into());
    }
    let mut proposed = BTreeMap::new();
    for topic in &topics {
        let of_topic: Vec<&Vec<i32>> =
            current.iter().filter(|((name, _), _)| name == topic).map(|(_, replicas)| replicas).collect();
        let wanted = of_topic.first().map_or(0, |replicas| replicas.len());
        if wanted > usable.len() {
            return Err(Failure::from_code(
                ErrorCode::InvalidReplicationFactor.code(),
                Some(format!(
                    "The target replication factor of {wanted} cannot be reached because only {} broker(s) are registered.",
                    usable.len()
                )),
            )
            .into());
        }
        let count = i32::try_from(of_topic.len()).unwrap_or(0);
        let start = usize::from(rand::random::<u16>());
        for (partition, replicas) in (0..).zip(plan::spread(count, wanted, &usable, start)) {
            proposed.insert((topic.clone(), partition), replicas);
        }
    }
    let dirs = log_dirs(client, &current)?;
    writeln!(out, "Current partition replica assignment\n{}\n", plan::write(&current, &dirs))?;
    writeln!(out, "Proposed partition reassignment configuration\n{}", plan::write(&proposed, &BTreeMap::new()))?;
    Ok(())
}

fn execute(client: &mut Client, options: &Options, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let proposed = plan.check()?;
    let under_way = moving(client, None)?;
    if !options.has("additional") && !under_way.is_empty() {
        return Err(Ended::Told(
            "Cannot execute because there is an existing partition assignment.  Use --additional to override this and \
             create a new partition assignment in addition to the existing one. The --additional flag can also be used to \
             change the throttle by resubmitting the current reassignment."
                .into(),
        ));
    }
    let unknown = proposed.values().flatten().find(|id| !client.brokers().contains_key(id));
    if let Some(id) = unknown {
        return Err(Failure::failed(format!("Unknown broker id {id}")).into());
    }
    let mut current = replicas_of(client, &proposed.keys().map(|(topic, _)| topic.clone()).collect())?;
    current.retain(|partition, _| proposed.contains_key(partition));
    let missing: Vec<String> =
        proposed.keys().filter(|partition| !current.contains_key(partition)).map(shown).collect();
    if !missing.is_empty() {
        let why = format!("Unable to find partition: {}", missing.join(", "));
        return Err(Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), Some(why)).into());
    }
    let dirs = log_dirs(client, &current)?;
    writeln!(
        out,
        "Current partition replica assignment\n\n{}\n\nSave this to use as the --reassignment-json-file option during rollback",
        plan::write(&current, &dirs)
    )?;
    throttle(client, options, plan, &under_way, &proposed, &current, out)?;
    let wanted = proposed.iter().map(|(partition, replicas)| (partition.clone(), Some(replicas.clone())));
    let failures = reassign(client, wanted.collect(), !options.has("disallow-replication-factor-change"))?;
    if !failures.is_empty() {
        return Err(Ended::Told(format!("Error reassigning partition(s):\n{}", failures.join("\n"))));
    }
    let plural = if proposed.len() == 1 { "" } else { "s" };
    let names: Vec<String> = proposed.keys().map(shown).collect();
    writeln!(out, "Successfully started partition reassignment{plural} for {}", names.join(","))?;
    if plan.log_dirs.is_empty() { Ok(()) } else { move_dirs(client, options, &plan.log_dirs, out) }
}

/// Sets the bounds that were asked for.
fn throttle(
    client: &mut Client,
    options: &Options,
    plan: &Plan,
    under_way: &BTreeMap<Partition, Moving>,
    proposed: &BTreeMap<Partition, Vec<i32>>,
    current: &BTreeMap<Partition, Vec<i32>>,
    out: &mut dyn Write,
) -> Result<(), Ended> {
    let rate: Option<i64> = options.number("throttle").filter(|rate| *rate >= 0);
    let dirs_rate: Option<i64> = options.number("replica-alter-log-dirs-throttle").filter(|rate| *rate >= 0);
    if rate.is_none() && dirs_rate.is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "Warning: You must run --verify periodically, until the reassignment completes, to ensure the throttle is removed."
    )?;
    if let Some(rate) = rate {
        let moves = moves(under_way, proposed, current);
        let mut of_topics: BTreeMap<&str, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
        for ((topic, partition), (sources, destinations)) in &moves {
            let (leaders, followers) = of_topics.entry(topic).or_default();
            leaders.extend(sources.iter().map(|id| format!("{partition}:{id}")));
            followers.extend(destinations.iter().map(|id| format!("{partition}:{id}")));
        }
        for (topic, (leaders, followers)) in of_topics {
            let join = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(",");
            let set = [(LEADER_REPLICAS, join(leaders)), (FOLLOWER_REPLICAS, join(followers))];
            let set = set.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            alter(client, "topics", topic, &Changes { set, ..Changes::default() })?;
        }
        let brokers: BTreeSet<i32> =
            moves.values().flat_map(|(sources, destinations)| sources.union(destinations)).copied().collect();
        for broker in brokers {
            let set = BROKER_THROTTLES[..2].iter().map(|key| ((*key).to_owned(), rate.to_string())).collect();
            alter(client, "brokers", &broker.to_string(), &Changes { set, ..Changes::default() })?;
        }
        writeln!(out, "The inter-broker throttle limit was set to {rate} B/s")?;
    }
    if let Some(rate) = dirs_rate {
        let brokers: BTreeSet<i32> = plan.log_dirs.keys().map(|(broker, _, _)| *broker).collect();
        for broker in brokers {
            let set = BTreeMap::from([(BROKER_THROTTLES[2].to_owned(), rate.to_string())]);
            alter(client, "brokers", &broker.to_string(), &Changes { set, ..Changes::default() })?;
        }
        writeln!(out, "The replica-alter-dir throttle limit was set to {rate} B/s")?;
    }
    Ok(())
}

type Move = (BTreeSet<i32>, BTreeSet<i32>);

/// From which brokers and to which ones each partition moves, those under way included.
fn moves(
    under_way: &BTreeMap<Partition, Moving>,
    proposed: &BTreeMap<Partition, Vec<i32>>,
    current: &BTreeMap<Partition, Vec<i32>>,
) -> BTreeMap<Partition, Move> {
    let of_moving = |moving: &Moving| -> Move {
        let destinations: BTreeSet<i32> = moving.adding.iter().copied().collect();
        (moving.replicas.iter().copied().filter(|id| !destinations.contains(id)).collect(), destinations)
    };
    let mut moves: BTreeMap<Partition, Move> =
        under_way.iter().map(|(partition, moving)| (partition.clone(), of_moving(moving))).collect();
    for (partition, replicas) in proposed {
        let sources: BTreeSet<i32> = match moves.get(partition) {
            Some((sources, _)) => sources.clone(),
            None => current.get(partition).into_iter().flatten().copied().collect(),
        };
        let destinations = replicas.iter().copied().filter(|id| !sources.contains(id)).collect();
        moves.insert(partition.clone(), (sources, destinations));
    }
    moves
}

fn verify(client: &mut Client, options: &Options, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let under_way = moving(client, None)?;
    let topics: BTreeSet<String> = plan
        .partitions
        .iter()
        .filter(|(partition, _)| !under_way.contains_key(partition))
        .map(|((topic, _), _)| topic.clone())
        .collect();
    let mut current: BTreeMap<Partition, Vec<i32>> = BTreeMap::new();
    if !topics.is_empty() {
        // A topic that is gone has no replicas.
        for (topic, outcome) in topic_outcomes(client, Some(&topics))? {
            for partition in outcome.into_iter().flat_map(|topic| topic.partitions) {
                let replicas = partition.replica_nodes.iter().map(|id| id.0).collect();
                current.insert((topic.clone(), partition.partition_index), replicas);
            }
        }
    }
    writeln!(out, "Status of partition reassignment:")?;
    let targets: BTreeMap<&Partition, &Vec<i32>> = plan.partitions.iter().map(|(name, list)| (name, list)).collect();
    for (partition, target) in &targets {
        let name = shown(partition);
        let replicas = current.get(*partition).cloned().unwrap_or_default();
        if under_way.contains_key(*partition) {
            writeln!(out, "Reassignment of partition {name} is still in progress.")?;
        } else if replicas == **target {
            writeln!(out, "Reassignment of partition {name} is completed.")?;
        } else {
            let (is, wanted) = (commas(&replicas), commas(target));
            writeln!(
                out,
                "There is no active reassignment of partition {name}, but replica set is {is} rather than {wanted}."
            )?;
        }
    }
    let dirs_done = verify_dirs(client, &plan.log_dirs, out)?;
    if under_way.is_empty() && dirs_done && !options.has("preserve-throttles") {
        clear_throttles(client, plan, out)?;
    }
    Ok(())
}

/// Where a replica is, and where it is moving to.
#[derive(Default)]
struct Folders {
    current: Option<String>,
    future: Option<String>,
}

fn verify_dirs(client: &mut Client, targets: &BTreeMap<Replica, String>, out: &mut dyn Write) -> Result<bool, Ended> {
    let found = folders(client, targets.keys())?;
    let mut lines = Vec::new();
    let mut is_done = true;
    for (replica, target) in targets {
        let (broker, topic, partition) = replica;
        let name = format!("{topic}-{partition}-{broker}");
        let Some(Folders { current, future }) = found.get(replica) else {
            is_done &= true;
            lines.push(format!(
                "Partition {topic}-{partition} cannot be found in any live log directory on broker {broker}."
            ));
            continue;
        };
        lines.push(match (current, future) {
            (None, _) => format!(
                "Partition {topic}-{partition} is not found in any live log dir on broker {broker}. There is likely an \
                 offline log directory on the broker."
            ),
            (Some(_), Some(future)) => {
                is_done = false;
                if future == target {
                    format!("Reassignment of replica {name} is still in progress.")
                } else {
                    format!(
                        "Partition {topic}-{partition} on broker {broker} is being moved to log dir {future} instead of {target}."
                    )
                }
            }
            (Some(current), None) if current == target => {
                format!("Reassignment of replica {name} completed successfully.")
            }
            (Some(current), None) => format!(
                "Partition {topic}-{partition} on broker {broker} is not being moved from log dir {current} to {target}."
            ),
        });
    }
    writeln!(out, "{}", lines.join("\n"))?;
    Ok(is_done)
}

fn cancel(client: &mut Client, options: &Options, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let wanted: BTreeSet<Partition> = plan.partitions.iter().map(|(partition, _)| partition.clone()).collect();
    let mut under_way = moving(client, Some(&wanted))?;
    under_way.retain(|_, moving| !moving.adding.is_empty() || !moving.removing.is_empty());
    if under_way.is_empty() {
        writeln!(out, "None of the specified partition reassignments are active.")?;
    } else {
        let failures = reassign(client, under_way.keys().map(|partition| (partition.clone(), None)).collect(), true)?;
        if !failures.is_empty() {
            let plural = if failures.len() == 1 { "" } else { "s" };
            let list = failures.join("\n");
            return Err(Ended::Told(format!("Error cancelling partition reassignment{plural} for:\n{list}")));
        }
        let plural = if under_way.len() == 1 { "" } else { "s" };
        let names: Vec<String> = under_way.keys().map(shown).collect();
        writeln!(out, "Successfully cancelled partition reassignment{plural} for: {}", names.join(","))?;
    }
    let found = folders(client, plan.log_dirs.keys())?;
    let back: BTreeMap<Replica, String> = found
        .into_iter()
        .filter(|(_, folders)| folders.future.is_some())
        .filter_map(|(replica, folders)| Some((replica, folders.current?)))
        .collect();
    if back.is_empty() {
        write!(out, "None of the specified partition moves are active.")?;
    } else {
        move_dirs(client, options, &back, out)?;
    }
    if options.has("preserve-throttles") { Ok(()) } else { clear_throttles(client, plan, out) }
}

fn clear_throttles(client: &mut Client, plan: &Plan, out: &mut dyn Write) -> Result<(), Ended> {
    let mut brokers: BTreeSet<i32> = client.brokers().keys().copied().collect();
    brokers.extend(plan.partitions.iter().flat_map(|(_, replicas)| replicas));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let list: Vec<i32> = brokers.iter().copied().collect();
    writeln!(out, "Clearing broker-level throttles on broker{} {}", plural(list.len()), commas(&list))?;
    let delete: Vec<String> = BROKER_THROTTLES.iter().map(|key| (*key).to_owned()).collect();
    for broker in &list {
        alter(client, "brokers", &broker.to_string(), &Changes { delete: delete.clone(), ..Changes::default() })?;
    }
    let topics: BTreeSet<&String> = plan.partitions.iter().map(|((topic, _), _)| topic).collect();
    let list: Vec<&String> = topics.into_iter().collect();
    writeln!(out, "Clearing topic-level throttles on topic{} {}", plural(list.len()), commas(&list))?;
    for topic in list {
        let delete = vec![LEADER_REPLICAS.to_owned(), FOLLOWER_REPLICAS.to_owned()];
        alter(client, "topics", topic, &Changes { delete, ..Changes::default() })?;
    }
    Ok(())
}

/// The reassignments under way, of all partitions or of some.
fn moving(client: &mut Client, of: Option<&BTreeSet<Partition>>) -> Result<BTreeMap<Partition, Moving>, Failure> {
    let topics = of.map(|partitions| {
        let topic = |(name, partitions): (String, Vec<i32>)| {
            ListPartitionReassignmentsTopics::default().with_name(topic_name(&name)).with_partition_indexes(partitions)
        };
        by_topic(partitions).into_iter().map(topic).collect()
    });
    let request = ListPartitionReassignmentsRequest::default().with_topics(topics).with_timeout_ms(millis(TIMEOUT));
    let response = client.send(&Target::Controller, &request)?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    let mut found = BTreeMap::new();
    let ids = |list: &[kafka_protocol::messages::BrokerId]| list.iter().map(|id| id.0).collect::<Vec<i32>>();
    for topic in response.topics {
        for partition in topic.partitions {
            let moving = Moving {
                replicas: ids(&partition.replicas),
                adding: ids(&partition.adding_replicas),
                removing: ids(&partition.removing_replicas),
            };
            found.insert((topic.name.to_string(), partition.partition_index), moving);
        }
    }
    Ok(found)
}

/// Asks for new replicas, or with `None` for the end of a reassignment. Gives the refusals as lines.
fn reassign(
    client: &mut Client,
    wanted: BTreeMap<Partition, Option<Vec<i32>>>,
    may_change_count: bool,
) -> Result<Vec<String>, Failure> {
    let mut topics: BTreeMap<String, Vec<ReassignablePartition>> = BTreeMap::new();
    for ((topic, partition), replicas) in wanted {
        let replicas = replicas.map(|list| list.into_iter().map(Into::into).collect());
        let partition = ReassignablePartition::default().with_partition_index(partition).with_replicas(replicas);
        topics.entry(topic).or_default().push(partition);
    }
    let topics: Vec<ReassignableTopic> = topics
        .into_iter()
        .map(|(name, partitions)| ReassignableTopic::default().with_name(topic_name(&name)).with_partitions(partitions))
        .collect();
    let response = client.send_with(&Target::Controller, |version| {
        let request =
            AlterPartitionReassignmentsRequest::default().with_topics(topics.clone()).with_timeout_ms(millis(TIMEOUT));
        if version >= 1 { request.with_allow_replication_factor_change(may_change_count) } else { request }
    })?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    let mut failures = BTreeMap::new();
    for topic in response.responses {
        for partition in topic.partitions {
            let outcome = Failure::check(partition.error_code, message(partition.error_message.as_ref()));
            if let Err(failure) = outcome {
                failures.insert((topic.name.to_string(), partition.partition_index), failure);
            }
        }
    }
    Ok(failures.iter().map(|(partition, failure)| format!("{}: {}", shown(partition), failure.message)).collect())
}

fn replicas_of(client: &mut Client, topics: &BTreeSet<String>) -> Result<BTreeMap<Partition, Vec<i32>>, Failure> {
    let mut found = BTreeMap::new();
    if topics.is_empty() {
        return Ok(found);
    }
    for (topic, outcome) in topic_outcomes(client, Some(topics))? {
        let described = outcome.map_err(|failure| match failure.code {
            Some(ErrorCode::UnknownTopicOrPartition) => {
                Failure::from_code(failure.code.map_or(0, ErrorCode::code), Some(format!("Topic {topic} not found.")))
            }
            _ => failure,
        })?;
        for partition in described.partitions {
            let replicas = partition.replica_nodes.iter().map(|id| id.0).collect();
            found.insert((topic.clone(), partition.partition_index), replicas);
        }
    }
    Ok(found)
}

fn log_dirs(
    client: &mut Client,
    partitions: &BTreeMap<Partition, Vec<i32>>,
) -> Result<BTreeMap<Replica, String>, Failure> {
    let replicas: Vec<Replica> = partitions
        .iter()
        .flat_map(|((topic, partition), ids)| ids.iter().map(move |id| (*id, topic.clone(), *partition)))
        .filter(|(broker, _, _)| client.brokers().contains_key(broker))
        .collect();
    let found = folders(client, replicas.iter())?;
    Ok(found.into_iter().filter_map(|(replica, folders)| Some((replica, folders.current?))).collect())
}

/// The folders that replicas are in. Replicas that their broker does not have are left out.
fn folders<'a>(
    client: &mut Client,
    replicas: impl Iterator<Item = &'a Replica>,
) -> Result<BTreeMap<Replica, Folders>, Failure> {
    let mut by_broker: BTreeMap<i32, Vec<Partition>> = BTreeMap::new();
    for (broker, topic, partition) in replicas {
        by_broker.entry(*broker).or_default().push((topic.clone(), *partition));
    }
    let mut found: BTreeMap<Replica, Folders> = BTreeMap::new();
    for (broker, partitions) in by_broker {
        let topic = |(name, partitions): (String, Vec<i32>)| {
            DescribableLogDirTopic::default().with_topic(topic_name(&name)).with_partitions(partitions)
        };
        let topics = by_topic(&partitions).into_iter().map(topic).collect();
        let request = DescribeLogDirsRequest::default().with_topics(Some(topics));
        for dir in client.send(&Target::Node(broker), &request)?.results {
            let path = dir.log_dir.to_string();
            for topic in dir.topics {
                for partition in topic.partitions {
                    let replica = (broker, topic.name.to_string(), partition.partition_index);
                    let folders = found.entry(replica).or_default();
                    let place = if partition.is_future_key { &mut folders.future } else { &mut folders.current };
                    *place = Some(path.clone());
                }
            }
        }
    }
    Ok(found)
}

/// Moves replicas into folders. A replica that has yet to come to its broker is waited for.
fn move_dirs(
    client: &mut Client,
    options: &Options,
    wanted: &BTreeMap<Replica, String>,
    out: &mut dyn Write,
) -> Result<(), Ended> {
    const PAUSE: Duration = Duration::from_millis(100);
    let patience = Duration::from_millis(options.number("timeout").unwrap_or(10_000));
    let since = Instant::now();
    let mut pending = wanted.clone();
    loop {
        let mut by_broker: BTreeMap<i32, BTreeMap<String, Vec<Partition>>> = BTreeMap::new();
        for ((broker, topic, partition), dir) in &pending {
            let dirs = by_broker.entry(*broker).or_default();
            dirs.entry(dir.clone()).or_default().push((topic.clone(), *partition));
        }
        for (broker, dirs) in by_broker {
            let dir = |(path, partitions): (String, Vec<Partition>)| {
                let topic = |(name, partitions): (String, Vec<i32>)| {
                    AlterReplicaLogDirTopic::default().with_name(topic_name(&name)).with_partitions(partitions)
                };
                let topics = by_topic(&partitions).into_iter().map(topic).collect();
                AlterReplicaLogDir::default().with_path(text(&path)).with_topics(topics)
            };
            let request = AlterReplicaLogDirsRequest::default().with_dirs(dirs.into_iter().map(dir).collect());
            for topic in client.send(&Target::Node(broker), &request)?.results {
                for partition in topic.partitions {
                    let replica = (broker, topic.topic_name.to_string(), partition.partition_index);
                    match Failure::check(partition.error_code, None) {
                        Ok(()) => {
                            let dir = pending.remove(&replica).unwrap_or_default();
                            let (broker, topic, partition) = replica;
                            writeln!(
                                out,
                                "Successfully started moving log directory to {dir} for replica {topic}-{partition} with broker {broker} "
                            )?;
                        }
                        Err(failure) if failure.code == Some(ErrorCode::ReplicaNotAvailable) => {}
                        Err(_) => {
                            let (broker, topic, partition) = replica;
                            return Err(Failure::failed(format!(
                                "Failed to alter dir for {topic}-{partition}-{broker}"
                            ))
                            .into());
                        }
                    }
                }
            }
        }
        if pending.is_empty() {
            return Ok(());
        }
        if since.elapsed() >= patience {
            let plural = if pending.len() == 1 { "" } else { "s" };
            let names: Vec<String> =
                pending.keys().map(|(broker, topic, partition)| format!("{topic}-{partition}-{broker}")).collect();
            return Err(Ended::Told(format!(
                "Timed out before log directory move{plural} could be started for: {}",
                names.join(",")
            )));
        }
        std::thread::sleep(PAUSE);
    }
}

fn check(options: &Options) -> Result<&'static str, Failure> {
    let given: Vec<&'static str> = ACTIONS.iter().copied().filter(|action| options.has(action)).collect();
    let [action] = given[..] else {
        let list: Vec<String> = ACTIONS.iter().map(|action| format!("--{action}")).collect();
        return Err(Failure::usage(format!("Command must include exactly one action: {}", list.join(", "))));
    };
    match (options.has("bootstrap-server"), options.has("bootstrap-controller")) {
        (true, true) => {
            return Err(Failure::usage("Please don't specify both --bootstrap-server and --bootstrap-controller"));
        }
        (false, false) => {
            return Err(Failure::usage("Please specify either --bootstrap-server or --bootstrap-controller"));
        }
        _ => {}
    }
    let (required, permitted): (&[&str], &[&str]) = match action {
        "verify" => (&["reassignment-json-file"], &["bootstrap-server", "preserve-throttles"]),
        "generate" => {
            (&["topics-to-move-json-file", "broker-list"], &["bootstrap-server", "broker-list", "disable-rack-aware"])
        }
        "execute" => (
            &["reassignment-json-file"],
            &[
                "additional",
                "bootstrap-server",
                "throttle",
                "replica-alter-log-dirs-throttle",
                "timeout",
                "disallow-replication-factor-change",
            ],
        ),
        "cancel" => (
            &["reassignment-json-file"],
            &["bootstrap-server", "bootstrap-controller", "preserve-throttles", "timeout"],
        ),
        _ => (&[], &["bootstrap-server", "bootstrap-controller"]),
    };
    for name in required {
        options.required(name)?;
    }
    let may = |name: &&str| {
        *name == action || *name == "command-config" || required.contains(name) || permitted.contains(name)
    };
    if let Some(name) = options.order.iter().find(|name| !may(name)) {
        return Err(Failure::usage(format!("Option \"[{name}]\" can't be used with action \"[{action}]\"")));
    }
    Ok(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_go_from_what_is_to_what_is_added() {
        let name = |partition| ("a".to_owned(), partition);
        let under_way =
            BTreeMap::from([(name(0), Moving { replicas: vec![1, 2, 3], adding: vec![3], removing: vec![1] })]);
        let proposed = BTreeMap::from([(name(0), vec![2, 4]), (name(1), vec![2, 3])]);
        let current = BTreeMap::from([(name(1), vec![1, 2])]);
        let moves = moves(&under_way, &proposed, &current);
        assert_eq!(moves[&name(0)], (BTreeSet::from([1, 2]), BTreeSet::from([4])));
        assert_eq!(moves[&name(1)], (BTreeSet::from([1, 2]), BTreeSet::from([3])));
    }
}
