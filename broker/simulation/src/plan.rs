//! What a seed decides before anything happens: how large the world is and which faults it knows.

use rand::Rng;
use rand::rngs::StdRng;

/// Which data may be lost, and with it what must never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossRule {
    /// Processes die, disks do not: any number of them at a time.
    Kills,
    /// Brokers lose what they had not synced, or a whole disk: fewer than `min.insync.replicas` of them at a time. Every
    /// death counts, for who comes back cannot prove that nothing was lost (KIP-966).
    FewerThanMinIsr,
    /// Every append is synced before it is answered: the power may go everywhere at once.
    Strict,
}

/// The world of a seed.
#[derive(Debug, Clone)]
pub struct Plan {
    pub loss: LossRule,
    pub brokers: u16,
    /// A broker that is only started in the middle of the run.
    pub newcomer: bool,
    pub partitions: i32,
    pub replication_factor: usize,
    pub min_insync_replicas: usize,
    /// `eligible.leader.replicas.version` is 1.
    pub elr: bool,
    pub segment_bytes: i32,
    pub index_interval_bytes: i32,
    /// Until then faults happen and clients write.
    pub calm_at: i64,
    /// By then everything is well again, or the run has failed.
    pub end_at: i64,
    /// Faults per second of simulated time.
    pub fault_rate: f64,
    pub message_loss: f64,
    pub message_duplication: f64,
    pub delay_max: i64,
    /// Messages that arrive long after those that were sent behind them.
    pub stragglers: f64,
    /// Faults that come with another one on their heels.
    pub bursts: f64,
    /// A controller loses its office while what it proposed is on its way.
    pub lost_offices: f64,
    /// Between two checkpoints of a broker, at most. As rare as a real one's, or so frequent that they hide what a flush owes.
    pub checkpoint_ms: i64,
    /// Bytes that each record has beside its value: with many of them a batch spans sectors, and a power cut tears it.
    pub padding: usize,
    /// `retention.bytes`; -1 for a log that keeps everything. Enough is kept to know the producers by. Not where power is cut:
    /// this disk may then undo the deletion of any segment alone, which leaves a hole in what was deleted; a journaling file
    /// system undoes the last ones.
    pub retention_bytes: i64,
    /// Nothing fails: nodes are slow, and controllers take over from each other.
    pub only_overload: bool,
}

impl Plan {
    pub fn draw(rng: &mut StdRng) -> Self {
        let loss = match rng.random_range(0..10) {
            0..=2 => LossRule::Kills,
            3..=6 => LossRule::FewerThanMinIsr,
            _ => LossRule::Strict,
        };
        let brokers = rng.random_range(3..=4);
        let newcomer = brokers == 4 && rng.random_bool(0.5);
        let min_insync_replicas = match loss {
            LossRule::FewerThanMinIsr => 2,
            _ => rng.random_range(1..=2),
        };
        // Without ELR the last member of an ISR is trusted whatever happened to it.
        let elr = loss != LossRule::Kills || rng.random_bool(0.7);
        let harsh = rng.random_bool(0.5);
        let large_segments = rng.random_bool(0.5);
        let mut plan = Self {
            loss,
            brokers,
            newcomer,
            partitions: rng.random_range(1..=2),
            replication_factor: 3,
            min_insync_replicas,
            elr,
            segment_bytes: if large_segments { 4_000 } else { 600 },
            index_interval_bytes: if rng.random_bool(0.5) { 150 } else { 600 },
            calm_at: rng.random_range(3_000..6_000),
            end_at: 30_000,
            fault_rate: rng.random_range(1.0..6.0),
            message_loss: if harsh { rng.random_range(0.0..0.08) } else { 0.0 },
            message_duplication: if harsh { rng.random_range(0.0..0.05) } else { 0.0 },
            delay_max: if harsh { rng.random_range(3..60) } else { 3 },
            stragglers: if rng.random_bool(0.5) { rng.random_range(0.0..0.03) } else { 0.0 },
            bursts: if rng.random_bool(0.5) { rng.random_range(0.1..0.5) } else { 0.0 },
            lost_offices: if rng.random_bool(0.5) { rng.random_range(0.0..0.06) } else { 0.0 },
            checkpoint_ms: if rng.random_bool(0.5) { 600 } else { 6_000 },
            padding: if large_segments && rng.random_bool(0.4) { rng.random_range(200..900) } else { 0 },
            retention_bytes: if loss == LossRule::Kills && rng.random_bool(0.5) { 12_000 } else { -1 },
            only_overload: false,
        };
        // As many large records as of small ones are enough.
        if plan.retention_bytes >= 0 {
            plan.retention_bytes += 40 * plan.padding as i64;
        }
        // Where trouble seldom comes alone all three replicas are to be in sync: one that lags is then eligible beside an
        // in-sync set that others are still in.
        if plan.bursts > 0.4 {
            plan.min_insync_replicas = plan.replication_factor;
        }
        plan
    }
}

impl Plan {
    /// The same world under more load than it can bear.
    pub fn overloaded(self) -> Self {
        Self {
            newcomer: false,
            message_loss: 0.0,
            message_duplication: 0.0,
            stragglers: 0.0,
            bursts: 0.0,
            lost_offices: 0.0,
            delay_max: 60,
            fault_rate: 6.0,
            only_overload: true,
            ..self
        }
    }
}

pub const HEARTBEAT_MS: i64 = 80;
pub const SESSION_TIMEOUT_MS: i64 = 400;
pub const LAG_MAX_MS: i64 = 300;
pub const REQUEST_TIMEOUT_MS: i64 = 150;
pub const TICK_MS: i64 = 20;
