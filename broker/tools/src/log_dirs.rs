//! kafka-log-dirs: what lies in the log directories of brokers, as JSON.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::DescribeLogDirsRequest;
use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use ottla_protocol::ErrorCode;

use super::client::{Client, Target};
use super::failure::exception_name;
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool {
    name: "log-dirs",
    about: "This tool helps to query log directory usage on the specified brokers.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["bootstrap-server"],
        Kind::Text,
        "The server(s) to use for bootstrapping",
        "REQUIRED: The brokers to connect to.",
    ),
    value(&["broker-list"], Kind::Text, "Broker list", "Only these brokers, as '0,1,2'. (default: all)"),
    value(&["command-config"], Kind::Text, "Admin client property file", "A file with properties for the connection."),
    flag(&["describe"], "Describe the log directories."),
    flag(&["help"], "Print usage information."),
    value(&["topic-list"], Kind::Text, "Topic list", "Only these topics, as 'topic1,topic2'. (default: all)"),
    flag(&["version"], "Display the version."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let bootstrap = options.required("bootstrap-server")?;
    if !options.has("describe") {
        return Err(Failure::usage("Missing required argument \"[describe]\""));
    }
    let config = properties::of_connection(options.text("command-config"))?;
    let words = |name: &str| -> BTreeSet<&str> {
        options.text(name).unwrap_or_default().split(',').filter(|word| !word.is_empty()).collect()
    };
    let topics = words("topic-list");
    let wanted: BTreeSet<i32> = words("broker-list")
        .into_iter()
        .map(|word| word.parse().map_err(|_| Failure::failed(format!("For input string: \"{word}\""))))
        .collect::<Result<_, _>>()?;
    let mut client =
        Client::connect(bootstrap, Duration::from_secs(60), properties::client_id(&config, "log-dirs-tool"))?;
    let present: BTreeSet<i32> = client.brokers().keys().copied().collect();
    let listed = |ids: &BTreeSet<i32>| ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
    let absent: BTreeSet<i32> = wanted.difference(&present).copied().collect();
    if !absent.is_empty() {
        return Err(Failure::failed(format!(
            "ERROR: The given brokers do not exist from --broker-list: {}. Current existent brokers: {}",
            listed(&absent),
            listed(&present)
        )));
    }
    let asked = if wanted.is_empty() { present } else { wanted };
    writeln!(out, "Querying brokers for log directories information")?;
    let mut brokers = Vec::new();
    for broker in &asked {
        let request = DescribeLogDirsRequest::default().with_topics(None);
        let response = client.send(&Target::Node(*broker), &request)?;
        Failure::check(response.error_code, None)?;
        let folders: Vec<String> = response.results.iter().map(|folder| folder_json(folder, &topics)).collect();
        brokers.push(format!("{{\"broker\":{broker},\"logDirs\":[{}]}}", folders.join(",")));
    }
    writeln!(out, "Received log directory information from brokers {}", listed(&asked))?;
    // The members stand in the order in which Kafka's tool writes them: some scripts cut this text without parsing it.
    writeln!(out, "{{\"brokers\":[{}],\"version\":1}}", brokers.join(","))?;
    Ok(ExitCode::SUCCESS)
}

fn folder_json(folder: &DescribeLogDirsResult, topics: &BTreeSet<&str>) -> String {
    let mut partitions = Vec::new();
    for topic in folder.topics.iter().filter(|topic| topics.is_empty() || topics.contains(topic.name.as_str())) {
        for partition in &topic.partitions {
            let name = format!("{}-{}", topic.name.as_str(), partition.partition_index);
            partitions.push(format!(
                "{{\"partition\":{},\"size\":{},\"offsetLag\":{},\"isFuture\":{}}}",
                quoted(&name),
                partition.partition_size,
                partition.offset_lag,
                partition.is_future_key
            ));
        }
    }
    let error = match ErrorCode::from_code(folder.error_code) {
        Some(ErrorCode::None) => "null".to_owned(),
        code => {
            let name = exception_name(code.unwrap_or(ErrorCode::UnknownServerError));
            quoted(&format!("org.apache.kafka.common.errors.{name}"))
        }
    };
    let (list, path) = (partitions.join(","), quoted(&folder.log_dir));
    format!("{{\"partitions\":[{list}],\"error\":{error},\"logDir\":{path}}}")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
