//! The clients' own published test suites that take a live broker, as their packages ship them.
//!
//! Run by hand, as they take minutes: `OTTLA_SUITES=bounded` runs a part of them against Ottla, `OTTLA_SUITES=full` all of them
//! against both brokers; what came of it is written down in `SUITES.md`. A test that fails must be in the list of those that are known
//! to, with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod prepare;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::process::{self, Output};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};

/// What a suite reported: tests that passed, and tests that did not.
struct Report {
    passed: usize,
    failed: BTreeSet<String>,
}

struct Suite {
    name: &'static str,
    needs: &'static [Need],
    overrides: &'static [&'static str],
    /// The run against a broker; the flag asks for all of it.
    run: fn(&Broker, bool) -> Output,
    read: fn(&Output) -> Report,
    /// Tests that cannot pass here, and why; the same fail against Apache Kafka set up in the same way unless said otherwise.
    known: &'static [(&'static str, &'static str)],
    /// Fewer that passed means that the suite did not really run.
    passed_min: usize,
}

const SUITE_LIMIT: Duration = Duration::from_secs(1500);

fn judge(suite: &Suite) {
    let Ok(wanted) = std::env::var("OTTLA_SUITES") else { return };
    let is_full = wanted == "full";
    let story = "its own test suite";
    for target in targets().into_iter().filter(|target| is_full || *target == Target::Ottla) {
        if let Some(missing) = toolchain::missing(suite.needs) {
            assert!(!toolchain::is_ci(), "{}: {missing}", suite.name);
            println!("{}: skipped, {missing}", suite.name);
            results::record(suite.name, story, target, Outcome::Skipped);
            continue;
        }
        results::record(suite.name, story, target, Outcome::Failed);
        let broker = Broker::start(target, suite.overrides).unwrap();
        let output = (suite.run)(&broker, is_full);
        let report = (suite.read)(&output);
        println!("{} against {}: {} passed, {} failed", suite.name, target.name(), report.passed, report.failed.len());
        report.failed.iter().for_each(|test| println!("  failed: {test}"));
        if target == Target::Apache {
            // The reference is only written down.
            results::record(suite.name, story, target, Outcome::Passed);
            continue;
        }
        let is_known = |test: &String| suite.known.iter().any(|(name, _)| test.starts_with(name));
        let unknown: Vec<&String> = report.failed.iter().filter(|test| !is_known(test)).collect();
        assert!(unknown.is_empty(), "{unknown:?}\n{output}");
        assert!(report.passed >= suite.passed_min, "only {} passed\n{output}", report.passed);
        results::record(suite.name, story, target, Outcome::Passed);
    }
}

#[test]
fn kafka_python() {
    judge(&Suite {
        name: "kafka-python",
        needs: &[Need::Python],
        // As the suite's own fixture sets its broker up.
        overrides: &["node.id=0", "num.partitions=4", "group.min.session.timeout.ms=500"],
        run: |broker, _| {
            let sdist = prepare::kafka_python().unwrap();
            let mut command = Command::new(sdist.join("venv/bin/python"));
            command.args(["-m", "pytest", "-q", "-rA", "--tb=native", "--timeout=120", "-p", "no:cacheprovider"]);
            command
                .args(["test/integration/test_admin_integration.py", "test/integration/test_consumer_integration.py"]);
            command.arg("test/integration/test_producer_integration.py").current_dir(sdist.join("source"));
            command.env("KAFKA_VERSION", "4.3.0").env("KAFKA_URI", format!("kafka://{}", broker.bootstrap()));
            command.env("KAFKA_ROOT", &sdist).env("PYTHONPATH", ".");
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: |output| {
            let named = |word: &str| -> BTreeSet<String> {
                let lines = output.stdout.lines().filter_map(|line| line.strip_prefix(word)?.split("::").nth(1));
                lines.map(|name| name.split(' ').next().unwrap_or(name).to_owned()).collect()
            };
            Report {
                passed: named("PASSED ").len(),
                failed: named("FAILED ").union(&named("ERROR ")).cloned().collect(),
            }
        },
        known: &[("test_create_describe_delete_acls", "no authorizer (its fixture starts Kafka with one)")],
        passed_min: 50,
    });
}

#[test]
fn segmentio() {
    judge(&Suite {
        name: "segmentio/kafka-go",
        needs: &[Need::Go],
        overrides: &["num.partitions=1"],
        run: |broker, is_full| {
            let folder = prepare::go_suite("github.com/segmentio/kafka-go", "v0.4.51", ".", broker.port()).unwrap();
            let mut command = Command::new(folder.join("suite.test"));
            command.current_dir(folder.join("source")).arg("-test.v").arg("-test.timeout=1400s");
            // These take a listener with SASL, or look a coordinator up through a function that the test leaves unset and so
            // end the whole run, whatever the broker.
            let always = "SASL|TestReaderConsumerGroup/(verify_offset_committed|consumer_group_commits_on_close)";
            // Bounded: what waits for timers of its own more than it asks the broker.
            let slow = "TestDialerResolver|TestReaderConsumerGroup|TestRebalanceTooMany|TestReaderReadCompacted|TestConsumerGroup";
            let skip = if is_full { always.to_owned() } else { format!("{always}|{slow}") };
            command.args(["-test.skip", &skip]).env("KAFKA_VERSION", "3.7.0");
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: read_go,
        known: &[
            ("TestClientCreateACLs", "no authorizer"),
            ("TestClientDeleteACLs", "no authorizer"),
            ("TestClientDescribeACLs", "no authorizer"),
            ("TestReaderReadCompactedMessage", "segment.bytes=200, which Kafka 4 refuses too"),
            ("TestReaderConsumerGroup", "waits three seconds for a rebalance of five"),
            (
                "TestConn",
                "asks for a deleted topic with auto-creation on and wants it to be missing still: Kafka creates it a moment later, \
                 Ottla before it answers",
            ),
            ("TestWriter", "its last case takes a listener with SASL"),
        ],
        passed_min: 300,
    });
}

#[test]
fn franz_go() {
    judge(&Suite {
        name: "franz-go",
        needs: &[Need::Go],
        overrides: &[],
        run: |broker, is_full| {
            let folder = prepare::go_suite("github.com/twmb/franz-go", "v1.22.2", "pkg/kgo", broker.port()).unwrap();
            let mut command = Command::new(folder.join("suite.test"));
            command.current_dir(folder.join("source/pkg/kgo")).arg("-test.v").arg("-test.timeout=1400s");
            command.env("KGO_SEEDS", broker.bootstrap()).env("KGO_TEST_RF", "1");
            command.env("KGO_TEST_RECORDS", if is_full { "100000" } else { "2000" });
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: read_go,
        known: &[],
        passed_min: 300,
    });
}

/// Verdicts of `go test -v`, subtests included.
fn read_go(output: &Output) -> Report {
    let lines = || output.stdout.lines().map(str::trim_start);
    let name = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
    let mut failed: BTreeSet<String> = lines().filter_map(|line| line.strip_prefix("--- FAIL: ")).map(name).collect();
    if output.stdout.contains("\npanic: ") {
        failed.insert("the run panicked".to_owned());
    }
    Report { passed: lines().filter(|line| line.starts_with("--- PASS: ")).count(), failed }
}
