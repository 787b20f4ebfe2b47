//! kafka-get-offsets: the offsets of partitions at a time, or at one of the ends of the log.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

const TIMEOUT: Duration = Duration::from_secs(60);
const UNKNOWN_OFFSET: i64 = -1;

pub const TOOL: Tool =
    Tool { name: "get-offsets", about: "An interactive shell for getting topic-partition offsets.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "HOST1:PORT1,...,HOST3:PORT3", "REQUIRED. The brokers to connect to."),
    value(&["command-config"], Kind::Text, "config file", "A file with properties for the connection."),
    flag(&["exclude-internal-topics"], "Leave the internal topics out."),
    flag(&["help"], "Print usage information."),
    value(&["partitions"], Kind::Text, "partition ids", "Only these partitions, separated by commas."),
    value(
        &["time"],
        Kind::Text,
        "<timestamp> / -1 or latest / -2 or earliest / -3 or max-timestamp / -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload",
        "The time to look for, in milliseconds, or one of the names. (default: latest)",
    ),
    value(&["topic"], Kind::Text, "topic", "Only topics that match this regular expression."),
    value(
        &["topic-partitions"],
        Kind::Text,
        "topic1:1,topic2:0-3,topic3,topic4:5-,topic5:-3",
        "Patterns of topics with a partition, a range of partitions, or all of them.",
    ),
    flag(&["version"], "Display the version."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let bootstrap = options.required("bootstrap-server")?;
    let mut client = None;
    let outcome = (|| -> Result<Vec<String>, Failure> {
        if options.has("topic-partitions") && (options.has("topic") || options.has("partitions")) {
            return Err(Failure::failed("--topic-partitions cannot be used with --topic or --partitions"));
        }
        let time = parse_time(options.text("time").unwrap_or("latest"))?;
        let filters = filters(options)?;
        // Kafka's tool goes by this name whatever its file says.
        properties::of_connection(options.text("command-config"))?;
        let client = client.insert(Client::connect(bootstrap, TIMEOUT, "GetOffsetShell")?);
        offsets(client, options, &filters, time)
    })();
    match outcome {
        Ok(lines) => {
            for line in lines {
                writeln!(out, "{line}")?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            eprintln!("Error occurred: {}", failure.message);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Which partitions of which topics.
struct Filter {
    topic: regex::Regex,
    partitions: Partitions,
}

enum Partitions {
    All,
    Listed(Vec<i32>),
    /// From the first (inclusive) to the second (exclusive).
    Range(i32, i32),
}

impl Filter {
    fn takes(&self, topic: &str, partition: i32) -> bool {
        self.topic.is_match(topic)
            && match &self.partitions {
                Partitions::All => true,
                Partitions::Listed(ids) => ids.contains(&partition),
                Partitions::Range(from, to) => (*from..*to).contains(&partition),
            }
    }
}

fn filters(options: &Options) -> Result<Vec<Filter>, Failure> {
    if let Some(rules) = options.text("topic-partitions") {
        return rules.split(',').map(parse_rule).collect();
    }
    let partitions = match options.text("partitions").filter(|list| !list.is_empty()) {
        None => Partitions::All,
        Some(list) => {
            let ids: Result<Vec<i32>, _> = list.split(',').map(str::parse).collect();
            Partitions::Listed(ids.map_err(|_| {
                Failure::failed(format!(
                    "--partitions expects a comma separated list of numeric partition ids, but received: {list}"
                ))
            })?)
        }
    };
    Ok(vec![Filter { topic: topic_pattern(options.text("topic").unwrap_or(".*"))?, partitions }])
}

fn topic_pattern(text: &str) -> Result<regex::Regex, Failure> {
    let pattern = text.trim().replace(',', "|").replace(' ', "");
    regex::Regex::new(&format!("^(?:{pattern})$")).map_err(|_| Failure::failed(format!("{text} is an invalid regex.")))
}

/// `TOPIC`, `TOPIC:1`, `TOPIC:1-3`, `TOPIC:1-`, `TOPIC:-3`; the topic may be left out.
fn parse_rule(rule: &str) -> Result<Filter, Failure> {
    let invalid =
        || Failure::failed(format!("org.apache.kafka.tools.TerseException: Invalid rule specification: {rule}"));
    let (topic, partitions) = rule.split_once(':').unwrap_or((rule, ""));
    let number = |text: &str, missing: i32| -> Result<i32, Failure> {
        if text.is_empty() { Ok(missing) } else { text.parse().map_err(|_| invalid()) }
    };
    let partitions = match partitions.split_once('-') {
        None if partitions.is_empty() => Partitions::All,
        None => Partitions::Listed(vec![number(partitions, 0)?]),
        Some((from, to)) => Partitions::Range(number(from, 0)?, number(to, i32::MAX)?),
    };
    Ok(Filter { topic: topic_pattern(if topic.is_empty() { ".*" } else { topic })?, partitions })
}

fn parse_time(text: &str) -> Result<i64, Failure> {
    match text {
        "latest" => Ok(-1),
        "earliest" => Ok(-2),
        "max-timestamp" => Ok(-3),
        "earliest-local" => Ok(-4),
        "latest-tiered" => Ok(-5),
        "earliest-pending-upload" => Ok(-6),
        number => number.parse().map_err(|_| {
            Failure::failed(format!(
                "Malformed time argument {number}. Please use -1 or latest / -2 or earliest / -3 or max-timestamp / \
                 -4 or earliest-local / -5 or latest-tiered / -6 or earliest-pending-upload, or a specified long format \
                 timestamp"
            ))
        }),
    }
}

fn offsets(client: &mut Client, options: &Options, filters: &[Filter], time: i64) -> Result<Vec<String>, Failure> {
    let request = MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
    let metadata = client.send(&Target::Any, &request)?;
    let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<i32>>> = BTreeMap::new();
    for topic in &metadata.topics {
        let Some(name) = topic.name.as_ref().map(|name| name.to_string()) else { continue };
        if topic.is_internal && options.has("exclude-internal-topics") {
            continue;
        }
        for partition in &topic.partitions {
            if filters.iter().any(|filter| filter.takes(&name, partition.partition_index)) {
                let topics = by_leader.entry(partition.leader_id.0).or_default();
                topics.entry(name.clone()).or_default().push(partition.partition_index);
            }
        }
    }
    if by_leader.is_empty() {
        return Err(Failure::failed("Could not match any topic-partitions with the specified filters"));
    }
    // Sorted as text, since that is how the lines have always been sorted.
    let mut lines = BTreeMap::new();
    for (leader, topics) in by_leader {
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default().with_name(TopicName(StrBytes::from_string(name))).with_partitions(
                partitions
                    .into_iter()
                    .map(|index| ListOffsetsPartition::default().with_partition_index(index).with_timestamp(time))
                    .collect(),
            )
        });
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics.collect());
        let response = client.send(&Target::Node(leader), &request)?;
        for topic in response.topics {
            for partition in topic.partitions {
                let name = format!("{}-{}", topic.name.as_str(), partition.partition_index);
                if let Err(failure) = Failure::check(partition.error_code, None) {
                    eprintln!("Skip getting offsets for topic-partition {name} due to error: {}", failure.as_java());
                } else if partition.offset != UNKNOWN_OFFSET {
                    let line = format!("{}:{}:{}", topic.name.as_str(), partition.partition_index, partition.offset);
                    lines.insert(name, line);
                }
            }
        }
    }
    Ok(lines.into_values().collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rules_name_topics_and_ranges() {
        let rule = parse_rule("topic2:0-3").unwrap();
        assert!(rule.takes("topic2", 0) && rule.takes("topic2", 2) && !rule.takes("topic2", 3));
        assert!(!rule.takes("topic22", 0));
        assert!(parse_rule(":5-").unwrap().takes("any", 7));
        assert!(parse_rule("t:-3").unwrap().takes("t", 2));
        assert!(parse_rule("t").unwrap().takes("t", 99));
        assert!(parse_rule("t:x").is_err());
        assert!(parse_time("soon").is_err());
        assert_eq!(parse_time("-2").unwrap(), -2);
    }
}
