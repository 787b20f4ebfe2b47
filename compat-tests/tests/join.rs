//! `ottla start`, and `ottla start --join` twice: three folders, no other setting, and a cluster of three. What was on the
//! one node alone (offsets of groups, transactions) no longer depends on it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::{Broker, Target, free_port};
use ottla_compat_tests::process::{self, Daemon, Output};
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{cache, ottla, tool};

const LIMIT: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

struct Node {
    folder: PathBuf,
    port: u16,
    daemon: Option<Daemon>,
    starts: usize,
}

impl Node {
    fn new(parent: &Path, name: &str) -> Self {
        let folder = parent.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, port: free_port(), daemon: None, starts: 0 }
    }

    /// In its own folder, as from a terminal of its own. On one machine each needs a port of its own.
    fn start(&mut self, more: &[&str]) {
        let mut command = Command::new(ottla::binary().unwrap());
        command.arg("start").args(["--override", &format!("listeners=PLAINTEXT://localhost:{}", self.port)]);
        command.args(more).current_dir(&self.folder);
        self.daemon = Some(Daemon::spawn(&mut command, &self.folder.join("log")).unwrap());
        self.starts += 1;
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn wait(&self) {
        eventually("it serves", || self.log().matches("Kafka Server started").count() >= self.starts);
    }

    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn meta(&self, key: &str) -> String {
        let text = std::fs::read_to_string(self.folder.join("ottla-data/meta.properties")).unwrap();
        text.lines().find_map(|line| line.strip_prefix(&format!("{key}="))).unwrap().to_owned()
    }
}

/// One of our own tools against `bootstrap`.
fn own(bootstrap: &str, name: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(ottla::binary().unwrap());
    command.arg(name).args(["--bootstrap-server", bootstrap]).args(arguments);
    process::run(&mut command, b"", LIMIT)
}

fn produce(bootstrap: &str, topic: &str, lines: &str) {
    let mut command = Command::new(ottla::binary().unwrap());
    command.arg("kafka-console-producer").args(["--bootstrap-server", bootstrap, "--topic", topic]);
    process::run(&mut command, lines.as_bytes(), LIMIT).ok();
}

/// Kafka's own tool where there is a JVM, else ours.
fn stock(bootstrap: &str, name: &str, arguments: &[&str]) -> Output {
    if toolchain::missing(&[Need::Maven, Need::Java]).is_some() {
        assert!(!toolchain::is_ci());
        return own(bootstrap, name, arguments);
    }
    let all = [&["--bootstrap-server", bootstrap], arguments].concat();
    tool::run(name, &all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), b"")
}

#[test]
fn three_terminals_make_a_cluster() {
    let parent = tempfile::Builder::new().prefix("join").tempdir_in(cache::dir("run")).unwrap();
    let mut one = Node::new(parent.path(), "one");
    let mut two = Node::new(parent.path(), "two");
    let mut three = Node::new(parent.path(), "three");
    let few = ["--override", "offsets.topic.num.partitions=4", "--override", "transaction.state.log.num.partitions=4"];
    one.start(&few);
    one.wait();
    // A group commits while there is one node.
    let alone = one.address();
    own(&alone, "kafka-topics", &["--create", "--topic", "orders"]).ok();
    produce(&alone, "orders", "a\nb\nc\n");
    let consume = ["--topic", "orders", "--group", "billing", "--from-beginning", "--max-messages", "3"];
    assert_eq!(own(&alone, "kafka-console-consumer", &consume).ok().stdout.lines().count(), 3);
    let described = own(&alone, "kafka-topics", &["--describe", "--topic", "__consumer_offsets"]).ok().stdout;
    assert!(described.contains("ReplicationFactor: 1"), "{described}");

    let join = ["--join", alone.as_str()];
    two.start(&[&join[..], &few].concat());
    three.start(&[&join[..], &few].concat());
    two.wait();
    three.wait();
    let mut ids: Vec<String> = [&one, &two, &three].iter().map(|node| node.meta("node.id")).collect();
    assert_eq!(ids[0], "1");
    ids.sort();
    assert_eq!(ids, ["1", "2", "3"], "each its own");
    assert_eq!(two.meta("cluster.id"), one.meta("cluster.id"));
    let all = format!("{alone},{},{}", two.address(), three.address());
    eventually("three voters", || {
        let status = own(&all, "kafka-metadata-quorum", &["describe", "--replication"]).stdout;
        status.matches("Follower").count() == 2 && status.matches("Leader").count() == 1
    });
    let status = stock(&all, "kafka-metadata-quorum", &["describe", "--status"]).ok().stdout;
    assert!([&one, &two, &three].iter().all(|node| status.contains(&node.meta("directory.id"))), "{status}");

    // No acknowledged offset depends on the first node any more.
    eventually("the offsets topic has three replicas in sync", || {
        let described = own(&all, "kafka-topics", &["--describe", "--topic", "__consumer_offsets"]).stdout;
        let lines: Vec<&str> = described.lines().filter(|line| line.contains("Isr:")).collect();
        lines.len() == 4
            && lines.iter().all(|line| {
                let isr = line.split("Isr: ").nth(1).unwrap_or_default();
                isr.split(['\t', ' ']).next().unwrap_or_default().split(',').count() == 3
            })
    });
    let described = stock(&all, "kafka-topics", &["--describe", "--topic", "__consumer_offsets"]).ok().stdout;
    assert!(described.contains("ReplicationFactor: 3"), "{described}");
    let grew = [&one, &two, &three].iter().any(|node| node.log().contains("internal topics grow"));
    assert!(grew, "it is said in a log");

    one.kill();
    let rest = format!("{},{}", two.address(), three.address());
    eventually("the group is served by another node", || {
        let group = own(&rest, "kafka-consumer-groups", &["--describe", "--group", "billing"]);
        group.code == 0 && group.stdout.lines().any(|line| line.contains("orders") && line.contains(" 3 "))
    });
    own(&rest, "kafka-topics", &["--create", "--topic", "without-the-first", "--replication-factor", "2"]).ok();

    // The first comes back without a word, a joined one too: all they need is with their data.
    one.start(&[]);
    one.wait();
    two.kill();
    two.start(&[]);
    two.wait();
    let listed = stock(&all, "kafka-topics", &["--list"]).ok().stdout;
    assert!(listed.contains("without-the-first"), "{listed}");
    eventually("all are voters again", || {
        let status = own(&all, "kafka-metadata-quorum", &["describe", "--replication"]).stdout;
        status.matches("Follower").count() == 2
    });
}

/// The lines of the README: a node that found its port itself when it joined comes back to it without a word, while the first
/// one has the port that it would presume.
#[test]
fn later_starts_need_no_argument() {
    let parent = tempfile::Builder::new().prefix("join").tempdir_in(cache::dir("run")).unwrap();
    let mut first = Node::new(parent.path(), "first");
    first.start(&[]);
    first.wait();
    let mut second = Node::new(parent.path(), "second");
    let bare = |node: &mut Node, arguments: &[&str]| {
        let mut command = Command::new(ottla::binary().unwrap());
        command.arg("start").args(arguments).current_dir(&node.folder);
        node.daemon = Some(Daemon::spawn(&mut command, &node.folder.join("log")).unwrap());
        node.starts += 1;
    };
    let told = |node: &Node| -> Vec<String> {
        let log = node.log();
        let addresses = log.split("bootstrap.servers=").skip(1).filter_map(|rest| rest.split(',').next());
        addresses.map(str::to_owned).collect()
    };
    // As the first terminal would: somebody else has the port that is presumed where nothing is known.
    let _presumed = std::net::TcpListener::bind(("127.0.0.1", 9092));
    bare(&mut second, &["--join", &first.address()]);
    second.wait();
    second.kill();
    bare(&mut second, &[]);
    second.wait();
    let addresses = told(&second);
    assert_eq!(addresses.len(), 2, "{}", second.log());
    assert_eq!(addresses[0], addresses[1], "{}", second.log());
    eventually("two brokers", || {
        let brokers = own(&first.address(), "kafka-broker-api-versions", &[]).stdout;
        brokers.contains("(id: 1 ") && brokers.contains("(id: 2 ")
    });
}

#[test]
fn a_fourth_node_reads_along_and_a_stranger_is_refused() {
    let parent = tempfile::Builder::new().prefix("join").tempdir_in(cache::dir("run")).unwrap();
    let mut nodes: Vec<Node> = (1..=4).map(|number| Node::new(parent.path(), &number.to_string())).collect();
    nodes[0].start(&[]);
    nodes[0].wait();
    let first = nodes[0].address();
    // All at once: each sees that a vote is free.
    for node in &mut nodes[1..] {
        node.start(&["--join", &first]);
    }
    nodes.iter().for_each(Node::wait);
    eventually("three vote, one reads along", || {
        let status = own(&first, "kafka-metadata-quorum", &["describe", "--replication"]).stdout;
        status.matches("Follower").count() == 2 && status.matches("Observer").count() == 1
    });
    let brokers = own(&first, "kafka-broker-api-versions", &[]).ok().stdout;
    assert!((1..=4).all(|id| brokers.contains(&format!("(id: {id} "))), "{brokers}");

    // A node that has a cluster of its own says so instead of losing it.
    let mut stranger = Node::new(parent.path(), "stranger");
    stranger.start(&[]);
    stranger.wait();
    stranger.kill();
    stranger.start(&["--join", &first]);
    eventually("it says why", || stranger.log().contains("this node belongs to cluster"));

    // Neither does one that was told to be somebody who is alive: its folder stays empty, for the next try.
    let mut double = Node::new(parent.path(), "double");
    double.start(&["--join", &first, "--override", "node.id=2"]);
    eventually("it says who is there", || double.log().contains("another node is broker 2"));
    assert!(!double.folder.join("ottla-data").exists());
    double.kill();
    double.start(&["--join", &first]);
    eventually("it serves with a free id", || double.log().contains("Kafka Server started"));
    assert_eq!(double.meta("node.id"), "5");

    // Who is taken out of the cluster is forgotten: another may have its address by then.
    let reads_along = || {
        let replicas = own(&first, "kafka-metadata-quorum", &["describe", "--replication"]).ok().stdout;
        replicas.lines().any(|line| line.split_whitespace().next() == Some("5"))
    };
    eventually("it reads along", reads_along);
    double.kill();
    own(&first, "kafka-cluster", &["unregister", "--id", "5"]).ok();
    eventually("it is not written to any more", || !reads_along());
}

#[test]
fn a_cluster_of_apache_kafka_is_not_joined_and_named() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        println!("skipped: {reason}");
        return;
    }
    let parent = tempfile::Builder::new().prefix("join").tempdir_in(cache::dir("run")).unwrap();
    let mut kafka = Broker::start(Target::Apache, &[]).unwrap();
    let mut node = Node::new(parent.path(), "node");
    node.start(&["--join", &kafka.bootstrap()]);
    eventually("it says why", || node.log().contains("as Apache Kafka's do"));
    assert!(!node.folder.join("ottla-data").exists());
    kafka.stop();
}
