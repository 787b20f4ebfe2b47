//! Kafka's command-line tools in the same binary, without a JVM: called as `kafka-topics`, `kafka-topics.sh` (a link to the
//! binary) or `ottla topics`. The same flags, output and exit codes as Apache's; they speak to any Kafka cluster.

mod acl_names;
mod acls;
mod admin;
mod application_reset;
mod broker_api_versions;
mod client;
mod client_metrics;
mod cluster;
mod configs;
mod configs_quotas;
mod configs_scram;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod consumer_groups_describe;
mod consumer_groups_reset;
mod consumer_perf;
mod delete_records;
mod deserializer;
mod dump_index;
mod dump_log;
mod e2e_latency;
mod explain;
mod failure;
mod features;
mod fetcher;
mod formatter;
mod get_offsets;
mod group_admin;
mod group_member;
mod groups;
pub mod health;
mod json;
mod leader_election;
mod line_reader;
mod log_dirs;
mod metadata_quorum;
mod options;
mod outage;
mod perf_stats;
mod producer;
mod producer_perf;
mod properties;
mod ready;
mod reassign_partitions;
mod reassignment_plan;
mod reassignment_replicas;
mod reassignment_throttles;
mod rebalance;
mod storage;
mod table;
mod time;
mod topics;
mod transactions;
mod transactions_hanging;
mod verifiable_consumer;
mod verifiable_producer;

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

pub use failure::Failure;

use options::{Options, Spec};

/// The release whose tools these are like; scripts compare what `--version` says with what they need.
const KAFKA_VERSION: &str = "4.3.1";

/// One tool: what it is called, what it does, its options and its work.
struct Tool {
    /// Without the leading `kafka-`.
    name: &'static str,
    about: &'static str,
    specs: &'static [Spec],
    run: fn(&Options, &mut dyn Write) -> Result<ExitCode, Failure>,
}

const TOOLS: &[Tool] = &[
    acls::TOOL,
    broker_api_versions::TOOL,
    client_metrics::TOOL,
    cluster::TOOL,
    configs::TOOL,
    console_consumer::TOOL,
    console_producer::TOOL,
    consumer_groups::TOOL,
    consumer_perf::TOOL,
    delete_records::TOOL,
    dump_log::TOOL,
    e2e_latency::TOOL,
    explain::TOOL,
    features::TOOL,
    get_offsets::TOOL,
    groups::TOOL,
    leader_election::TOOL,
    log_dirs::TOOL,
    metadata_quorum::TOOL,
    producer_perf::TOOL,
    reassign_partitions::TOOL,
    rebalance::TOOL,
    storage::TOOL,
    application_reset::TOOL,
    topics::TOOL,
    transactions::TOOL,
    verifiable_consumer::TOOL,
    verifiable_producer::TOOL,
];

/// The names of the tools that are built, as `ottla NAME`.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TOOLS.iter().map(|tool| (tool.name, tool.about))
}

/// The tools as a list for `ottla --help`.
pub fn overview() -> String {
    let mut text = String::from("Kafka's tools (also when called by their own name, as a link to this program):\n");
    for (name, about) in names().filter(|(name, _)| !OWN.contains(name)) {
        let _ = writeln!(text, "  {:<28} {about}", format!("kafka-{name}"));
    }
    text.push_str("Of our own:\n");
    for (name, about) in names().filter(|(name, _)| OWN.contains(name)) {
        let _ = writeln!(text, "  {:<28} {about}", format!("ottla {name}"));
    }
    text
}

/// The tools that Kafka has not.
pub const OWN: [&str; 2] = ["explain", "rebalance"];

/// Runs a tool when the program was called by a tool's name, or when its first word names one (`ottla topics ...`).
pub fn run_if_named(own_name: &str, arguments: &[String]) -> Option<ExitCode> {
    run(own_name, arguments).or_else(|| run(arguments.first()?, arguments.get(1..)?))
}

/// Runs the tool that `name` stands for (`topics`, `kafka-topics`, `/opt/kafka/bin/kafka-topics.sh`); `None` if it is no tool.
pub fn run(name: &str, arguments: &[String]) -> Option<ExitCode> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".sh").unwrap_or(name);
    if matches!(name, "cub" | "ub") {
        return Some(ready::run(arguments));
    }
    let name = name.strip_prefix("kafka-").unwrap_or(name);
    let tool = TOOLS.iter().find(|tool| tool.name == name)?;
    Some(run_tool(tool, arguments))
}

/// The tools whose Java twins read their lines with argparse4j, which has words of its own for wrong ones.
const ARGPARSE_TOOLS: [&str; 8] = [
    "cluster",
    "features",
    "metadata-quorum",
    "producer-perf-test",
    "storage",
    "transactions",
    "verifiable-consumer",
    "verifiable-producer",
];

fn run_tool(tool: &Tool, arguments: &[String]) -> ExitCode {
    let is_argparse = ARGPARSE_TOOLS.contains(&tool.name);
    let wants_help = arguments.iter().any(|argument| argument == "--help" || (is_argparse && argument == "-h"));
    // Whoever reads may stop before the end (`--help 2>&1 | head`): that is no error.
    if wants_help && is_argparse {
        let usage = options::usage(tool.specs);
        let _ =
            writeln!(std::io::stdout(), "usage: kafka-{} [options] command\n\n{}\n\n{usage}", tool.name, tool.about);
        // Two of them take a call for help for a wrong line.
        let is_refused = matches!(tool.name, "producer-perf-test" | "transactions");
        return if is_refused { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if wants_help || (arguments.is_empty() && !is_argparse) {
        let _ = writeln!(std::io::stderr(), "{}\n{}", tool.about, options::usage(tool.specs));
        return ExitCode::FAILURE;
    }
    if arguments.iter().any(|argument| argument == "--version") {
        let _ = writeln!(std::io::stdout(), "{KAFKA_VERSION}");
        return ExitCode::SUCCESS;
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let outcome = Options::parse(tool.specs, arguments, is_argparse).and_then(|options| (tool.run)(&options, &mut out));
    // A closed pipe (`kafka-topics --list | head -1`) ends a tool quietly, as it ends Unix tools.
    let _ = out.flush();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            tell(tool, &failure);
            ExitCode::FAILURE
        }
    }
}

/// Tools whose Java twins do not catch that an option is unknown.
const UNCAUGHT_TOOLS: [&str; 3] = ["consumer-groups", "dump-log", "reassign-partitions"];

fn tell(tool: &Tool, failure: &Failure) {
    let (name, text) = (tool.name, &failure.message);
    if UNCAUGHT_TOOLS.contains(&name) && text.ends_with(" is not a recognized option") {
        eprintln!("Exception in thread \"main\" joptsimple.UnrecognizedOptionException: {text}");
        return;
    }
    if !ARGPARSE_TOOLS.contains(&name) {
        let prefix = if name == "get-offsets" && text.ends_with(" is not a recognized option") {
            "Error occurred: "
        } else {
            ""
        };
        eprintln!("{prefix}{text}");
        if failure.is_usage {
            eprint!("{}", options::usage(tool.specs));
        }
        return;
    }
    let text = match text.strip_suffix(" is not a recognized option") {
        Some(unknown) => format!("unrecognized arguments: '--{unknown}'"),
        None => text.clone(),
    };
    match failure.is_usage {
        false => eprintln!("{text}"),
        true if name == "features" => eprint!("Command line error: {text}. Type --help for help."),
        true => {
            // Each is called by the name that its Java twin gives itself.
            let called = match name {
                "transactions" => "kafka-transactions.sh".to_owned(),
                name if name.starts_with("verifiable-") => name.to_owned(),
                name => format!("kafka-{name}"),
            };
            eprintln!("usage: {called} [-h] [options] command ...\n{called}: error: {text}");
        }
    }
}
