//! Three brokers under load while one after the other is killed or restarted: what was acknowledged is there, once and in
//! order, nobody sees an error, and in the end the replicas are the same byte for byte.
//!
//! `OTTLA_CLUSTER_ROUNDS` makes the stories longer; `OTTLA_SEED` repeats one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use ottla_compat_tests::cluster::Cluster;
use ottla_compat_tests::jvm::{self, Running};
use ottla_compat_tests::toolchain::{self, Need};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Failures are noticed sooner than by Kafka's defaults, so that the stories are short.
const QUICK: &[&str] = &["broker.session.timeout.ms=2000", "broker.heartbeat.interval.ms=400"];
const LOAD_LIMIT: Duration = Duration::from_secs(150);

fn java_is_missing() -> bool {
    let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) else { return false };
    println!("skipped: {reason}");
    assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
    true
}

fn rounds(usual: u64) -> u64 {
    std::env::var("OTTLA_CLUSTER_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

fn random() -> StdRng {
    let seed = std::env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

fn load(program: &str, cluster: &Cluster, name: &str, lasts: Duration) -> Running {
    let arguments = [cluster.bootstrap(), name.to_owned(), lasts.as_millis().to_string(), "3".to_owned()];
    let load = jvm::start(program, &arguments, b"").unwrap();
    assert!(load.wait_until(Duration::from_secs(90), |text| text.contains("loading")), "{}", load.output());
    load
}

#[track_caller]
fn finish(load: Running, cluster: &Cluster) {
    let output = load.wait(LOAD_LIMIT);
    let logs: String = cluster.nodes().map(|node| format!("--- node {}\n{}", node.id, cluster.log(node.id))).collect();
    assert!(output.code == 0, "{output}\n{logs}");
    println!("{}", output.stdout.lines().last().unwrap_or_default());
}

/// Waits until every replica is in sync.
#[track_caller]
fn wait_until_whole(cluster: &Cluster) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let lagging = cluster.tool("kafka-topics", &["--describe", "--under-replicated-partitions"]);
        if lagging.code == 0 && lagging.stdout.trim().is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "never whole again: {lagging}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The bytes of each partition's log, whatever segments they are in; the metadata log aside.
fn logs(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut logs = BTreeMap::new();
    for entry in std::fs::read_dir(data).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        if !dir.is_dir() || name.starts_with("__cluster_metadata") || name.ends_with("-delete") {
            continue;
        }
        let mut segments: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        segments.sort();
        logs.insert(name, segments.iter().flat_map(|path| std::fs::read(path).unwrap()).collect());
    }
    logs
}

/// Stops everybody and compares what they have.
fn compare_replicas(cluster: &mut Cluster, topic: &str) {
    wait_until_whole(cluster);
    for id in [1, 2, 3] {
        assert_eq!(cluster.stop(id), Some(0), "{}", cluster.log(id));
    }
    let all: Vec<_> = [1, 2, 3].map(|id| logs(&cluster.node(id).data_dir())).into();
    let of_topic: Vec<&String> = all[0].keys().filter(|name| name.starts_with(topic)).collect();
    assert!(of_topic.len() >= 3, "{of_topic:?}");
    let mut compared = 0;
    for (name, bytes) in &all[0] {
        for (other, id) in all[1..].iter().zip([2, 3]) {
            let other = other.get(name).unwrap_or_else(|| panic!("no {name} on {id}"));
            let common = bytes.iter().zip(other).take_while(|(one, other)| one == other).count();
            assert!(bytes == other, "{name}: {} bytes on 1, {} on {id}, {common} the same", bytes.len(), other.len());
        }
        compared += bytes.len();
    }
    println!("{} partitions, {compared} bytes the same on three brokers", all[0].len());
}

#[test]
fn brokers_that_are_killed_lose_nothing_that_was_acknowledged() {
    if java_is_missing() {
        return;
    }
    let mut random = random();
    let mut cluster = Cluster::combined(3, &[QUICK, &["min.insync.replicas=2"]].concat()).unwrap();
    let rounds = rounds(4);
    let load = load("KillLoad", &cluster, "killed", Duration::from_secs(rounds * 5));
    for _ in 0..rounds {
        let victim = random.random_range(1..=3);
        println!("kill -9 {victim}");
        cluster.kill(victim);
        std::thread::sleep(Duration::from_millis(random.random_range(0..4000)));
        cluster.restart(victim).unwrap();
        wait_until_whole(&cluster);
    }
    finish(load, &cluster);
    compare_replicas(&mut cluster, "killed");
}

#[test]
fn a_rolling_restart_is_not_noticed() {
    if java_is_missing() {
        return;
    }
    let mut cluster = Cluster::combined(3, &[QUICK, &["min.insync.replicas=2"]].concat()).unwrap();
    let rounds = rounds(1);
    let load = load("KillLoad", &cluster, "rolled", Duration::from_secs(rounds * 12));
    for _ in 0..rounds {
        for id in [1, 2, 3] {
            assert_eq!(cluster.stop(id), Some(0), "{}", cluster.log(id));
            cluster.restart(id).unwrap();
            wait_until_whole(&cluster);
        }
    }
    finish(load, &cluster);
    compare_replicas(&mut cluster, "rolled");
}

#[test]
fn the_last_replica_of_three_has_everything_and_goes_on() {
    if java_is_missing() {
        return;
    }
    let mut cluster = Cluster::separate(1, 3, QUICK).unwrap();
    let load = load("KillLoad", &cluster, "last", Duration::from_secs(8));
    for id in [101, 103] {
        cluster.kill(id);
        std::thread::sleep(Duration::from_secs(3));
    }
    // The load goes on with the one that is left, and then reads everything from it.
    finish(load, &cluster);
    let described = cluster.tool("kafka-topics", &["--describe", "--topic", "last"]).ok().stdout;
    assert_eq!(described.matches("Leader: 102").count(), 3, "{described}");
}

#[test]
fn transactions_survive_the_death_of_their_coordinator_and_of_their_partitions() {
    if java_is_missing() {
        return;
    }
    let mut random = random();
    let mut cluster = Cluster::combined(3, &[QUICK, &["min.insync.replicas=2"]].concat()).unwrap();
    let rounds = rounds(3);
    let load = load("TransactionLoad", &cluster, "exactly-once", Duration::from_secs(rounds * 5));
    for _ in 0..rounds {
        let victim = random.random_range(1..=3);
        println!("kill -9 {victim}");
        cluster.kill(victim);
        std::thread::sleep(Duration::from_millis(random.random_range(0..4000)));
        cluster.restart(victim).unwrap();
        wait_until_whole(&cluster);
    }
    finish(load, &cluster);
    let state = cluster.tool("kafka-topics", &["--describe", "--topic", "__transaction_state"]).ok().stdout;
    assert!(state.contains("ReplicationFactor: 3"), "{state}");
    compare_replicas(&mut cluster, "exactly-once");
}
