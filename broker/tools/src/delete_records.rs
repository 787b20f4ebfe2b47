//! kafka-delete-records: moves the start of partitions up to given offsets.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::DeleteRecordsRequest;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::ErrorCode;

use super::admin::{Partition, leaders, millis, shown, topic_name, topic_outcomes};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, json, properties};

const TIMEOUT: Duration = Duration::from_secs(60);

pub const TOOL: Tool = Tool {
    name: "delete-records",
    about: "This tool helps to delete records of the given partitions down to the specified offset.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server(s) to use for bootstrapping",
        "REQUIRED: The server to connect to.",
    ),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file path",
        "A file with properties for the connection.",
    ),
    flag(&["help"], "Print usage information."),
    value(
        &["offset-json-file"],
        Kind::Text,
        "Offset json file path",
        "REQUIRED: The offsets, as {\"partitions\": [{\"topic\": \"foo\", \"partition\": 1, \"offset\": 1}], \"version\": 1}.",
    ),
    flag(&["version"], "Display the version."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    options.required("bootstrap-server")?;
    let path = options.required("offset-json-file")?;
    let config = properties::of_connection(options.text("command-config"))?;
    let mut client = Client::connect(
        options.required("bootstrap-server")?,
        TIMEOUT,
        properties::client_id(&config, properties::ADMIN),
    )?;
    let offsets = read_offsets(&json::load(path)?)?;
    writeln!(out, "Executing records delete operation")?;
    let results = delete(&mut client, &offsets)?;
    writeln!(out, "Records delete operation completed:")?;
    for (partition, outcome) in results {
        let partition = shown(&partition);
        match outcome {
            Ok(low_watermark) => writeln!(out, "partition: {partition}\tlow_watermark: {low_watermark}")?,
            Err(failure) => writeln!(out, "partition: {partition}\terror: {}", failure.as_java())?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn read_offsets(file: &serde_json::Value) -> Result<BTreeMap<Partition, i64>, Failure> {
    let version: i64 = if file.get("version").is_some() { json::number(file, "version")? } else { 1 };
    if version != 1 {
        return Err(Failure::failed(format!("Not supported version field value {version}")));
    }
    if file.get("partitions").is_none() {
        return Err(Failure::failed("Missing partitions field"));
    }
    let mut offsets = BTreeMap::new();
    let mut duplicates = Vec::new();
    for entry in json::list(file, "partitions")? {
        let partition = (json::string(entry, "topic")?.to_owned(), json::number(entry, "partition")?);
        if offsets.insert(partition.clone(), json::number(entry, "offset")?).is_some() {
            duplicates.push(shown(&partition));
        }
    }
    if duplicates.is_empty() {
        Ok(offsets)
    } else {
        let list = duplicates.join(",");
        Err(Failure::failed(format!("Offset json file contains duplicate topic partitions: {list}")))
    }
}

fn delete(
    client: &mut Client,
    offsets: &BTreeMap<Partition, i64>,
) -> Result<BTreeMap<Partition, Result<i64, Failure>>, Failure> {
    let names = offsets.keys().map(|(topic, _)| topic.clone()).collect();
    let known = topic_outcomes(client, Some(&names))?;
    let leaders = leaders(&known.into_iter().filter_map(|(name, outcome)| Some((name, outcome.ok()?))).collect());
    let mut results = BTreeMap::new();
    let mut by_leader: BTreeMap<i32, BTreeMap<String, Vec<DeleteRecordsPartition>>> = BTreeMap::new();
    for (partition, offset) in offsets {
        match leaders.get(partition) {
            Some(leader) if *leader >= 0 => {
                let asked = DeleteRecordsPartition::default().with_partition_index(partition.1).with_offset(*offset);
                let topics = by_leader.entry(*leader).or_default();
                topics.entry(partition.0.clone()).or_default().push(asked);
            }
            Some(_) => {
                let failure = Failure::from_code(ErrorCode::LeaderNotAvailable.code(), None);
                results.insert(partition.clone(), Err(failure));
            }
            None => {
                let failure = Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), None);
                results.insert(partition.clone(), Err(failure));
            }
        }
    }
    for (leader, topics) in by_leader {
        let topics = topics.into_iter().map(|(name, partitions)| {
            DeleteRecordsTopic::default().with_name(topic_name(&name)).with_partitions(partitions)
        });
        let request = DeleteRecordsRequest::default().with_topics(topics.collect()).with_timeout_ms(millis(TIMEOUT));
        for topic in client.send(&Target::Node(leader), &request)?.topics {
            for partition in topic.partitions {
                let outcome = Failure::check(partition.error_code, None).map(|()| partition.low_watermark);
                results.insert((topic.name.to_string(), partition.partition_index), outcome);
            }
        }
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_lists_each_partition_once() {
        let read = |text: &str| read_offsets(&json::parse(text).unwrap());
        let good = read(r#"{"partitions":[{"topic":"a","partition":1,"offset":9}],"version":1}"#).unwrap();
        assert_eq!(good, BTreeMap::from([(("a".to_owned(), 1), 9)]));
        let twice = r#"{"partitions":[{"topic":"a","partition":1,"offset":9},{"topic":"a","partition":1,"offset":3}]}"#;
        assert_eq!(read(twice).unwrap_err().message, "Offset json file contains duplicate topic partitions: a-1");
        assert_eq!(read(r#"{"version":2}"#).unwrap_err().message, "Not supported version field value 2");
    }
}
