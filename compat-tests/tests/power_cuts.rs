//! The power is cut in the middle of a load, again and again: with strict durability, which is the default, what was
//! acknowledged is there, on one node and on a cluster whose nodes all fall at once. A broker that answers from the page
//! cache is found out by the same load.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ottla_compat_tests::broker::{Broker, Target};
use ottla_compat_tests::cluster::{Cluster, Roles};
use ottla_compat_tests::kill_load::{Load, pause};
use ottla_compat_tests::power_disk::PowerDisk;
use ottla_compat_tests::process::Output;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use rand::SeedableRng;
use rand::rngs::StdRng;

const CUTS: u64 = 10;
const STORY: &str = "power cut under load, 10 times";
const CLUSTER_CUTS: u64 = 5;
const CLUSTER_STORY: &str = "power cut of three nodes at once, 5 times";
const DISK_MB: u64 = 2048;

fn disk() -> Option<PowerDisk> {
    let missing = toolchain::missing(&[Need::Maven, Need::Java, Need::Python]);
    if let Some(reason) = missing.or_else(|| PowerDisk::missing().map(str::to_owned)) {
        println!("skipped: power cut: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return None;
    }
    Some(PowerDisk::new(DISK_MB).unwrap())
}

fn seeded() -> (u64, StdRng) {
    let seed = std::env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

/// One load during which the power of the only node goes.
fn cut_under_load(broker: &mut Broker, run: u64, random: &mut StdRng) -> Result<Output, String> {
    let (bootstrap, topic) = (broker.bootstrap(), format!("load-{run}"));
    let load = Load { bootstrap: &bootstrap, topic: &topic, replication: 1 };
    load.struck(random, |random| {
        broker.cut_power()?;
        pause(random);
        broker.restart()
    })
}

fn told(output: &Output) -> &str {
    output.stdout.lines().last().unwrap_or_default()
}

#[test]
fn power_cuts_take_nothing_that_was_acknowledged() {
    let Some(disk) = disk() else { return };
    results::record("Durability", STORY, Target::Ottla, Outcome::Failed);
    let (seed, mut random) = seeded();
    let mut broker = Broker::start_on(Some(disk), Target::Ottla, &[]).unwrap();
    for run in 0..CUTS {
        let output = cut_under_load(&mut broker, run, &mut random).unwrap();
        assert!(output.code == 0, "run {run} of seed {seed}\n{output}\n{}", broker.log());
        println!("run {run}: {}", told(&output));
    }
    assert_eq!(broker.stop(), Some(0), "a clean end after all");
    results::record("Durability", STORY, Target::Ottla, Outcome::Passed);
}

/// Kafka's own promise is what other replicas hold: alone in a power cut it is not enough, and this shows that the load
/// above can tell.
#[test]
fn answers_from_the_page_cache_are_found_out() {
    let Some(disk) = disk() else { return };
    let (seed, mut random) = seeded();
    let mut broker = Broker::start_on(Some(disk), Target::Ottla, &["log.durability=replicated"]).unwrap();
    let lost =
        (0..CUTS).any(|run| cut_under_load(&mut broker, run, &mut random).map_or(true, |output| output.code != 0));
    assert!(lost, "seed {seed}: nothing was lost in {CUTS} cuts");
}

/// All replicas lose their page caches at once, where replication alone would not help.
#[test]
fn three_nodes_without_power_lose_nothing_that_was_acknowledged() {
    let Some(disk) = disk() else { return };
    results::record("Durability", CLUSTER_STORY, Target::Ottla, Outcome::Failed);
    let (seed, mut random) = seeded();
    let ids = [1, 2, 3];
    let mut cluster = Cluster::prepare(&ids.map(|id| (id, Roles::Both)), &["min.insync.replicas=2"]).unwrap();
    for id in ids {
        let data = disk.data_dir().join(format!("node-{id}"));
        std::fs::create_dir_all(&data).unwrap();
        std::os::unix::fs::symlink(&data, cluster.node(id).data_dir()).unwrap();
        cluster.spawn(id).unwrap();
    }
    cluster.wait_until_ready().unwrap();
    let bootstrap = cluster.bootstrap();
    for run in 0..CLUSTER_CUTS {
        let topic = format!("load-{run}");
        let load = Load { bootstrap: &bootstrap, topic: &topic, replication: 3 };
        let output = load.struck(&mut random, |random| {
            ids.iter().for_each(|&id| cluster.kill(id));
            disk.cut()?;
            pause(random);
            ids.iter().try_for_each(|&id| cluster.spawn(id))?;
            cluster.wait_until_ready()
        });
        let logs = || ids.map(|id| format!("--- node {id}\n{}", cluster.log(id))).concat();
        let output = output.unwrap_or_else(|error| panic!("run {run} of seed {seed}\n{error}\n{}", logs()));
        assert!(output.code == 0, "run {run} of seed {seed}\n{output}\n{}", logs());
        println!("run {run}: {}", told(&output));
    }
    for id in ids {
        assert_eq!(cluster.stop(id), Some(0), "a clean end after all");
    }
    results::record("Durability", CLUSTER_STORY, Target::Ottla, Outcome::Passed);
}
