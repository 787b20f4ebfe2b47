//! Transactions of three client libraries while the node is killed, stopped, paused: no anomaly.
//!
//! `OTTLA_JEPSEN_TRANSACTIONS` asks for a longer run, `OTTLA_JEPSEN_BLOWS` for more blows, `OTTLA_JEPSEN_PAUSE_MS` for more time
//! between two, `OTTLA_SEED` for the same run, `OTTLA_JEPSEN_POWER=0` for one without
//! power cuts, `OTTLA_JEPSEN_SET` for a broker setting more,
//! `OTTLA_JEPSEN_PROCESSES=2,2,8` for other numbers of clients (Java, franz-go, librdkafka). `OTTLA_JEPSEN_BOOTSTRAP` names a cluster
//! that somebody else runs; then `OTTLA_JEPSEN_NEMESIS` is a command that strikes it, called again and again. With `OTTLA_JEPSEN_EXPECT=anomalies`
//! the run has to find some: that is how broken builds show that the checker can fail (see `broken`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broken;
mod cluster;
mod nemesis;

use std::process::Command;
use std::time::Duration;

use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::clients::Client;
use ottla_compat_tests::jepsen::run::{self, Blow, Plan};
use ottla_compat_tests::jepsen::{Report, check};
use ottla_compat_tests::power_disk::PowerDisk;
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::tool;
use ottla_compat_tests::toolchain::{self, Need};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const STORY: &str = "transactions of Java, librdkafka and franz-go, node killed, paused, without power";
/// Enough for some deaths, few enough for every day.
const TRANSACTIONS: u64 = 4000;
const BLOWS: u64 = 20;
const KEYS: u32 = 6;
const TOPIC: &str = "log";
const DISK_MB: u64 = 4096;

#[test]
fn no_anomaly_whatever_happens_to_the_node() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java, Need::Python, Need::Go]) {
        println!("skipped: Jepsen: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    let plan = Plan {
        topic: TOPIC.into(),
        keys: KEYS,
        transactions: number("OTTLA_JEPSEN_TRANSACTIONS").unwrap_or(TRANSACTIONS),
        clients: clients(variable("OTTLA_JEPSEN_PROCESSES").as_deref().unwrap_or("2,2,2")),
        seed,
        limit: Duration::from_secs(number("OTTLA_JEPSEN_SECONDS").unwrap_or(600)),
    };
    let pause_ms = number("OTTLA_JEPSEN_PAUSE_MS").unwrap_or(600);
    let blows_max = number("OTTLA_JEPSEN_BLOWS").unwrap_or(BLOWS) as usize;
    let target = *targets().last().expect("a target");
    let dir = run::history_dir(&format!("{}-{}", target.name(), std::process::id()));
    let mut random = StdRng::seed_from_u64(seed);
    let powered = powered(target);
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
        let mut settings = vec!["transaction.abort.timed.out.transaction.cleanup.interval.ms=1000".to_owned()];
        settings.extend(variable("OTTLA_JEPSEN_SET"));
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let disk = powered.then(|| PowerDisk::new(DISK_MB).unwrap());
        let mut broker = Broker::start_on(disk, target, &settings).unwrap();
        create_topic(&broker.bootstrap());
        let bootstrap = broker.bootstrap();
        let mut blows = Vec::new();
        let history = run::run(&plan, &bootstrap, &dir, |_| {
            pause(&mut random, pause_ms..pause_ms * 3);
            // Under blows without end the slowest client would never get done.
            if blows.len() < blows_max {
                let blow = blow(&mut random, powered);
                blows.push(blow);
                run::strike(&mut broker, blow);
            }
        });
        let report = check(&history.unwrap_or_else(|error| panic!("seed {seed}\n{error}\n{}", broker.log())));
        let count = |wanted: fn(&Blow) -> bool| blows.iter().filter(|blow| wanted(blow)).count();
        let (kills, cuts) =
            (count(|blow| matches!(blow, Blow::Kill(_))), count(|blow| matches!(blow, Blow::PowerCut(_))));
        println!("{} blows, {kills} of them kill -9, {cuts} of them power cuts", blows.len());
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

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    variable(name).and_then(|text| text.parse().ok())
}

/// Processes of each library. librdkafka, in the older protocol, waits most of the time: many of it are still slower than few of
/// the others.
fn clients(counts: &str) -> Vec<(Client, u32)> {
    let counts = counts.split(',').map(|count| count.parse().expect("three numbers: Java, franz-go, librdkafka"));
    [Client::Java, Client::FranzGo, Client::ConfluentPython].into_iter().zip(counts).collect()
}

/// Whether power cuts are among the blows. Apache Kafka alone does not promise to survive them.
fn powered(target: Target) -> bool {
    let missing = PowerDisk::missing();
    if let Some(reason) = missing {
        println!("without power cuts: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
    }
    target == Target::Ottla && missing.is_none() && !std::env::var("OTTLA_JEPSEN_POWER").is_ok_and(|wish| wish == "0")
}

fn judge(report: &Report, plan: &Plan, broken: bool) {
    assert_eq!(report.anomalies.is_empty(), !broken, "seed {}\n{report}", plan.seed);
    // A run in which hardly anything was committed shows nothing.
    assert!(report.committed as u64 > plan.transactions / 2, "{report}");
    assert!(report.seen > report.committed, "{report}");
}

/// Half of the time it dies; a quarter of the time nothing happens.
fn blow(random: &mut StdRng, powered: bool) -> Blow {
    let down = Duration::from_millis(random.random_range(0..800));
    match random.random_range(0..8) {
        0..2 if powered => Blow::PowerCut(down),
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
