//! Renders `RESULTS.md` from what the other tests noted. Cargo runs this binary last: its name sorts behind theirs.
//!
//! `OTTLA_RESULTS=write` rewrites the file. Under `CI=true`, where every story has just run, the committed file must agree.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ottla_compat_tests::{cache, results, toolchain};
use serde_json::Value;

#[test]
fn results_are_written_down() {
    let all = results::collect();
    let text = render(&all);
    let path = cache::package().join("RESULTS.md");
    if std::env::var("OTTLA_RESULTS").is_ok_and(|wanted| wanted == "write") {
        std::fs::write(&path, &text).unwrap();
    }
    if toolchain::is_ci() {
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let rows = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<String>>();
        let (found, written) = (rows(&text), rows(&committed));
        let new: Vec<&String> = found.difference(&written).collect();
        let gone: Vec<&String> = written.difference(&found).collect();
        assert!(
            new.is_empty() && gone.is_empty(),
            "RESULTS.md is not what the tests found: run with OTTLA_RESULTS=write\nnew: {new:#?}\ngone: {gone:#?}"
        );
    }
}

fn render(all: &[Value]) -> String {
    let mut text = String::from(
        "# What works\n\nRendered from the tests in this folder; the stories run against Apache Kafka 4.3.1 and against Ottla; \
         what is missing is listed in [UNSUPPORTED.md](UNSUPPORTED.md).\n\n\
         ## Clients, tools and stories\n\n\"yes\" means: the same outcome as against Apache Kafka. The rows \
         Data set, Debezium, Directories, Durability, Jepsen, Kafka Connect, Kafka Streams (but for its topics), MirrorMaker 2, ottla explain, \
         Robustness and Schema registry are judged by their own checks and run against Ottla alone.\n\n\
         | Client or tool | Story | Ottla |\n|---|---|---|\n",
    );
    for story in all.iter().filter(|value| value["target"] == "ottla" && value["story"].is_string()) {
        let outcome = match story["outcome"].as_str() {
            Some("passed") => "yes",
            Some("skipped") => "not run",
            _ => "**no**",
        };
        let cell = |name: &str| story[name].as_str().unwrap_or_default().to_owned();
        writeln!(text, "| {} | {} | {outcome} |", cell("subject"), cell("story")).unwrap();
    }
    text.push_str("\n## APIs and versions\n\nVersions that a broker listener advertises and answers.\n\n| Key | API | Apache Kafka 4.3.1 | Ottla |\n|---|---|---|---|\n");
    let mut rows: BTreeMap<i64, BTreeMap<&str, &Value>> = BTreeMap::new();
    for api in all.iter().filter(|value| value["api"].is_i64()) {
        rows.entry(api["api"].as_i64().unwrap()).or_default().insert(api["target"].as_str().unwrap(), api);
    }
    for (key, targets) in &rows {
        let name = targets.values().next().and_then(|api| api["name"].as_str()).unwrap_or_default();
        let range = |target: &str| {
            targets
                .get(target)
                .map_or_else(|| "-".to_owned(), |api| format!("{}-{}{}", api["min"], api["max"], unanswered(key, api)))
        };
        writeln!(text, "| {key} | {name} | {} | {} |", range("apache"), range("ottla")).unwrap();
    }
    text
}

/// Versions in the advertised range that closed the connection when asked with default fields.
fn unanswered(key: &i64, api: &Value) -> String {
    let answered: BTreeSet<i64> = api["answered"].as_array().into_iter().flatten().filter_map(Value::as_i64).collect();
    let min = if *key == 0 { 3 } else { api["min"].as_i64().unwrap_or(0) };
    let missing: Vec<String> =
        (min..=api["max"].as_i64().unwrap_or(-1)).filter(|v| !answered.contains(v)).map(|v| v.to_string()).collect();
    if missing.is_empty() { String::new() } else { format!(" (empty request refused: {})", missing.join(", ")) }
}
