//! `ottla rebalance`: a broker that joins gets its share and one that leaves is emptied, while clients of somebody else go on
//! and notice nothing; a run that is killed is finished by the next one. The same command plans and drains for Apache Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::process::{Daemon, Output};

use ottla_compat_tests::toolchain::{self, Need};
use ottla_compat_tests::{broker, jvm, tool};

/// Of a run of the command: what it moves is bounded by its throttle.
const LIMIT: Duration = Duration::from_secs(240);

fn java_is_missing() -> bool {
    let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) else { return false };
    println!("skipped: {reason}");
    assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
    true
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn create(cluster: &Cluster, topic: &str, partitions: usize, factor: usize) {
    let (partitions, factor) = (partitions.to_string(), factor.to_string());
    let arguments = ["--create", "--topic", topic, "--partitions", &partitions, "--replication-factor", &factor];
    cluster.tool("kafka-topics", &arguments).ok();
}

/// Bytes for the moves to copy: nobody reads them.
fn fill(cluster: &Cluster, topic: &str, megabytes: usize) {
    let records = (megabytes * 1000).to_string();
    let arguments = ["--topic", topic, "--num-records", &records, "--record-size", "1000", "--throughput", "-1"];
    cluster.tool("kafka-producer-perf-test", &arguments).ok();
}

/// Replicas of all partitions by topic and partition, as the described cluster has them.
fn replicas(cluster: &Cluster) -> BTreeMap<(String, i32), Vec<i32>> {
    let text = cluster.tool("kafka-topics", &["--describe"]).ok().stdout;
    let rows = text.lines().filter(|line| line.contains("\tPartition: "));
    let row = |line: &str| {
        let field = |name: &str| {
            let at = line.find(name).unwrap() + name.len();
            line[at..].split('\t').next().unwrap().trim().to_owned()
        };
        let ids = field("Replicas: ").split(',').map(|id| id.parse().unwrap()).collect();
        ((field("Topic: "), field("Partition: ").parse().unwrap()), ids)
    };
    rows.map(row).collect()
}

fn counts(cluster: &Cluster) -> BTreeMap<i32, usize> {
    let mut counts = BTreeMap::new();
    replicas(cluster).values().flatten().for_each(|id| *counts.entry(*id).or_default() += 1);
    counts
}

fn spread(counts: &BTreeMap<i32, usize>) -> usize {
    counts.values().max().unwrap() - counts.values().min().unwrap()
}

fn is_whole(cluster: &Cluster) -> bool {
    let output = cluster.tool("kafka-topics", &["--describe", "--under-replicated-partitions"]);
    output.code == 0 && output.stdout.trim().is_empty()
}

fn is_moving(cluster: &Cluster) -> bool {
    cluster.tool("kafka-reassign-partitions", &["--list"]).ok().stdout.contains("Current partition reassignments")
}

fn throttles(cluster: &Cluster) -> String {
    let of = |kind: &str| cluster.tool("kafka-configs", &["--describe", "--entity-type", kind]).ok().stdout;
    let text = of("topics") + &of("brokers");
    text.lines().filter(|line| line.contains("replication.throttled")).collect::<Vec<_>>().join("\n")
}

fn rebalance(cluster: &Cluster, arguments: &[&str]) -> Output {
    cluster.tool_within(LIMIT, "rebalance", arguments)
}

#[test]
fn brokers_come_and_go_and_clients_notice_nothing() {
    if java_is_missing() {
        return;
    }
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both), (4, Roles::Broker)];
    let mut cluster = Cluster::prepare(&nodes, &["log.durability=replicated"]).unwrap();
    for id in 1..=3 {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    for (topic, partitions, factor) in [("three", 12, 3), ("two", 12, 2), ("one", 8, 1), ("bulk", 12, 2)] {
        create(&cluster, topic, partitions, factor);
    }
    fill(&cluster, "bulk", 24);
    let end = cluster.node(1).properties().with_file_name("end");
    let arguments = [cluster.bootstrap(), end.display().to_string(), "three".into(), "two".into(), "one".into()];
    let load = jvm::start("SteadyLoad", &arguments, b"").unwrap();
    assert!(load.wait_until(Duration::from_secs(60), |text| text.contains("loading")), "{}", load.output());

    // A fourth joins and has nothing; half a run gives it some.
    cluster.restart(4).unwrap();
    let dry = rebalance(&cluster, &["--dry-run"]).ok().stdout;
    assert!(dry.contains("BROKER") && dry.contains("NEW REPLICAS") && dry.contains("to copy"), "{dry}");
    assert!(!counts(&cluster).contains_key(&4));
    let log = cluster.node(1).properties().with_file_name("rebalance.log");
    let mut command = cluster.tool_command("rebalance", &["--throttle", "300000", "--concurrent", "2"]).unwrap();
    let mut half = Daemon::spawn(&mut command, &log).unwrap();
    eventually("replicas move", || is_moving(&cluster) && counts(&cluster).contains_key(&4));
    assert!(half.is_running(), "{}", std::fs::read_to_string(&log).unwrap());
    half.kill();
    assert!(is_moving(&cluster), "what was begun goes on without it");
    assert!(throttles(&cluster).contains("300000"), "{}", throttles(&cluster));

    // The next one finishes what was begun and does the rest.
    let said = rebalance(&cluster, &["--throttle", "20000000"]).ok().stdout;
    assert!(
        said.contains("are under way and waited for") && said.contains("Moved ") && said.contains("Done."),
        "{said}"
    );
    let shares = counts(&cluster);
    assert!(shares.len() == 4 && spread(&shares) <= 1, "{shares:?}\n{said}");
    assert_eq!(throttles(&cluster), "", "{said}");
    assert!(!is_moving(&cluster));
    let again = rebalance(&cluster, &[]).ok().stdout;
    assert!(again.contains("nothing to move") || again.contains("0 B to copy"), "{again}");

    // One leaves. What is created meanwhile and afterwards is not put there.
    let said = rebalance(&cluster, &["--drain", "3", "--throttle", "20000000"]).ok().stdout;
    assert!(said.contains("Broker 3 is empty.") && said.contains("unregister"), "{said}");
    assert!(said.contains("remove-controller"), "it is a voter: {said}");
    create(&cluster, "late", 12, 3);
    let shares = counts(&cluster);
    assert!(!shares.contains_key(&3), "{shares:?}");
    assert_eq!(cluster.stop(3), Some(0), "{}", cluster.log(3));
    cluster.tool("kafka-cluster", &["unregister", "--id", "3"]).ok();
    eventually("all replicas are in sync", || is_whole(&cluster));

    // What cannot be is refused and changes nothing.
    let refused = rebalance(&cluster, &["--drain", "1"]);
    assert!(refused.code == 1 && refused.stderr.contains("only 2 broker(s) remain"), "{refused}");
    let unknown = rebalance(&cluster, &["--drain", "9"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no broker 9"), "{unknown}");
    assert_eq!(counts(&cluster), shares);

    std::fs::write(&end, "").unwrap();
    let output = load.wait(Duration::from_secs(120)).ok();
    println!("{}", output.stdout);
}

#[test]
fn a_dead_broker_is_drained_as_far_as_others_have_its_data() {
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both), (4, Roles::Broker)];
    let mut cluster = Cluster::start(&nodes, &["log.durability=replicated"]).unwrap();
    create(&cluster, "kept", 12, 2);
    fill(&cluster, "kept", 2);
    cluster.tool("kafka-topics", &["--create", "--topic", "only", "--replica-assignment", "4"]).ok();
    cluster.kill(4);
    eventually("the last replica is missed", || {
        let text = cluster.tool("kafka-topics", &["--describe", "--unavailable-partitions"]).ok().stdout;
        text.contains("Topic: only")
    });
    let refused = rebalance(&cluster, &["--drain", "4"]);
    assert!(refused.code == 1 && refused.stderr.contains("only-0 has no leader"), "{refused}");
    assert!(counts(&cluster).contains_key(&4), "nothing was moved");
    // Without a drain it is left as it is, and the others share what is theirs.
    let said = rebalance(&cluster, &[]).ok().stdout;
    assert!(said.contains("Broker 4 is down") && said.contains("Done."), "{said}");

    cluster.tool("kafka-topics", &["--delete", "--topic", "only"]).ok();
    let said = rebalance(&cluster, &["--drain", "4"]).ok().stdout;
    assert!(said.contains("Broker 4 is empty."), "{said}");
    let shares = counts(&cluster);
    assert!(!shares.contains_key(&4) && spread(&shares) <= 1, "{shares:?}");
    assert!(is_whole(&cluster));
    cluster.tool("kafka-cluster", &["unregister", "--id", "4"]).ok();
    let unknown = rebalance(&cluster, &["--drain", "4"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("no broker 4"), "{unknown}");
}

/// What holds on Ottla holds on Apache Kafka.
fn story(cluster: &Cluster, name: &str) {
    let all_on_two = |partitions: usize| vec!["1:2"; partitions].join(",");
    for (topic, assignment) in [("pairs", all_on_two(9)), ("singles", ["1"; 6].join(","))] {
        let arguments = ["--create", "--topic", topic, "--replica-assignment", &assignment];
        cluster.tool("kafka-topics", &arguments).ok();
        fill(cluster, topic, 3);
    }
    let before = replicas(cluster);

    // A plan for Kafka's own tool, by which it is executed.
    let json = rebalance(cluster, &["--dry-run", "--json"]).ok().stdout;
    let file = cluster.node(1).properties().with_file_name("plan.json");
    std::fs::write(&file, &json).unwrap();
    assert_eq!(replicas(cluster), before, "{name}: a dry run moves nothing");
    let words = |action: &str| {
        let line = [
            "--bootstrap-server",
            &cluster.bootstrap(),
            "--reassignment-json-file",
            &file.display().to_string(),
            action,
        ]
        .map(str::to_owned);
        tool::run("kafka-reassign-partitions", &line, b"").ok().stdout
    };
    assert!(words("--execute").contains("Successfully started"), "{name}: {json}");
    eventually("Kafka's tool says that it is done", || {
        let said = words("--verify");
        said.contains("is completed") && !said.contains("in progress")
    });
    let shares = counts(cluster);
    assert!(shares.len() == 3 && spread(&shares) <= 1, "{name}: {shares:?}");
    let said = rebalance(cluster, &[]).ok().stdout;
    assert!(said.contains("nothing to move"), "{name}: {said}");

    let said = rebalance(cluster, &["--drain", "3", "--throttle", "50000000"]).ok().stdout;
    assert!(said.contains("Broker 3 is cordoned") && said.contains("Broker 3 is empty."), "{name}: {said}");
    create(cluster, "late", 6, 2);
    let shares = counts(cluster);
    assert!(!shares.contains_key(&3) && spread(&shares) <= 1, "{name}: {shares:?}\n{said}");
    assert_eq!(throttles(cluster), "", "{name}: {said}");
    assert!(is_whole(cluster), "{name}");
    let leaders: BTreeSet<i32> = replicas(cluster).values().map(|replicas| replicas[0]).collect();
    assert_eq!(leaders, BTreeSet::from([1, 2]), "{name}");
}

#[test]
fn it_plans_and_drains_for_apache_kafka_as_for_ottla() {
    if java_is_missing() {
        return;
    }
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];
    let keys = ["auto.leader.rebalance.enable=false"];
    for target in broker::targets() {
        let cluster = match target {
            broker::Target::Apache => {
                let cluster = Cluster::prepare(&nodes, &keys).unwrap();
                let _daemons = cluster.spawn_apache().unwrap();
                story(&cluster, target.name());
                continue;
            }
            broker::Target::Ottla => Cluster::start(&nodes, &keys).unwrap(),
        };
        story(&cluster, target.name());
    }
}

#[test]
fn where_nothing_can_be_cordoned_it_drains_all_the_same() {
    if java_is_missing() || !broker::targets().contains(&broker::Target::Apache) {
        return;
    }
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];
    let cluster = Cluster::prepare(&nodes, &[]).unwrap();
    let _daemons = cluster.spawn_apache_as(Some("4.2")).unwrap();
    create(&cluster, "pairs", 9, 2);
    let said = rebalance(&cluster, &["--drain", "3"]).ok().stdout;
    assert!(said.contains("Broker 3 cannot be cordoned") && said.contains("Broker 3 is empty."), "{said}");
    assert!(!counts(&cluster).contains_key(&3), "{said}");
}
