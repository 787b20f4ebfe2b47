//! Who may lead when the in-sync set is gone: eligible leader replicas (KIP-966), and unclean elections, which lose records
//! and happen only when asked for, by topic or by kafka-leader-election.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::Cluster;
use ottla_compat_tests::process::Output;
use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{ottla, process, tool};

const LIMIT: Duration = Duration::from_secs(60);

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Kafka's own tool where there is a JVM, else ours.
fn stock(cluster: &Cluster, name: &str, arguments: &[&str]) -> Output {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return cluster.tool(name, arguments);
    }
    let bootstrap = cluster.bootstrap();
    let all = [&["--bootstrap-server", bootstrap.as_str()], arguments].concat();
    tool::run(name, &all.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>(), b"")
}

/// The row of the one partition of a topic, as `Name: value` pairs.
fn partition(cluster: &Cluster, topic: &str) -> String {
    let text = cluster.tool("kafka-topics", &["--describe", "--topic", topic]).stdout;
    text.lines().find(|line| line.contains("Partition: 0")).unwrap_or_default().to_owned()
}

fn column(row: &str, name: &str) -> String {
    let rest = row.split(&format!("\t{name}: ")).nth(1).unwrap_or_default();
    rest.split('\t').next().unwrap_or_default().trim().to_owned()
}

fn ids(text: &str) -> Vec<i32> {
    let mut ids: Vec<i32> = text.split(',').filter_map(|id| id.trim().parse().ok()).collect();
    ids.sort_unstable();
    ids
}

fn leader(cluster: &Cluster, topic: &str) -> Option<i32> {
    column(&partition(cluster, topic), "Leader").parse().ok()
}

fn isr(cluster: &Cluster, topic: &str) -> Vec<i32> {
    ids(&column(&partition(cluster, topic), "Isr"))
}

fn create(cluster: &Cluster, topic: &str, config: &str) {
    let arguments = ["--create", "--topic", topic, "--replica-assignment", "101:102:103", "--config", config];
    cluster.tool("kafka-topics", &arguments).ok();
    eventually("it is led", || isr(cluster, topic).len() == 3);
}

fn produce(cluster: &Cluster, topic: &str, records: std::ops::Range<usize>) {
    let mut command = std::process::Command::new(ottla::binary().unwrap());
    command.arg("kafka-console-producer").args(["--bootstrap-server", &cluster.bootstrap(), "--topic", topic]);
    let lines: String = records.map(|number| format!("{number}\n")).collect();
    process::run(&mut command, lines.as_bytes(), LIMIT).ok();
}

fn consume(cluster: &Cluster, topic: &str, count: usize) -> Vec<String> {
    let count = count.to_string();
    let arguments = ["--topic", topic, "--from-beginning", "--timeout-ms", "10000", "--max-messages", &count];
    let output = cluster.tool("kafka-console-consumer", &arguments);
    output.stdout.lines().map(str::to_owned).collect()
}

fn numbers(records: std::ops::Range<usize>) -> Vec<String> {
    records.map(|number| number.to_string()).collect()
}

#[test]
fn an_eligible_replica_leads_and_a_stale_one_does_not() {
    let mut cluster = Cluster::separate(3, 3, &[]).unwrap();
    create(&cluster, "safe", "min.insync.replicas=2");
    produce(&cluster, "safe", 0..10);
    // One after the other leaves; the first misses what is written then.
    assert_eq!(cluster.stop(103), Some(0));
    eventually("two are in sync", || isr(&cluster, "safe") == [101, 102]);
    produce(&cluster, "safe", 10..15);
    assert_eq!(cluster.stop(102), Some(0));
    eventually("one is in sync, the other is eligible", || {
        let row = partition(&cluster, "safe");
        ids(&column(&row, "Isr")) == [101] && ids(&column(&row, "Elr")) == [102]
    });
    cluster.kill(101);
    cluster.restart(103).unwrap();
    // Of the three it alone is there, and must not lead.
    std::thread::sleep(Duration::from_secs(3));
    let row = partition(&cluster, "safe");
    assert_eq!(column(&row, "Leader"), "none", "{row}");
    assert!(ids(&column(&row, "Elr")).contains(&102), "{row}");
    let refused = stock(
        &cluster,
        "kafka-leader-election",
        &["--election-type", "preferred", "--topic", "safe", "--partition", "0"],
    );
    assert!(refused.code != 0 || refused.stderr.contains("PREFERRED_LEADER_NOT_AVAILABLE"), "{refused}");

    cluster.restart(102).unwrap();
    eventually("the eligible one leads", || leader(&cluster, "safe") == Some(102));
    assert_eq!(consume(&cluster, "safe", 15), numbers(0..15), "nothing that was acknowledged is lost");
    eventually("the stale one catches up", || isr(&cluster, "safe") == [102, 103]);
    produce(&cluster, "safe", 15..20);
    assert_eq!(consume(&cluster, "safe", 20), numbers(0..20));
}

#[test]
fn unclean_elections_happen_when_asked_for() {
    // How often it is looked whether a topic without a leader allows it, as in Kafka every five minutes unless set.
    let mut cluster = Cluster::separate(3, 3, &["leader.imbalance.check.interval.seconds=1"]).unwrap();
    for topic in ["by-tool", "by-config"] {
        create(&cluster, topic, "min.insync.replicas=1");
        produce(&cluster, topic, 0..10);
    }
    for id in [102, 103] {
        assert_eq!(cluster.stop(id), Some(0));
    }
    for topic in ["by-tool", "by-config"] {
        eventually("one is in sync", || isr(&cluster, topic) == [101]);
        produce(&cluster, topic, 10..13);
    }
    cluster.kill(101);
    cluster.restart(102).unwrap();
    cluster.restart(103).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    for topic in ["by-tool", "by-config"] {
        assert_eq!(leader(&cluster, topic), None, "{}", partition(&cluster, topic));
    }

    let elect = ["--election-type", "unclean", "--topic", "by-tool", "--partition", "0"];
    let elected = stock(&cluster, "kafka-leader-election", &elect).ok();
    assert!(elected.stdout.contains("Successfully completed leader election (UNCLEAN)"), "{elected}");
    let allow = ["--entity-type", "topics", "--entity-name", "by-config", "--alter"];
    let allow = [&allow[..], &["--add-config", "unclean.leader.election.enable=true"]].concat();
    stock(&cluster, "kafka-configs", &allow).ok();
    for topic in ["by-tool", "by-config"] {
        eventually("a stale one leads", || leader(&cluster, topic).is_some_and(|id| id != 101));
        // What only the dead one had is lost: that was the choice.
        assert_eq!(consume(&cluster, topic, 10), numbers(0..10));
        produce(&cluster, topic, 20..22);
        // The former leader comes back and is cut to the history of the new one.
    }
    cluster.restart(101).unwrap();
    for topic in ["by-tool", "by-config"] {
        eventually("all are in sync", || isr(&cluster, topic) == [101, 102, 103]);
        let expected: Vec<String> = numbers(0..10).into_iter().chain(numbers(20..22)).collect();
        assert_eq!(consume(&cluster, topic, 12), expected);
    }
    let again = stock(&cluster, "kafka-leader-election", &elect);
    assert!(again.stdout.contains("Valid replica already elected for partitions by-tool-0"), "{again}");
}
