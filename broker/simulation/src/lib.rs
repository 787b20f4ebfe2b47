//! A whole cluster in one thread from a seed: controllers, brokers, clients, a network and disks that fail.
//!
//! ```text
//!   seed ──► Plan (what may go wrong) ──► World::run: event after event ──► Outcome
//!                                              │
//!                     every event is seen by the invariants, one file each
//! ```
//!
//! Real: the logs and their recovery (`ottla-storage` on its faulty disk), leaders and followers (`ottla-replication`), the
//! controller's decisions and the image (`ottla-decisions`, `ottla-metadata`). Simulated: time, network, processes, raft
//! (as a log that a majority agrees on, with leaders that come and go), and the broker's hands, which are kept as thin as
//! they can be. Not here: sockets, the fetch sessions, the coordinators.
//!
//! Invariant: nothing here depends on anything but the seed. Begin with [`Plan`](plan::Plan), then [`World`](world::World).

mod broker;
mod clients;
mod context;
mod history;
mod invariants;
mod message;
mod nemesis;
mod network;
mod nodes;
mod observation;
mod plan;
mod quorum;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use nemesis::Counts;
use ottla_protocol::StrBytes;
use ottla_protocol::messages::TopicName;
pub use plan::{LossRule, Plan};
use world::World;

fn topic_name() -> TopicName {
    StrBytes::from_static_str("t").into()
}

/// What became of a seed.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    /// Of everything that happened: the same seed has the same.
    pub hash: u64,
    /// Simulated milliseconds.
    pub ended_at: i64,
    /// How often each fault happened.
    pub faults: Counts,
    /// Records that were committed.
    pub committed: usize,
    /// How often a broker was fenced for its silence.
    pub fenced: u64,
    /// What must not be and was.
    pub violation: Option<String>,
    /// All that happened, a line each, if it was asked for.
    pub history: String,
}

/// Runs a seed. With `tells` the history is kept for a reader.
pub fn run(seed: u64, tells: bool) -> Outcome {
    finish(seed, tells, World::new(seed, tells))
}

/// Runs the world of a seed in which nothing fails and everything is slow: whoever lives keeps its place.
pub fn run_overloaded(seed: u64, tells: bool) -> Outcome {
    let mut outcome = finish(seed, tells, World::with(seed, tells, Plan::overloaded));
    if outcome.violation.is_none() && outcome.fenced > 0 {
        outcome.violation = Some(format!("a broker that lives is not fenced: {} were", outcome.fenced));
    }
    outcome
}

fn finish(seed: u64, tells: bool, mut world: World) -> Outcome {
    let ended = catch_unwind(AssertUnwindSafe(|| world.run()));
    let violation = match ended {
        Ok(Ok(())) => None,
        Ok(Err(what)) => Some(what),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(format!("nothing panics: {}", text.unwrap_or_default()))
        }
    };
    Outcome {
        seed,
        hash: world.cx.history.hash(),
        ended_at: world.cx.now,
        committed: (0..world.cx.plan.partitions).map(|p| world.watch.ledger().values(p).len()).sum(),
        fenced: world.cx.fenced,
        faults: std::mem::take(&mut world.nemesis.counts),
        violation,
        history: if tells { world.cx.history.to_string() } else { String::new() },
    }
}
