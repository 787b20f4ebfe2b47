//! What the logs need from time to time: checkpoints and retention (compaction has threads of its own, in storage).

use std::sync::Arc;
use std::time::Duration;

use ottla_storage::LogDirs;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::clock;
use crate::config::Settings;
use crate::replica::Partitions;

/// Whatever the retention interval, rolling by time and the expiry of producers are looked after this often.
const MAINTENANCE_MAX_MS: i64 = 60_000;

/// The active segment is never compacted: that of a log which is read as a whole is closed when it has so many bytes, whatever
/// `offsets.topic.segment.bytes` allows.
const READ_AS_A_WHOLE_BYTES: u64 = 8 * 1024 * 1024;

/// Kafka's default never looks at `flush.ms`; a topic that sets it means it.
const FLUSH_CHECK_MAX_MS: i64 = 5_000;

/// Keeps the logs in order, at Kafka's intervals.
#[derive(Clone)]
pub struct Upkeep {
    log_dirs: Arc<LogDirs>,
    partitions: Partitions,
    /// Topics whose logs are read as a whole when a partition gets a new leader.
    read_as_a_whole: &'static [&'static str],
    /// `replica.high.watermark.checkpoint.interval.ms`
    checkpoints: Duration,
    /// `log.retention.check.interval.ms`
    maintenance: Duration,
    /// `log.flush.scheduler.interval.ms`
    flushes: Duration,
}

impl Upkeep {
    /// The logs of the topics `read_as_a_whole`, where they are compacted, are kept short enough for it.
    pub fn new(
        settings: &Settings,
        log_dirs: &Arc<LogDirs>,
        partitions: &Partitions,
        read_as_a_whole: &'static [&'static str],
    ) -> Self {
        let millis = |value: i64| Duration::from_millis(u64::try_from(value).unwrap_or(0).max(1));
        Self {
            log_dirs: Arc::clone(log_dirs),
            partitions: partitions.clone(),
            read_as_a_whole,
            checkpoints: millis(settings.i64("replica.high.watermark.checkpoint.interval.ms")),
            flushes: millis(settings.i64("log.flush.scheduler.interval.ms").min(FLUSH_CHECK_MAX_MS)),
            maintenance: millis(settings.i64("log.retention.check.interval.ms").min(MAINTENANCE_MAX_MS)),
        }
    }

    /// Starts one task for each kind of work. They end by being aborted.
    pub fn start(self) -> Vec<JoinHandle<()>> {
        vec![
            tokio::spawn(self.clone().every(self.checkpoints, Self::checkpoint)),
            tokio::spawn(self.clone().every(self.maintenance, Self::maintain)),
            tokio::spawn(self.clone().every(self.flushes, Self::flush)),
        ]
    }

    async fn every(self, interval: Duration, work: fn(&Self)) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Not at the very start, when clients wait.
        ticks.reset();
        loop {
            ticks.tick().await;
            let this = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || work(&this)).await {
                tracing::error!(%error, "upkeep of the logs failed");
            }
        }
    }

    fn checkpoint(&self) {
        if let Err(error) = self.log_dirs.checkpoint_all() {
            tracing::error!(%error, "checkpoints could not be written");
        }
    }

    fn flush(&self) {
        self.log_dirs.flush_due(clock::now());
    }

    fn maintain(&self) {
        let now = clock::now();
        self.log_dirs.maintenance(now);
        for partition in self.partitions.iter() {
            partition.refresh();
            if self.read_as_a_whole.contains(&&*partition.id().topic) && partition.log().config().compact {
                let rolled = partition.log().roll_if_outgrown(READ_AS_A_WHOLE_BYTES);
                if let Err(error) = rolled {
                    tracing::error!(partition = %partition.id(), %error, "a log that is read as a whole could not be rolled");
                }
            }
        }
    }
}
