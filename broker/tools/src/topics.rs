//! kafka-topics: create, list, describe, alter and delete topics.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, ListPartitionReassignmentsRequest,
    MetadataRequest, TopicName,
};
use kafka_protocol::messages::{describe_topic_partitions_request, describe_topic_partitions_response};
use kafka_protocol::protocol::StrBytes;
use ottla_protocol::{ErrorCode, ids};

use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, key_values, value};
use super::{Failure, Tool, properties};

const ABOUT: &str = "This tool helps to create, delete, describe, or change a topic.";
const TIMEOUT: Duration = Duration::from_secs(60);

pub const TOOL: Tool = Tool { name: "topics", about: ABOUT, specs: SPECS, run };

const SPECS: &[Spec] = &[
    flag(&["alter"], "Change the number of partitions and the replica assignment of a topic."),
    flag(&["at-min-isr-partitions"], "With --describe: only partitions whose ISR is exactly the configured minimum."),
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server to connect to",
        "REQUIRED: the brokers to connect to, host:port,...",
    ),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    value(
        &["config"],
        Kind::Text,
        "name=value",
        "With --create: a topic config that differs from the default; repeatable.",
    ),
    flag(&["create"], "Create a topic."),
    flag(&["delete"], "Delete a topic."),
    value(&["delete-config"], Kind::Text, "name", "Not supported any longer (since 4.0)."),
    flag(&["describe"], "Show the details of topics."),
    flag(&["exclude-internal"], "With --list or --describe: leave the internal topics out."),
    flag(&["help"], "Print usage information."),
    flag(&["if-exists"], "With --alter, --delete or --describe: a missing topic is no error."),
    flag(&["if-not-exists"], "With --create: an existing topic is no error."),
    flag(&["list"], "List all topics."),
    value(
        &["partition-size-limit-per-response"],
        Kind::Int,
        "maximum number of partitions per response",
        "How many partitions one answer of the broker may carry.",
    ),
    value(&["partitions"], Kind::Int, "# of partitions", "The number of partitions to create or to grow to."),
    value(
        &["replica-assignment"],
        Kind::Text,
        "broker_id_for_part1_replica1 : broker_id_for_part1_replica2 , ...",
        "Replicas by hand, partitions separated by commas.",
    ),
    value(&["replication-factor"], Kind::Int, "replication factor", "With --create: replicas of each partition."),
    value(&["topic"], Kind::Text, "topic", "The topic; a regular expression, except with --create."),
    value(&["topic-id"], Kind::Text, "topic-id", "With --describe: the topic with this id."),
    flag(&["topics-with-overrides"], "With --describe: only topics with configs of their own."),
    flag(&["unavailable-partitions"], "With --describe: only partitions without a live leader."),
    flag(&["under-min-isr-partitions"], "With --describe: only partitions whose ISR is below the configured minimum."),
    flag(&["under-replicated-partitions"], "With --describe: only partitions with replicas out of sync."),
    flag(&["version"], "Display the version."),
];

const ACTIONS: [&str; 5] = ["create", "list", "alter", "describe", "delete"];
const REPORTS: [&str; 4] =
    ["under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    check(options)?;
    let bootstrap =
        options.text("bootstrap-server").ok_or_else(|| Failure::failed("--bootstrap-server must be specified"))?;
    let work = || -> Result<Vec<u8>, Failure> {
        let mut lines = Vec::new();
        let config = properties::of_connection(options.text("command-config"))?;
        let mut client = Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, properties::ADMIN))?;
        match ACTIONS.iter().find(|action| options.has(action)) {
            Some(&"create") => create(&mut client, options, &mut lines)?,
            Some(&"list") => list(&mut client, options, &mut lines)?,
            Some(&"alter") => alter(&mut client, options)?,
            Some(&"describe") => describe(&mut client, options, &mut lines)?,
            _ => delete(&mut client, options)?,
        }
        Ok(lines)
    };
    match work() {
        Ok(lines) => {
            out.write_all(&lines)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            writeln!(out, "Error while executing topic command : {}", failure.message)?;
            let class = if failure.code.is_none() { "java.lang.IllegalArgumentException: " } else { "" };
            eprintln!("{class}{}", failure.as_java());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn check(options: &Options) -> Result<(), Failure> {
    if ACTIONS.iter().filter(|action| options.has(action)).count() != 1 {
        return Err(Failure::usage(
            "Command must include exactly one action: --list, --describe, --create, --alter or --delete",
        ));
    }
    if options.has("delete-config") {
        eprintln!(
            "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in \
             future releases."
        );
    }
    if options.has("describe") && options.has("if-exists") && !options.has("topic") && !options.has("topic-id") {
        return Err(Failure::usage("--topic or --topic-id is required to describe a topic"));
    }
    if !options.has("list") && !options.has("describe") {
        options.required("topic")?;
    }
    if options.has("alter") {
        if options.has("config") && options.has("bootstrap-server") {
            return Err(Failure::usage(
                "Option combination \"[[config], [bootstrap-server]]\" can't be used with option \"[alter]\" (To alter topic \
                 configurations, the kafka-configs tool can be used.)",
            ));
        }
        options.required("partitions")?;
    }
    only_with(options, "config", &["alter", "create"])?;
    only_with(options, "partitions", &["alter", "create"])?;
    only_with(options, "replication-factor", &["create"])?;
    only_with(options, "replica-assignment", &["alter", "create"])?;
    if options.has("create") {
        options.refuse_with("replica-assignment", &["partitions", "replication-factor"])?;
    }
    for report in REPORTS {
        only_with(options, report, &["describe"])?;
        options.refuse_with(report, &["topics-with-overrides"])?;
    }
    only_with(options, "topics-with-overrides", &["describe"])?;
    only_with(options, "if-exists", &["alter", "delete", "describe"])?;
    only_with(options, "if-not-exists", &["create"])?;
    only_with(options, "exclude-internal", &["list", "describe"])
}

fn only_with(options: &Options, used: &str, allowed: &[&str]) -> Result<(), Failure> {
    let others: Vec<&str> = ACTIONS.into_iter().filter(|action| !allowed.contains(action)).collect();
    options.refuse_with(used, &others)
}

fn create(client: &mut Client, options: &Options, out: &mut Vec<u8>) -> Result<(), Failure> {
    let name = options.required("topic")?;
    if name.contains(['.', '_']) {
        writeln!(
            out,
            "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. \
             To avoid issues it is best to use either, but not both."
        )?;
    }
    let replication = options.number::<i32>("replication-factor");
    if replication.is_some_and(|factor| !(1..=i32::from(i16::MAX)).contains(&factor)) {
        return Err(Failure::failed("The replication factor must be between 1 and 32767 inclusive"));
    }
    let partitions = options.number::<i32>("partitions");
    if partitions.is_some_and(|count| count < 1) {
        return Err(Failure::failed("The partitions must be greater than 0"));
    }
    let configs = key_values(options.all("config"));
    if options.all("config").iter().any(|pair| !pair.contains('=')) {
        return Err(Failure::failed(
            "requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".",
        ));
    }
    let assignment = replica_assignment(options.text("replica-assignment").unwrap_or_default())?;
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions.filter(|_| assignment.is_empty()).unwrap_or(-1))
        .with_replication_factor(replication.and_then(|factor| i16::try_from(factor).ok()).unwrap_or(-1))
        .with_assignments(
            assignment
                .into_iter()
                .map(|(partition, brokers)| {
                    CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(brokers)
                })
                .collect(),
        )
        .with_configs(
            configs
                .into_iter()
                .map(|(key, value)| {
                    CreatableTopicConfig::default().with_name(text(&key)).with_value(Some(text(&value)))
                })
                .collect(),
        );
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(millis(TIMEOUT));
    let response = client.send(&Target::Controller, &request)?;
    for topic in response.topics {
        let outcome = Failure::check(topic.error_code, topic.error_message.map(|message| message.to_string()));
        match outcome {
            Err(failure) if failure.code == Some(ErrorCode::TopicAlreadyExists) && options.has("if-not-exists") => {}
            Err(failure) => return Err(failure),
            Ok(()) => writeln!(out, "Created topic {name}.")?,
        }
    }
    Ok(())
}

fn list(client: &mut Client, options: &Options, out: &mut Vec<u8>) -> Result<(), Failure> {
    let names = matching(client, options)?.into_keys().collect::<Vec<_>>().join("\n");
    writeln!(out, "{names}")?;
    Ok(())
}

fn delete(client: &mut Client, options: &Options) -> Result<(), Failure> {
    let topics = existing(client, options)?;
    if topics.is_empty() {
        return Ok(());
    }
    let response = client.send_with(&Target::Controller, |version| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(millis(TIMEOUT));
        if version >= 6 {
            let states = topics.keys().map(|name| DeleteTopicState::default().with_name(Some(topic_name(name))));
            request.with_topics(states.collect())
        } else {
            request.with_topic_names(topics.keys().map(|name| topic_name(name)).collect())
        }
    })?;
    for topic in response.responses {
        Failure::check(topic.error_code, topic.error_message.map(|message| message.to_string()))?;
    }
    Ok(())
}

fn alter(client: &mut Client, options: &Options) -> Result<(), Failure> {
    let topics = existing(client, options)?;
    let count = options.number::<i32>("partitions").unwrap_or(0);
    let assignment = replica_assignment(options.text("replica-assignment").unwrap_or_default())?;
    let topics: Vec<CreatePartitionsTopic> = topics
        .iter()
        .map(|(name, topic)| {
            let added = (!assignment.is_empty()).then(|| {
                let brokers = assignment.values().skip(topic.partitions.len()).cloned();
                brokers.map(|brokers| CreatePartitionsAssignment::default().with_broker_ids(brokers)).collect()
            });
            CreatePartitionsTopic::default().with_name(topic_name(name)).with_count(count).with_assignments(added)
        })
        .collect();
    if topics.is_empty() {
        return Ok(());
    }
    let request = CreatePartitionsRequest::default().with_topics(topics).with_timeout_ms(millis(TIMEOUT));
    for result in client.send(&Target::Controller, &request)?.results {
        Failure::check(result.error_code, result.error_message.map(|message| message.to_string()))?;
    }
    Ok(())
}

/// What DescribeTopicPartitions knows and Metadata does not; `None` means that the broker could not say.
struct Eligible {
    elr: Option<Vec<BrokerId>>,
    last_known_elr: Option<Vec<BrokerId>>,
}

fn describe(client: &mut Client, options: &Options, out: &mut Vec<u8>) -> Result<(), Failure> {
    let wanted_id = options.text("topic-id").and_then(ids::decode_uuid).filter(|id| !id.is_nil());
    let topics = match wanted_id {
        Some(id) => {
            let all = all_topics(client)?;
            let found: BTreeMap<String, MetadataResponseTopic> =
                all.into_iter().filter(|(_, topic)| topic.topic_id == id).collect();
            if found.is_empty() && !options.has("if-exists") {
                // As Kafka writes it: the last letter of an id has bits to spare.
                let id = ids::encode_uuid(id);
                return Err(Failure::failed(format!("TopicId '{id}' does not exist as expected")));
            }
            found
        }
        None => existing(client, options)?,
    };
    if topics.is_empty() {
        return Ok(());
    }
    let eligible = eligible_replicas(client, options, &topics)?;
    let configs = configs_of(client, topics.keys())?;
    let reassignments = ongoing_reassignments(client);
    let live: Vec<i32> = client.brokers().keys().copied().collect();
    let reports: Vec<&str> = REPORTS.into_iter().filter(|report| options.has(report)).collect();
    for (name, topic) in &topics {
        let no_configs = Vec::new();
        let entries = configs.get(name).unwrap_or(&no_configs);
        let overrides: Vec<String> = entries
            .iter()
            .filter(|entry| !entry.is_default)
            .map(|entry| format!("{}={}", entry.name, entry.value))
            .collect();
        let mut partitions: Vec<&MetadataResponsePartition> = topic.partitions.iter().collect();
        partitions.sort_by_key(|partition| partition.partition_index);
        let moving = |partition: i32| reassignments.get(&(name.clone(), partition));
        if reports.is_empty() && (!options.has("topics-with-overrides") || !overrides.is_empty()) {
            write!(out, "Topic: {name}")?;
            if !topic.topic_id.is_nil() {
                write!(out, "\tTopicId: {}", ids::encode_uuid(topic.topic_id))?;
            }
            let factor = partitions.first().map_or(0, |first| replication_factor(first, moving(first.partition_index)));
            writeln!(
                out,
                "\tPartitionCount: {}\tReplicationFactor: {factor}\tConfigs: {}",
                partitions.len(),
                overrides.join(",")
            )?;
        }
        if options.has("topics-with-overrides") {
            continue;
        }
        let min_isr = entries
            .iter()
            .find(|entry| entry.name == "min.insync.replicas")
            .and_then(|entry| entry.value.parse::<usize>().ok())
            .unwrap_or(1);
        for partition in partitions {
            let moving = moving(partition.partition_index);
            let leader = (partition.leader_id.0 >= 0).then_some(partition.leader_id.0);
            let isr = partition.isr_nodes.len();
            let is_reported = reports.is_empty()
                || reports.iter().any(|report| match *report {
                    "under-replicated-partitions" => replication_factor(partition, moving) > isr,
                    "under-min-isr-partitions" => leader.is_none() || isr < min_isr,
                    "at-min-isr-partitions" => isr == min_isr,
                    _ => leader.is_none_or(|leader| !live.contains(&leader)),
                });
            if is_reported {
                let eligible = eligible.get(&(name.clone(), partition.partition_index));
                print_partition(out, name, partition, moving, eligible)?;
            }
        }
    }
    Ok(())
}

fn print_partition(
    out: &mut Vec<u8>,
    name: &str,
    partition: &MetadataResponsePartition,
    moving: Option<&OngoingPartitionReassignment>,
    eligible: Option<&Eligible>,
) -> Result<(), Failure> {
    let leader = if partition.leader_id.0 >= 0 { partition.leader_id.0.to_string() } else { "none".into() };
    write!(
        out,
        "\tTopic: {name}\tPartition: {}\tLeader: {leader}\tReplicas: {}\tIsr: {}",
        partition.partition_index,
        joined(&partition.replica_nodes),
        joined(&partition.isr_nodes)
    )?;
    if let Some(moving) = moving {
        let (adding, removing) = (joined(&moving.adding_replicas), joined(&moving.removing_replicas));
        write!(out, "\tAdding Replicas: {adding}\tRemoving Replicas: {removing}")?;
    }
    let shown = |list: Option<&Vec<BrokerId>>| list.map_or_else(|| "N/A".to_owned(), |brokers| joined(brokers));
    let elr = shown(eligible.and_then(|known| known.elr.as_ref()));
    let last_known = shown(eligible.and_then(|known| known.last_known_elr.as_ref()));
    writeln!(out, "\tElr: {elr}\tLastKnownElr: {last_known}")?;
    Ok(())
}

fn joined(brokers: &[BrokerId]) -> String {
    brokers.iter().map(|broker| broker.0.to_string()).collect::<Vec<_>>().join(",")
}

fn replication_factor(partition: &MetadataResponsePartition, moving: Option<&OngoingPartitionReassignment>) -> usize {
    match moving {
        Some(moving) if !moving.adding_replicas.is_empty() || !moving.removing_replicas.is_empty() => {
            moving.replicas.len() - moving.adding_replicas.len().min(moving.replicas.len())
        }
        _ => partition.replica_nodes.len(),
    }
}

fn all_topics(client: &mut Client) -> Result<BTreeMap<String, MetadataResponseTopic>, Failure> {
    let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    let response = client.send(&Target::Any, &request)?;
    Ok(response.topics.into_iter().filter_map(|topic| Some((topic.name.as_ref()?.to_string(), topic))).collect())
}

/// The topics that `--topic` (a regular expression; a comma separates alternatives) and `--exclude-internal` leave.
fn matching(client: &mut Client, options: &Options) -> Result<BTreeMap<String, MetadataResponseTopic>, Failure> {
    let pattern = options.text("topic").map(include_list).transpose()?;
    let mut topics = all_topics(client)?;
    topics.retain(|name, topic| {
        !(options.has("exclude-internal") && topic.is_internal)
            && pattern.as_ref().is_none_or(|pattern| pattern.is_match(name))
    });
    Ok(topics)
}

fn include_list(text: &str) -> Result<regex::Regex, Failure> {
    let pattern = text.trim().replace(',', "|").replace(' ', "");
    let pattern = pattern.trim_matches(|quote| quote == '"' || quote == '\'');
    regex::Regex::new(&format!("^(?:{pattern})$")).map_err(|_| Failure::failed(format!("{text} is an invalid regex.")))
}

fn existing(client: &mut Client, options: &Options) -> Result<BTreeMap<String, MetadataResponseTopic>, Failure> {
    let topics = matching(client, options)?;
    match options.text("topic") {
        Some(name) if topics.is_empty() && !name.is_empty() && !options.has("if-exists") => {
            Err(Failure::failed(format!("Topic '{name}' does not exist as expected")))
        }
        _ => Ok(topics),
    }
}

fn eligible_replicas(
    client: &mut Client,
    options: &Options,
    topics: &BTreeMap<String, MetadataResponseTopic>,
) -> Result<BTreeMap<(String, i32), Eligible>, Failure> {
    let limit = options.number::<i32>("partition-size-limit-per-response").unwrap_or(2000);
    let mut found = BTreeMap::new();
    let mut cursor = None;
    loop {
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(
                topics
                    .keys()
                    .map(|name| describe_topic_partitions_request::TopicRequest::default().with_name(topic_name(name)))
                    .collect(),
            )
            .with_response_partition_limit(limit)
            .with_cursor(cursor);
        let response: DescribeTopicPartitionsResponse = match client.send(&Target::Any, &request) {
            Ok(response) => response,
            Err(failure) if failure.code == Some(ErrorCode::UnsupportedVersion) => return Ok(found),
            Err(failure) => return Err(failure),
        };
        for topic in response.topics {
            let name = topic.name.map(|name| name.to_string()).unwrap_or_default();
            for partition in topic.partitions {
                let eligible =
                    Eligible { elr: partition.eligible_leader_replicas, last_known_elr: partition.last_known_elr };
                found.insert((name.clone(), partition.partition_index), eligible);
            }
        }
        cursor = match response.next_cursor {
            Some(describe_topic_partitions_response::Cursor { topic_name, partition_index, .. }) => {
                let next = describe_topic_partitions_request::Cursor::default();
                Some(next.with_topic_name(topic_name).with_partition_index(partition_index))
            }
            None => return Ok(found),
        };
    }
}

struct ConfigEntry {
    name: String,
    value: String,
    is_default: bool,
}

fn configs_of<'a>(
    client: &mut Client,
    topics: impl Iterator<Item = &'a String>,
) -> Result<BTreeMap<String, Vec<ConfigEntry>>, Failure> {
    const TOPIC: i8 = 2;
    const DEFAULT_CONFIG: i8 = 5;
    let resources = topics
        .map(|name| {
            let resource = DescribeConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(name));
            resource.with_configuration_keys(None)
        })
        .collect();
    let response = client.send(&Target::Any, &DescribeConfigsRequest::default().with_resources(resources))?;
    let mut found = BTreeMap::new();
    for result in response.results {
        Failure::check(result.error_code, result.error_message.map(|message| message.to_string()))?;
        let entries = result.configs.into_iter().map(|config| ConfigEntry {
            name: config.name.to_string(),
            value: config.value.map(|value| value.to_string()).unwrap_or_default(),
            is_default: config.config_source == DEFAULT_CONFIG,
        });
        found.insert(result.resource_name.to_string(), entries.collect());
    }
    Ok(found)
}

/// Moves that are under way. A cluster that cannot say has none to show.
fn ongoing_reassignments(client: &mut Client) -> BTreeMap<(String, i32), OngoingPartitionReassignment> {
    let request = ListPartitionReassignmentsRequest::default().with_topics(None).with_timeout_ms(millis(TIMEOUT));
    let Ok(response) = client.send(&Target::Controller, &request) else {
        return BTreeMap::new();
    };
    let mut found = BTreeMap::new();
    for topic in response.topics {
        for partition in topic.partitions {
            found.insert((topic.name.to_string(), partition.partition_index), partition);
        }
    }
    found
}

fn replica_assignment(list: &str) -> Result<BTreeMap<i32, Vec<BrokerId>>, Failure> {
    let mut assignment = BTreeMap::new();
    if list.is_empty() {
        return Ok(assignment);
    }
    for (partition, brokers) in (0..).zip(list.split(',')) {
        let mut replicas = Vec::new();
        for broker in brokers.split(':') {
            let id = broker.trim().parse().map_err(|_| Failure::failed(format!("For input string: \"{broker}\"")))?;
            if replicas.contains(&BrokerId(id)) {
                return Err(Failure::failed(format!(
                    "Partition replica lists may not contain duplicate entries: {id}"
                )));
            }
            replicas.push(BrokerId(id));
        }
        let first: &Vec<BrokerId> = assignment.entry(0).or_insert_with(|| replicas.clone());
        if first.len() != replicas.len() {
            return Err(Failure::failed(format!(
                "Partition {partition} has different replication factor: [{}]",
                replicas.iter().map(|broker| broker.0.to_string()).collect::<Vec<_>>().join(", ")
            )));
        }
        assignment.insert(partition, replicas);
    }
    Ok(assignment)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
