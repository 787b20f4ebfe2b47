//! A quorum whose voters change while it runs, by Kafka's own kafka-metadata-quorum: three processes, of which one founds
//! and two are added; one that is removed and comes back; one that loses its disk.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::process::Output;
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn java_is_missing() -> bool {
    let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) else { return false };
    println!("skipped: {reason}");
    assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
    true
}

/// Kafka's own tool.
fn stock(name: &str, arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    tool::run(name, &arguments, b"")
}

fn directory_id(cluster: &Cluster, id: i32) -> String {
    let text = std::fs::read_to_string(cluster.node(id).data_dir().join("meta.properties")).unwrap();
    text.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap().to_owned()
}

/// Status rows of `describe --replication`: id, directory id, what it is.
fn replicas(cluster: &Cluster) -> Vec<(i32, String, String)> {
    let text = cluster.tool("kafka-metadata-quorum", &["describe", "--replication"]).stdout;
    let rows = text.lines().skip(1).filter_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        Some((columns.first()?.parse().ok()?, (*columns.get(1)?).to_owned(), (*columns.last()?).to_owned()))
    });
    rows.collect()
}

fn ids(cluster: &Cluster, voting: bool) -> Vec<i32> {
    let mut ids: Vec<i32> =
        replicas(cluster).into_iter().filter(|(_, _, is)| (is != "Observer") == voting).map(|(id, ..)| id).collect();
    ids.sort_unstable();
    ids
}

fn add(cluster: &Cluster, id: i32, through: &[&str]) -> Output {
    let properties = cluster.node(id).properties().display().to_string();
    stock("kafka-metadata-quorum", &[through, &["--command-config", &properties, "add-controller"]].concat())
}

fn remove(id: i32, directory: &str, through: &[&str]) -> Output {
    let id = id.to_string();
    let remove = ["remove-controller", "--controller-id", &id, "--controller-directory-id", directory];
    stock("kafka-metadata-quorum", &[through, &remove].concat())
}

#[test]
fn controllers_are_added_and_removed_by_kafkas_tool() {
    if java_is_missing() {
        return;
    }
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];
    let mut cluster = Cluster::prepare_dynamic(&nodes, 1, &[]).unwrap();
    for (id, _) in nodes {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    eventually("two observers", || ids(&cluster, true) == [1] && ids(&cluster, false) == [2, 3]);
    let bootstrap = cluster.bootstrap();
    let controllers = cluster.bootstrap_controllers();
    let brokers = ["--bootstrap-server", bootstrap.as_str()];
    let controllers = ["--bootstrap-controller", controllers.as_str()];

    let features = stock("kafka-features", &[&brokers[..], &["describe"]].concat()).ok().stdout;
    let kraft = features.lines().find(|line| line.contains("kraft.version")).unwrap();
    assert!(kraft.contains("FinalizedVersionLevel: 1"), "{features}");

    // Through a broker, and through a controller.
    let added = add(&cluster, 2, &brokers).ok().stdout;
    let port = cluster.node(2).controller_port;
    let own = directory_id(&cluster, 2);
    assert!(
        added.contains(&format!(
            "Added controller 2 with directory id {own} and endpoints: CONTROLLER://127.0.0.1:{port}"
        )),
        "{added}"
    );
    add(&cluster, 3, &controllers).ok();
    assert_eq!(ids(&cluster, true), [1, 2, 3]);
    let status = stock("kafka-metadata-quorum", &[&brokers[..], &["describe", "--status"]].concat()).ok().stdout;
    for id in 1..=3 {
        let (directory, port) = (directory_id(&cluster, id), cluster.node(id).controller_port);
        let voter = format!(
            "{{\"id\": {id}, \"directoryId\": \"{directory}\", \"endpoints\": [\"CONTROLLER://127.0.0.1:{port}\"]}}"
        );
        assert!(status.contains(&voter), "{voter} in\n{status}");
    }
    let twice = add(&cluster, 3, &brokers);
    assert!(twice.code == 1 && twice.stderr.contains("is already part of the set of voters"), "{twice}");
    let stranger = remove(3, "AAAAAAAAAAAAAAAAAAAAAQ", &brokers);
    assert!(stranger.code == 1 && stranger.stderr.contains("Cannot remove voter ReplicaKey(id=3, "), "{stranger}");

    // Three vote now: any one may go.
    let leader = cluster.active_controller().unwrap();
    cluster.kill(leader);
    cluster.tool("kafka-topics", &["--create", "--topic", "without", "--replication-factor", "2"]).ok();
    cluster.restart(leader).unwrap();
    assert_eq!(ids(&cluster, true), [1, 2, 3]);

    // The one that leads is removed; it reads along, and votes again when it is added again.
    let leader = cluster.active_controller().unwrap();
    remove(leader, &directory_id(&cluster, leader), &controllers).ok();
    eventually("it reads along", || ids(&cluster, false) == [leader] && ids(&cluster, true).len() == 2);
    cluster.tool("kafka-topics", &["--create", "--topic", "with-two", "--replication-factor", "3"]).ok();
    add(&cluster, leader, &brokers).ok();
    assert_eq!(ids(&cluster, true), [1, 2, 3]);
    for (id, _) in nodes {
        assert_eq!(cluster.stop(id), Some(0), "{}", cluster.log(id));
    }
    for (id, _) in nodes {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    assert_eq!(ids(&cluster, true), [1, 2, 3]);
}

#[test]
fn a_controller_that_lost_its_disk_is_refused_and_healed() {
    if java_is_missing() {
        return;
    }
    let nodes = [(1, Roles::Both), (2, Roles::Both), (3, Roles::Both)];
    let mut cluster = Cluster::prepare_dynamic(&nodes, 1, &["controller.quorum.auto.join.enable=true"]).unwrap();
    for (id, _) in nodes {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    eventually("they join by themselves", || ids(&cluster, true) == [1, 2, 3]);
    cluster.tool("kafka-topics", &["--create", "--topic", "kept", "--replication-factor", "3"]).ok();

    // The founder, whose bootstrap server is itself: nothing on its disk tells that there is a quorum.
    let lost = directory_id(&cluster, 1);
    cluster.kill(1);
    cluster.wipe(1);
    cluster.spawn(1).unwrap();
    eventually("it says why it has no place", || cluster.log(1).contains("its disk was lost or replaced"));
    let log = cluster.log(1);
    let cause = log.lines().find(|line| line.contains("its disk was lost or replaced")).unwrap();
    let fresh = directory_id(&cluster, 1);
    assert!(cause.contains(&lost) && cause.contains(&fresh) && cause.contains("remove-controller"), "{cause}");
    assert!(!log.contains("founds a quorum") || log.matches("founds a quorum").count() == 1, "a second quorum: {log}");
    let others = format!("127.0.0.1:{},127.0.0.1:{}", cluster.node(2).port, cluster.node(3).port);
    let brokers = ["--bootstrap-server", others.as_str()];
    let status = stock("kafka-metadata-quorum", &[&brokers[..], &["describe", "--status"]].concat()).ok().stdout;
    assert!(status.contains(&lost) && !status.contains(&fresh), "{status}");

    // Healed: the old one is removed, the new one added.
    remove(1, &lost, &brokers).ok();
    add(&cluster, 1, &brokers).ok();
    cluster.wait_until_ready().unwrap();
    eventually("it votes as who it is now", || {
        replicas(&cluster).iter().any(|(id, directory, is)| *id == 1 && *directory == fresh && is != "Observer")
    });
    eventually("its replicas are back", || {
        cluster.tool("kafka-topics", &["--describe", "--under-replicated-partitions"]).ok().stdout.trim().is_empty()
    });
}
