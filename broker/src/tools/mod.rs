//! Kafka's command-line tools in the same binary, without a JVM: called as `kafka-topics`, `kafka-topics.sh` (a link to the
//! binary) or `ottla topics`. The same flags, output and exit codes as Apache's; they speak to any Kafka cluster.

mod admin;
mod broker_api_versions;
mod client;
mod cluster;
mod console_consumer;
mod console_producer;
mod consumer_groups;
mod consumer_groups_describe;
mod consumer_groups_reset;
mod delete_records;
mod failure;
mod fetcher;
mod formatter;
mod get_offsets;
mod group_admin;
mod group_member;
mod groups;
mod json;
mod line_reader;
mod log_dirs;
mod options;
mod producer;
mod properties;
mod time;
mod topics;

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
    broker_api_versions::TOOL,
    cluster::TOOL,
    console_consumer::TOOL,
    console_producer::TOOL,
    consumer_groups::TOOL,
    delete_records::TOOL,
    get_offsets::TOOL,
    groups::TOOL,
    log_dirs::TOOL,
    topics::TOOL,
];

/// The names of the tools that are built, as `ottla NAME`.
pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    TOOLS.iter().map(|tool| (tool.name, tool.about))
}

/// The tools as a list for `ottla --help`.
pub fn overview() -> String {
    let mut text = String::from("Kafka's tools (also when called by their own name, as a link to this program):\n");
    for (name, about) in names() {
        let _ = writeln!(text, "  {:<28} {about}", format!("kafka-{name}"));
    }
    text
}

/// Runs a tool when the program was called by a tool's name, or when its first word names one (`ottla topics ...`).
pub fn run_if_named(own_name: &str, arguments: &[String]) -> Option<ExitCode> {
    run(own_name, arguments).or_else(|| run(arguments.first()?, arguments.get(1..)?))
}

/// Runs the tool that `name` stands for (`topics`, `kafka-topics`, `/opt/kafka/bin/kafka-topics.sh`); `None` if it is no tool.
pub fn run(name: &str, arguments: &[String]) -> Option<ExitCode> {
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.strip_suffix(".sh").unwrap_or(name);
    let name = name.strip_prefix("kafka-").unwrap_or(name);
    let tool = TOOLS.iter().find(|tool| tool.name == name)?;
    Some(run_tool(tool, arguments))
}

fn run_tool(tool: &Tool, arguments: &[String]) -> ExitCode {
    if arguments.is_empty() || arguments.iter().any(|argument| argument == "--help") {
        eprintln!("{}\n{}", tool.about, options::usage(tool.specs));
        return ExitCode::FAILURE;
    }
    if arguments.iter().any(|argument| argument == "--version") {
        println!("{KAFKA_VERSION}");
        return ExitCode::SUCCESS;
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let outcome = Options::parse(tool.specs, arguments).and_then(|options| (tool.run)(&options, &mut out));
    // A closed pipe (`kafka-topics --list | head -1`) ends a tool quietly, as it ends Unix tools.
    let _ = out.flush();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", failure.message);
            if failure.is_usage {
                eprint!("{}", options::usage(tool.specs));
            }
            ExitCode::FAILURE
        }
    }
}
