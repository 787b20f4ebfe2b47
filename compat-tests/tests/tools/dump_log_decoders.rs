//! Ottla's kafka-dump-log and Apache's on the same files: whole log directories that either broker wrote, with transactions,
//! aborted ones too, groups of both protocols and compacted topics, and with every option that reads records.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{self, Broker, Target};
use ottla_compat_tests::normalize::without_log_lines;
use ottla_compat_tests::process::{self, Output};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{jvm, ottla, tool};

const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn both_tools_say_the_same_of_a_directory_that_apache_kafka_wrote() {
    compare(Target::Apache);
}

#[test]
fn both_tools_say_the_same_of_a_directory_that_ottla_wrote() {
    compare(Target::Ottla);
}

fn compare(target: Target) {
    let (subject, story) = ("kafka-dump-log", "every file of a log directory, with every decoder");
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        println!("skipped: {reason}");
        results::record(subject, story, target, Outcome::Skipped);
        return;
    }
    if !broker::targets().contains(&target) {
        return;
    }
    results::record(subject, story, target, Outcome::Failed);
    let mut broker = Broker::start(target, &["log.cleaner.backoff.ms=100"]).unwrap();
    write(&broker);
    // A JVM that is asked to end ends with 143.
    assert!(broker.stop().is_some(), "{}", broker.log());
    let files = Files::of(&broker.data_dir());
    let mut failures = String::new();
    let mut count = 0;
    for (options, files) in lines(&files) {
        assert!(!files.is_empty(), "no file for {options}");
        let mut arguments: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        arguments.extend(["--files".to_owned(), files.join(",")]);
        let theirs = tool::run("kafka-dump-log", &arguments, b"");
        let mut ours = Command::new(ottla::binary().unwrap());
        let ours = process::run(ours.arg("kafka-dump-log").args(&arguments), b"", LIMIT);
        count += ours.stdout.lines().count();
        let [theirs, ours] = [said(&theirs), said(&ours)];
        if theirs != ours {
            failures.push_str(&format!("$ kafka-dump-log {options}\n{}\n", first_difference(&theirs, &ours)));
        }
    }
    assert!(failures.is_empty(), "{failures}");
    assert!(count > 1000, "only {count} lines were compared");
    results::record(subject, story, target, Outcome::Passed);
}

/// What is to be found in the directory.
fn write(broker: &Broker) {
    let bootstrap = broker.bootstrap();
    let run = |line: &str, input: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let arguments: Vec<String> = words.map(|word| word.replace('@', &bootstrap)).collect();
        tool::run(name, &arguments, input.as_bytes()).ok();
    };
    let java = |class: &str, arguments: &[&str]| {
        let arguments: Vec<String> =
            [&[bootstrap.as_str()], arguments].concat().iter().map(|&a| a.to_owned()).collect();
        jvm::start(class, &arguments, b"").unwrap().wait(LIMIT).ok();
    };
    java("SpecialRecords", &["special"]);
    let create = "kafka-topics --bootstrap-server @ --create --partitions 1 --topic";
    run(
        &format!(
            "{create} compacted --config cleanup.policy=compact --config min.cleanable.dirty.ratio=0.01 --config segment.bytes=1048576 --config delete.retention.ms=600000"
        ),
        "",
    );
    let keyed = "kafka-console-producer --bootstrap-server @ --topic compacted --reader-property parse.key=true \
                 --reader-property null.marker=NULL";
    let filling = "x".repeat(1000);
    let records: String = (0..1500)
        .map(|n| match n % 10 {
            0 => format!("key-{}\tNULL\n", n % 30),
            _ => format!("key-{}\tvalue {n} {filling}\n", n % 40),
        })
        .collect();
    for _ in 0..2 {
        run(keyed, &records);
    }
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        run(
            &format!("kafka-console-producer --bootstrap-server @ --topic special-bare --compression-codec {codec}"),
            "one\ntwo\n",
        );
    }
    let read = "kafka-console-consumer --bootstrap-server @ --topic compacted --from-beginning --max-messages 20";
    run(&format!("{read} --group classic-g"), "");
    run(&format!("{read} --group next-g --command-property group.protocol=consumer"), "");
    wait_for_compaction(&broker.data_dir().join("compacted-0"));
}

/// The cleaner has been there when the first segment no longer has all of its records.
fn wait_for_compaction(partition: &Path) {
    let first = partition.join(format!("{:020}.log", 0));
    let deadline = Instant::now() + LIMIT;
    while std::fs::metadata(&first).map_or(0, |file| file.len()) > 900_000 {
        assert!(Instant::now() < deadline, "{} is not compacted", partition.display());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The files of partitions, in the order of their names.
struct Files(Vec<PathBuf>);

impl Files {
    fn of(data: &Path) -> Files {
        let mut all = Vec::new();
        for partition in std::fs::read_dir(data).unwrap().flatten().filter(|entry| entry.path().is_dir()) {
            let files = std::fs::read_dir(partition.path()).unwrap().flatten();
            all.extend(files.map(|entry| entry.path()));
        }
        // bootstrap.checkpoint of Apache Kafka.
        all.extend(std::fs::read_dir(data).unwrap().flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
        all.sort();
        Files(all)
    }

    /// Those of partitions whose name begins so, with this ending.
    fn like(&self, partition: &str, ending: &str) -> Vec<String> {
        let is_like = |path: &&PathBuf| {
            let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
            // Ottla's metadata log is not in Kafka's format.
            let is_foreign = folder == "__cluster_metadata-0" && partition != folder;
            !is_foreign && folder.starts_with(partition) && path.extension().is_some_and(|found| found == ending)
        };
        self.0.iter().filter(is_like).map(|path| path.display().to_string()).collect()
    }
}

/// Options, and the files they are about.
fn lines(files: &Files) -> Vec<(&'static str, Vec<String>)> {
    let logs = |partition: &str| files.like(partition, "log");
    let all = logs("");
    let mut lines = vec![
        ("", all.clone()),
        ("--deep-iteration", all.clone()),
        ("--print-data-log", all.clone()),
        ("--print-data-log --skip-record-metadata", all.clone()),
        ("--deep-iteration --skip-record-metadata", all.clone()),
        ("--print-data-log --max-bytes 5000 --max-message-size 2000", all),
        ("--offsets-decoder", logs("__consumer_offsets")),
        ("--offsets-decoder --skip-record-metadata", logs("__consumer_offsets")),
        ("--offsets-decoder", logs("special-groups")),
        ("--offsets-decoder", logs("special-numbers")),
        ("--offsets-decoder", logs("special-bare")),
        ("--transaction-log-decoder", logs("__transaction_state")),
        ("--transaction-log-decoder --deep-iteration --print-data-log", logs("__transaction_state")),
        ("--transaction-log-decoder", logs("special-numbers")),
        ("--cluster-metadata-decoder", logs("special-metadata")),
        ("--cluster-metadata-decoder --skip-record-metadata", logs("special-metadata")),
        ("--remote-log-metadata-decoder", logs("special-remote")),
        ("--share-group-state-decoder", logs("special-share")),
        ("--key-decoder-class org.apache.kafka.tools.api.IntegerDecoder", logs("special-numbers")),
        ("--value-decoder-class org.apache.kafka.tools.api.LongDecoder", logs("special-numbers")),
        ("--value-decoder-class org.apache.kafka.tools.api.IntegerDecoder", logs("special-bare")),
        ("--value-decoder-class org.apache.kafka.tools.api.StringDecoder --skip-record-metadata", logs("special-bare")),
        ("--value-decoder-class", logs("special-bare")),
        ("--key-decoder-class com.example.Absent", logs("special-bare")),
        ("--deep-iteration", files.like("", "index")),
        ("--verify-index-only", files.like("", "index")),
        ("--verify-index-only", files.like("", "timeindex")),
        ("", files.like("", "timeindex")),
        ("", files.like("", "txnindex")),
        ("", files.like("", "snapshot")),
    ];
    for file in [files.like("compacted", "index"), files.like("compacted", "timeindex")].concat() {
        lines.push(("--index-sanity-check", vec![file]));
    }
    let quorum = files.like("__cluster_metadata-0", "checkpoint");
    if let Some(snapshot) = quorum.first() {
        // Only Apache Kafka's metadata log has any.
        lines.push(("--cluster-metadata-decoder", logs("__cluster_metadata-0")));
        lines.push(("--deep-iteration", logs("__cluster_metadata-0")));
        lines.push(("--cluster-metadata-decoder", quorum.clone()));
        let bootstrap = Path::new(snapshot).with_file_name("bootstrap.checkpoint");
        lines.push(("--cluster-metadata-decoder", vec![bootstrap.display().to_string()]));
    }
    lines
}

/// Exit code, standard output, and what is told on standard error, without Java's traces.
fn said(output: &Output) -> (i32, String, BTreeSet<String>) {
    let is_trace = |line: &str| {
        line.starts_with(['\t', 'C']) && (line.contains("at ") || line.starts_with("Caused by"))
            || line.starts_with("java.")
            || line.starts_with("org.apache.kafka.")
            || line.starts_with("\t... ")
    };
    let told = without_log_lines(&output.stderr);
    let told = told.lines().map(str::trim_end).filter(|line| !line.is_empty() && !is_trace(line)).map(str::to_owned);
    (output.code, without_log_lines(&output.stdout), told.collect())
}

fn first_difference(theirs: &(i32, String, BTreeSet<String>), ours: &(i32, String, BTreeSet<String>)) -> String {
    if theirs.0 != ours.0 || theirs.2 != ours.2 {
        return format!(
            "exit codes {} and {}, on standard error\n--- apache\n{:#?}\n--- ottla\n{:#?}",
            theirs.0, ours.0, theirs.2, ours.2
        );
    }
    let mut pairs = theirs.1.lines().zip(ours.1.lines());
    match pairs.find(|(left, right)| left != right) {
        Some((left, right)) => format!("--- apache\n{left}\n--- ottla\n{right}"),
        None => format!("{} and {} lines", theirs.1.lines().count(), ours.1.lines().count()),
    }
}
