//! kafka-leader-election: preferred and unclean elections.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::ElectLeadersRequest;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use ottla_protocol::ErrorCode;

use super::admin::{Partition, by_topic, message, millis, shown, topic_name};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, json, properties};

pub const TOOL: Tool = Tool {
    name: "leader-election",
    about: "This tool attempts to elect a new leader for a set of topic partitions. The type of elections supported are \
            preferred replicas and unclean replicas.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["admin.config"], Kind::Text, "config file", "(DEPRECATED) See --command-config."),
    flag(&["all-topic-partitions"], "Elect for every partition that needs it."),
    value(&["bootstrap-server"], Kind::Text, "host:port", "REQUIRED: the brokers to connect to."),
    value(&["command-config"], Kind::Text, "Config file", "A file with properties for the connection."),
    value(&["election-type"], Kind::Text, "election type", "REQUIRED: preferred or unclean."),
    flag(&["help"], "Print usage information."),
    value(&["partition"], Kind::Int, "partition id", "REQUIRED with --topic."),
    value(
        &["path-to-json-file"],
        Kind::Text,
        "Path to JSON file",
        "The partitions, as {\"partitions\": [{\"topic\": \"foo\", \"partition\": 1}]}.",
    ),
    value(&["topic"], Kind::Text, "topic name", "The topic whose --partition needs a leader."),
    flag(&["version"], "Display the version."),
];

const TIMEOUT: Duration = Duration::from_secs(30);

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let (name, election_type) = check(options)?;
    let partitions = partitions(options)?;
    if options.has("admin.config") {
        writeln!(
            out,
            "Option --admin.config has been deprecated and will be removed in a future version. Use --command-config \
             instead."
        )?;
    }
    let config = properties::of_connection(options.text("admin.config").or(options.text("command-config")))?;
    let mut client = Client::connect(
        options.required("bootstrap-server")?,
        TIMEOUT,
        properties::client_id(&config, properties::ADMIN),
    )?;
    let asked = partitions.map(|partitions| {
        let topics = by_topic(&partitions).into_iter();
        let topic = |(name, partitions): (String, Vec<i32>)| {
            TopicPartitions::default().with_topic(topic_name(&name)).with_partitions(partitions)
        };
        topics.map(topic).collect()
    });
    let response = client.send_with(&Target::Controller, |version| {
        let request =
            ElectLeadersRequest::default().with_topic_partitions(asked.clone()).with_timeout_ms(millis(TIMEOUT));
        if version >= 1 { request.with_election_type(election_type) } else { request }
    })?;
    refuse_whole(response.error_code, out)?;
    let mut succeeded = Vec::new();
    let mut needless = Vec::new();
    let mut failed = Vec::new();
    for topic in response.replica_election_results {
        for result in topic.partition_result {
            let partition = shown(&(topic.topic.to_string(), result.partition_id));
            match Failure::check(result.error_code, message(result.error_message.as_ref())) {
                Ok(()) => succeeded.push(partition),
                Err(failure) if failure.code == Some(ErrorCode::ElectionNotNeeded) => needless.push(partition),
                Err(failure) => failed.push((partition, failure)),
            }
        }
    }
    if !succeeded.is_empty() {
        writeln!(out, "Successfully completed leader election ({name}) for partitions {}", succeeded.join(", "))?;
    }
    if !needless.is_empty() {
        writeln!(out, "Valid replica already elected for partitions {}", needless.join(", "))?;
    }
    for (partition, failure) in &failed {
        let why = failure.as_java();
        writeln!(out, "Error completing leader election ({name}) for partition: {partition}: {why}")?;
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    out.flush()?;
    Err(Failure::failed(format!("{} replica(s) could not be elected", failed.len())))
}

fn check(options: &Options) -> Result<(&'static str, i8), Failure> {
    let missing: Vec<&str> =
        ["bootstrap-server", "election-type"].into_iter().filter(|name| !options.has(name)).collect();
    if !missing.is_empty() {
        return Err(Failure::failed(format!("Missing required option(s): {}", missing.join(", "))));
    }
    options.refuse_with("admin.config", &["command-config"])?;
    let choices = ["topic", "all-topic-partitions", "path-to-json-file"];
    if choices.iter().filter(|name| options.has(name)).count() != 1 {
        return Err(Failure::failed(format!(
            "One and only one of the following options is required: {}",
            choices.join(", ")
        )));
    }
    if options.has("topic") && !options.has("partition") {
        return Err(Failure::failed("Missing required option(s): partition"));
    }
    if !options.has("topic") && options.has("partition") {
        return Err(Failure::failed("Option partition is only allowed if topic is used"));
    }
    let asked = options.text("election-type").unwrap_or_default();
    match asked.to_ascii_lowercase().as_str() {
        "preferred" => Ok(("PREFERRED", 0)),
        "unclean" => Ok(("UNCLEAN", 1)),
        _ => Err(Failure::failed(format!("Cannot parse argument '{asked}' of option election-type"))),
    }
}

fn partitions(options: &Options) -> Result<Option<BTreeSet<Partition>>, Failure> {
    if let (Some(topic), Some(partition)) = (options.text("topic"), options.number("partition")) {
        return Ok(Some(BTreeSet::from([(topic.to_owned(), partition)])));
    }
    let Some(path) = options.text("path-to-json-file") else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| Failure::failed(format!("{path}: {error}")))?;
    let file = json::parse(&text).map_err(|_| Failure::failed("Replica election data is empty"))?;
    if file.get("partitions").is_none() {
        return Err(Failure::failed("Replica election data is missing \"partitions\" field"));
    }
    let mut partitions = BTreeSet::new();
    let mut repeated = Vec::new();
    for entry in json::list(&file, "partitions")? {
        let partition = (json::string(entry, "topic")?.to_owned(), json::number(entry, "partition")?);
        if partitions.contains(&partition) {
            repeated.push(shown(&partition));
        }
        partitions.insert(partition);
    }
    if repeated.is_empty() {
        Ok(Some(partitions))
    } else {
        Err(Failure::failed(format!("Replica election data contains duplicate partitions: [{}]", repeated.join(", "))))
    }
}

fn refuse_whole(code: i16, out: &mut dyn Write) -> Result<(), Failure> {
    let Err(failure) = Failure::check(code, None) else { return Ok(()) };
    let text = match failure.code {
        Some(ErrorCode::RequestTimedOut) => "Timeout waiting for election results",
        Some(ErrorCode::ClusterAuthorizationFailed) => "Not authorized to perform leader election",
        _ => return Err(Failure::failed(format!("java.util.concurrent.ExecutionException: {}", failure.as_java()))),
    };
    writeln!(out, "{text}")?;
    Err(Failure::failed(text))
}
