//! Kafka's own command-line tools: the same output and exit code from Apache Kafka and from Ottla.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod topics;

use ottla_compat_tests::story::{Session, story};
use ottla_compat_tests::toolchain::Need;

/// A story of one tool.
#[track_caller]
fn tool_story(tool: &str, name: &str, steps: impl Fn(&mut Session)) {
    story(tool, name, &[Need::Maven, Need::Java], steps);
}
