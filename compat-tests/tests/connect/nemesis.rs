//! What happens to a Connect cluster and its broker while connectors work.

use std::ops::Range;
use std::time::Duration;

use ottla_compat_tests::broker::Broker;
use ottla_compat_tests::connect::ConnectCluster;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Blows of a run; `OTTLA_DEATHS` asks for more.
const BLOWS: u32 = 4;
const BETWEEN_MS: Range<u64> = 2000..4000;

/// What makes internal topics roll and compact all the time.
pub const BUSY: [&str; 6] = [
    "log.roll.ms=2000",
    "log.cleaner.min.cleanable.ratio=0.01",
    "log.cleaner.backoff.ms=300",
    "log.retention.check.interval.ms=1000",
    "log.segment.delete.delay.ms=1000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms=1000",
];

pub struct Nemesis {
    random: StdRng,
    blows: u32,
}

impl Nemesis {
    pub fn new() -> Nemesis {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seed = number("OTTLA_SEED").unwrap_or_else(rand::random);
        println!("OTTLA_SEED={seed}");
        Nemesis {
            random: StdRng::seed_from_u64(seed),
            blows: number("OTTLA_DEATHS").map_or(BLOWS, |blows| blows as u32),
        }
    }

    /// Strikes again and again, with pauses; everything runs again on return.
    pub fn strike(&mut self, broker: &mut Broker, connect: &mut ConnectCluster, connector: &str) {
        // Each kind once before any comes twice: a short run sees them all.
        let mut kinds: Vec<u32> = Vec::new();
        for blow in 0..self.blows {
            std::thread::sleep(Duration::from_millis(self.random.random_range(BETWEEN_MS)));
            if kinds.is_empty() {
                kinds = (0..4).collect();
            }
            let kind = kinds.swap_remove(self.random.random_range(0..kinds.len()));
            let worker = self.random.random_range(0..connect.workers.len());
            match kind {
                0 => {
                    println!("blow {blow}: worker {worker} is killed");
                    connect.workers[worker].kill();
                    self.pause(3000);
                    connect.workers[worker].start();
                }
                1 => {
                    println!("blow {blow}: the broker is killed");
                    broker.kill();
                    self.pause(1000);
                    broker.restart().unwrap();
                }
                2 => {
                    println!("blow {blow}: the broker and worker {worker} are killed");
                    broker.kill();
                    connect.workers[worker].kill();
                    self.pause(1000);
                    broker.restart().unwrap();
                    connect.workers[worker].start();
                }
                _ => {
                    println!("blow {blow}: worker {worker} leaves and comes back, then {connector} is restarted");
                    connect.workers[worker].stop();
                    connect.workers[worker].start();
                    connect.restart_connector(connector);
                }
            }
        }
    }

    fn pause(&mut self, at_most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.random.random_range(0..at_most_ms)));
    }
}
