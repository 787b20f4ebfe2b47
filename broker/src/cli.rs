//! The command line: `ottla [start] [FILE] [--override key=value]...`, and what a container is started and probed with.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

/// A Kafka-wire-compatible broker.
///
/// Without a file it serves this machine on localhost:9092 and keeps its data in ./ottla-data.
#[derive(Debug, Parser)]
#[command(name = "ottla", version, args_conflicts_with_subcommands = true, after_help = ottla_tools::overview())]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    start: StartArgs,
}

/// The names of the commands.
pub const COMMANDS: &[&str] = &["start", "container", "health", "properties", "help"];

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker (what happens without a command, too).
    Start(StartArgs),
    /// Start the broker as its images do: on every address, data in /var/lib/kafka/data, the variables of other images understood.
    Container(ContainerArgs),
    /// Ask the broker of this container whether it is ready; the exit code tells (for HEALTHCHECK and probes).
    Health(HealthArgs),
    /// Print the configuration that `container` would start with, as a server.properties.
    Properties(ContainerArgs),
}

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    Start(Start),
    Health(HealthArgs),
    Properties(Start),
}

#[derive(Debug, Args)]
struct StartArgs {
    /// Configuration: a Kafka server.properties, or the same keys in TOML. Default: ./ottla.toml if there is one.
    file: Option<PathBuf>,
    /// Join the cluster of this node: its id is taken from there, a node id is given, and up to three nodes vote. Once is enough: what was given is kept with the data.
    #[arg(long, value_name = "HOST:PORT")]
    join: Option<String>,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, Args)]
struct ContainerArgs {
    /// Variables, as if they stood in the environment.
    #[arg(value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Configuration: a Kafka server.properties. Default: /mnt/shared/config/server.properties if there is one.
    #[arg(long)]
    file: Option<PathBuf>,
    #[command(flatten)]
    more: More,
}

#[derive(Debug, Args)]
struct More {
    /// Set one key; beats the file and KAFKA_* variables. Can be given many times.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// How log lines look.
    #[arg(long, value_enum, env = "OTTLA_LOG_FORMAT", default_value_t)]
    log_format: LogFormat,
}

/// Whom to ask, and how long.
#[derive(Debug, Args, PartialEq, Eq)]
pub struct HealthArgs {
    /// Default: the first listener of this container's configuration.
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap_server: Option<String>,
    /// How long the answer may take.
    #[arg(long, value_name = "MS", default_value_t = 5000)]
    pub timeout_ms: u64,
}

/// How to start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Start {
    pub file: Option<PathBuf>,
    pub overrides: Vec<String>,
    /// A node of the cluster to join.
    pub join: Option<String>,
    pub log_format: LogFormat,
    pub in_container: bool,
    /// `NAME=value` words of a container's command line.
    pub variables: Vec<String>,
}

impl From<StartArgs> for Start {
    fn from(StartArgs { file, join, more }: StartArgs) -> Self {
        Self { file, join, overrides: more.overrides, log_format: more.log_format, ..Self::default() }
    }
}

impl From<ContainerArgs> for Start {
    fn from(ContainerArgs { variables, file, more }: ContainerArgs) -> Self {
        let (overrides, log_format) = (more.overrides, more.log_format);
        Self { file, overrides, join: None, log_format, in_container: true, variables }
    }
}

impl Cli {
    /// What to do.
    pub fn into_action(self) -> Action {
        match self.command {
            Some(Command::Start(start)) => Action::Start(start.into()),
            Some(Command::Container(container)) => Action::Start(container.into()),
            Some(Command::Properties(container)) => Action::Properties(container.into()),
            Some(Command::Health(health)) => Action::Health(health),
            None => Action::Start(self.start.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> Action {
        Cli::try_parse_from(arguments).unwrap().into_action()
    }

    fn start(arguments: &[&str]) -> Start {
        let Action::Start(start) = parse(arguments) else { panic!("{arguments:?}") };
        start
    }

    #[test]
    fn starting_needs_no_word() {
        assert_eq!(parse(&["ottla"]), parse(&["ottla", "start"]));
        let given = start(&["ottla", "start", "a.properties", "--override", "x=1", "--override", "y=2"]);
        assert_eq!(given.file.unwrap().to_str(), Some("a.properties"));
        assert_eq!(given.overrides, ["x=1", "y=2"]);
        assert_eq!(start(&["ottla", "--override", "x=1"]).overrides, ["x=1"]);
        assert_eq!(start(&["ottla", "start", "--join", "a:9092"]).join.as_deref(), Some("a:9092"));
        assert!(Cli::try_parse_from(["ottla", "--nonsense"]).is_err());
    }

    #[test]
    fn a_container_takes_variables_as_words() {
        let given = start(&["ottla", "container", "KAFKA_NODE_ID=2"]);
        assert!(given.in_container);
        assert_eq!(given.variables, ["KAFKA_NODE_ID=2"]);
    }

    #[test]
    fn the_names_of_the_commands_are_listed() {
        for name in COMMANDS.iter().filter(|name| **name != "help") {
            assert!(Cli::try_parse_from(["ottla", name]).is_ok(), "{name}");
        }
    }
}
