//! kafka-producer-perf-test: writes records as fast as asked and tells how long they took.

use std::collections::HashMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ottla_protocol::compression::Codec;
use rand::Rng;

use super::client::Client;
use super::options::{Kind, Options, Spec, flag, key_values, value};
use super::perf_stats::Stats;
use super::producer::{Producer, Record, Settings};
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool {
    name: "producer-perf-test",
    about: "This tool is used to verify the producer performance.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "BOOTSTRAP-SERVER", "The server(s) to connect to."),
    value(&["command-config", "producer.config"], Kind::Text, "CONFIG-FILE", "A file with producer properties."),
    value(
        &["command-property", "producer-props"],
        Kind::Texts,
        "PROP-NAME=PROP-VALUE",
        "Producer properties, as linger.ms=10 batch.size=32768.",
    ),
    flag(&["help", "h"], "Print usage information."),
    value(&["num-records"], Kind::Long, "NUM-RECORDS", "How many records to write."),
    value(&["payload-delimiter"], Kind::Text, "PAYLOAD-DELIMITER", "What stands between payloads. (default: \\n)"),
    value(&["payload-file"], Kind::Text, "PAYLOAD-FILE", "A file of payloads to choose from at random."),
    flag(&["payload-monotonic"], "Payloads are growing numbers."),
    flag(&["print-metrics"], "Print metrics at the end."),
    value(&["record-size"], Kind::Int, "RECORD-SIZE", "Bytes of random letters in each record."),
    value(&["reporting-interval"], Kind::Long, "INTERVAL-MS", "How often to report. (default: 5000)"),
    value(&["throughput"], Kind::Text, "THROUGHPUT", "Records per second, about; -1 is as fast as possible."),
    value(&["topic"], Kind::Text, "TOPIC", "The topic to write to."),
    value(&["transaction-duration-ms"], Kind::Long, "TRANSACTION-DURATION", "Not built into this tool."),
    value(&["transactional-id"], Kind::Text, "TRANSACTIONAL-ID", "Not built into this tool."),
    value(&["warmup-records"], Kind::Long, "WARMUP-RECORDS", "Records that the steady state leaves out. (default: 0)"),
];

/// Records wait at most so long for their batch when the throughput is throttled.
const LINGER: Duration = Duration::from_millis(5);

const PAYLOADS: [&str; 3] = ["record-size", "payload-file", "payload-monotonic"];

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let required =
        |name: &str| options.text(name).ok_or_else(|| Failure::usage(format!("argument --{name} is required")));
    let topic = required("topic")?;
    options.tell_deprecated(
        &[("producer-props", "command-property"), ("producer.config", "command-config")],
        |old, new| format!("--{new} and --{old} cannot be specified together."),
        |old, new| {
            format!("Option --{old} has been deprecated and will be removed in a future version. Use --{new} instead.")
        },
        out,
    )?;
    required("throughput")?;
    required("num-records")?;
    let payloads_given = PAYLOADS.into_iter().filter(|name| options.has(name)).count();
    match payloads_given {
        0 => {
            return Err(Failure::usage(
                "one of the arguments --record-size --payload-file --payload-monotonic is required",
            ));
        }
        1 => {}
        _ => {
            let given: Vec<&&str> = options.order.iter().filter(|name| PAYLOADS.contains(name)).collect();
            return Err(Failure::usage(format!(
                "argument --{}: not allowed with argument --{}",
                given.get(1).unwrap_or(&&""),
                given.first().unwrap_or(&&"")
            )));
        }
    }
    let throughput: f64 = required("throughput")?
        .parse()
        .map_err(|_| Failure::usage("argument --throughput: could not convert to Double (64 bits floating point)"))?;
    let records = options.number::<u64>("num-records").filter(|records| *records > 0);
    let records = records.ok_or_else(|| Failure::usage("--num-records should be greater than zero."))?;
    let warmup = options.number::<u64>("warmup-records").unwrap_or(0);
    if warmup >= records {
        return Err(Failure::usage(
            "The value for --warmup-records must be strictly fewer than the number of records in the test, --num-records.",
        ));
    }
    for absent in ["transactional-id", "transaction-duration-ms", "print-metrics"] {
        if options.has(absent) {
            return Err(Failure::failed(format!("--{absent} is not built into this tool")));
        }
    }
    let mut config = properties::load(options.text("command-config"))?;
    config.extend(key_values(options.all("command-property")));
    properties::refuse_security(&config)?;
    if config.contains_key("transactional.id") {
        return Err(Failure::failed("transactional.id is not built into this tool"));
    }
    let bootstrap = options
        .text("bootstrap-server")
        .or(config.get("bootstrap.servers").map(String::as_str))
        .ok_or_else(|| Failure::usage("At least one of --bootstrap-server, --command-property, --producer-props, --producer.config or --command-config must be specified."))?;
    let mut payloads = Payloads::new(options, out)?;
    if warmup > 0 {
        writeln!(
            out,
            "Warmup first {warmup} records. Steady state results will print after the complete test summary."
        )?;
    }
    let client_id = properties::client_id(&config, "perf-producer-client");
    let mut client = Client::connect(bootstrap, Duration::from_secs(30), client_id)?;
    let mut producer = Producer::new(&mut client, topic, settings(&config)?)?;
    let every = options.number::<u64>("reporting-interval").unwrap_or(5000);
    let mut run =
        Run { stats: Stats::new(records, every, false), steady: None, waiting: Vec::new(), started: Instant::now() };
    for index in 0..records {
        if warmup > 0 && index == warmup {
            run.steady = Some(Stats::new(records - warmup, every, true));
            run.stats.is_silent = true;
        }
        let payload = payloads.next(index);
        run.waiting.push((Instant::now(), payload.len()));
        let is_sent = producer.push(Record { value: Some(payload), ..Record::default() });
        run.note(is_sent, producer.is_empty(), out)?;
        run.throttle(throughput, index + 1, &mut producer, out)?;
    }
    let is_sent = producer.flush();
    run.note(is_sent, true, out)?;
    run.stats.print_total(out)?;
    if let Some(steady) = &mut run.steady {
        steady.print_total(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Records on their way, and the numbers so far.
struct Run {
    stats: Stats,
    steady: Option<Stats>,
    waiting: Vec<(Instant, usize)>,
    started: Instant,
}

impl Run {
    /// Counts what was sent when nothing waits any longer; what failed is told and not counted.
    fn note(&mut self, outcome: Result<(), Failure>, is_empty: bool, out: &mut dyn Write) -> Result<(), Failure> {
        if let Err(failure) = outcome {
            eprintln!("{}", failure.as_java());
            self.waiting.clear();
            return Ok(());
        }
        if is_empty {
            for (since, bytes) in self.waiting.drain(..) {
                let latency = u32::try_from(since.elapsed().as_millis()).unwrap_or(u32::MAX);
                self.stats.record(latency, bytes, out)?;
                if let Some(steady) = &mut self.steady {
                    steady.record(latency, bytes, out)?;
                }
            }
        }
        Ok(())
    }

    fn throttle(
        &mut self,
        throughput: f64,
        sent: u64,
        producer: &mut Producer<'_>,
        out: &mut dyn Write,
    ) -> Result<(), Failure> {
        if throughput <= 0.0 {
            return Ok(());
        }
        let due = self.started + Duration::from_secs_f64(sent as f64 / throughput);
        let early = due.saturating_duration_since(Instant::now());
        if early > LINGER {
            let is_sent = producer.flush();
            self.note(is_sent, true, out)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }
}

enum Payloads {
    Letters(usize),
    Lines(Vec<Vec<u8>>),
    Numbers,
}

impl Payloads {
    fn new(options: &Options, out: &mut dyn Write) -> Result<Self, Failure> {
        if let Some(path) = options.text("payload-file") {
            let full = std::path::absolute(path).unwrap_or_else(|_| path.into());
            writeln!(out, "Reading payloads from: {}", full.display())?;
            let text = std::fs::read_to_string(path).unwrap_or_default();
            if text.is_empty() {
                return Err(Failure::failed("File does not exist or empty file provided."));
            }
            let delimiter = options.text("payload-delimiter").unwrap_or("\\n").replace("\\n", "\n");
            let text = text.strip_suffix(&delimiter).unwrap_or(&text);
            let lines: Vec<Vec<u8>> = text.split(&delimiter).map(|line| line.as_bytes().to_vec()).collect();
            writeln!(out, "Number of records read: {}", lines.len())?;
            return Ok(Self::Lines(lines));
        }
        match options.number::<i32>("record-size") {
            Some(size) if size <= 0 => Err(Failure::usage("--record-size should be greater than zero.")),
            Some(size) => Ok(Self::Letters(usize::try_from(size).unwrap_or(1))),
            None => Ok(Self::Numbers),
        }
    }

    fn next(&mut self, index: u64) -> Vec<u8> {
        let mut rng = rand::rng();
        match self {
            Self::Letters(size) => (0..*size).map(|_| rng.random_range(b'A'..=b'Z')).collect(),
            Self::Lines(lines) => lines[rng.random_range(0..lines.len())].clone(),
            Self::Numbers => index.to_string().into_bytes(),
        }
    }
}

fn settings(config: &HashMap<String, String>) -> Result<Settings, Failure> {
    let number = |key: &str, default: u64| config.get(key).and_then(|text| text.parse().ok()).unwrap_or(default);
    let codec = match config.get("compression.type").map(String::as_str).unwrap_or("none") {
        "none" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        other => return Err(Failure::failed(format!("Unknown compression name: {other}"))),
    };
    let acks = match config.get("acks").map(String::as_str).unwrap_or("all") {
        "all" | "-1" => -1,
        "0" => 0,
        "1" => 1,
        other => return Err(Failure::failed(format!("Invalid value {other} for configuration acks"))),
    };
    Ok(Settings {
        acks,
        codec,
        batch_bytes: usize::try_from(number("batch.size", 16 * 1024)).unwrap_or(16 * 1024),
        request_timeout: Duration::from_millis(number("request.timeout.ms", 30_000)),
        delivery_timeout: Duration::from_millis(number("delivery.timeout.ms", 120_000)),
    })
}
