//! kafka-verifiable-consumer: reads a topic in a group and tells of every step as a line of JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::console_consumer::stop_on_signals;
use super::fetcher::{Fetched, Fetcher, Start};
use super::group_member::GroupMember;
use super::options::{Kind, Options, Spec, flag, value};
use super::outage::Outage;
use super::verifiable_producer::tell;
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool {
    name: "verifiable-consumer",
    about: "This tool consumes messages from a specific topic and emits consumer events (e.g. group rebalances, received \
            messages, and offsets committed) as JSON objects to STDOUT.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["assignment-strategy"], Kind::Text, "ASSIGNMENT-STRATEGY", "Only the range assignor is built in."),
    value(&["bootstrap-server"], Kind::Text, "HOST1:PORT1,...", "REQUIRED: The server(s) to connect to."),
    value(&["command-config"], Kind::Text, "CONFIG-FILE", "A file with consumer properties."),
    value(&["consumer.config"], Kind::Text, "CONFIG-FILE", "(DEPRECATED) See --command-config."),
    flag(&["enable-autocommit"], "Offsets are committed when the consumer ends, not after each batch."),
    value(&["group-id"], Kind::Text, "GROUP-ID", "REQUIRED: The consumer group."),
    value(&["group-instance-id"], Kind::Text, "GROUP-INSTANCE-ID", "A name that is kept across restarts."),
    value(&["group-protocol"], Kind::Text, "GROUP-PROTOCOL", "Only classic is built in."),
    value(&["group-remote-assignor"], Kind::Text, "GROUP-REMOTE-ASSIGNOR", "Only for the consumer protocol."),
    flag(&["help", "h"], "Print usage information."),
    value(&["max-messages"], Kind::Int, "MAX-MESSAGES", "How many; -1 is no end. (default: -1)"),
    value(&["reset-policy"], Kind::Text, "RESET-POLICY", "earliest, latest or none. (default: earliest)"),
    value(&["session-timeout"], Kind::Int, "TIMEOUT-MS", "How long the group waits for a heartbeat. (default: 30000)"),
    value(&["topic"], Kind::Text, "TOPIC", "REQUIRED: The topic to read."),
    flag(&["verbose"], "Tell of every record."),
];

/// Records of a partition that were read together.
struct Batch {
    count: u64,
    min_offset: i64,
    max_offset: i64,
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let required =
        |name: &str| options.text(name).ok_or_else(|| Failure::usage(format!("argument --{name} is required")));
    let topic = required("topic")?;
    let group = required("group-id")?;
    let bootstrap = options
        .text("bootstrap-server")
        .ok_or_else(|| Failure::usage("one of the arguments --bootstrap-server is required"))?;
    let reset = match options.text("reset-policy").unwrap_or("earliest") {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        "none" => None,
        other => {
            return Err(Failure::failed(format!(
                "Exception in thread \"main\" org.apache.kafka.common.config.ConfigException: Invalid value {other} for configuration \
                 auto.offset.reset"
            )));
        }
    };
    if options.text("group-protocol").is_some_and(|name| !name.eq_ignore_ascii_case("classic")) {
        return Err(Failure::failed("--group-protocol: only classic is built into this tool"));
    }
    if options.has("consumer.config") && options.has("command-config") {
        return Err(Failure::usage("Options --consumer.config and --command-config are mutually exclusive."));
    }
    if options.has("consumer.config") {
        writeln!(
            out,
            "Option --consumer.config has been deprecated and will be removed in a future version. Use --command-config instead."
        )?;
    }
    let config = properties::of_connection(options.text("consumer.config").or(options.text("command-config")))?;
    properties::refuse_group_protocol(&config)?;
    let is_stopping = stop_on_signals()?;
    // Kafka's tool names none, which leaves it to the consumer.
    let client_id = format!("consumer-{group}-{}", options.text("group-instance-id").unwrap_or("1"));
    let client_id = properties::client_id(&config, &client_id);
    let mut client = Client::connect(bootstrap, Duration::from_secs(30), client_id)?;
    tell(out, "startup_complete", &[])?;
    let session = options.number::<u64>("session-timeout").unwrap_or(30_000);
    let member = GroupMember::new(group)
        .with_instance_id(options.text("group-instance-id"))
        .with_session(Some(Duration::from_millis(session)));
    let mut reader = Reader { topic, reset, member, fetcher: Fetcher::new(false, reset), held: None };
    let outcome = reader.read(&mut client, options, &is_stopping, out);
    if is_stopping.load(Ordering::Relaxed) {
        tell(out, "shutdown_requested", &[])?;
    }
    if let Err(failure) = outcome {
        eprintln!("{}", failure.as_java());
    }
    let mut ended = Ok(());
    if options.has("enable-autocommit") {
        ended = reader.member.commit(&mut client, &reader.fetcher.consumed());
    }
    match ended.and_then(|()| reader.member.leave(&mut client)) {
        // The coordinator will miss the heartbeats.
        Err(failure) if failure.is_passing() => eprintln!("WARN {}", failure.as_java()),
        outcome => outcome?,
    }
    tell(out, "shutdown_complete", &[])?;
    // Kafka's tool tells from a shutdown hook, which runs at every end.
    if !is_stopping.load(Ordering::Relaxed) {
        tell(out, "shutdown_requested", &[])?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Reader<'a> {
    topic: &'a str,
    reset: Option<Start>,
    member: GroupMember,
    fetcher: Fetcher,
    /// Partitions that were told to be assigned; none while the group is to be joined (again).
    held: Option<BTreeSet<(String, i32)>>,
}

impl Reader<'_> {
    fn read(
        &mut self,
        client: &mut Client,
        options: &Options,
        is_stopping: &AtomicBool,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        let wanted = options.number::<i64>("max-messages").and_then(|count| u64::try_from(count).ok());
        let mut outage = Outage::default();
        let mut count = 0_u64;
        while !is_stopping.load(Ordering::Relaxed) && wanted.is_none_or(|wanted| count < wanted) {
            let first = match self.next(client, out) {
                Ok(first) => {
                    outage = Outage::default();
                    first
                }
                Err(failure) if failure.is_passing() => {
                    outage.wait_out(&failure);
                    self.fetcher.forget_leaders();
                    // If nobody answers, the next attempt will tell.
                    client.refresh().ok();
                    None
                }
                Err(failure) => return Err(failure),
            };
            let Some(first) = first else { continue };
            let mut batches: BTreeMap<(String, i32), Batch> = BTreeMap::new();
            let mut next = Some(first);
            while let Some(record) = next.take() {
                note(&mut batches, &record);
                if options.has("verbose") {
                    tell_record(out, &record)?;
                }
                count += 1;
                if wanted.is_none_or(|wanted| count < wanted) && self.fetcher.has_buffered() {
                    next = self.fetcher.next(client)?;
                }
            }
            self.tell_batches(client, options, &batches, out)?;
        }
        if wanted.is_some_and(|wanted| count >= wanted) {
            tell_raw(out, "partitions_revoked", &list(&self.held.take().unwrap_or_default()))?;
        }
        Ok(())
    }

    /// The next record, if one came in half a second. What failed is done again by the next call.
    fn next(&mut self, client: &mut Client, out: &mut dyn Write) -> Result<Option<Fetched>, Failure> {
        if self.held.is_some() && !self.member.heartbeat(client)? {
            tell_raw(out, "partitions_revoked", &list(&self.held.take().unwrap_or_default()))?;
        }
        if self.held.is_none() {
            self.held = Some(self.join(client, out)?);
        }
        self.fetcher.next(client)
    }

    fn join(&mut self, client: &mut Client, out: &mut dyn Write) -> Result<BTreeSet<(String, i32)>, Failure> {
        let partitions = self.member.join(client, &BTreeSet::from([self.topic.to_owned()]))?;
        let committed = self.member.committed(client, &partitions)?;
        let mut starts = BTreeMap::new();
        for partition in &partitions {
            let start = committed.get(partition).map(|offset| Start::At(*offset)).or(self.reset);
            let start = start.ok_or_else(|| {
                Failure::failed(format!(
                    "Undefined offset with no reset policy for partition {}-{}",
                    partition.0, partition.1
                ))
            })?;
            starts.insert(partition.clone(), start);
        }
        self.fetcher.assign(client, &starts)?;
        tell_raw(out, "partitions_assigned", &list(&partitions))?;
        Ok(partitions)
    }

    fn tell_batches(
        &mut self,
        client: &mut Client,
        options: &Options,
        batches: &BTreeMap<(String, i32), Batch>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        // The order of fields is that of Kafka's tool.
        let summary = |((topic, partition), batch): (&(String, i32), &Batch)| {
            format!(
                r#"{{"topic":{},"partition":{partition},"count":{},"minOffset":{},"maxOffset":{}}}"#,
                Value::from(topic.as_str()),
                batch.count,
                batch.min_offset,
                batch.max_offset
            )
        };
        let count: u64 = batches.values().map(|batch| batch.count).sum();
        let lines: Vec<String> = batches.iter().map(summary).collect();
        tell_raw(out, "records_consumed", &format!(r#""count":{count},"partitions":[{}]"#, lines.join(",")))?;
        if options.has("enable-autocommit") {
            return Ok(());
        }
        let offsets: BTreeMap<(String, i32), i64> =
            batches.iter().map(|(partition, batch)| (partition.clone(), batch.max_offset + 1)).collect();
        let outcome = self.member.commit(client, &offsets);
        let lines: Vec<String> = offsets
            .iter()
            .map(|((topic, partition), offset)| {
                format!(r#"{{"topic":{},"partition":{partition},"offset":{offset}}}"#, Value::from(topic.as_str()))
            })
            .collect();
        let end = match outcome {
            Ok(()) => r#""success":true"#.to_owned(),
            Err(failure) => format!(r#""error":{},"success":false"#, Value::from(failure.message)),
        };
        tell_raw(out, "offsets_committed", &format!(r#""offsets":[{}],{end}"#, lines.join(",")))
    }
}

fn note(batches: &mut BTreeMap<(String, i32), Batch>, record: &Fetched) {
    let new = Batch { count: 0, min_offset: record.offset, max_offset: record.offset };
    let batch = batches.entry((record.topic.clone(), record.partition)).or_insert(new);
    batch.count += 1;
    batch.max_offset = record.offset;
}

fn tell_record(out: &mut dyn Write, record: &Fetched) -> Result<(), Failure> {
    let as_text = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let told = [
        ("key", as_text(&record.key).into()),
        ("value", as_text(&record.value).into()),
        ("topic", record.topic.as_str().into()),
        ("partition", record.partition.into()),
        ("offset", record.offset.into()),
    ];
    tell(out, "record_data", &told)
}

/// Partitions as a JSON list, with the fields in the order of Kafka's tool.
fn list(partitions: &BTreeSet<(String, i32)>) -> String {
    let one = |(topic, partition): &(String, i32)| {
        format!(r#"{{"topic":{},"partition":{partition}}}"#, Value::from(topic.as_str()))
    };
    format!(r#""partitions":[{}]"#, partitions.iter().map(one).collect::<Vec<_>>().join(","))
}

fn tell_raw(out: &mut dyn Write, name: &str, fields: &str) -> Result<(), Failure> {
    writeln!(out, r#"{{"timestamp":{},"name":"{name}",{fields}}}"#, super::time::now_ms())?;
    out.flush()?;
    Ok(())
}
