//! `TOOLS.md`: every flag of every tool, and how what it does was compared with Apache's tool.
//!
//! The flags are those that `--help` tells on both sides, so a flag that one side has and the other has not is in the table.
//! `OTTLA_RESULTS=write` rewrites the file; under `CI=true` the committed file must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use ottla_compat_tests::process::Output;
use ottla_compat_tests::{cache, tool, toolchain};

use super::lines::{self, Line, Rule};
use super::{is_skipped, native};

/// Tools whose flags come behind a command of their own.
const COMMANDS: &[(&str, &[&str])] = &[
    ("kafka-cluster", &["cluster-id", "list-endpoints", "unregister"]),
    ("kafka-features", &["describe", "upgrade", "downgrade", "disable", "version-mapping", "feature-dependencies"]),
    ("kafka-metadata-quorum", &["describe", "add-controller", "remove-controller"]),
    ("kafka-storage", &["format", "info", "version-mapping", "feature-dependencies", "random-uuid"]),
    (
        "kafka-transactions",
        &["list", "describe", "describe-producers", "abort", "find-hanging", "forceTerminateTransaction"],
    ),
];

/// Tools that leave by `System.exit`.
const ALONE: [&str; 3] = ["kafka-cluster", "kafka-verifiable-consumer", "kafka-verifiable-producer"];

#[test]
fn the_table_of_flags_is_written_down() {
    if is_skipped() {
        return;
    }
    let text = render();
    let path = cache::package().join("TOOLS.md");
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
            "TOOLS.md is not what the tools say: run with OTTLA_RESULTS=write\nnew: {new:#?}\ngone: {gone:#?}"
        );
    }
}

fn render() -> String {
    let mut by_tool: BTreeMap<&str, Vec<Line>> = BTreeMap::new();
    for line in lines::all() {
        by_tool.entry(line.text.split(' ').next().unwrap_or_default()).or_default().push(line);
    }
    let mut text = String::from(
        "# Tools, flag by flag\n\nRendered by `tests/tools/native_tools`. Each line of it is run with Apache's tool (4.3.1) and with Ottla's, \
         against Apache Kafka and against Ottla, and both must end alike. A flag is \"same output\" when at least one of its \
         lines compares what is printed (with rows in any order where Apache's come out of a hash table), \"same exit code\" when \
         its lines print measurements. What differs otherwise is in [UNSUPPORTED.md](UNSUPPORTED.md).\n",
    );
    for (name, lines) in &by_tool {
        let theirs = flags(name, |arguments| {
            // argparse4j would take the JVM of all tools with it.
            if ALONE.contains(name) { tool::run_alone(name, arguments) } else { tool::run(name, arguments, b"") }
        });
        let ours = flags(name, |arguments| native(name, arguments, ""));
        writeln!(text, "\n## {name}\n\n{} lines.\n\n| Flag | Lines | Outcome |\n|---|---|---|", lines.len()).unwrap();
        for flag in theirs.union(&ours) {
            let with: Vec<&Line> =
                lines.iter().filter(|line| line.text.split(' ').any(|word| word == format!("--{flag}"))).collect();
            let outcome = match (with.is_empty(), theirs.contains(flag), ours.contains(flag)) {
                (false, ..) if with.iter().any(|line| compares_output(line)) => "same output",
                (false, ..) => "same exit code",
                (_, false, _) => "Ottla's own",
                (_, _, false) => "**not built**",
                _ => "not compared",
            };
            writeln!(text, "| `--{flag}` | {} | {outcome} |", with.len()).unwrap();
        }
        for line in lines.iter().filter(|line| line.rule == Rule::Differs) {
            writeln!(text, "\nDiffers: `{}`.", line.text).unwrap();
        }
    }
    text
}

fn compares_output(line: &Line) -> bool {
    !matches!(line.rule, Rule::Code | Rule::Differs)
}

/// The flags that a tool tells of.
fn flags(name: &str, run: impl Fn(&[String]) -> Output) -> BTreeSet<String> {
    let help = |command: Option<&str>| {
        let arguments: Vec<String> = command.into_iter().chain(["--help"]).map(str::to_owned).collect();
        let output = run(&arguments);
        output.stdout + &output.stderr
    };
    let commands = COMMANDS.iter().find(|(tool, _)| *tool == name).map_or(&[][..], |(_, commands)| commands);
    let mut found = flags_in(&help(None));
    for command in commands {
        found.extend(flags_in(&help(Some(command))));
    }
    found
}

/// The flags in a table of options: each begins a line, with the description behind two blanks.
fn flags_in(help: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in help.lines().map(str::trim_start).filter(|line| line.starts_with('-')) {
        let names = line.split("  ").next().unwrap_or_default();
        for word in names.split([' ', ',', '/']).filter_map(|word| word.strip_prefix("--")) {
            let is_name =
                word.len() > 1 && word.chars().all(|c| c.is_ascii_lowercase() || "-.1234567890IT".contains(c));
            if is_name && !word.ends_with(['.', '-']) {
                found.insert(word.to_owned());
            }
        }
    }
    found
}

#[test]
fn flags_are_found_in_both_kinds_of_tables() {
    let help = "Option      Description\n------      ----------\n--topic <String: topic>   with --other\n--aa, --bb <Integer>\n  -c CONFIG, --config CONFIG\n";
    let expected = ["aa", "bb", "config", "topic"].map(str::to_owned);
    assert_eq!(flags_in(help), BTreeSet::from(expected));
}
