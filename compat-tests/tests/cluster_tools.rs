//! Kafka's own tools on a cluster of three: the same commands against Ottla and against Apache Kafka, and the same output and
//! exit codes, but for what names a process (ports, folders, ids, offsets, times).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::process::Daemon;
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};

const NODES: [(i32, Roles); 3] = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];

/// Three nodes of either kind.
struct Three {
    cluster: Cluster,
    /// Apache Kafka's processes; Ottla's are the cluster's own.
    daemons: BTreeMap<i32, Daemon>,
    said: Vec<String>,
}

impl Three {
    fn ottla() -> Self {
        let cluster = Cluster::start(&NODES, &["auto.leader.rebalance.enable=false"]).unwrap();
        Self { cluster, daemons: BTreeMap::new(), said: Vec::new() }
    }

    fn apache() -> Self {
        let cluster = Cluster::prepare(&NODES, &["auto.leader.rebalance.enable=false"]).unwrap();
        let daemons = cluster.spawn_apache().unwrap();
        Self { cluster, daemons, said: Vec::new() }
    }

    fn stop(&mut self, id: i32) {
        match self.daemons.remove(&id) {
            Some(mut daemon) => drop(daemon.terminate(Duration::from_secs(60))),
            None => drop(self.cluster.stop(id)),
        }
    }

    /// Runs a line: `@` is the brokers, `@@` the controllers. Waits until `is_done` likes the output.
    fn run(&mut self, line: &str, is_done: impl Fn(&str) -> bool) {
        let (brokers, controllers) = (self.cluster.bootstrap(), self.cluster.bootstrap_controllers());
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word {
                "@" => brokers.clone(),
                "@@" => controllers.clone(),
                word => word.to_owned(),
            })
            .collect();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let output = tool::run(&words[0], &words[1..], b"");
            if is_done(&output.stdout) || Instant::now() > deadline {
                let text = format!("$ {line}\n{}{}exit code {}", output.stdout, output.stderr, output.code);
                self.said.push(self.masked(&text));
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Runs a tool that goes on until it is stopped, until `is_enough` likes what it printed. Only the last line is kept.
    fn say_last(&mut self, line: &str, is_enough: impl Fn(&str) -> bool) {
        let words: Vec<String> = line.replace('@', &self.cluster.bootstrap()).split(' ').map(str::to_owned).collect();
        let running = tool::start(&words[0], &words[1..], b"").unwrap();
        running.wait_until(Duration::from_secs(60), is_enough);
        let output = running.output();
        running.stop();
        // Behind the time; which partition is named, and how long it is, is the producer's choice.
        let last = output.stdout.lines().last().unwrap_or(&output.stderr);
        let last = last.split_once(": ").map_or(last, |(_, text)| text);
        let places = regex::Regex::new("moves-[01] at offset [0-9]+").unwrap();
        let last = places.replace_all(last, "<place>");
        self.said.push(self.masked(&format!("$ {line}\n{last}\n")));
    }

    fn say(&mut self, line: &str) {
        self.run(line, |_| true);
    }

    /// What names a process is replaced by what it is.
    fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for node in self.cluster.nodes() {
            let (id, data) = (node.id, node.data_dir());
            text = text.replace(&data.display().to_string(), &format!("<data {id}>"));
            text = text.replace(&node.properties().parent().unwrap().display().to_string(), &format!("<folder {id}>"));
            text = text.replace(&format!("127.0.0.1:{}", node.port), &format!("<broker {id}>"));
            text = text.replace(&format!("127.0.0.1:{}", node.controller_port), &format!("<controller {id}>"));
            text = text.replace(&format!("port={}", node.port), &format!("port=<broker {id}>"));
            // In columns.
            for (port, what) in [(node.port, "broker"), (node.controller_port, "controller")] {
                text = text.replace(&format!(" {port} "), &format!(" <{what} {id}> "));
            }
            for (file, key) in [("meta.properties", "cluster.id"), ("meta.properties", "directory.id")] {
                if let Some(value) = property(&data.join(file), key) {
                    text = text.replace(&value, &format!("<{key}>"));
                }
            }
        }
        // Features that Ottla has not are listed in UNSUPPORTED.md.
        let left_out = ["share.version", "streams.version", "WARN [AdminClient"];
        let is_shown = |line: &&str| !left_out.iter().any(|part| line.contains(part));
        let mut lines: Vec<String> = text.lines().filter(is_shown).map(mask_line).collect();
        // What is proposed begins with a random broker.
        if let Some(at) = lines.iter().position(|line| line.starts_with("Proposed partition")) {
            let ids = regex::Regex::new("\\[[0-9]+,[0-9]+\\]").unwrap();
            lines[at + 1] = ids.replace_all(&lines[at + 1], "[<two brokers>]").into_owned();
        }
        // Rows that come in the order of a hash table.
        if let Some(first) = lines.iter().position(|line| line.starts_with("ID ")) {
            let end = lines.len() - 1;
            lines[first + 1..end].sort();
        }
        lines.join("\n")
    }
}

fn property(file: &PathBuf, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    Some(text.lines().find_map(|line| line.strip_prefix(&format!("{key}=")))?.replace("\\=", "="))
}

/// Ids of topics, numbers that count or tell time, width of columns.
fn mask_line(line: &str) -> String {
    let mut line = line.to_owned();
    if let Some(at) = line.find("TopicId: ") {
        let id = at + "TopicId: ".len();
        let end = line[id..].find('\t').map_or(line.len(), |end| id + end);
        line.replace_range(id..end, "<id>");
    }
    for name in ["LeaderId:", "LeaderEpoch:", "HighWatermark:", "MaxFollowerLag:", "MaxFollowerLagTimeMs:", "Epoch:"] {
        if let Some(at) = line.find(name) {
            line.truncate(at + name.len());
        }
    }
    // The time at which a tool complained.
    if line.starts_with("[20") {
        line.replace_range(0..line.find(']').unwrap_or(0), "[time");
    }
    if let Some(at) = line.find("clientId=adminclient-") {
        let end = line[at..].find(']').map_or(line.len(), |end| at + end);
        line.replace_range(at..end, "clientId");
    }
    // Whose members joined in which order.
    if let Some(at) = line.find("\tIsr: ") {
        let from = at + "\tIsr: ".len();
        let end = line[from..].find('\t').map_or(line.len(), |end| from + end);
        let mut ids: Vec<String> = line[from..end].trim().split(',').map(str::to_owned).collect();
        ids.sort();
        line.replace_range(from..end, &ids.join(","));
    }
    // Members of the quorum: which of them leads, and how far each is.
    if let [node, directory, _, _, _, _, status @ ("Leader" | "Follower")] =
        line.split_whitespace().collect::<Vec<_>>()[..]
        && node.parse::<i32>().is_ok()
    {
        line = format!("<node> {directory} <offset> <lag> <times> {status}");
    }
    // JSON of kafka-log-dirs: sizes.
    while let Some(at) = line.find("\"size\":") {
        let from = at + "\"size\":".len();
        let digits = line[from..].chars().take_while(char::is_ascii_digit).count();
        line.replace_range(at..from + digits, "\"bytes\"");
    }
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn story(three: &mut Three) {
    let folder = three.cluster.node(1).properties().parent().unwrap().to_owned();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let move_all = write(
        "move.json",
        r#"{"version":1,"partitions":[
            {"topic":"moves","partition":0,"replicas":[3,1]},{"topic":"moves","partition":1,"replicas":[1,2]}]}"#,
    );
    let unknown =
        write("unknown.json", r#"{"version":1,"partitions":[{"topic":"nowhere","partition":0,"replicas":[1]}]}"#);
    let twice = write("twice.json", r#"{"version":1,"partitions":[{"topic":"moves","partition":0,"replicas":[1,1]}]}"#);
    let stranger =
        write("stranger.json", r#"{"version":1,"partitions":[{"topic":"moves","partition":0,"replicas":[1,9]}]}"#);
    let whole = |text: &str| text.matches("Isr: ").count() == 2 && !text.contains("Leader: none");

    three.say("kafka-topics --bootstrap-server @ --create --topic moves --replica-assignment 1:2,2:3");
    three.say("kafka-topics --bootstrap-server @ --create --topic wide --partitions 1 --replication-factor 4");
    three.run("kafka-topics --bootstrap-server @ --describe --topic moves", whole);

    // Moves, begun with a throttle, verified, and one taken back.
    let reassign = format!("kafka-reassign-partitions --bootstrap-server @ --reassignment-json-file {move_all}");
    three.say(&format!("{reassign} --execute --throttle 50000000"));
    three.run(&format!("{reassign} --verify --preserve-throttles"), |text| text.matches("is completed").count() == 2);
    three.say(&format!("{reassign} --verify"));
    three.say("kafka-reassign-partitions --bootstrap-server @ --list");
    three.say(&format!("{reassign} --cancel"));
    for bad in [&unknown, &twice, &stranger] {
        three.say(&format!("kafka-reassign-partitions --bootstrap-server @ --reassignment-json-file {bad} --execute"));
    }
    three.run("kafka-topics --bootstrap-server @ --describe --topic moves", |text| {
        text.contains("Replicas: 3,1") && text.contains("Replicas: 1,2")
    });

    three.say("kafka-leader-election --bootstrap-server @ --election-type preferred --all-topic-partitions");
    three.run("kafka-topics --bootstrap-server @ --describe --topic moves", |text| {
        text.contains("Leader: 3") && text.contains("Leader: 1")
    });
    three.say("kafka-leader-election --bootstrap-server @ --election-type preferred --topic moves --partition 0");
    three.say("kafka-leader-election --bootstrap-server @ --election-type unclean --topic moves --partition 0");
    three.say("kafka-leader-election --bootstrap-server @ --election-type preferred --topic moves --partition 7");

    // A plan for all brokers, of which only what is there can be compared.
    let topics = write("topics.json", r#"{"version":1,"topics":[{"topic":"moves"}]}"#);
    let none = write("none.json", r#"{"version":1,"topics":[{"topic":"nowhere"}]}"#);
    let generate = "kafka-reassign-partitions --bootstrap-server @ --generate --topics-to-move-json-file";
    three.say(&format!("{generate} {topics} --broker-list 1,2,3"));
    three.say(&format!("{generate} {topics} --broker-list 1"));
    three.say(&format!("{generate} {topics} --broker-list 1,1,2"));
    three.say(&format!("{generate} {none} --broker-list 1,2,3"));

    // It reads every replica as if it were a follower, and compares what it gets.
    let produce = ["--topic", "moves", "--num-records", "200", "--record-size", "100", "--throughput", "-1"];
    three.cluster.tool("kafka-producer-perf-test", &produce).ok();
    three.say_last(
        "kafka-replica-verification --broker-list @ --topics-include moves --report-interval-ms 1000",
        |text| text.matches("max lag is 0").count() >= 2,
    );
    three.say("kafka-replica-verification --broker-list @ --topics-include nowhere");

    for at in ["--bootstrap-server @", "--bootstrap-controller @@"] {
        three.say(&format!("kafka-metadata-quorum {at} describe --status"));
        three.say(&format!("kafka-metadata-quorum {at} describe --replication"));
        three.say(&format!("kafka-cluster cluster-id {at}"));
        three.say(&format!("kafka-cluster list-endpoints {at}"));
        three.say(&format!("kafka-features {at} describe"));
        three.say(&format!("kafka-configs {at} --entity-type brokers --entity-default --describe"));
        three.say(&format!("kafka-reassign-partitions {at} --list"));
    }
    three.say("kafka-configs --bootstrap-controller @@ --entity-type brokers --entity-default --alter --add-config log.cleaner.threads=2");
    three.run("kafka-configs --bootstrap-server @ --entity-type brokers --entity-default --describe", |text| {
        text.contains("log.cleaner.threads=2")
    });
    three.say("kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 2 --alter --add-config log.cleaner.threads=3");
    three.run("kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 2 --describe", |text| {
        text.contains("log.cleaner.threads=3")
    });
    // A controller cannot know which directories a broker has, and knows which nodes there are.
    let at_controller = "kafka-configs --bootstrap-controller @@ --entity-type brokers --alter";
    three.say(&format!("{at_controller} --entity-name 3 --add-config cordoned.log.dirs=/nowhere"));
    three.say(&format!("{at_controller} --entity-name 9 --add-config log.cleaner.threads=2"));
    three.say("kafka-log-dirs --bootstrap-server @ --describe --broker-list 1,3 --topic-list moves");
    three.say("kafka-log-dirs --bootstrap-server @ --describe --broker-list 1,9");

    // A broker that is cordoned gets nothing new, and nothing by name.
    let configs = "kafka-configs --bootstrap-server @ --entity-type brokers --entity-name 3";
    three.say(&format!("{configs} --alter --add-config cordoned.log.dirs=/nowhere"));
    three.say(&format!("{configs} --alter --add-config cordoned.log.dirs=*"));
    // The broker tells the controller with its next heartbeat.
    for probe in 0.. {
        let probe = format!("probe-{probe}");
        let arguments = ["--create", "--topic", &probe, "--partitions", "1", "--replication-factor", "3"];
        if three.cluster.tool("kafka-topics", &arguments).code != 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    three.say("kafka-topics --bootstrap-server @ --create --topic all --partitions 1 --replication-factor 3");
    three.say("kafka-topics --bootstrap-server @ --create --topic named --replica-assignment 3:1");
    three.say("kafka-topics --bootstrap-server @ --create --topic two --partitions 1 --replication-factor 2");
    three.say(&format!("kafka-reassign-partitions --bootstrap-server @ --reassignment-json-file {move_all} --execute"));
    three.say(&format!("{configs} --describe"));
    three.say(&format!("{configs} --alter --delete-config cordoned.log.dirs"));
    three.say("kafka-log-dirs --bootstrap-server @ --describe --broker-list 3 --topic-list moves");

    // One leaves for good.
    three.stop(2);
    three.run("kafka-cluster list-endpoints --bootstrap-server @ --include-fenced-brokers", |text| {
        text.contains("fenced")
    });
    three.say("kafka-cluster unregister --bootstrap-server @ --id 2");
    three.run("kafka-cluster list-endpoints --bootstrap-server @ --include-fenced-brokers", |text| {
        !text.contains("fenced\n2")
    });
    three.say("kafka-cluster unregister --bootstrap-server @ --id 2");
}

#[test]
fn the_operators_tools_say_the_same() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let mut theirs = Three::apache();
    story(&mut theirs);
    let Three { said: theirs, .. } = theirs;
    let mut ours = Three::ottla();
    story(&mut ours);
    let mut differences = Vec::new();
    for (theirs, ours) in theirs.iter().zip(&ours.said) {
        if theirs != ours {
            differences.push(format!("--- Apache Kafka\n{theirs}\n--- Ottla\n{ours}\n"));
        }
    }
    assert!(differences.is_empty(), "{} of {} differ\n{}", differences.len(), theirs.len(), differences.join("\n"));
}
