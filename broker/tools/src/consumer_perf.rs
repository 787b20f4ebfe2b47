//! kafka-consumer-perf-test: reads so many records and tells how fast that went.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rand::Rng;

use super::client::Client;
use super::fetcher::{Fetcher, Start, topic_metadata};
use super::group_member::GroupMember;
use super::options::{Kind, Options, Spec, flag, key_values, value};
use super::outage::Outage;
use super::{Failure, Tool, properties, time};

pub const TOOL: Tool = Tool {
    name: "consumer-perf-test",
    about: "This tool is used to verify the consumer performance.",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "REQUIRED: The server(s) to connect to."),
    value(&["command-config", "consumer.config"], Kind::Text, "config file", "A file with consumer properties."),
    value(&["command-property"], Kind::Text, "prop1=val1", "A consumer property."),
    value(&["date-format"], Kind::Text, "date format", "Only the default is known here: yyyy-MM-dd HH:mm:ss:SSS."),
    value(&["fetch-size"], Kind::Int, "size", "Accepted; partitions are read a megabyte at a time."),
    flag(&["from-latest"], "Without an offset of the group begin at the end."),
    value(&["group"], Kind::Text, "gid", "The group id. (default: perf-consumer-N)"),
    flag(&["help"], "Print usage information."),
    flag(&["hide-header"], "Leave the header out."),
    value(&["include"], Kind::Text, "Java regex (String)", "A regular expression of topics to read."),
    value(&["num-records", "messages"], Kind::Long, "count", "REQUIRED: How many records to read."),
    flag(&["print-metrics"], "Not built into this tool."),
    value(&["reporting-interval"], Kind::Long, "interval_ms", "How often to report. (default: 5000)"),
    flag(&["show-detailed-stats"], "Report at each interval."),
    value(&["socket-buffer-size"], Kind::Int, "size", "Accepted; the system's default is used."),
    value(&["timeout"], Kind::Long, "milliseconds", "End when no record came for so long. (default: 10000)"),
    value(&["topic"], Kind::Text, "topic", "The topic to read."),
    flag(&["version"], "Display the version."),
];

const MEGABYTE: f64 = 1024.0 * 1024.0;
const DATE_FORMAT: &str = "yyyy-MM-dd HH:mm:ss:SSS";

/// What was read up to a moment.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    records: u64,
    bytes: u64,
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let bootstrap = options.required("bootstrap-server")?;
    if options.has("topic") == options.has("include") {
        return Err(Failure::usage("Exactly one of the following arguments is required: [topic], [include]"));
    }
    if options.is_spelled("messages") == options.is_spelled("num-records") {
        return Err(Failure::usage("Exactly one of the following arguments is required: [messages], [num-records]"));
    }
    options.tell_deprecated(
        &[("messages", "num-records"), ("consumer.config", "command-config")],
        |old, new| format!("Option \"[{old}]\" can't be used with option \"[{new}]\""),
        |old, new| format!("Warning: --{old} is deprecated. Use --{new} instead."),
        out,
    )?;
    if options.has("print-metrics") {
        return Err(Failure::failed("--print-metrics is not built into this tool"));
    }
    if options.text("date-format").is_some_and(|format| format != DATE_FORMAT) {
        return Err(Failure::failed(format!("Only the date format {DATE_FORMAT} is built in")));
    }
    let mut config = properties::load(options.text("command-config"))?;
    config.extend(key_values(options.all("command-property")));
    properties::refuse_security(&config)?;
    properties::refuse_group_protocol(&config)?;
    let wanted = options.number::<u64>("num-records").unwrap_or(0);
    let patience = Duration::from_millis(options.number("timeout").unwrap_or(10_000));
    let every = Duration::from_millis(options.number("reporting-interval").unwrap_or(5000));
    let is_detailed = options.has("show-detailed-stats");
    if !options.has("hide-header") {
        let first = if is_detailed { "time, threadId" } else { "start.time, end.time" };
        writeln!(
            out,
            "{first}, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, \
             fetch.MB.sec, fetch.nMsg.sec"
        )?;
        out.flush()?;
    }
    let client_id = properties::client_id(&config, "perf-consumer-client");
    let client = &mut Client::connect(bootstrap, Duration::from_secs(30), client_id)?;
    let group = match options.text("group") {
        Some(group) => group.to_owned(),
        None => format!("perf-consumer-{}", rand::rng().random_range(0..100_000)),
    };
    let reset = if options.has("from-latest") { Start::Latest } else { Start::Earliest };
    let (begun_ms, begun) = (time::now_ms(), Instant::now());
    let mut member = GroupMember::new(&group);
    let mut fetcher = Fetcher::new(false, Some(reset));
    let mut joining = join(client, options, &mut member, &mut fetcher, reset)?;
    let mut joining_in_round = joining;
    let (mut read, mut reported) = (Read::default(), Read::default());
    let (mut last_record, mut report) = (Instant::now(), Instant::now());
    let (mut is_assigned, mut outage) = (true, Outage::default());
    while read.records < wanted && last_record.elapsed() <= patience {
        let mut next = || {
            is_assigned = is_assigned && member.heartbeat(client)?;
            if !is_assigned {
                let took = join(client, options, &mut member, &mut fetcher, reset)?;
                joining += took;
                joining_in_round += took;
                is_assigned = true;
            }
            fetcher.next(client)
        };
        let record = match next() {
            Ok(record) => {
                outage = Outage::default();
                record
            }
            // As Kafka's consumer: --timeout bounds how long brokers are waited for.
            Err(failure) if failure.is_passing() => {
                outage.wait_out(&failure);
                fetcher.forget_leaders();
                client.refresh().ok();
                None
            }
            Err(failure) => return Err(failure),
        };
        let Some(record) = record else { continue };
        last_record = Instant::now();
        read.records += 1;
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len) as u64;
        read.bytes += length(&record.key) + length(&record.value);
        if report.elapsed() >= every {
            if is_detailed {
                print_progress(read, reported, report.elapsed(), joining_in_round, out)?;
            }
            joining_in_round = Duration::ZERO;
            report = Instant::now();
            reported = read;
        }
    }
    if read.records < wanted {
        writeln!(
            out,
            "WARNING: Exiting before consuming the expected number of records: timeout ({} ms) exceeded. You can use the \
             --timeout option to increase the timeout.",
            patience.as_millis()
        )?;
    }
    let elapsed = begun.elapsed();
    if !is_detailed {
        let (seconds, fetching) = (elapsed.as_secs_f64(), elapsed.saturating_sub(joining).as_secs_f64());
        let (megabytes, records) = (read.bytes as f64 / MEGABYTE, read.records as f64);
        writeln!(
            out,
            "{}, {}, {megabytes:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
            time::show_datetime(begun_ms),
            time::show_datetime(time::now_ms()),
            megabytes / seconds,
            read.records,
            records / seconds,
            joining.as_millis(),
            elapsed.saturating_sub(joining).as_millis(),
            megabytes / fetching,
            records / fetching
        )?;
    }
    match member.commit(client, &fetcher.consumed()).and_then(|()| member.leave(client)) {
        // What was measured is told; the coordinator will miss the heartbeats.
        Err(failure) if failure.is_passing() => eprintln!("WARN {}", failure.as_java()),
        outcome => outcome?,
    }
    Ok(ExitCode::SUCCESS)
}

fn join(
    client: &mut Client,
    options: &Options,
    member: &mut GroupMember,
    fetcher: &mut Fetcher,
    reset: Start,
) -> Result<Duration, Failure> {
    let since = Instant::now();
    let topics = match (options.text("topic"), options.text("include")) {
        (Some(topic), _) => BTreeSet::from([topic.to_owned()]),
        (None, include) => {
            let pattern = regex::Regex::new(&format!("^(?:{})$", include.unwrap_or_default()))
                .map_err(|error| Failure::failed(error.to_string()))?;
            let known = topic_metadata(client, None)?.into_iter();
            known.map(|topic| topic.name).filter(|name| pattern.is_match(name)).collect()
        }
    };
    let partitions = member.join(client, &topics)?;
    let committed = member.committed(client, &partitions)?;
    let starts = partitions.into_iter().map(|partition| {
        let start = committed.get(&partition).map_or(reset, |offset| Start::At(*offset));
        (partition, start)
    });
    fetcher.assign(client, &starts.collect())?;
    Ok(since.elapsed())
}

fn print_progress(
    read: Read,
    reported: Read,
    window: Duration,
    joining: Duration,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (seconds, fetching) = (window.as_secs_f64(), window.saturating_sub(joining).as_secs_f64());
    let megabytes = (read.bytes - reported.bytes) as f64 / MEGABYTE;
    let records = (read.records - reported.records) as f64;
    let per = |amount: f64, seconds: f64| if seconds > 0.0 { amount / seconds } else { 0.0 };
    writeln!(
        out,
        "{}, 0, {:.4}, {:.4}, {}, {:.4}, {}, {}, {:.4}, {:.4}",
        time::show_datetime(time::now_ms()),
        read.bytes as f64 / MEGABYTE,
        per(megabytes, seconds),
        read.records,
        per(records, seconds),
        joining.as_millis(),
        window.saturating_sub(joining).as_millis(),
        per(megabytes, fetching),
        per(records, fetching)
    )?;
    out.flush()?;
    Ok(())
}
