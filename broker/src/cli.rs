//! The command line: `ottla [start] [FILE] [--override key=value]...`

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
    start: Start,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the broker (what happens without a command, too).
    Start(Start),
}

/// How to start.
#[derive(Debug, Args, Clone, Default, PartialEq, Eq)]
pub struct Start {
    /// Configuration: a Kafka server.properties, or the same keys in TOML. Default: ./ottla.toml if there is one.
    pub file: Option<PathBuf>,
    /// Set one key; beats the file and KAFKA_* variables. Can be given many times.
    #[arg(long = "override", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// How log lines look.
    #[arg(long, value_enum, env = "OTTLA_LOG_FORMAT", default_value_t)]
    pub log_format: LogFormat,
}

impl Cli {
    /// What to start.
    pub fn into_start(self) -> Start {
        match self.command {
            Some(Command::Start(start)) => start,
            None => self.start,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(arguments: &[&str]) -> Start {
        Cli::try_parse_from(arguments).unwrap().into_start()
    }

    #[test]
    fn starting_needs_no_word() {
        assert_eq!(parse(&["ottla"]), parse(&["ottla", "start"]));
        let start = parse(&["ottla", "start", "a.properties", "--override", "x=1", "--override", "y=2"]);
        assert_eq!(start.file.unwrap().to_str(), Some("a.properties"));
        assert_eq!(start.overrides, ["x=1", "y=2"]);
        assert_eq!(parse(&["ottla", "--override", "x=1"]).overrides, ["x=1"]);
        assert!(Cli::try_parse_from(["ottla", "--nonsense"]).is_err());
    }
}
