//! kill -9 in the middle of an idempotent acks=all load, twenty times: what was acknowledged is there, once and in order.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::kill_load::{Load, pause};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use rand::SeedableRng;
use rand::rngs::StdRng;

const RUNS: u64 = 20;

#[test]
fn twenty_deaths_under_load() {
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: kill -9: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    // Apache Kafka takes seconds to start: it is only asked when named alone.
    let all = targets();
    let target = *all.last().expect("a target");
    results::record("Durability", "kill -9 under load, 20 times", target, Outcome::Failed);
    let seed = std::env::var("OTTLA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("OTTLA_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut broker = Broker::start(target, &[]).unwrap();
    let runs = if target == Target::Apache { 2 } else { RUNS };
    for run in 0..runs {
        let (bootstrap, topic) = (broker.bootstrap(), format!("load-{run}"));
        let load = Load { bootstrap: &bootstrap, topic: &topic, replication: 1 };
        let output = load.struck(&mut random, |random| {
            broker.kill();
            pause(random);
            broker.restart()
        });
        let output = output.unwrap_or_else(|error| panic!("run {run} of seed {seed}\n{error}\n{}", broker.log()));
        assert!(output.code == 0, "run {run} of seed {seed}\n{output}\n{}", broker.log());
        println!("run {run}: {}", output.stdout.lines().last().unwrap_or_default());
    }
    let code = broker.stop();
    assert!(code == Some(0) || target == Target::Apache, "a clean end after all, not {code:?}");
    results::record("Durability", "kill -9 under load, 20 times", target, Outcome::Passed);
}
