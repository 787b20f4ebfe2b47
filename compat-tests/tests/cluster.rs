//! Several processes form one cluster: whoever goes, the others go on.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::Cluster;

/// Asks again until the answer is right.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn topics(cluster: &Cluster) -> Vec<String> {
    let listed = cluster.tool("kafka-topics", &["--list"]).ok();
    listed.stdout.lines().map(str::to_owned).collect()
}

fn create(cluster: &Cluster, topic: &str, replicas: &str) {
    let arguments = ["--create", "--topic", topic, "--partitions", "3", "--replication-factor", replicas];
    cluster.tool("kafka-topics", &arguments).ok();
}

#[test]
fn three_nodes_in_both_roles_go_on_without_any_one_of_them() {
    let mut cluster =
        Cluster::combined(3, &["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"]).unwrap();
    create(&cluster, "first", "3");
    let described = cluster.tool("kafka-topics", &["--describe", "--topic", "first"]).ok().stdout;
    for leader in ["Leader: 1", "Leader: 2", "Leader: 3"] {
        assert!(described.contains(leader), "{described}");
    }
    let nodes = cluster.tool("kafka-broker-api-versions", &[]).ok().stdout;
    assert!((1..=3).all(|id| nodes.contains(&format!("(id: {id} "))), "{nodes}");

    for id in [1, 2, 3] {
        cluster.kill(id);
        let topic = format!("without-{id}");
        create(&cluster, &topic, "2");
        eventually("the dead broker leads nothing", || {
            let described = cluster.tool("kafka-topics", &["--describe"]).stdout;
            !described.is_empty() && !described.contains(&format!("Leader: {id}\t"))
        });
        assert_ne!(cluster.active_controller(), Some(id));
        cluster.restart(id).unwrap();
    }
    let mut listed = topics(&cluster);
    listed.sort();
    assert_eq!(listed, ["first", "without-1", "without-2", "without-3"]);
    for id in [1, 2, 3] {
        assert_eq!(cluster.stop(id), Some(0), "{}", cluster.log(id));
        // Also that of the last one, which has nobody to agree with, is an ordinary stop.
        let log = cluster.log(id);
        let stop = log.rfind("shutting down").unwrap();
        assert!(!log[stop..].contains("ERROR"), "{}", &log[stop..]);
    }
    // All at once from cold.
    for id in [1, 2, 3] {
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    assert_eq!(topics(&cluster).len(), 4);
}

#[test]
fn controllers_and_brokers_as_separate_processes() {
    let mut cluster =
        Cluster::separate(3, 3, &["broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500"]).unwrap();
    create(&cluster, "first", "3");
    let quorum = cluster.tool("kafka-metadata-quorum", &["describe", "--replication"]).ok().stdout;
    assert_eq!(quorum.matches("Observer").count(), 3, "{quorum}");
    assert_eq!(quorum.matches("Follower").count(), 2, "{quorum}");

    let active = cluster.active_controller().unwrap();
    cluster.kill(active);
    create(&cluster, "second", "3");
    cluster.kill(102);
    create(&cluster, "third", "2");
    cluster.restart(active).unwrap();
    cluster.restart(102).unwrap();
    create(&cluster, "fourth", "3");
    let mut listed = topics(&cluster);
    listed.sort();
    assert_eq!(listed, ["first", "fourth", "second", "third"]);
}

#[test]
fn a_node_of_another_cluster_is_told_why_it_is_refused() {
    let cluster = Cluster::combined(3, &[]).unwrap();
    let mut stranger = Cluster::prepare(
        &[(4, ottla_compat_tests::cluster::Roles::Broker)],
        &[&format!("controller.quorum.voters={}", cluster.voters())],
    )
    .unwrap();
    stranger.spawn_in(4, "gzbVqVcbTiSpbL4FbLGUcw").unwrap();
    eventually("the stranger says why", || stranger.log(4).contains("belongs to cluster 5L6g3nShT-eMCtK--X86sw"));
}
