//! kafka-verifiable-producer: sends growing numbers and tells of each, as a line of JSON, whether it was acknowledged.

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ottla_protocol::Timestamp;
use ottla_protocol::compression::Codec;
use serde_json::Value;

use super::client::Client;
use super::console_consumer::stop_on_signals;
use super::options::{Kind, Options, Spec, flag, value};
use super::producer::{Producer, Record, Settings};
use super::{Failure, Tool, properties, time};

pub const TOOL: Tool = Tool {
    name: "verifiable-producer",
    about: "This tool produces increasing integers to the specified topic and prints JSON metadata to stdout on each \
            \"send\" request, making externally visible which messages have been acked and which have not.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["acks"], Kind::Int, "ACKS", "0, 1 or -1. (default: -1)"),
    value(&["bootstrap-server"], Kind::Text, "HOST1:PORT1,...", "REQUIRED: The server(s) to connect to."),
    value(&["command-config"], Kind::Text, "CONFIG-FILE", "A file with producer properties."),
    flag(&["help", "h"], "Print usage information."),
    value(&["max-messages"], Kind::Int, "MAX-MESSAGES", "How many; -1 is no end. (default: -1)"),
    value(&["message-create-time"], Kind::Long, "CREATE-TIME", "Timestamps begin here."),
    value(&["producer.config"], Kind::Text, "CONFIG-FILE", "(DEPRECATED) See --command-config."),
    value(&["repeating-keys"], Kind::Int, "REPEATING-KEYS", "Keys are 0 up to this number, again and again."),
    value(
        &["throughput"],
        Kind::Int,
        "THROUGHPUT",
        "At most so many messages per second; -1 is no bound. (default: -1)",
    ),
    value(&["topic"], Kind::Text, "TOPIC", "REQUIRED: The topic to send to."),
    value(&["value-prefix"], Kind::Int, "VALUE-PREFIX", "Stands before each number, with a dot."),
];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let required =
        |name: &str| options.text(name).ok_or_else(|| Failure::usage(format!("argument --{name} is required")));
    let topic = required("topic")?;
    let bootstrap = options
        .text("bootstrap-server")
        .ok_or_else(|| Failure::usage("one of the arguments --bootstrap-server is required"))?;
    let acks = options.number::<i16>("acks").unwrap_or(-1);
    if ![0, 1, -1].contains(&acks) {
        return Err(Failure::usage(format!("argument --acks: invalid choice: '{acks}' (choose from {{0,1,-1}})")));
    }
    if options.has("producer.config") && options.has("command-config") {
        return Err(Failure::usage("Options --producer.config and --command-config are mutually exclusive."));
    }
    if options.has("producer.config") {
        writeln!(
            out,
            "Option --producer.config has been deprecated and will be removed in a future version. Use --command-config instead."
        )?;
    }
    let config = properties::of_connection(options.text("producer.config").or(options.text("command-config")))?;
    // Kafka's tool names none, which leaves it to the producer.
    let client_id = properties::client_id(&config, "producer-1");
    let mut client = Client::connect(bootstrap, Duration::from_secs(30), client_id)?;
    let settings = Settings {
        acks,
        codec: Codec::None,
        batch_bytes: usize::MAX,
        request_timeout: Duration::from_secs(30),
        delivery_timeout: Duration::from_secs(120),
    };
    let mut producer = Producer::new(&mut client, topic, settings)?;
    let throughput = options.number::<i32>("throughput").filter(|rate| *rate >= 0);
    let wanted = options.number::<i64>("max-messages").filter(|count| *count >= 0).unwrap_or(i64::MAX);
    let begun = Instant::now();
    let is_stopping = stop_on_signals()?;
    tell(out, "startup_complete", &[])?;
    let (mut sent, mut acked) = (0_i64, 0_i64);
    while sent < wanted && !is_stopping.load(Ordering::Relaxed) {
        let record = record(options, sent, begun.elapsed());
        let (key, value) = (as_text(&record.key), as_text(&record.value));
        sent += 1;
        let outcome = producer.push(record).and_then(|()| producer.flush());
        let mut told: Vec<(&str, Value)> = vec![("key", key.into()), ("value", value.into())];
        match outcome {
            Ok(()) => {
                acked += 1;
                let (partition, offset) = producer.last_delivered();
                told.extend([("offset", offset.into()), ("topic", topic.into()), ("partition", partition.into())]);
                tell(out, "producer_send_success", &told)?;
            }
            Err(failure) => {
                let exception = format!("class {}", failure.as_java().split(':').next().unwrap_or_default());
                told.extend([
                    ("topic", topic.into()),
                    ("exception", exception.into()),
                    ("message", failure.message.into()),
                ]);
                tell(out, "producer_send_error", &told)?;
            }
        }
        if let Some(rate) = throughput.filter(|rate| *rate > 0) {
            let due = begun + Duration::from_secs_f64(sent as f64 / f64::from(rate));
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
    tell(out, "shutdown_complete", &[])?;
    let average = 1000.0 * acked as f64 / begun.elapsed().as_millis().max(1) as f64;
    let target = options.number::<i32>("throughput").unwrap_or(-1);
    let told = [
        ("sent", sent.into()),
        ("acked", acked.into()),
        ("target_throughput", target.into()),
        ("avg_throughput", average.into()),
    ];
    tell(out, "tool_data", &told)?;
    Ok(ExitCode::SUCCESS)
}

fn record(options: &Options, index: i64, since: Duration) -> Record {
    let value = match options.number::<i32>("value-prefix") {
        Some(prefix) => format!("{prefix}.{index}"),
        None => index.to_string(),
    };
    let keys = options.number::<i64>("repeating-keys").filter(|count| *count > 0);
    let create_time = options.number::<i64>("message-create-time").filter(|time| *time >= 0);
    let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    Record {
        key: keys.map(|count| (index % count).to_string().into_bytes()),
        value: Some(value.into_bytes()),
        timestamp: create_time.map(|time| Timestamp(time.saturating_add(since))),
        ..Record::default()
    }
}

fn as_text(bytes: &Option<Vec<u8>>) -> Option<String> {
    bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// One event on one line, with the time it happened.
pub fn tell(out: &mut dyn Write, name: &str, fields: &[(&str, Value)]) -> Result<(), Failure> {
    let mut line = format!(r#"{{"timestamp":{},"name":"{name}""#, time::now_ms());
    for (key, value) in fields {
        line.push_str(&format!(",\"{key}\":{value}"));
    }
    writeln!(out, "{line}}}")?;
    out.flush()?;
    Ok(())
}
