//! Kafka's own torture test of the cleaner, as Apache's build publishes it with its tests: keyed records and deletes are produced
//! while the broker compacts, and what is read in the end must be the last of each key.

use std::time::Duration;

use ottla_compat_tests::broker::{self, Broker, Target};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{kafka, process};

/// 100,000 records in each of two topics, every third of them a delete.
const ARGUMENTS: [&str; 10] =
    ["--messages", "100000", "--duplicates", "20", "--percent-deletes", "33", "--topics", "2", "--sleep", "5"];
const LIMIT: Duration = Duration::from_secs(240);

#[test]
fn log_compaction_tester_finds_no_mismatch() {
    let (subject, story) = ("LogCompactionTester", "updates and deletes, compacted meanwhile");
    for target in broker::targets() {
        if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
            assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
            println!("skipped: {reason}");
            results::record(subject, story, target, Outcome::Skipped);
            continue;
        }
        results::record(subject, story, target, Outcome::Failed);
        let reduction = run(target);
        println!("{}: {reduction:.1}% reduction", target.name());
        assert!(reduction > 30.0, "{} has hardly compacted: {reduction}%", target.name());
        results::record(subject, story, target, Outcome::Passed);
    }
}

/// How much less was read than written, in percent.
fn run(target: Target) -> f64 {
    // Small segments roll quickly, and the cleaner looks for work all the time.
    let keys = ["log.segment.bytes=1048576", "log.cleaner.backoff.ms=100", "log.cleaner.min.cleanable.ratio=0.05"];
    let broker = Broker::start(target, &keys).unwrap();
    let mut tester = kafka::java("256m").unwrap();
    let class_path = format!("{}:{}/*", kafka::class_path().unwrap(), kafka::test_libs().unwrap().display());
    tester.args(["-cp", &class_path, "org.apache.kafka.tools.LogCompactionTester"]).args(ARGUMENTS);
    let output = process::run(tester.args(["--bootstrap-server", &broker.bootstrap()]), b"", LIMIT).ok();
    assert!(output.stdout.contains(", 0 mismatches"), "{output}");
    assert!(output.stdout.contains("Data verification is completed"), "{output}");
    // `200000 rows of data produced, 70000 rows of data consumed (65.0% reduction).`
    let reduction = output.stdout.split('(').find_map(|part| part.split_once("% reduction")?.0.parse().ok());
    reduction.unwrap_or_else(|| panic!("{output}"))
}
