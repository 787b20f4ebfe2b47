//! What the stories found, for the table in `RESULTS.md`: one small JSON file per story, merged by the table's test.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::broker::Target;
use crate::cache;

/// How a story ended against one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// Notes an outcome. `subject` is a tool or client, `story` what was asked of it.
pub fn record(subject: &str, story: &str, target: Target, outcome: Outcome) {
    let value = json!({"subject": subject, "story": story, "target": target.name(), "outcome": outcome.name()});
    write(&format!("story-{subject}-{story}-{}", target.name()), &value);
}

/// Notes the versions of one API that a target answers.
pub fn record_api(key: i16, name: &str, target: Target, range: Option<(i16, i16)>, answered: &[i16]) {
    let value = json!({
        "api": key, "name": name, "target": target.name(), "min": range.map(|r| r.0), "max": range.map(|r| r.1),
        "answered": answered,
    });
    write(&format!("api-{key:03}-{}", target.name()), &value);
}

/// Everything noted so far, sorted by file name; also written to `target/compat-results.json`.
pub fn collect() -> Vec<Value> {
    let entries = fs::read_dir(cache::dir("results")).expect("the results folder is readable");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let parse = |path: &PathBuf| serde_json::from_slice(&fs::read(path).expect("readable")).expect("results are JSON");
    let all: Vec<Value> = paths.iter().map(parse).collect();
    let text = serde_json::to_string_pretty(&all).expect("values become JSON");
    fs::write(cache::target().join("compat-results.json"), text).expect("write target/compat-results.json");
    all
}

fn write(name: &str, value: &Value) {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    fs::write(cache::dir("results").join(name + ".json"), value.to_string()).expect("write a result");
}
