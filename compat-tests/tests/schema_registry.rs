//! A schema registry on one compacted partition, and Avro records of confluent-kafka beside it, while both are killed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{Broker, free_port, targets};
use ottla_compat_tests::process::Daemon;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{cache, clients, kafka, process, tool};

const STORY: &str = "compacted topic read back and read again, Avro records; registry and broker killed";
const RECORDS: u32 = 120;
const ROUNDS: u32 = 3;

struct Registry {
    port: u16,
    log: std::path::PathBuf,
    _process: Daemon,
}

impl Registry {
    fn start(broker: &Broker, port: u16, dir: &std::path::Path) -> Registry {
        let log = dir.join(format!("registry-{}.log", std::fs::read_dir(dir).unwrap().count()));
        let mut command = kafka::java("128m").unwrap();
        command.args(["SchemaRegistry", &broker.bootstrap(), "_schemas", &port.to_string()]);
        let process = Daemon::spawn(&mut command, &log).unwrap();
        let registry = Registry { port, log, _process: process };
        let deadline = Instant::now() + Duration::from_secs(90);
        while !registry.log().contains("serving") {
            assert!(Instant::now() < deadline, "the registry does not start\n{}\n{}", registry.log(), broker.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        registry
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn state(&self) -> String {
        let output = process::run(
            Command::new("curl").args(["-s", &format!("{}/state", self.url())]),
            b"",
            Duration::from_secs(20),
        );
        output.ok().stdout
    }
}

#[test]
fn a_registry_on_a_compacted_topic() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java, Need::Python]) {
        println!("skipped: schema registry: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let target = *targets().last().expect("a target");
    results::record("Schema registry", STORY, target, Outcome::Failed);
    let overrides =
        ["log.cleaner.backoff.ms=200", "log.retention.check.interval.ms=500", "log.segment.delete.delay.ms=500"];
    let mut broker = Broker::start(target, &overrides).unwrap();
    let dir = tempfile::Builder::new().prefix("registry").tempdir_in(cache::dir("run")).unwrap();
    let port = free_port();
    let mut registry = Registry::start(&broker, port, dir.path());
    let mut last = String::new();
    for round in 0..ROUNDS {
        let topic = format!("avro-{round}");
        let create = format!("--bootstrap-server {} --create --topic {topic} --partitions 1", broker.bootstrap());
        tool::run("kafka-topics", &create.split(' ').map(str::to_owned).collect::<Vec<_>>(), b"").ok();
        let avro = |kind: &str, registry: &Registry| {
            let mut command = Command::new(clients::python().unwrap());
            command.arg(cache::package().join("clients/python/avro_records.py"));
            command.args([kind, &broker.bootstrap(), &topic, &registry.url(), &RECORDS.to_string()]);
            process::run(&mut command, b"", Duration::from_secs(120))
        };
        let produced = avro("produce", &registry);
        assert!(produced.code == 0, "{produced}\n{}\n{}", registry.log(), broker.log());
        last = registry.state();
        // The registry's whole state is in the log: a new one knows as much as the old one did.
        drop(registry);
        broker.kill();
        broker.restart().unwrap();
        registry = Registry::start(&broker, port, dir.path());
        let topic_state = |text: &str| text.split(",\"read\"").next().unwrap_or_default().to_owned();
        assert_eq!(topic_state(&registry.state()), topic_state(&last), "round {round}\n{}", broker.log());
        let mut command = Command::new(clients::python().unwrap());
        command.arg(cache::package().join("clients/python/avro_records.py"));
        command.args(["consume", &broker.bootstrap(), &topic, &registry.url(), &RECORDS.to_string()]);
        let consumed = process::run(&mut command, b"", Duration::from_secs(120));
        assert!(consumed.code == 0, "{consumed}\n{}\n{}", registry.log(), broker.log());
    }
    println!("{last}");
    assert!(registry.state().contains("\"schemas\":4,\"versions\":12"), "{}", registry.state());
    // It was compacted meanwhile: far fewer records are left than were written.
    let read = format!("--bootstrap-server {} --topic _schemas --from-beginning --timeout-ms 4000", broker.bootstrap());
    let left = tool::run("kafka-console-consumer", &read.split(' ').map(str::to_owned).collect::<Vec<_>>(), b"");
    let written = ROUNDS * (RECORDS + 4);
    let left = left.stdout.lines().count() as u32;
    println!("{left} records are left of about {written}");
    assert!(left < written / 2, "{left} records are left of about {written}");
    results::record("Schema registry", STORY, target, Outcome::Passed);
}
