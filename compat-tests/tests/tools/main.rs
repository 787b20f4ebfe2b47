//! Kafka's own command-line tools: the same output and exit code from Apache Kafka and from Ottla.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cluster;
mod configs;
mod console;
mod consumer_groups;
mod dump_log;
mod dump_log_decoders;
mod explain;
mod log_compaction;
mod log_dir_moves;
mod native_tools;
mod offsets;
mod perf;
mod topics;
mod transactions;

use ottla_compat_tests::story::{Session, story};
use ottla_compat_tests::toolchain::Need;

/// A story of one tool.
#[track_caller]
fn tool_story(tool: &str, name: &str, steps: impl Fn(&mut Session)) {
    story(tool, name, &[Need::Maven, Need::Java], steps);
}

/// Lines `key<TAB>value` for the console producer.
fn keyed_lines(count: usize) -> String {
    (0..count).map(|n| format!("key-{}\tvalue {n}\n", n % 7)).collect()
}
