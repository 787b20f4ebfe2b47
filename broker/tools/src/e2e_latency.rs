//! kafka-e2e-latency: writes a record, waits until it can be read, and again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use kafka_protocol::messages::CreateTopicsRequest;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::compression::Codec;
use rand::Rng;

use super::admin::{message, millis, topic_name, topics};
use super::client::{Client, Target};
use super::fetcher::{Fetcher, Start};
use super::options::{Kind, Options, Spec, flag, value};
use super::outage::Outage;
use super::producer::{Headers, Producer, Record, Settings};
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool {
    name: "e2e-latency",
    about: "This tool measures end-to-end latency in Kafka by sending messages and timing their reception.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "bootstrap-server", "REQUIRED: The brokers, HOST1:PORT1,HOST2:PORT2."),
    value(&["command-config"], Kind::Text, "config-file", "A file with properties for the connection."),
    flag(&["help"], "Print usage information."),
    value(&["num-headers"], Kind::Int, "count", "How many headers each record has. (default: 0)"),
    value(&["num-records"], Kind::Int, "count", "REQUIRED: How many records to send."),
    value(&["producer-acks"], Kind::Text, "producer-acks", "REQUIRED: 1 or all."),
    value(&["record-header-key-size"], Kind::Int, "bytes", "Size of each header's key. (default: 0)"),
    value(&["record-header-size"], Kind::Int, "bytes", "Size of each header's value; -1 is null. (default: 0)"),
    value(&["record-key-size"], Kind::Int, "bytes", "Size of the key. (default: 0: no key)"),
    value(&["record-size"], Kind::Int, "bytes", "REQUIRED: Size of the value."),
    value(&["topic"], Kind::Text, "topic-name", "REQUIRED: The topic to use."),
    flag(&["version"], "Display the version."),
];

const TIMEOUT: Duration = Duration::from_secs(60);

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    for name in ["bootstrap-server", "topic", "num-records", "producer-acks", "record-size"] {
        options.required(name)?;
    }
    let acks = match options.text("producer-acks") {
        Some("1") => 1,
        Some("all") => -1,
        _ => {
            return Err(Failure::usage(
                "Invalid value for --producer-acks. Latency testing requires synchronous acknowledgement. Please use '1' or 'all'.",
            ));
        }
    };
    let size = |name: &str| options.number::<usize>(name).unwrap_or(0);
    let (count, topic) = (size("num-records"), options.required("topic")?);
    if count == 0 {
        return Err(Failure::usage("Value for --num-records must be a positive integer."));
    }
    let config = properties::of_connection(options.text("command-config"))?;
    let bootstrap = options.required("bootstrap-server")?;
    // Kafka's tool names none, which leaves it to the consumer and the producer.
    let reading_id = format!("consumer-test-group-{}-1", super::time::now_ms());
    let mut reading = Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, &reading_id))?;
    if !topics(&mut reading, None)?.contains_key(topic) {
        create(&mut reading, topic, out)?;
    }
    let settings = Settings {
        acks,
        codec: Codec::None,
        batch_bytes: usize::MAX,
        request_timeout: TIMEOUT,
        delivery_timeout: TIMEOUT,
    };
    let mut writing = Client::connect(bootstrap, TIMEOUT, properties::client_id(&config, "producer-1"))?;
    let mut producer = Producer::new(&mut writing, topic, settings)?;
    let mut fetcher = Fetcher::new(false, Some(Start::Latest));
    let names = BTreeSet::from([topic.to_owned()]);
    let partitions = super::admin::leaders(&topics(&mut reading, Some(&names))?);
    let starts: BTreeMap<_, _> = partitions.into_keys().map(|partition| (partition, Start::Latest)).collect();
    fetcher.assign(&mut reading, &starts)?;
    let mut latencies = Vec::with_capacity(count);
    let mut total = Duration::ZERO;
    for index in 0..count {
        let record = Record {
            key: Some(letters(size("record-key-size"))).filter(|key| !key.is_empty()),
            value: Some(letters(size("record-size"))),
            headers: headers(options),
            timestamp: None,
        };
        let (begun, mut outage) = (Instant::now(), Outage::default());
        producer.push(record.clone())?;
        producer.flush()?;
        let read = loop {
            match fetcher.next(&mut reading) {
                Ok(Some(read)) => break read,
                Ok(None) => {}
                Err(failure) if failure.is_passing() => {
                    outage.wait_out(&failure);
                    fetcher.forget_leaders();
                    reading.refresh().ok();
                }
                Err(failure) => return Err(failure),
            }
            if begun.elapsed() > TIMEOUT {
                let waited = TIMEOUT.as_millis();
                return Err(Failure::failed(format!(
                    "poll() timed out before finding a result (timeout:[{waited}ms])"
                )));
            }
        };
        let elapsed = begun.elapsed();
        if (&read.key, &read.value, &read.headers) != (&record.key, &record.value, &record.headers) {
            return Err(Failure::failed("The record that was read is not the record that was sent"));
        }
        if index % 1000 == 0 {
            writeln!(out, "{index}\t{}", elapsed.as_micros() as f64 / 1000.0)?;
            out.flush()?;
        }
        total += elapsed;
        latencies.push(elapsed.as_millis());
    }
    writeln!(out, "Avg latency: {:.4} ms", total.as_secs_f64() * 1000.0 / count as f64)?;
    latencies.sort_unstable();
    let at = |part: f64| latencies[(count as f64 * part) as usize];
    writeln!(out, "Percentiles: 50th = {}, 99th = {}, 99.9th = {}", at(0.5), at(0.99), at(0.999))?;
    Ok(ExitCode::SUCCESS)
}

/// Of one letter, as Kafka's tool makes them.
fn letters(size: usize) -> Vec<u8> {
    vec![rand::rng().random_range(b'A'..=b'Z'); size]
}

fn headers(options: &Options) -> Headers {
    let key = || options.number::<usize>("record-header-key-size").unwrap_or(0);
    let value = options.number::<i32>("record-header-size").unwrap_or(0);
    let header = |_| {
        let name = String::from_utf8_lossy(&letters(key())).into_owned();
        (name, usize::try_from(value).ok().map(letters))
    };
    (0..options.number::<usize>("num-headers").unwrap_or(0)).map(header).collect()
}

fn create(client: &mut Client, topic: &str, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "Topic \"{topic}\" does not exist. Will create topic with 1 partition(s) and replication factor = 1"
    )?;
    let wanted =
        CreatableTopic::default().with_name(topic_name(topic)).with_num_partitions(1).with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(millis(TIMEOUT));
    let response = client.send(&Target::Controller, &request)?;
    for result in response.topics {
        if let Err(failure) = Failure::check(result.error_code, message(result.error_message.as_ref())) {
            writeln!(out, "Creation of topic {topic} failed")?;
            return Err(failure);
        }
    }
    Ok(())
}
