//! MirrorMaker 2, both ways at once: between two clusters of three Ottla nodes each, of which one is killed meanwhile, and between
//! Apache Kafka and Ottla.

use std::fs;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{Broker, Target};
use ottla_compat_tests::cluster::Cluster;
use ottla_compat_tests::process::{Daemon, Output};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{cache, kafka, tool};

const RECORDS: usize = 400;
const CONSUMED: usize = 250;

#[test]
fn between_two_clusters() {
    let side = || {
        let replicated = [
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "offsets.topic.replication.factor=3",
            "transaction.state.log.replication.factor=3",
            "transaction.state.log.min.isr=2",
        ];
        Side::Cluster(Box::new(Cluster::combined(3, &replicated).unwrap()))
    };
    mirror(side, side, "both ways between two clusters of three nodes, one of each killed, offsets translated");
}

#[test]
fn between_apache_kafka_and_ottla() {
    let side = |target| move || Side::Broker(Box::new(Broker::start(target, &[]).unwrap()));
    let story = "both ways between Apache Kafka and Ottla, offsets translated";
    mirror(side(Target::Apache), side(Target::Ottla), story);
}

/// What is mirrored from and to.
enum Side {
    Broker(Box<Broker>),
    Cluster(Box<Cluster>),
}

impl Side {
    fn bootstrap(&self) -> String {
        match self {
            Self::Broker(broker) => broker.bootstrap(),
            Self::Cluster(cluster) => cluster.bootstrap(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Broker(broker) => broker.log(),
            Self::Cluster(cluster) => cluster.nodes().map(|node| cluster.log(node.id)).collect(),
        }
    }

    fn replication_factor(&self) -> u32 {
        if matches!(self, Self::Cluster(_)) { 3 } else { 1 }
    }

    /// A cluster goes on without one of its nodes.
    fn lose_a_node(&mut self) {
        if let Self::Cluster(cluster) = self {
            cluster.kill(2);
        }
    }
}

fn mirror(east: impl FnOnce() -> Side, west: impl FnOnce() -> Side, story: &str) {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: MirrorMaker 2: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let _turn = crate::take_turns();
    results::record("MirrorMaker 2", story, Target::Ottla, Outcome::Failed);
    let (mut east, mut west) = (east(), west());
    let sides = [("east", &east), ("west", &west)];
    for (name, broker) in sides {
        let topic = format!("orders-{name}");
        run(
            broker,
            "kafka-topics",
            &format!("--create --topic {topic} --partitions 2 --config retention.ms=7777000"),
            "",
        );
        let lines: String = (0..RECORDS).map(|n| format!("k{n}:{name} {n}\n")).collect();
        let properties = "--property parse.key=true --property key.separator=:";
        run(broker, "kafka-console-producer", &format!("--topic {topic} {properties}"), &lines);
        let half = format!("--topic {topic} --from-beginning --group readers-{name} --max-messages {CONSUMED}");
        run(broker, "kafka-console-consumer", &half, "");
    }
    let dir = tempfile::Builder::new().prefix("mirror").tempdir_in(cache::dir("run")).unwrap();
    let properties = dir.path().join("mm2.properties");
    fs::write(&properties, configuration(&east, &west)).unwrap();
    let log = dir.path().join("mm2.log");
    let mut command = kafka::java("512m").unwrap();
    command.arg("org.apache.kafka.connect.mirror.MirrorMaker").arg(&properties);
    let mut maker = Daemon::spawn(&mut command, &log).unwrap();
    let show = || fs::read_to_string(&log).unwrap_or_default();
    for ((name, from), (_, to)) in [(sides[0], sides[1]), (sides[1], sides[0])] {
        let (topic, mirrored) = (format!("orders-{name}"), format!("{name}.orders-{name}"));
        until(&format!("{RECORDS} records in {mirrored}"), &show, || ends(to, &mirrored) == Some(RECORDS as u64));
        let read = |broker: &Side, topic: &str| {
            let command = format!("--topic {topic} --from-beginning --max-messages {RECORDS} --timeout-ms 20000");
            let mut lines: Vec<String> =
                run(broker, "kafka-console-consumer", &command, "").stdout.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(read(from, &topic), read(to, &mirrored), "{mirrored} holds what {topic} holds");
        let group = format!("readers-{name}");
        let committed = |broker: &Side, topic: &str| -> Option<u64> { committed(broker, &group, topic) };
        assert_eq!(committed(from, &topic), Some(CONSUMED as u64));
        until(&format!("{group} on the other side"), &show, || {
            committed(to, &mirrored).is_some_and(|offset| offset > 0)
        });
        // Whoever goes on at the other side misses nothing, and does not begin anew. Every record has an offset of its own.
        let translated = committed(to, &mirrored).unwrap_or_default() as usize;
        assert!(translated <= CONSUMED, "{translated} of {CONSUMED} in {mirrored}");
        let rest = RECORDS - translated;
        // A partition whose offset is not translated yet is read from its beginning.
        let command =
            format!("--topic {mirrored} --group {group} --from-beginning --max-messages {rest} --timeout-ms 30000");
        let found = run(to, "kafka-console-consumer", &command, "").stdout.lines().count();
        // MirrorMaker may have translated a later offset since, but none that was not consumed.
        let unread = RECORDS - CONSUMED;
        let translated = format!("{translated} of {CONSUMED} translated");
        assert!((unread..=rest).contains(&found), "{found} records after {translated}\n{}", to.log());
        let synced = run(to, "kafka-configs", &format!("--describe --entity-type topics --entity-name {mirrored}"), "");
        assert!(synced.stdout.contains("retention.ms=7777000"), "configs are mirrored: {synced}");
    }
    // What is written later is mirrored, too.
    east.lose_a_node();
    west.lose_a_node();
    run(&west, "kafka-console-producer", "--topic orders-west", "later\n");
    until("a later record", &show, || ends(&east, "west.orders-west") == Some(RECORDS as u64 + 1));
    assert!(maker.is_running(), "{}", show());
    maker.terminate(Duration::from_secs(40));
    results::record("MirrorMaker 2", story, Target::Ottla, Outcome::Passed);
}

fn configuration(east: &Side, west: &Side) -> String {
    let mut text = format!(
        "clusters=east,west\neast.bootstrap.servers={}\nwest.bootstrap.servers={}\neast->west.enabled=true\nwest->east.enabled=true\n",
        east.bootstrap(),
        west.bootstrap()
    );
    let factor = east.replication_factor().min(west.replication_factor());
    for topic in [
        "",
        "checkpoints.topic.",
        "heartbeats.topic.",
        "offset-syncs.topic.",
        "config.storage.",
        "offset.storage.",
        "status.storage.",
    ] {
        text.push_str(&format!("{topic}replication.factor={factor}\n"));
    }
    for line in [
        "topics=orders.*",
        "groups=readers.*",
        "offset.storage.partitions=3",
        "status.storage.partitions=2",
        "sync.group.offsets.enabled=true",
        "sync.group.offsets.interval.seconds=1",
        "emit.checkpoints.interval.seconds=1",
        "refresh.topics.interval.seconds=2",
        "refresh.groups.interval.seconds=2",
        "sync.topic.configs.interval.seconds=2",
        "offset.lag.max=10",
        "offset.flush.interval.ms=500",
        "dedicated.mode.enable.internal.rest=false",
    ] {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// The sum of a topic's end offsets; `None` while it is not there.
fn ends(broker: &Side, topic: &str) -> Option<u64> {
    let output = call(broker, "kafka-get-offsets", &format!("--topic {topic}"), "");
    let ends: Vec<u64> =
        output.stdout.lines().filter_map(|line| line.rsplit(':').next()?.trim().parse().ok()).collect();
    (!ends.is_empty()).then(|| ends.iter().sum())
}

/// The sum of a group's offsets in a topic.
fn committed(broker: &Side, group: &str, topic: &str) -> Option<u64> {
    let output = call(broker, "kafka-consumer-groups", &format!("--describe --group {group}"), "");
    let rows = output.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let offsets: Vec<u64> =
        rows.filter(|row| row.get(1) == Some(&topic)).filter_map(|row| row.get(3)?.parse().ok()).collect();
    (!offsets.is_empty()).then(|| offsets.iter().sum())
}

fn run(broker: &Side, name: &str, arguments: &str, stdin: &str) -> Output {
    let output = call(broker, name, arguments, stdin);
    assert!(output.code == 0, "{name} {arguments}: {output}");
    output
}

fn call(broker: &Side, name: &str, arguments: &str, stdin: &str) -> Output {
    let arguments = format!("--bootstrap-server {} {arguments}", broker.bootstrap());
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    tool::run(name, &arguments, stdin.as_bytes())
}

fn until(what: &str, log: &dyn Fn() -> String, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", log());
        std::thread::sleep(Duration::from_secs(1));
    }
}
