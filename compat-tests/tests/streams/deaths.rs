//! kill -9 of the application and of the broker at random, while segments roll and compact every moment: under
//! exactly-once the output is the model's, record by record; under at-least-once nothing is missing.

use std::time::Duration;

use ottla_compat_tests::broker::{Broker, Target, targets};
use ottla_compat_tests::results::{self, Outcome};
use ottla_compat_tests::toolchain::{self, Need};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::application::{AT_LEAST_ONCE, Application, EXACTLY_ONCE};

/// Deaths of a run; `OTTLA_DEATHS` asks for more.
const DEATHS: u32 = 3;
/// Between two deaths: the application has to come up and do some work.
const BETWEEN_MS: std::ops::Range<u64> = 2500..6000;
pub const LINES_PER_DEATH: u64 = 250;

/// What makes internal topics roll and compact all the time, and open transactions of the dead end soon.
pub const BUSY: [&str; 7] = [
    "log.roll.ms=2000",
    "log.cleaner.min.cleanable.ratio=0.01",
    "log.cleaner.backoff.ms=300",
    "log.retention.check.interval.ms=1000",
    "log.segment.delete.delay.ms=1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
    "transaction.remove.expired.transaction.cleanup.interval.ms=10000",
];

#[test]
fn exactly_once_is_exact_whoever_dies() {
    deaths(EXACTLY_ONCE);
}

#[test]
fn at_least_once_misses_nothing_whoever_dies() {
    deaths(AT_LEAST_ONCE);
}

fn deaths(guarantee: &str) {
    let story = format!("{guarantee}, application and broker killed");
    if let Some(reason) = toolchain::missing(&[Need::Maven, Need::Java]) {
        println!("skipped: Kafka Streams: {reason}");
        assert!(!toolchain::is_ci(), "skipped under CI: {reason}");
        return;
    }
    // The model is the judge; Apache Kafka is only asked when named alone.
    let target = *targets().last().expect("a target");
    results::record("Kafka Streams", &story, target, Outcome::Failed);
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
    let deaths = number("OTTLA_DEATHS").map_or(DEATHS, |deaths| deaths as u32);
    println!("OTTLA_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut broker = Broker::start(target, &BUSY).unwrap();
    let mut application = Application::new(&format!("dying-{}", &guarantee[..2]), guarantee, &broker.bootstrap());
    let lines = LINES_PER_DEATH * u64::from(deaths);
    application.model_run("create", lines, 0, 1).ok();
    application.start();
    let feed_ms = u64::from(deaths) * (BETWEEN_MS.start + BETWEEN_MS.end) / 2;
    let feed = application.model("feed", lines, feed_ms, 1);
    assert!(feed.wait_until(Duration::from_secs(60), |text| text.contains("loading")), "{}", feed.output());
    for death in 0..deaths {
        std::thread::sleep(Duration::from_millis(random.random_range(BETWEEN_MS)));
        application.assert_running();
        let (kills_application, kills_broker) = [(true, false), (false, true), (true, true)][random.random_range(0..3)];
        let loses_state = kills_application && random.random_bool(0.5);
        println!("death {death}: application {kills_application} (state lost {loses_state}), broker {kills_broker}");
        if kills_broker {
            broker.kill();
        }
        if kills_application {
            application.kill();
            if loses_state {
                application.lose_state();
            }
        }
        std::thread::sleep(Duration::from_millis(random.random_range(0..500)));
        if kills_broker {
            broker.restart().unwrap();
        }
        if kills_application {
            application.start();
        }
    }
    let fed = feed.wait(Duration::from_secs(120));
    assert!(fed.code == 0, "feeding\n{fed}");
    let verified = application.model_run("verify", lines, 0, 1);
    assert!(
        verified.code == 0,
        "seed {seed}\n{verified}\n--- application\n{}\n--- broker\n{}",
        application.log(),
        broker.log()
    );
    println!("{}", verified.stdout);
    application.assert_running();
    application.stop();
    let code = broker.stop();
    assert!(code == Some(0) || target == Target::Apache, "a clean end after all, not {code:?}");
    results::record("Kafka Streams", &story, target, Outcome::Passed);
}
