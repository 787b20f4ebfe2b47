//! The clients' own published test suites that take a live broker, as their packages ship them.
//!
//! Run by hand, as they take minutes: `OTTLA_SUITES=bounded` runs a part of them against Ottla, `OTTLA_SUITES=full` all of them
//! against both brokers; what came of it is written down in `SUITES.md`. A test that fails must be in the list of those that are known
//! to, with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod prepare;
mod verdicts;

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{self, Broker, Target, targets};
use ottla_compat_tests::ottla;
use ottla_compat_tests::process::{self, Daemon, Output};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};

use verdicts::Report;

/// A run of a suite.
struct Run<'a> {
    broker: &'a Broker,
    /// All of it, or a part.
    is_full: bool,
    /// `{spare}` in the broker's keys.
    spare_port: u16,
}

struct Suite {
    name: &'static str,
    needs: &'static [Need],
    overrides: &'static [&'static str],
    run: fn(&Run<'_>) -> Output,
    read: fn(&Output) -> Report,
    /// Tests that cannot pass here, and why; the same fail against Apache Kafka set up in the same way unless said otherwise.
    known: &'static [(&'static str, &'static str)],
    /// Fewer that passed means that the suite did not really run.
    passed_min: usize,
}

const SUITE_LIMIT: Duration = Duration::from_secs(1800);

/// Keys of a node whose id is 0, as several suites take for granted.
const NODE_ZERO: [&str; 2] = ["node.id=0", "controller.quorum.voters=0@127.0.0.1:{controller}"];

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
        let spare_port = broker::free_port();
        let keys: Vec<String> =
            suite.overrides.iter().map(|key| key.replace("{spare}", &spare_port.to_string())).collect();
        let broker = Broker::start(target, &keys.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        let output = (suite.run)(&Run { broker: &broker, is_full, spare_port });
        let report = (suite.read)(&output);
        let Report { passed, skipped, failed } = &report;
        println!(
            "{} against {}: {passed} passed, {} failed, {skipped} skipped",
            suite.name,
            target.name(),
            failed.len()
        );
        failed.iter().for_each(|test| println!("  failed: {test}"));
        if target == Target::Apache {
            // The reference is only written down.
            assert!(*passed >= suite.passed_min / 2, "only {passed} passed\n{output}");
            results::record(suite.name, story, target, Outcome::Passed);
            continue;
        }
        let is_known = |test: &String| suite.known.iter().any(|(name, _)| test.starts_with(name));
        let unknown: Vec<&String> = failed.iter().filter(|test| !is_known(test)).collect();
        assert!(unknown.is_empty(), "{unknown:?}\n{output}");
        assert!(*passed >= suite.passed_min, "only {passed} passed\n{output}");
        results::record(suite.name, story, target, Outcome::Passed);
    }
}

#[test]
fn kafka_python() {
    judge(&Suite {
        name: "kafka-python",
        needs: &[Need::Python],
        // As the suite's own fixture sets its broker up.
        overrides: &[NODE_ZERO[0], NODE_ZERO[1], "num.partitions=4", "group.min.session.timeout.ms=500"],
        run: |run| {
            let sdist = prepare::kafka_python().unwrap();
            let mut command = Command::new(sdist.join("venv/bin/python"));
            command.args(["-m", "pytest", "-q", "-rA", "--tb=native", "--timeout=120", "-p", "no:cacheprovider"]);
            command
                .args(["test/integration/test_admin_integration.py", "test/integration/test_consumer_integration.py"]);
            command.arg("test/integration/test_producer_integration.py").current_dir(sdist.join("source"));
            command.env("KAFKA_VERSION", "4.3.0").env("KAFKA_URI", format!("kafka://{}", run.broker.bootstrap()));
            command.env("KAFKA_ROOT", &sdist).env("PYTHONPATH", ".");
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: verdicts::pytest,
        known: &[("test_create_describe_delete_acls", "no authorizer (its fixture starts Kafka with one)")],
        passed_min: 50,
    });
}

#[test]
fn segmentio() {
    judge(&Suite {
        name: "segmentio/kafka-go",
        needs: &[Need::Go],
        overrides: &[
            "num.partitions=1",
            "advertised.listeners=PLAINTEXT://localhost:{port}",
            "group.min.session.timeout.ms=6000",
        ],
        run: |run| {
            let folder = prepare::go_suite(&prepare::SEGMENTIO, &[("9092", run.broker.port().to_string())]).unwrap();
            let mut command = Command::new(folder.join("suite.test"));
            command.current_dir(folder.join("source")).arg("-test.v").arg("-test.timeout=1400s");
            // These take a listener with SASL, or look a coordinator up through a function that the test leaves unset and so
            // end the whole run, whatever the broker.
            let always = "SASL|TestReaderConsumerGroup/(verify_offset_committed|consumer_group_commits_on_close)";
            // Bounded: what waits for timers of its own more than it asks the broker.
            let slow = "TestDialerResolver|TestReaderConsumerGroup|TestRebalanceTooMany|TestReaderReadCompacted|TestConsumerGroup";
            let skip = if run.is_full { always.to_owned() } else { format!("{always}|{slow}") };
            command.args(["-test.skip", &skip]).env("KAFKA_VERSION", "3.7.0");
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: verdicts::go,
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
        run: |run| {
            let folder = prepare::go_suite(&prepare::FRANZ, &[]).unwrap();
            let mut command = Command::new(folder.join("suite.test"));
            command.current_dir(folder.join("source/pkg/kgo")).arg("-test.v").arg("-test.timeout=1400s");
            command.env("KGO_SEEDS", run.broker.bootstrap()).env("KGO_TEST_RF", "1");
            command.env("KGO_TEST_RECORDS", if run.is_full { "100000" } else { "2000" });
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: verdicts::go,
        known: &[],
        passed_min: 300,
    });
}

#[test]
fn sarama() {
    judge(&Suite {
        name: "Sarama",
        needs: &[Need::Go],
        // As its own docker-compose.yml sets its brokers up, but one instead of five; clients come by way of a proxy that the
        // tests cut off.
        overrides: &["advertised.listeners=PLAINTEXT://127.0.0.1:{spare}", "auto.create.topics.enable=false"],
        run: |run| {
            let changes = [
                ("i <= 5", "i <= 1".to_owned()),
                ("ReplicationFactor: 3,", "ReplicationFactor: 1,".to_owned()),
                ("fmt.Sprintf(\"kafka-%d:%d\", i, 29090+i)", format!("{:?}", run.broker.bootstrap())),
                ("29090+i", run.spare_port.to_string() + "-1+i"),
            ];
            let folder = prepare::go_suite(&prepare::SARAMA, &changes).unwrap();
            let proxy_port = broker::free_port();
            let mut proxy = Command::new(prepare::toxiproxy().unwrap());
            proxy.args(["-host", "127.0.0.1", "-port", &proxy_port.to_string()]);
            let _proxy = Daemon::spawn(&mut proxy, &folder.join("toxiproxy.log")).unwrap();
            let deadline = Instant::now() + Duration::from_secs(30);
            while TcpStream::connect(("127.0.0.1", proxy_port)).is_err() {
                assert!(Instant::now() < deadline, "toxiproxy does not listen");
                std::thread::sleep(Duration::from_millis(20));
            }
            let mut command = Command::new(folder.join("suite.test"));
            command.current_dir(folder.join("source")).arg("-test.v").arg("-test.timeout=1700s");
            // Those of the files functional_*_test.go: the unit tests beside them ask no broker.
            let functional = "Func|AsyncProducerRemote|ConsumerFetchFollower|ConsumerGroupDeadlock|ConsumerHighWaterMark|\
                              ConsumerPartialBatch|Interceptors|Java|ReadOnlyAndAllCommitted|VersionMatrix";
            command.arg(format!("-test.run=^Test({functional})"));
            if !run.is_full {
                command.arg("-test.skip=TestFuncConsumerGroup|TestVersionMatrix|TestFuncTxn");
            }
            command.env("TOXIPROXY_ADDR", format!("http://127.0.0.1:{proxy_port}")).env("KAFKA_VERSION", "4.0.0");
            process::run(&mut command, b"", SUITE_LIMIT)
        },
        read: verdicts::go,
        known: SARAMA_KNOWN,
        passed_min: 40,
    });
}

const SARAMA_KNOWN: &[(&str, &str)] = &[
    ("TestConsumerFetchFollowerFailover", "needs a second broker"),
    ("TestFuncAdminAlterPartitionReassignments", "needs a second broker"),
    ("TestFuncAdminListConsumerGroupOffsets", "stops a broker with Docker"),
    ("TestFuncTxnProduceWithBrokerFailure", "stops a broker with Docker"),
    ("TestFuncIdempotentBufferedSequence", "reads a broker's log with Docker"),
];

#[test]
fn librdkafka() {
    judge(&Suite {
        name: "librdkafka",
        needs: &[Need::Node],
        // As its own cluster has.
        overrides: &["num.partitions=4"],
        run: |run| {
            let tests = prepare::librdkafka().unwrap().join("package/deps/librdkafka/tests");
            let folder = tempfile::tempdir().unwrap();
            let config = folder.path().join("test.conf");
            let bootstrap = run.broker.bootstrap();
            std::fs::write(&config, format!("metadata.broker.list={bootstrap}\ntest.timeout.multiplier=3\n")).unwrap();
            let bin = folder.path().join("bin");
            std::fs::create_dir(&bin).unwrap();
            for tool in ["kafka-topics.sh", "kafka-configs.sh"] {
                std::os::unix::fs::symlink(ottla::binary().unwrap(), bin.join(tool)).unwrap();
            }
            let mut command = Command::new("./test-runner");
            command.args(["-p1", "-Q", "-L"]).current_dir(&tests);
            let report = folder.path().join("report.json");
            command.env("LD_LIBRARY_PATH", "../src:../src-cpp").env("RDKAFKA_TEST_CONF", &config);
            command.env("TEST_KAFKA_VERSION", "4.0.0").env("KAFKA_PATH", folder.path()).env("BROKERS", &bootstrap);
            command.env("TEST_REPORT", &report);
            if !run.is_full {
                command.env("TESTS", "0011,0012,0017,0030,0040,0044,0048,0061,0070,0093,0098,0105");
            }
            let mut output = process::run(&mut command, b"", SUITE_LIMIT);
            // The verdicts are in the report; what was printed on the way goes where errors are told.
            output.stderr += &std::mem::take(&mut output.stdout);
            output.stdout = std::fs::read_to_string(&report).unwrap_or_default();
            output
        },
        read: verdicts::librdkafka,
        known: &[
            ("0081_admin", "ACLs, no authorizer"),
            ("0109_auto_create_topics", "ACLs, no authorizer"),
            ("0115_producer_auth", "ACLs, no authorizer"),
            ("0119_consumer_auth", "ACLs, no authorizer"),
            ("0103_transactions", "creates a topic with three replicas"),
        ],
        passed_min: 8,
    });
}

#[test]
fn rdkafka_of_rust() {
    judge(&Suite {
        name: "rdkafka (Rust)",
        needs: &[],
        // As its docker-compose.yaml.
        overrides: &[NODE_ZERO[0], NODE_ZERO[1], "num.partitions=3"],
        run: |run| {
            let folder = prepare::rdkafka(run.broker.port()).unwrap();
            let mut output = Output::default();
            for binary in prepare::rdkafka_tests(&folder).unwrap() {
                let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let mut command = Command::new(&binary);
                command.arg("--test-threads=2").current_dir(Path::new(&folder).join("source"));
                command.env("KAFKA_HOST", run.broker.bootstrap()).env("KAFKA_VERSION", "4.0").env("RUST_LOG", "off");
                let ran = process::run(&mut command, b"", SUITE_LIMIT);
                output.stdout += &format!("== {name}\n{}\n", ran.stdout);
                output.stderr += &ran.stderr;
            }
            output
        },
        read: verdicts::cargo,
        known: &[(
            "test_base_producer_timeout",
            "gives messages 100 ms on a topic that is not there yet, and wants them to be late: Ottla creates it and takes them in time",
        )],
        passed_min: 40,
    });
}
