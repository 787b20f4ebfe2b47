//! The tools inside Ottla's own binary beside Apache's: the same lines about the same broker, Apache Kafka or Ottla, say the
//! same and end with the same code.

use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::broker::{self, Broker, Target};
use ottla_compat_tests::normalize::{normalize, without_log_lines};
use ottla_compat_tests::process::{self, Output};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{ottla, tool};

/// How two outputs are compared.
#[derive(Clone, Copy)]
enum Rule {
    /// Standard output word for word.
    Same,
    /// Apache's tool prints rows in the order of a hash table.
    AnyOrder,
    /// Only the exit code: what is printed is a measurement, or a table of options with sentences of its own.
    Code,
}

use Rule::{AnyOrder, Code, Same};

/// What both tools are asked, in this order: earlier lines make what later ones look at. `@` is the broker, `$` a folder.
const LINES: &[(Rule, &str)] = &[
    (Same, "kafka-topics --version"),
    (Code, "kafka-topics --nope"),
    (Code, "kafka-consumer-groups --bootstrap-server @ --list --describe"),
    (AnyOrder, "kafka-consumer-groups --bootstrap-server @ --list"),
    (AnyOrder, "kafka-consumer-groups --bootstrap-server @ --list --state --type"),
    (AnyOrder, "kafka-consumer-groups --bootstrap-server @ --describe --group native-g"),
    (Same, "kafka-consumer-groups --bootstrap-server @ --describe --group native-g --members --verbose"),
    (Same, "kafka-consumer-groups --bootstrap-server @ --describe --group native-g --state --verbose"),
    (Same, "kafka-consumer-groups --bootstrap-server @ --describe --group absent"),
    (
        AnyOrder,
        "kafka-consumer-groups --bootstrap-server @ --reset-offsets --group native-g --topic native --to-earliest --dry-run",
    ),
    (
        AnyOrder,
        "kafka-consumer-groups --bootstrap-server @ --reset-offsets --group native-g --topic native --to-earliest --execute",
    ),
    (
        AnyOrder,
        "kafka-consumer-groups --bootstrap-server @ --reset-offsets --group native-g --all-topics --to-latest --execute",
    ),
    (
        AnyOrder,
        "kafka-consumer-groups --bootstrap-server @ --reset-offsets --group native-g --topic native:0 --shift-by -2 --export --dry-run",
    ),
    (
        AnyOrder,
        "kafka-consumer-groups --bootstrap-server @ --reset-offsets --group native-g --all-topics --to-datetime 2020-01-01T00:00:00.000 --dry-run",
    ),
    (
        Same,
        "kafka-consumer-groups --bootstrap-server @ --reset-offsets --group native-g --topic absent --to-latest --execute",
    ),
    (Same, "kafka-consumer-groups --bootstrap-server @ --delete-offsets --group absent --topic native"),
    (Same, "kafka-consumer-groups --bootstrap-server @ --delete --group absent"),
    (AnyOrder, "kafka-groups --bootstrap-server @ --list"),
    (
        Same,
        "kafka-configs --bootstrap-server @ --alter --entity-type topics --entity-name native --add-config retention.ms=100000,cleanup.policy=[compact,delete]",
    ),
    (Same, "kafka-configs --bootstrap-server @ --describe --entity-type topics --entity-name native"),
    (
        Same,
        "kafka-configs --bootstrap-server @ --alter --entity-type topics --entity-name native --add-config retention.ms=soon",
    ),
    (Same, "kafka-configs --bootstrap-server @ --describe --entity-type topics --entity-name absent"),
    (Same, "kafka-configs --bootstrap-server @ --describe --entity-type brokers --entity-name 1 --all"),
    (
        Same,
        "kafka-configs --bootstrap-server @ --alter --entity-type users --entity-name u --add-config producer_byte_rate=20000000",
    ),
    (Same, "kafka-configs --bootstrap-server @ --describe --entity-type users"),
    (
        Same,
        "kafka-configs --bootstrap-server @ --alter --entity-type users --entity-name u --add-config SCRAM-SHA-256=[password=secret]",
    ),
    (Same, "kafka-configs --bootstrap-server @ --describe --entity-type users --entity-name u"),
    (Same, "kafka-configs --bootstrap-server @ --describe"),
    (AnyOrder, "kafka-log-dirs --bootstrap-server @ --describe --topic-list native"),
    (Same, "kafka-log-dirs --bootstrap-server @ --describe --broker-list 77"),
    (Same, "kafka-leader-election --bootstrap-server @ --election-type preferred --topic native --partition 0"),
    (Same, "kafka-leader-election --bootstrap-server @ --election-type preferred"),
    (Same, "kafka-features --bootstrap-server @ describe"),
    (Same, "kafka-features --bootstrap-server @ upgrade --feature transaction.version=2"),
    (Same, "kafka-features version-mapping --release-version 4.0"),
    (Same, "kafka-features --nope"),
    (Code, "kafka-metadata-quorum --bootstrap-server @ describe --status"),
    (Code, "kafka-metadata-quorum --bootstrap-server @ describe"),
    (Same, "kafka-transactions --bootstrap-server @ list"),
    (Same, "kafka-transactions --bootstrap-server @ describe --transactional-id absent"),
    (Same, "kafka-transactions --bootstrap-server @ describe-producers --topic native --partition 1"),
    (Same, "kafka-transactions --bootstrap-server @ find-hanging --topic native"),
    (Code, "kafka-transactions --bootstrap-server @"),
    (Same, "kafka-delete-records --bootstrap-server @ --offset-json-file $/offsets.json"),
    (
        Code,
        "kafka-producer-perf-test --bootstrap-server @ --topic native --num-records 100 --record-size 10 --throughput -1",
    ),
    (Code, "kafka-consumer-perf-test --bootstrap-server @ --topic native --num-records 10"),
];

#[test]
fn on_apache_kafka_ours_say_what_apaches_say() {
    compare(Target::Apache);
}

#[test]
fn on_ottla_ours_say_what_apaches_say() {
    compare(Target::Ottla);
}

fn compare(target: Target) {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        println!("skipped: {reason}");
        return;
    }
    if !broker::targets().contains(&target) {
        return;
    }
    let broker = Broker::start(target, &[]).unwrap();
    let folder = prepare(&broker);
    let mut differences = String::new();
    for (rule, line) in LINES {
        let (name, arguments) = words(line, &broker, folder.path());
        let theirs = tool::run(&name, &arguments, b"");
        let ours = native(&name, &arguments);
        let (left, right) = (shaped(*rule, &theirs, &broker), shaped(*rule, &ours, &broker));
        if left != right {
            differences.push_str(&format!("$ {line}\n--- apache\n{left}\n--- ottla\n{right}\n{}\n", ours.stderr));
        }
    }
    assert!(differences.is_empty(), "{differences}");
}

/// A topic with records and a group that has read some of them.
fn prepare(broker: &Broker) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let offsets = r#"{"partitions":[{"topic":"native","partition":0,"offset":1}],"version":1}"#;
    std::fs::write(folder.path().join("offsets.json"), offsets).unwrap();
    let bootstrap = broker.bootstrap();
    let run = |line: &str, stdin: &str| {
        let line = line.replace('@', &bootstrap);
        let mut parts = line.split_whitespace().map(str::to_owned);
        let name = parts.next().unwrap();
        let output = native_with_input(&name, &parts.collect::<Vec<_>>(), stdin);
        assert_eq!(output.code, 0, "{line}\n{output}");
    };
    run("kafka-topics --bootstrap-server @ --create --topic native --partitions 2", "");
    let records: String = (0..20).map(|n| format!("k{n}\tvalue {n}\n")).collect();
    run("kafka-console-producer --bootstrap-server @ --topic native --reader-property parse.key=true", &records);
    run(
        "kafka-console-consumer --bootstrap-server @ --topic native --group native-g --from-beginning --max-messages 20",
        "",
    );
    folder
}

fn words(line: &str, broker: &Broker, folder: &std::path::Path) -> (String, Vec<String>) {
    let fill = |word: &str| word.replace('@', &broker.bootstrap()).replace('$', &folder.display().to_string());
    let mut words = line.split_whitespace().map(fill);
    (words.next().unwrap(), words.collect())
}

fn native(name: &str, arguments: &[String]) -> Output {
    native_with_input(name, arguments, "")
}

fn native_with_input(name: &str, arguments: &[String], stdin: &str) -> Output {
    let mut command = Command::new(ottla::binary().unwrap());
    command.arg(name).args(arguments);
    process::run(&mut command, stdin.as_bytes(), Duration::from_secs(60))
}

fn shaped(rule: Rule, output: &Output, broker: &Broker) -> String {
    let text = normalize(&without_log_lines(&output.stdout), broker);
    let mut lines: Vec<&str> = text.lines().collect();
    match rule {
        Same => {}
        AnyOrder => {
            // The lists within a line of JSON, too.
            lines = text.split(['\n', '{', '}', ',']).collect();
            lines.sort_unstable();
        }
        Code => lines.clear(),
    }
    format!("exit code {}\n{}", output.code, lines.join("\n"))
}
