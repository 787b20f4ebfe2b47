//! Transactions of three client libraries while the node is killed, stopped, paused: no anomaly.
//!
//! `OTTLA_JEPSEN_TRANSACTIONS` asks for a longer run, `OTTLA_JEPSEN_BLOWS` for more blows, `OTTLA_JEPSEN_PAUSE_MS` for more time
//! between two, `OTTLA_SEED` for the same run. `OTTLA_JEPSEN_BOOTSTRAP` names a cluster
//! that somebody else runs; then `OTTLA_JEPSEN_NEMESIS` is a command that strikes it, called again and again. With `OTTLA_JEPSEN_EXPECT=anomalies`
//! the run has to find some: that is how broken builds show that the checker can fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::broker::{Broker, targets};
use ottla_compat_tests::clients::Client;
use ottla_compat_tests::jepsen::run::{self, Blow, Plan};
use ottla_compat_tests::jepsen::{Report, check};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const STORY: &str = "transactions of Java and franz-go, node killed and paused";
/// Enough for some deaths, few enough for every day.
const TRANSACTIONS: u64 = 4000;
const BLOWS: u64 = 20;
const KEYS: u32 = 6;
const TOPIC: &str = "log";

#[test]
fn no_anomaly_whatever_happens_to_the_node() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java, Need::Python, Need::Go]) {
        println!("skipped: Jepsen: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let variable = |name: &str| std::env::var(name).ok();
    let number = |name: &str| variable(name).and_then(|text| text.parse().ok());
    let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    let plan = Plan {
        topic: TOPIC.into(),
        keys: KEYS,
        transactions: number("OTTLA_JEPSEN_TRANSACTIONS").unwrap_or(TRANSACTIONS),
        clients: clients(variable("OTTLA_JEPSEN_TRANSACTIONS").is_some()),
        seed,
        limit: Duration::from_secs(number("OTTLA_JEPSEN_SECONDS").unwrap_or(600)),
    };
    let pause_ms = number("OTTLA_JEPSEN_PAUSE_MS").unwrap_or(600);
    let blows_max = number("OTTLA_JEPSEN_BLOWS").unwrap_or(BLOWS) as usize;
    let target = *targets().last().expect("a target");
    let dir = run::history_dir(&format!("{}-{}", target.name(), std::process::id()));
    let mut random = StdRng::seed_from_u64(seed);
    let report = if let Some(bootstrap) = variable("OTTLA_JEPSEN_BOOTSTRAP") {
        create_topic(&bootstrap);
        let nemesis = variable("OTTLA_JEPSEN_NEMESIS");
        let history = run::run(&plan, &bootstrap, &dir, |strike| {
            pause(&mut random, pause_ms..pause_ms * 3);
            if let Some(nemesis) = &nemesis {
                let status = Command::new("sh").args(["-c", nemesis, "nemesis", &strike.to_string()]).status();
                assert!(status.is_ok_and(|status| status.success()), "{nemesis}");
            }
        });
        check(&history.unwrap())
    } else {
        results::record("Jepsen", STORY, target, Outcome::Failed);
        // Transactions of the dead end soon enough to be seen.
        let overrides = ["transaction.abort.timed.out.transaction.cleanup.interval.ms=1000"];
        let mut broker = Broker::start(target, &overrides).unwrap();
        create_topic(&broker.bootstrap());
        let bootstrap = broker.bootstrap();
        let mut blows = Vec::new();
        let history = run::run(&plan, &bootstrap, &dir, |_| {
            pause(&mut random, pause_ms..pause_ms * 3);
            // Under blows without end the slowest client would never get done.
            if blows.len() < blows_max {
                let blow = blow(&mut random);
                blows.push(blow);
                run::strike(&mut broker, blow);
            }
        });
        let report = check(&history.unwrap_or_else(|error| panic!("seed {seed}\n{error}\n{}", broker.log())));
        let kills = blows.iter().filter(|blow| matches!(blow, Blow::Kill(_))).count();
        println!("{} blows, {kills} of them kill -9", blows.len());
        let code = broker.stop();
        assert!(code.is_some(), "the node ends after all");
        report
    };
    println!("{report}");
    judge(&report, &plan, variable("OTTLA_JEPSEN_EXPECT").is_some_and(|expected| expected == "anomalies"));
    if variable("OTTLA_JEPSEN_BOOTSTRAP").is_none() {
        results::record("Jepsen", STORY, target, Outcome::Passed);
    }
}

/// librdkafka's client can wait for ever inside its own `close` once its broker has died under it; a run that nobody watches
/// does without it.
fn clients(by_hand: bool) -> Vec<(Client, u32)> {
    let mut clients = vec![(Client::Java, 2), (Client::FranzGo, 2)];
    if by_hand {
        clients.push((Client::ConfluentPython, 2));
    }
    clients
}

fn judge(report: &Report, plan: &Plan, broken: bool) {
    assert_eq!(report.anomalies.is_empty(), !broken, "seed {}\n{report}", plan.seed);
    // A run in which hardly anything was committed shows nothing.
    assert!(report.committed as u64 > plan.transactions / 2, "{report}");
    assert!(report.seen > report.committed, "{report}");
}

/// Half of the time it dies; a quarter of the time nothing happens.
fn blow(random: &mut StdRng) -> Blow {
    let down = Duration::from_millis(random.random_range(0..800));
    match random.random_range(0..8) {
        0..4 => Blow::Kill(down),
        4 => Blow::Restart(down),
        5 => Blow::Pause(down * 4),
        _ => Blow::Calm,
    }
}

fn pause(random: &mut StdRng, range: std::ops::Range<u64>) {
    std::thread::sleep(Duration::from_millis(random.random_range(range)));
}

fn create_topic(bootstrap: &str) {
    let arguments =
        format!("--bootstrap-server {bootstrap} --create --topic {TOPIC} --partitions {KEYS} --config retention.ms=-1");
    let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
    tool::run("kafka-topics", &arguments, b"").ok();
}
