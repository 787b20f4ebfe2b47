//! The same transactions over three nodes that are killed, frozen, stopped and cut off from each other: no anomaly.
//!
//! Variables as in the single node's story; `OTTLA_JEPSEN_CLUSTER_TRANSACTIONS` and `OTTLA_JEPSEN_CLUSTER_BLOWS` ask for a longer
//! run.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ottla_compat_tests::broker::Target;
use ottla_compat_tests::cluster::Cluster;
use ottla_compat_tests::jepsen::check;
use ottla_compat_tests::jepsen::run::{self, Plan};
use ottla_compat_tests::network::{HOST, Network};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{KEYS, TOPIC, clients, judge, number, pause, variable};

const STORY: &str = "transactions over three nodes, killed, frozen, cut off from each other";
const TRANSACTIONS: u64 = 1500;
const BLOWS: usize = 12;
const NODES: u8 = 3;

/// What can happen to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    Calm,
    Kill,
    /// SIGTERM, and started again.
    Restart,
    Freeze,
    /// One node and the others do not hear from each other; clients reach all.
    CutOff,
    /// The others do not hear it; it hears them.
    Mute,
    /// It does not hear the others; they hear it.
    Deaf,
    /// Nobody reaches it, and it reaches nobody.
    Gone,
    /// Two of them do not hear from each other; the third hears both.
    Split,
}

const BLOWS_BY_WEIGHT: [Blow; 12] = [
    Blow::Calm,
    Blow::Kill,
    Blow::Kill,
    Blow::Kill,
    Blow::Restart,
    Blow::Freeze,
    Blow::Freeze,
    Blow::CutOff,
    Blow::Mute,
    Blow::Deaf,
    Blow::Gone,
    Blow::Split,
];

#[test]
fn no_anomaly_whatever_happens_between_three_nodes() {
    let lacks = toolchain::missing(&[Need::Maven, Need::Java, Need::Python, Need::Go]).or_else(Network::missing);
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
    let mut cluster = cluster();
    let bootstrap = cluster.bootstrap();
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
            strike(&mut cluster, blow, &mut random);
        }
    });
    let logs = || (1..=NODES).map(|id| format!("node {id}:\n{}", cluster.log(i32::from(id)))).collect::<String>();
    let report = check(&history.unwrap_or_else(|error| panic!("seed {seed}\n{error}\n{}", logs())));
    println!("{} s of work, {blows:?}\n{report}", begun.elapsed().as_secs());
    judge(&report, &plan, false);
    results::record("Jepsen", STORY, Target::Ottla, Outcome::Passed);
}

fn cluster() -> Cluster {
    let cluster = Cluster::networked(
        NODES,
        &[
            "default.replication.factor=3",
            "min.insync.replicas=2",
            "offsets.topic.replication.factor=3",
            "transaction.state.log.replication.factor=3",
            "transaction.state.log.min.isr=2",
            // Transactions of the dead end soon enough to be seen.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
        ],
    )
    .expect("three nodes form a cluster");
    let created = cluster.tool(
        "kafka-topics",
        &["--create", "--topic", TOPIC, "--partitions", &KEYS.to_string(), "--replication-factor", "3"],
    );
    assert_eq!(created.code, 0, "{created}");
    cluster
}

/// Carries out a blow, and its end.
fn strike(cluster: &mut Cluster, blow: Blow, random: &mut StdRng) {
    let node = random.random_range(1..=NODES);
    let id = i32::from(node);
    let others: Vec<u8> = (1..=NODES).filter(|other| *other != node).collect();
    let time = Duration::from_millis(random.random_range(300..6000));
    match blow {
        Blow::Calm => {}
        Blow::Kill => {
            cluster.kill(id);
            std::thread::sleep(time / 3);
            cluster.restart(id).expect("the node starts again");
        }
        Blow::Restart => {
            cluster.stop(id).expect("the node stops by itself");
            cluster.restart(id).expect("the node starts again");
        }
        Blow::Freeze => {
            cluster.freeze(id);
            std::thread::sleep(time);
            cluster.thaw(id);
        }
        Blow::CutOff | Blow::Mute | Blow::Deaf | Blow::Gone | Blow::Split => {
            for other in if blow == Blow::Split { &others[..1] } else { &others[..] } {
                if blow != Blow::Deaf {
                    cluster.network().cut(node, *other);
                }
                if blow != Blow::Mute {
                    cluster.network().cut(*other, node);
                }
            }
            if blow == Blow::Gone {
                cluster.network().cut(HOST, node);
            }
            std::thread::sleep(time);
            cluster.network().heal();
        }
    }
}
