//! Nodes that must not be what they say they are: each is refused, or healed, and says why.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::process;
use ottla_compat_tests::toolchain::{self, Need};

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_whole(cluster: &Cluster) -> bool {
    let lagging = cluster.tool("kafka-topics", &["--describe", "--under-replicated-partitions"]);
    lagging.code == 0 && lagging.stdout.trim().is_empty()
}

fn create(cluster: &Cluster, topic: &str) {
    let arguments = ["--create", "--topic", topic, "--partitions", "3", "--replication-factor", "3"];
    cluster.tool("kafka-topics", &arguments).ok();
}

#[test]
fn two_brokers_with_one_id() {
    let cluster = Cluster::separate(1, 3, &[]).unwrap();
    create(&cluster, "kept");
    let voters = format!("controller.quorum.voters={}", cluster.voters());
    let mut twin = Cluster::prepare(&[(102, Roles::Broker)], &[&voters]).unwrap();
    twin.spawn(102).unwrap();
    eventually("the second one says why it waits", || {
        twin.log(102).contains("a live broker is registered under this node.id")
    });
    // The first goes on, and goes first.
    assert!(is_whole(&cluster));
    assert!(!twin.log(102).contains("Kafka Server started"));
}

#[test]
fn two_controllers_with_one_id() {
    let auto = "controller.quorum.auto.join.enable=true";
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];
    let mut cluster = Cluster::prepare_dynamic(&nodes, 1, &[auto]).unwrap();
    for (id, _) in nodes {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    let voters = |cluster: &Cluster| {
        let status = cluster.tool("kafka-metadata-quorum", &["describe", "--status"]).stdout;
        status.lines().find(|line| line.starts_with("CurrentVoters")).unwrap_or_default().to_owned()
    };
    eventually("three vote", || voters(&cluster).matches("directoryId").count() == 3);
    create(&cluster, "kept");
    let before = voters(&cluster);

    let bootstrap = format!("controller.quorum.bootstrap.servers={}", cluster.bootstrap_controllers());
    let mut twin = Cluster::prepare_dynamic(&[(2, Roles::Both)], 2, &[auto, &bootstrap]).unwrap();
    twin.spawn(2).unwrap();
    eventually("the second one is told why", || {
        let told = "node.id 2 is in use";
        twin.log(2).contains(told) || twin.log(2).contains("another process of the cluster already uses node.id 2")
    });
    assert!(!twin.log(2).contains("Kafka Server started"), "{}", twin.log(2));
    // The first keeps its vote, though the second would have joined by itself.
    assert_eq!(voters(&cluster), before);
    create(&cluster, "after");
    assert!(is_whole(&cluster));
}

#[test]
fn a_broker_of_another_cluster_is_refused_by_its_own_data() {
    let mut cluster = Cluster::separate(1, 1, &[]).unwrap();
    assert_eq!(cluster.stop(101), Some(0));
    cluster.spawn_in(101, "gzbVqVcbTiSpbL4FbLGUcw").unwrap();
    eventually("it says whose data they are", || {
        let log = cluster.log(101);
        log.contains("gzbVqVcbTiSpbL4FbLGUcw") && log.contains("5L6g3nShT-eMCtK--X86sw")
    });
}

#[test]
fn a_broker_that_lost_its_disk_is_healed_from_the_others() {
    let mut cluster = Cluster::separate(1, 3, &["min.insync.replicas=2"]).unwrap();
    create(&cluster, "kept");
    let mut command = std::process::Command::new(ottla_compat_tests::ottla::binary().unwrap());
    command.arg("kafka-console-producer").args(["--bootstrap-server", &cluster.bootstrap(), "--topic", "kept"]);
    let lines: String = (0..300).map(|number| format!("{number}\n")).collect();
    ottla_compat_tests::process::run(&mut command, lines.as_bytes(), Duration::from_secs(60)).ok();
    eventually("all are in sync", || is_whole(&cluster));
    for id in [101, 102, 103] {
        cluster.kill(id);
        cluster.wipe(id);
        cluster.restart(id).unwrap();
        eventually(&format!("the replicas of {id} are back"), || is_whole(&cluster));
    }
    // By now every byte has been copied from somebody who had it.
    let arguments = ["--topic", "kept", "--from-beginning", "--timeout-ms", "20000", "--max-messages", "300"];
    let read = cluster.tool("kafka-console-consumer", &arguments).stdout;
    let mut numbers: Vec<usize> = read.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

/// It is for the loader to find: the folder depends on the processor.
fn library_of_false_time() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.map(|folder| folder.unwrap().path());
    let mut found = folders.map(|folder| folder.join("faketime/libfaketime.so.1")).filter(|path| path.exists());
    Some(found.next()?.display().to_string())
}

/// Every node leads for a while, and each of the others follows it.
#[test]
fn a_clock_that_is_days_off_is_named_and_nothing_is_lost() {
    let library = library_of_false_time();
    if let Some(reason) = toolchain::missing(&[Need::Faketime]).or(library.is_none().then(|| "no libfaketime".into())) {
        println!("skipped: clocks: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let ids = [1, 2, 3];
    let mut cluster = Cluster::prepare(&ids.map(|id| (id, Roles::Both)), &["min.insync.replicas=2"]).unwrap();
    let off = [("LD_PRELOAD", library.as_deref().unwrap()), ("FAKETIME", "+3d"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    off.iter().for_each(|(name, value)| cluster.set_variable(3, name, value));
    ids.iter().for_each(|&id| cluster.spawn(id).unwrap());
    cluster.wait_until_ready().unwrap();
    create(&cluster, "kept");
    let produce = |cluster: &Cluster, numbers: std::ops::Range<u32>| {
        let mut command = cluster.tool_command("kafka-console-producer", &["--topic", "kept", "--sync"]).unwrap();
        let lines: String = numbers.map(|number| format!("{number}\n")).collect();
        process::run(&mut command, lines.as_bytes(), Duration::from_secs(60)).ok();
    };
    produce(&cluster, 0..100);
    for (round, id) in (1..).zip(ids) {
        cluster.kill(id);
        produce(&cluster, round * 100..(round + 1) * 100);
        cluster.restart(id).unwrap();
        eventually("all are in sync again", || is_whole(&cluster));
    }
    let arguments =
        ["--topic", "kept", "--from-beginning", "--max-messages", "400", "--timeout-ms", "20000", "--group", "readers"];
    let read = cluster.tool("kafka-console-consumer", &arguments).stdout;
    let mut numbers: Vec<u32> = read.lines().filter_map(|line| line.parse().ok()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..400).collect::<Vec<_>>());
    let said: String = ids.iter().map(|&id| cluster.log(id)).collect();
    let names_it = |line: &str| {
        line.contains("the clock of broker 3 is 2 d 23 h 59 min ahead of this controller's")
            || line.contains("the clock of broker 1 is 3 d 0 h 0 min behind this controller's")
    };
    assert!(said.lines().any(names_it), "{said}");
}
