//! The same transactions over three nodes that are killed, frozen, stopped and cut off from each other, whose disks fill up and lose
//! their power, and which a fourth joins and leaves: no anomaly.
//!
//! Variables as in the single node's story; `OTTLA_JEPSEN_CLUSTER_TRANSACTIONS` and `OTTLA_JEPSEN_CLUSTER_BLOWS` ask for a longer
//! run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::Target;
use ottla_compat_tests::jepsen::check;
use ottla_compat_tests::jepsen::run::{self, Plan};
use ottla_compat_tests::network::Network;
use ottla_compat_tests::power_disk::PowerDisk;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::nemesis::{BLOWS_BY_WEIGHT, Blow, Struck};
use super::{KEYS, TOPIC, clients, judge, number, pause, variable};

const STORY: &str =
    "transactions over three nodes, killed, frozen, cut off, disks full and without power, a fourth comes and goes";
const TRANSACTIONS: u64 = 1500;
const BLOWS: usize = 12;

#[test]
fn no_anomaly_whatever_happens_between_three_nodes() {
    let lacks = toolchain::missing(&[Need::Maven, Need::Java, Need::Python, Need::Go]).or_else(Network::missing);
    let lacks = lacks.or_else(|| PowerDisk::missing().map(str::to_owned));
    if let Some(reason) = lacks {
        println!("skipped: Jepsen over three nodes: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    results::record("Jepsen", STORY, Target::Ottla, Outcome::Failed);
    let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    let plan = Plan {
        topic: TOPIC.into(),
        keys: KEYS,
        transactions: number("OTTLA_JEPSEN_CLUSTER_TRANSACTIONS").unwrap_or(TRANSACTIONS),
        clients: clients(variable("OTTLA_JEPSEN_PROCESSES").as_deref().unwrap_or("2,2,2")),
        seed,
        limit: Duration::from_secs(number("OTTLA_JEPSEN_SECONDS").unwrap_or(600)),
    };
    let blows_max = number("OTTLA_JEPSEN_CLUSTER_BLOWS").map_or(BLOWS, |blows| blows as usize);
    let pause_ms = number("OTTLA_JEPSEN_PAUSE_MS").unwrap_or(1500);
    let mut struck = Struck::start();
    let bootstrap = struck.bootstrap();
    let dir = run::history_dir(&format!("cluster-{}", std::process::id()));
    let mut random = StdRng::seed_from_u64(seed);
    let mut blows: BTreeMap<Blow, usize> = BTreeMap::new();
    let begun = Instant::now();
    let history = run::run(&plan, &bootstrap, &dir, |nth| {
        pause(&mut random, pause_ms..pause_ms * 3);
        // Under blows without end the slowest client would never get done.
        if (nth as usize) < blows_max {
            let blow = BLOWS_BY_WEIGHT[random.random_range(0..BLOWS_BY_WEIGHT.len())];
            *blows.entry(blow).or_default() += 1;
            struck.strike(blow, &mut random);
        }
    });
    let report = check(&history.unwrap_or_else(|error| panic!("seed {seed}\n{error}\n{}", struck.logs())));
    println!("{} s of work, {blows:?}\n{report}", begun.elapsed().as_secs());
    judge(&report, &plan, false);
    results::record("Jepsen", STORY, Target::Ottla, Outcome::Passed);
}
