//! The tools inside Ottla's own binary beside Apache's: the same lines about the same broker, Apache Kafka or Ottla, say the
//! same and end with the same code. [`lines`] has the lines, [`table`] makes `TOOLS.md` of them.

mod files;
mod lines;
mod table;

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{self, Broker, Target};
use ottla_compat_tests::normalize::{normalize, without_log_lines};
use ottla_compat_tests::process::{self, Daemon, Output};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{ottla, tool};
use regex::Regex;

use lines::{Line, Rule};

/// What stands for `%` in the lines of Apache's tool and of ours: of one length, as columns are as wide as their cells.
const SIDES: [&str; 2] = ["zaz", "zoz"];

#[test]
fn on_apache_kafka_ours_say_what_apaches_say() {
    compare(Target::Apache);
}

#[test]
fn on_ottla_ours_say_what_apaches_say() {
    compare(Target::Ottla);
}

fn is_skipped() -> bool {
    let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) else { return false };
    assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
    println!("skipped: {reason}");
    true
}

fn compare(target: Target) {
    if is_skipped() || !broker::targets().contains(&target) {
        return;
    }
    // A segment that kafka-delete-records has emptied stays for kafka-dump-log, however long the lines in between take.
    let broker = Broker::start(target, &["log.retention.check.interval.ms=3600000"]).unwrap();
    let folder = prepare(&broker);
    let mut failures = String::new();
    for line in lines::all() {
        let (name, arguments) = words(&line, SIDES[0], &broker, folder.path());
        let theirs = match line.rule {
            Rule::Alone | Rule::Events => tool::run_alone(&name, &arguments),
            _ => tool::run(&name, &arguments, line.input.as_bytes()),
        };
        let (name, arguments) = words(&line, SIDES[1], &broker, folder.path());
        let ours = native(&name, &arguments, &line.input);
        let [left, right] = [&theirs, &ours].map(|output| shaped(line.rule, output, &broker, folder.path()));
        let is_known = line.rule == Rule::Differs;
        if is_known && left == right {
            failures.push_str(&format!("$ {}\nno longer differs\n", line.text));
        } else if !is_known && left != right {
            failures.push_str(&format!("$ {}\n--- apache\n{left}\n--- ottla\n{right}\n", line.text));
            failures.push_str(&format!("--- on standard error\n{}---\n{}\n", theirs.stderr, ours.stderr));
        }
    }
    assert!(failures.is_empty(), "{failures}");
}

/// A topic with records, a group that has read some of them, and files.
fn prepare(broker: &Broker) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    files::write(folder.path(), broker);
    let bootstrap = broker.bootstrap();
    let run = |line: &str, stdin: &str| {
        let line = line.replace('@', &bootstrap);
        let mut parts = line.split_whitespace().map(str::to_owned);
        let name = parts.next().unwrap();
        let output = native(&name, &parts.collect::<Vec<_>>(), stdin);
        assert_eq!(output.code, 0, "{line}\n{output}");
    };
    run("kafka-topics --bootstrap-server @ --create --topic native --partitions 2", "");
    for side in SIDES {
        run(&format!("kafka-topics --bootstrap-server @ --create --topic c-{side} --partitions 1"), "");
        run(&format!("kafka-topics --bootstrap-server @ --create --topic v-{side} --partitions 1"), "");
        // Of segments that are no longer written to, so that their indexes are on disk.
        run(
            &format!(
                "kafka-topics --bootstrap-server @ --create --topic d-{side} --partitions 1 --config segment.bytes=1048576"
            ),
            "",
        );
        run(
            &format!(
                "kafka-producer-perf-test --bootstrap-server @ --topic d-{side} --num-records 2000 --record-size 1000 --throughput -1"
            ),
            "",
        );
    }
    let records: String = (0..20).map(|n| format!("k{n}\tvalue {n}\n")).collect();
    run("kafka-console-producer --bootstrap-server @ --topic native --reader-property parse.key=true", &records);
    run(
        "kafka-console-consumer --bootstrap-server @ --topic native --group native-g --from-beginning --max-messages 20",
        "",
    );
    folder
}

/// As Kafka's consumers do: the broker is killed and comes back while they read.
#[test]
fn tools_that_read_outlive_the_broker() {
    let mut broker = Broker::start(Target::Ottla, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (port, dir) = (broker.bootstrap(), folder.path());
    let produce = |from: usize| {
        let lines: String = (from..from + 10).map(|number| format!("{number}\n")).collect();
        let arguments = format!("--bootstrap-server {port} --topic outlived");
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        assert_eq!(native("kafka-console-producer", &arguments, &lines).code, 0);
    };
    produce(0);
    let start = |name: &str, more: &str| {
        let mut command = Command::new(ottla::binary().unwrap());
        command.args([name, "--bootstrap-server", &port, "--topic", "outlived"]).args(more.split_whitespace());
        Daemon::spawn(&mut command, &dir.join(name)).unwrap()
    };
    let said = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(120);
    let until = |what: &str, holds: &mut dyn FnMut() -> bool| {
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let names = ["kafka-verifiable-consumer", "kafka-consumer-perf-test"];
    let mut verifiable = start(names[0], "--group-id verified --max-messages 20");
    let mut perf = start(names[1], "--group measured --num-records 20 --timeout 110000");
    until("both have joined", &mut || {
        let groups = native("kafka-consumer-groups", &words_of(&port, "--list --state stable"), "").stdout;
        said(names[0]).contains("records_consumed") && groups.contains("measured")
    });
    broker.kill();
    until("the outage is told", &mut || names.iter().all(|name| said(name).contains("trying again")));
    broker.restart().unwrap();
    produce(10);
    let patience = Duration::from_secs(60);
    assert_eq!(verifiable.ends(patience), Some(0), "{}", said(names[0]));
    assert_eq!(perf.ends(patience), Some(0), "{}", said(names[1]));
    assert!(said(names[0]).contains("shutdown_complete"), "{}", said(names[0]));
    assert!(!said(names[1]).contains("Exiting before"), "{}", said(names[1]));
}

fn words_of(bootstrap: &str, line: &str) -> Vec<String> {
    ["--bootstrap-server", bootstrap].into_iter().chain(line.split_whitespace()).map(str::to_owned).collect()
}

fn words(line: &Line, side: &str, broker: &Broker, folder: &Path) -> (String, Vec<String>) {
    let fill = |word: &str| {
        word.replace('@', &broker.bootstrap())
            .replace('$', &folder.display().to_string())
            .replace('&', &broker.data_dir().display().to_string())
            .replace('%', side)
    };
    let mut words = line.text.split_whitespace().map(fill);
    (words.next().unwrap(), words.collect())
}

fn native(name: &str, arguments: &[String], stdin: &str) -> Output {
    let mut command = Command::new(ottla::binary().unwrap());
    command.arg(name).args(arguments);
    process::run(&mut command, stdin.as_bytes(), Duration::from_secs(60))
}

fn shaped(rule: Rule, output: &Output, broker: &Broker, folder: &Path) -> String {
    let directory_id = Regex::new(r"directory\.id=[\w-]{22}").unwrap();
    let clean = |text: &str| {
        let text = text.replace(&folder.display().to_string(), "<folder>");
        let text = SIDES.iter().fold(text, |text, side| text.replace(side, "%"));
        let text = directory_id.replace_all(&text, "directory.id=<id>");
        normalize(&without_log_lines(&text), broker)
    };
    let text = clean(&output.stdout);
    let said = match rule {
        Rule::Same => text.lines().collect::<Vec<_>>().join("\n"),
        Rule::AnyOrder => {
            // The lists within a line of JSON, too.
            let text = text.replace("Configs: ", "Configs:,");
            let mut parts: Vec<&str> = text.split(['\n', '{', '}', ',']).map(str::trim).collect();
            parts.sort_unstable();
            parts.join("\n")
        }
        Rule::Error | Rule::Alone | Rule::Differs => format!("{}\n{}", text.trim_end(), told(&clean(&output.stderr))),
        Rule::Events => events(&output.stdout),
        Rule::Code => String::new(),
    };
    format!("exit code {}\n{said}", output.code)
}

/// What an error says: its first line, or what stands behind the usage that argparse4j puts first, which it wraps. The first
/// line of a stack trace says it a second time, and so does the logger's name.
fn told(stderr: &str) -> String {
    static ECHO: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r#"^(Exception in thread "main" )?([a-z]+\.)+\w*(Exception|Error)(: |$)|^ ?\(org\.apache\.kafka[\w.]+\)$"#,
        )
        .unwrap()
    });
    let lines: Vec<&str> = stderr.lines().filter(|line| !line.trim().is_empty() && !ECHO.is_match(line)).collect();
    let Some(marked) = lines.iter().position(|line| line.contains(": error: ")) else {
        return lines.first().copied().unwrap_or_default().to_owned();
    };
    let text = lines[marked..].join(" ").replace("-- ", "--");
    text.split(" Did you mean").next().unwrap_or_default().to_owned()
}

/// The kinds of events in their order, each with the names of its fields in theirs; equal neighbours count once.
fn events(text: &str) -> String {
    static FIELD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""name":"\w+"|"\w+":(null)?"#).unwrap());
    let mut kinds: Vec<String> = Vec::new();
    for line in without_log_lines(text).lines() {
        let kind = match line.starts_with('{') {
            true => FIELD.find_iter(line).map(|field| field.as_str()).collect::<Vec<_>>().join(" "),
            false => line.to_owned(),
        };
        if kinds.last() != Some(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join("\n")
}
