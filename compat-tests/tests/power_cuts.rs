//! The power of the node's disk is cut in the middle of a load, again and again: with strict durability, which is the
//! default, what was acknowledged is there; a broker that answers from the page cache is found out by the same load.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ottla_compat_tests::broker::{Broker, Target};
use ottla_compat_tests::kill_load;
use ottla_compat_tests::power_disk::PowerDisk;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use rand::SeedableRng;
use rand::rngs::StdRng;

const CUTS: u64 = 10;
const STORY: &str = "power cut under load, 10 times";
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

#[test]
fn power_cuts_take_nothing_that_was_acknowledged() {
    let Some(disk) = disk() else { return };
    results::record("Durability", STORY, Target::Ottla, Outcome::Failed);
    let (seed, mut random) = seeded();
    let mut broker = Broker::start_on(Some(disk), Target::Ottla, &[]).unwrap();
    for run in 0..CUTS {
        let output =
            kill_load::struck(&mut broker, &format!("load-{run}"), &mut random, |broker| broker.cut_power().unwrap());
        let output = output.unwrap();
        assert!(output.code == 0, "run {run} of seed {seed}\n{output}\n{}", broker.log());
        println!("run {run}: {}", output.stdout.lines().last().unwrap_or_default());
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
    let lost = (0..CUTS).any(|run| {
        let output =
            kill_load::struck(&mut broker, &format!("load-{run}"), &mut random, |broker| broker.cut_power().unwrap());
        output.map_or(true, |output| output.code != 0)
    });
    assert!(lost, "seed {seed}: nothing was lost in {CUTS} cuts");
}
