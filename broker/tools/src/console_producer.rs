//! kafka-console-producer: lines of standard input become records.

use std::collections::HashMap;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use ottla_protocol::compression::Codec;

use super::client::Client;
use super::line_reader::LineReader;
use super::options::{Kind, Options, Spec, flag, key_values, value};
use super::producer::{Producer, Settings};
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool {
    name: "console-producer",
    about: "This tool helps to read data from standard input and publish it to Kafka.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["batch-size"], Kind::Int, "size", "Bytes gathered per partition before they are sent. (default: 16384)"),
    value(
        &["bootstrap-server"],
        Kind::Text,
        "server to connect to",
        "REQUIRED: the brokers to connect to, HOST1:PORT1,HOST2:PORT2.",
    ),
    value(&["command-config", "producer.config"], Kind::Text, "config file", "A file with producer properties."),
    value(&["command-property", "producer-property"], Kind::Text, "producer_prop", "A producer property, key=value."),
    value(
        &["compression-codec"],
        Kind::OptionalText,
        "compression-codec",
        "none, gzip, snappy, lz4 or zstd; without a word, gzip.",
    ),
    flag(&["help"], "Print usage information."),
    value(
        &["line-reader"],
        Kind::Text,
        "reader_class",
        "The class that reads lines; only the default one is known here.",
    ),
    value(&["max-block-ms"], Kind::Long, "max block on send", "How long to wait for metadata. (default: 60000)"),
    value(&["max-memory-bytes"], Kind::Long, "total memory in bytes", "Accepted; batches are sent as they fill."),
    value(
        &["max-partition-memory-bytes"],
        Kind::Int,
        "memory in bytes per partition",
        "(Deprecated) See --batch-size.",
    ),
    value(&["message-send-max-retries"], Kind::Int, "Integer", "Accepted; a batch is retried until --max-block-ms."),
    value(
        &["metadata-expiry-ms"],
        Kind::Long,
        "metadata expiration interval",
        "Accepted; metadata is asked on errors.",
    ),
    value(&["reader-config"], Kind::Text, "config file", "A file with properties of the line reader."),
    value(
        &["reader-property", "property"],
        Kind::Text,
        "prop",
        "A property of the line reader: parse.key, key.separator, parse.headers, headers.delimiter, headers.separator, \
         headers.key.separator, ignore.error, null.marker.",
    ),
    value(&["request-required-acks"], Kind::Text, "request required acks", "0, 1, -1 or all. (default: -1)"),
    value(&["request-timeout-ms"], Kind::Int, "request timeout ms", "How long the broker may wait. (default: 1500)"),
    value(&["retry-backoff-ms"], Kind::Long, "Long", "Accepted; retries wait 100 ms."),
    value(&["socket-buffer-size"], Kind::Int, "size", "Accepted; the system's default is used."),
    flag(&["sync"], "Send each record by itself and wait for its answer."),
    value(&["timeout"], Kind::Long, "timeout_ms", "How long records may wait for their batch. (default: 1000)"),
    value(&["topic"], Kind::Text, "topic", "REQUIRED: The topic to write to."),
    flag(&["version"], "Display the version."),
];

/// While nothing waits to be sent, it does not matter how often that is looked at.
const IDLE: Duration = Duration::from_secs(60);
const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let topic = options.required("topic")?;
    options.tell_deprecated(
        &[
            ("producer.config", "command-config"),
            ("producer-property", "command-property"),
            ("property", "reader-property"),
        ],
        |old, new| format!("Options --{new} and --{old} cannot be specified together."),
        |old, new| {
            format!("Warning: --{old} is deprecated and will be removed in a future version. Use --{new} instead.")
        },
        out,
    )?;
    if options.has("max-partition-memory-bytes") {
        writeln!(
            out,
            "Warning: --max-partition-memory-bytes is deprecated and will be removed in Apache Kafka 5.0. Use --batch-size instead."
        )?;
    }
    let bootstrap = options
        .text("bootstrap-server")
        .ok_or_else(|| Failure::usage("Error while validating the bootstrap address\n"))?;
    if options.text("line-reader").is_some_and(|class| class != LINE_READER) {
        return Err(Failure::failed("Only the default line reader is built in: Java classes cannot be loaded"));
    }
    let mut producer_properties = properties::load(options.text("command-config"))?;
    producer_properties.extend(key_values(options.all("command-property")));
    properties::refuse_security(&producer_properties)?;
    let mut reader_properties = properties::load(options.text("reader-config"))?;
    reader_properties.extend(raw_key_values(options.all("reader-property")));
    let mut reader = LineReader::new(&reader_properties)?;
    let settings = settings(options, &producer_properties)?;
    let linger = options.number("timeout").or_else(|| producer_properties.get("linger.ms")?.trim().parse().ok());
    let mut linger = Linger::new(Duration::from_millis(linger.unwrap_or(1000)));

    let client_id = properties::client_id(&producer_properties, "console-producer");
    let mut client = Client::connect(bootstrap, Duration::from_secs(30), client_id)?;
    let mut producer = Producer::new(&mut client, topic, settings)?;
    let is_prompting = std::io::stdin().is_terminal();
    // Lines are read beside the sending, so that a slow typist's records do not wait for the next line.
    let (lines_in, lines) = sync_channel(1024);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if lines_in.send(line).is_err() {
                break;
            }
        }
    });
    let prompt = |out: &mut dyn Write| -> Result<(), Failure> {
        if is_prompting {
            write!(out, ">")?;
            out.flush()?;
        }
        Ok(())
    };
    prompt(out)?;
    let mut has_failed = false;
    let mut note = |outcome: Result<(), Failure>| {
        if let Err(failure) = outcome {
            has_failed = true;
            eprintln!("Error when sending message to topic {topic}: {}", failure.as_java());
        }
    };
    loop {
        // First, as lines may always be at hand.
        if linger.is_over(Instant::now()) {
            note(producer.flush());
            linger.note(producer.is_empty(), Instant::now());
        }
        match lines.recv_timeout(linger.left(Instant::now())) {
            Ok(line) => {
                note(producer.push(reader.read(&line?)?));
                if options.has("sync") {
                    note(producer.flush());
                }
                linger.note(producer.is_empty(), Instant::now());
                prompt(out)?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    note(producer.flush());
    // Kafka's tool logs what could not be sent and still ends with 0, unless --sync was asked for.
    Ok(if has_failed && options.has("sync") { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// How long records wait for their batch: from the first of them, however fast others follow.
struct Linger {
    most: Duration,
    due: Option<Instant>,
}

impl Linger {
    const fn new(most: Duration) -> Self {
        Self { most, due: None }
    }

    /// Says whether records wait, after each that was taken and after they were sent.
    fn note(&mut self, is_empty: bool, now: Instant) {
        self.due = if is_empty { None } else { self.due.or_else(|| now.checked_add(self.most)) };
    }

    fn is_over(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// How long the next record may be waited for.
    fn left(&self, now: Instant) -> Duration {
        self.due.map_or(IDLE, |due| due.saturating_duration_since(now))
    }
}

fn settings(options: &Options, properties: &HashMap<String, String>) -> Result<Settings, Failure> {
    let acks = options.text("request-required-acks").or(properties.get("acks").map(String::as_str)).unwrap_or("-1");
    let acks = match acks {
        "all" | "-1" => -1,
        "0" => 0,
        "1" => 1,
        other => {
            return Err(Failure::failed(format!(
                "org.apache.kafka.common.config.ConfigException: Invalid value {other} for configuration acks: String must be one of: \
                 all, -1, 0, 1"
            )));
        }
    };
    let codec = options.text("compression-codec").or(properties.get("compression.type").map(String::as_str));
    let codec = match codec.map_or("none", |name| if name.is_empty() { "gzip" } else { name }) {
        "none" | "uncompressed" => Codec::None,
        "gzip" | "" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        other => {
            return Err(Failure::failed(format!(
                "org.apache.kafka.common.config.ConfigException: Invalid value {other} for configuration compression.type: String must \
                 be one of: none, gzip, snappy, lz4, zstd"
            )));
        }
    };
    let batch = options.number::<usize>("max-partition-memory-bytes").or(options.number("batch-size"));
    Ok(Settings {
        acks,
        codec,
        batch_bytes: batch.unwrap_or(16 * 1024),
        request_timeout: Duration::from_millis(options.number("request-timeout-ms").unwrap_or(1500)),
        delivery_timeout: Duration::from_millis(options.number("max-block-ms").unwrap_or(60_000)),
    })
}

/// Separators may be blanks, so nothing is trimmed here.
fn raw_key_values(pairs: &[String]) -> Vec<(String, String)> {
    let split = |pair: &String| match pair.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (pair.clone(), String::new()),
    };
    pairs.iter().map(split).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_keep_coming_do_not_hold_up_their_batch() {
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        let mut linger = Linger::new(Duration::from_secs(1));
        assert!(!linger.is_over(at(5000)), "nothing waits");
        for ms in [0, 300, 600, 900] {
            linger.note(false, at(ms));
            assert!(!linger.is_over(at(ms)));
        }
        assert_eq!(linger.left(at(900)), Duration::from_millis(100));
        assert!(linger.is_over(at(1000)), "a second after the first line, not after the last");
        assert_eq!(linger.left(at(1200)), Duration::ZERO);
        linger.note(true, at(1200));
        linger.note(false, at(2000));
        assert!(!linger.is_over(at(2999)) && linger.is_over(at(3000)), "the next batch has its own second");
    }
}
