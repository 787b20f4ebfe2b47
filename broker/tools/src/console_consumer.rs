//! kafka-console-consumer: records of a topic on standard output.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ottla_protocol::ErrorCode;
use rand::Rng;

use super::client::Client;
use super::fetcher::{Fetched, Fetcher, Start, topic_metadata};
use super::formatter::{Formatter, Unwritten};
use super::group_member::GroupMember;
use super::options::{Kind, Options, Spec, flag, key_values, value};
use super::outage::Outage;
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool {
    name: "console-consumer",
    about: "This tool helps to read data from Kafka topics and outputs it to standard output.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "REQUIRED: The server(s) to connect to."),
    value(&["command-config", "consumer.config"], Kind::Text, "config file", "A file with consumer properties."),
    value(&["command-property", "consumer-property"], Kind::Text, "consumer_prop", "A consumer property, key=value."),
    flag(&["enable-systest-events"], "Print shutdown_complete at the end."),
    value(&["formatter"], Kind::Text, "class", "The class that prints records; only the default one is known here."),
    value(&["formatter-config"], Kind::Text, "config file", "A file with properties of the formatter."),
    value(
        &["formatter-property", "property"],
        Kind::Text,
        "prop",
        "A property of the formatter: print.timestamp, print.key, print.offset, print.epoch, print.partition, \
         print.headers, print.value, key.separator, line.separator, headers.separator, null.literal.",
    ),
    flag(&["from-beginning"], "Start with the earliest record where the group has no offset yet."),
    value(&["group"], Kind::Text, "consumer group id", "The consumer group id of the consumer."),
    flag(&["help"], "Print usage information."),
    value(&["include"], Kind::Text, "Java regex (String)", "A regular expression of topics to read."),
    value(
        &["isolation-level"],
        Kind::Text,
        "String",
        "read_committed or read_uncommitted. (default: read_uncommitted)",
    ),
    value(&["key-deserializer"], Kind::Text, "deserializer for keys", "One of Kafka's own for simple types."),
    value(&["max-messages"], Kind::Int, "num_messages", "End after this many records."),
    value(&["offset"], Kind::Text, "consume offset", "With --partition: a number, 'earliest' or 'latest'."),
    value(&["partition"], Kind::Int, "partition", "Read only this partition, without a group."),
    flag(&["skip-message-on-error"], "Go on after a record that cannot be printed."),
    value(&["timeout-ms"], Kind::Long, "timeout_ms", "End when no record came for so long."),
    value(&["topic"], Kind::Text, "topic", "The topic to read."),
    value(&["value-deserializer"], Kind::Text, "deserializer for values", "One of Kafka's own for simple types."),
    flag(&["version"], "Display the version."),
];

/// The formatters that need no Java: the one that logs prints the same as the default one, and its log is nobody's.
const FORMATTERS: [&str; 2] = [
    "org.apache.kafka.tools.consumer.DefaultMessageFormatter",
    "org.apache.kafka.tools.consumer.LoggingMessageFormatter",
];
const SILENT_FORMATTER: &str = "org.apache.kafka.tools.consumer.NoOpMessageFormatter";
const AUTO_COMMIT_EVERY: Duration = Duration::from_secs(5);
const TOPICS_SEEN_EVERY: Duration = Duration::from_secs(5);

/// What the command line and the property files ask for.
struct Wanted {
    topic: Option<String>,
    include: Option<regex::Regex>,
    partition: Option<(i32, Start)>,
    group: String,
    client_id: String,
    instance_id: Option<String>,
    reset: Option<Start>,
    is_auto_commit: bool,
    is_read_committed: bool,
    max_messages: Option<u64>,
    timeout: Option<Duration>,
    is_skipping_unreadable: bool,
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    options.tell_deprecated(
        &[
            ("consumer-property", "command-property"),
            ("consumer.config", "command-config"),
            ("property", "formatter-property"),
        ],
        |old, new| format!("Options --{old} and --{new} cannot be specified together."),
        |old, new| {
            format!("Option --{old} is deprecated and will be removed in a future version. Use --{new} instead.")
        },
        out,
    )?;
    let wanted = wanted(options)?;
    let bootstrap = options.required("bootstrap-server")?;
    let class = options.text("formatter").unwrap_or(FORMATTERS[0]);
    if !FORMATTERS.contains(&class) && class != SILENT_FORMATTER {
        return Err(Failure::failed(format!("{class} is not built in: Java classes cannot be loaded")));
    }
    let mut printing = properties::load(options.text("formatter-config"))?;
    for (option, key) in [("key-deserializer", "key.deserializer"), ("value-deserializer", "value.deserializer")] {
        printing.extend(options.text(option).map(|class| (key.to_owned(), class.to_owned())));
    }
    printing.extend(options.all("formatter-property").iter().map(|pair| match pair.split_once('=') {
        // Separators may be blanks, so nothing is trimmed here.
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (pair.clone(), String::new()),
    }));
    let formatter = if class == SILENT_FORMATTER { None } else { Some(Formatter::new(&printing)?) };
    let is_stopping = stop_on_signals()?;
    let mut client = Client::connect(bootstrap, Duration::from_secs(30), &wanted.client_id)?;
    let mut count = 0;
    let outcome = consume(&mut client, &wanted, formatter.as_ref(), &is_stopping, &mut count, out);
    // A reader that went away (`| head`) ends the tool quietly.
    let _ = out.flush();
    eprintln!("Processed a total of {count} messages");
    if options.has("enable-systest-events") {
        let _ = writeln!(out, "shutdown_complete");
    }
    match outcome {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(failure) => {
            eprintln!("Error processing message, terminating consumer process: {}", failure.as_java());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn consume(
    client: &mut Client,
    wanted: &Wanted,
    formatter: Option<&Formatter>,
    is_stopping: &AtomicBool,
    count: &mut u64,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut reading = Reading::new(wanted);
    let mut outage = Outage::default();
    let mut last_record = Instant::now();
    while !is_stopping.load(Ordering::Relaxed) && wanted.max_messages.is_none_or(|max| *count < max) {
        let record = match reading.next(client) {
            Ok(record) => {
                outage = Outage::default();
                record
            }
            // Brokers come and go; only --timeout-ms bounds how long they are waited for.
            Err(failure) if reading.may_go_on(&failure) => {
                outage.wait_out(&failure);
                reading.look_around(client);
                None
            }
            Err(failure) => return Err(failure),
        };
        match record {
            Some(record) => {
                last_record = Instant::now();
                *count += 1;
                match formatter.map_or(Ok(()), |formatter| formatter.write(&record, out)) {
                    Ok(()) => {}
                    Err(Unwritten::Closed) => break,
                    Err(Unwritten::Unreadable(_)) if wanted.is_skipping_unreadable => {}
                    Err(Unwritten::Unreadable(failure)) => return Err(failure),
                }
            }
            None => {
                // Nobody reads any more (`| head`).
                if out.flush().is_err() {
                    break;
                }
                if wanted.timeout.is_some_and(|timeout| last_record.elapsed() > timeout) {
                    eprintln!(
                        "Error processing message, terminating consumer process: \
                         org.apache.kafka.common.errors.TimeoutException"
                    );
                    break;
                }
            }
        }
    }
    reading.end(client)
}

/// Where the reading stands.
struct Reading<'a> {
    wanted: &'a Wanted,
    fetcher: Fetcher,
    /// `None` reads the one partition that is wanted, without a group.
    member: Option<GroupMember>,
    /// The member has joined, and the fetcher knows where to begin.
    is_assigned: bool,
    topics: BTreeSet<String>,
    topics_due: Instant,
    commit_due: Instant,
}

impl<'a> Reading<'a> {
    fn new(wanted: &'a Wanted) -> Self {
        let member = match wanted.partition {
            Some(_) => None,
            None => Some(GroupMember::new(&wanted.group).with_instance_id(wanted.instance_id.as_deref())),
        };
        Self {
            wanted,
            fetcher: Fetcher::new(wanted.is_read_committed, wanted.reset),
            member,
            is_assigned: false,
            topics: BTreeSet::new(),
            topics_due: Instant::now(),
            commit_due: Instant::now() + AUTO_COMMIT_EVERY,
        }
    }

    /// The next record, if one came in half a second. What failed is done again by the next call.
    fn next(&mut self, client: &mut Client) -> Result<Option<Fetched>, Failure> {
        match &mut self.member {
            Some(member) => {
                if Instant::now() >= self.topics_due {
                    let seen = subscribed_topics(client, self.wanted)?;
                    self.topics_due = Instant::now() + TOPICS_SEEN_EVERY;
                    self.is_assigned &= seen == self.topics;
                    self.topics = seen;
                }
                if self.is_assigned && !member.heartbeat(client)? {
                    commit(member, client, self.wanted, &self.fetcher);
                    self.is_assigned = false;
                }
                if !self.is_assigned {
                    let partitions = member.join(client, &self.topics)?;
                    let committed = member.committed(client, &partitions)?;
                    let reset = self.wanted.reset.unwrap_or(Start::Latest);
                    let starts = partitions.into_iter().map(|partition| {
                        let start = committed.get(&partition).map_or(reset, |offset| Start::At(*offset));
                        (partition, start)
                    });
                    self.fetcher.assign(client, &starts.collect())?;
                    self.is_assigned = true;
                }
                if Instant::now() >= self.commit_due {
                    self.commit_due = Instant::now() + AUTO_COMMIT_EVERY;
                    commit(member, client, self.wanted, &self.fetcher);
                }
            }
            None if !self.is_assigned => {
                if let (Some(topic), Some((partition, start))) = (&self.wanted.topic, self.wanted.partition) {
                    self.fetcher.assign(client, &BTreeMap::from([((topic.clone(), partition), start)]))?;
                }
                self.is_assigned = true;
            }
            None => {}
        }
        self.fetcher.next(client)
    }

    /// Whether the next attempt may succeed. A partition that was named and is not there is told at once.
    fn may_go_on(&self, failure: &Failure) -> bool {
        let is_misnamed =
            self.member.is_none() && !self.is_assigned && failure.code == Some(ErrorCode::UnknownTopicOrPartition);
        failure.is_passing() && !is_misnamed
    }

    /// Who leads may have changed with what failed.
    fn look_around(&mut self, client: &mut Client) {
        self.fetcher.forget_leaders();
        // If nobody answers, the next attempt will tell.
        client.refresh().ok();
    }

    fn end(self, client: &mut Client) -> Result<(), Failure> {
        let Some(member) = self.member.filter(|_| self.is_assigned) else { return Ok(()) };
        commit(&member, client, self.wanted, &self.fetcher);
        match member.leave(client) {
            // The coordinator will miss the heartbeats.
            Err(failure) if failure.is_passing() => Ok(()),
            outcome => outcome,
        }
    }
}

/// A commit that fails is tried again with the next one, as Kafka's automatic commits are. A connection that has been lost
/// unnoticed is worth another attempt at once: this may be the last commit.
fn commit(member: &GroupMember, client: &mut Client, wanted: &Wanted, fetcher: &Fetcher) {
    if !wanted.is_auto_commit {
        return;
    }
    let consumed = fetcher.consumed();
    let outcome = match member.commit(client, &consumed) {
        Err(failure) if failure.is_lost => member.commit(client, &consumed),
        outcome => outcome,
    };
    if let Err(failure) = outcome {
        eprintln!("Offsets could not be committed: {}", failure.as_java());
    }
}

fn subscribed_topics(client: &mut Client, wanted: &Wanted) -> Result<BTreeSet<String>, Failure> {
    match (&wanted.topic, &wanted.include) {
        (_, Some(pattern)) => Ok(topic_metadata(client, None)?
            .into_iter()
            .filter(|topic| !topic.is_internal && pattern.is_match(&topic.name))
            .map(|topic| topic.name)
            .collect()),
        (Some(topic), None) => Ok(BTreeSet::from([topic.clone()])),
        (None, None) => Ok(BTreeSet::new()),
    }
}

fn wanted(options: &Options) -> Result<Wanted, Failure> {
    if options.has("topic") == options.has("include") {
        return Err(Failure::usage("Exactly one of the following arguments is required: [topic], [include]"));
    }
    let partition = options.number::<i32>("partition");
    if partition.is_some() && !options.has("topic") {
        return Err(Failure::usage("The topic is required when partition is specified."));
    }
    if partition.is_some() && options.has("from-beginning") && options.has("offset") {
        return Err(Failure::usage("Options from-beginning and offset cannot be specified together."));
    }
    if partition.is_none() && options.has("offset") {
        return Err(Failure::usage("The partition is required when offset is specified."));
    }
    options.required("bootstrap-server")?;
    let mut consumer = properties::load(options.text("command-config"))?;
    consumer.extend(key_values(options.all("command-property")));
    properties::refuse_security(&consumer)?;
    let group = options.text("group").or(consumer.get("group.id").map(String::as_str));
    if partition.is_none() {
        properties::refuse_group_protocol(&consumer)?;
    }
    if group.is_some() && partition.is_some() {
        return Err(Failure::usage("Options group and partition cannot be specified together."));
    }
    let is_auto_commit = match consumer.get("enable.auto.commit").map(String::as_str) {
        Some(text) => text.eq_ignore_ascii_case("true"),
        // A group made up for this run leaves nothing behind.
        None => group.is_some(),
    };
    let from_beginning = options.has("from-beginning");
    let reset = reset(&consumer, from_beginning)?;
    let include = options
        .text("include")
        .map(|pattern| {
            regex::Regex::new(&format!("^(?:{pattern})$"))
                .map_err(|_| Failure::failed(format!("{pattern} is an invalid regex.")))
        })
        .transpose()?;
    let isolation = isolation(options, &consumer)?;
    let timeout = options.number::<i64>("timeout-ms").and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    Ok(Wanted {
        topic: options.text("topic").map(str::to_owned),
        include,
        partition: match partition {
            Some(partition) => Some((partition, start(options.text("offset"), from_beginning)?)),
            None => None,
        },
        group: group
            .map_or_else(|| format!("console-consumer-{}", rand::rng().random_range(0..100_000)), str::to_owned),
        client_id: properties::client_id(&consumer, "console-consumer").to_owned(),
        instance_id: consumer.get("group.instance.id").cloned(),
        reset,
        is_auto_commit,
        is_read_committed: isolation == "read_committed",
        max_messages: options.number::<i64>("max-messages").and_then(|max| u64::try_from(max).ok()),
        timeout,
        is_skipping_unreadable: options.has("skip-message-on-error"),
    })
}

fn isolation<'a>(options: &'a Options, consumer: &'a HashMap<String, String>) -> Result<&'a str, Failure> {
    let given = options.text("isolation-level").or(consumer.get("isolation.level").map(String::as_str));
    match given.unwrap_or("read_uncommitted") {
        level @ ("read_committed" | "read_uncommitted") => Ok(level),
        other => Err(Failure::failed(format!(
            "org.apache.kafka.common.config.ConfigException: Invalid value {other} for configuration isolation.level: String must \
             be one of: read_committed, read_uncommitted"
        ))),
    }
}

fn reset(consumer: &HashMap<String, String>, from_beginning: bool) -> Result<Option<Start>, Failure> {
    match consumer.get("auto.offset.reset").map(String::as_str) {
        None if from_beginning => Ok(Some(Start::Earliest)),
        None => Ok(Some(Start::Latest)),
        Some(other) if from_beginning && other != "earliest" => Err(Failure::failed(format!(
            "Can't simultaneously specify --from-beginning and 'auto.offset.reset={other}', please remove one option"
        ))),
        Some("earliest") => Ok(Some(Start::Earliest)),
        Some("latest") => Ok(Some(Start::Latest)),
        Some("none") => Ok(None),
        Some(other) => Err(Failure::failed(format!("Invalid value {other} for configuration auto.offset.reset"))),
    }
}

fn start(offset: Option<&str>, from_beginning: bool) -> Result<Start, Failure> {
    match offset.map(str::to_ascii_lowercase).as_deref() {
        None if from_beginning => Ok(Start::Earliest),
        None | Some("latest") => Ok(Start::Latest),
        Some("earliest") => Ok(Start::Earliest),
        Some(number) => match number.parse::<i64>() {
            Ok(offset) if offset >= 0 => Ok(Start::At(offset)),
            _ => Err(Failure::usage(format!(
                "The provided offset value '{number}' is incorrect. Valid values are 'earliest', 'latest', or a \
                 non-negative long."
            ))),
        },
    }
}

/// SIGINT and SIGTERM end the loop, so that offsets are committed and the group is left.
pub(super) fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};

    let is_stopping = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_stopping);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            seen.store(true, Ordering::Relaxed);
        });
    });
    Ok(is_stopping)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(line: &str) -> Result<Wanted, Failure> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        wanted(&Options::parse(SPECS, &words, false)?)
    }

    #[test]
    fn brokers_that_go_are_waited_for_and_wrong_names_are_told() {
        let lost = Failure::lost("The connection was lost: failed to fill whole buffer");
        let unknown = Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), None);
        let grouped = read("--bootstrap-server a:1 --topic t").unwrap();
        let mut reading = Reading::new(&grouped);
        for is_assigned in [false, true] {
            reading.is_assigned = is_assigned;
            assert!(reading.may_go_on(&lost) && reading.may_go_on(&unknown));
            assert!(!reading.may_go_on(&Failure::from_code(ErrorCode::TopicAuthorizationFailed.code(), None)));
            assert!(!reading.may_go_on(&Failure::failed("t-0: the checksum is wrong")));
        }
        let alone = read("--bootstrap-server a:1 --topic t --partition 9").unwrap();
        let mut reading = Reading::new(&alone);
        assert!(reading.may_go_on(&lost) && !reading.may_go_on(&unknown));
        reading.is_assigned = true;
        assert!(reading.may_go_on(&unknown), "it was there, and may be between two leaders");
    }

    #[test]
    fn the_client_id_and_the_group_protocol_are_read() {
        let line = |more: &str| read(&format!("--bootstrap-server a:1 --topic t {more}"));
        assert_eq!(line("").unwrap().client_id, "console-consumer");
        assert_eq!(line("--command-property client.id=billing").unwrap().client_id, "billing");
        let refused = line("--command-property group.protocol=consumer").err().unwrap();
        assert!(!refused.is_usage && refused.message.contains("not built into this tool"), "{refused}");
        // Without a group there is no protocol of one.
        assert!(line("--partition 0 --command-property group.protocol=consumer").is_ok());
    }
}
