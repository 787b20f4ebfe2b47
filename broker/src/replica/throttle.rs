//! Holds replicas that are being moved back to a rate (`leader.replication.throttled.rate` and its follower's twin), for the
//! partitions that `*.replication.throttled.replicas` of their topics name.
//!
//! As in Kafka all bytes of such partitions count, but only those replicas wait that are not in sync.

use std::collections::{BTreeSet, VecDeque};

use ottla_metadata::{ConfigResource, MetadataImage};
use ottla_protocol::{BrokerId, Timestamp};
use parking_lot::Mutex;

use crate::config::Effective;

/// Which side of a replica is throttled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttled {
    pub as_leader: bool,
    pub as_follower: bool,
}

/// What the configuration of a topic says of its replicas on one broker.
#[derive(Debug)]
pub(super) struct ThrottledReplicas {
    as_leader: Named,
    as_follower: Named,
}

/// Partitions that a list names for one broker.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    All,
    Some(BTreeSet<i32>),
}

impl ThrottledReplicas {
    pub(super) fn of(image: &MetadataImage, topic: &str, local: BrokerId) -> Self {
        let resource = ConfigResource::topic(topic);
        let named = |key| image.configs.value(&resource, key).map_or_else(Named::none, |list| Named::read(list, local));
        Self {
            as_leader: named("leader.replication.throttled.replicas"),
            as_follower: named("follower.replication.throttled.replicas"),
        }
    }

    pub(super) fn at(&self, partition: i32) -> Throttled {
        Throttled { as_leader: self.as_leader.has(partition), as_follower: self.as_follower.has(partition) }
    }
}

impl Named {
    const fn none() -> Self {
        Self::Some(BTreeSet::new())
    }

    /// `*`, or `partition:broker` pairs.
    fn read(list: &str, broker: BrokerId) -> Self {
        let mut partitions = BTreeSet::new();
        for entry in list.split(',').map(str::trim) {
            if entry == "*" {
                return Self::All;
            }
            if let Some((index, id)) = entry.split_once(':')
                && id.parse() == Ok(broker.0)
                && let Ok(index) = index.parse()
            {
                partitions.insert(index);
            }
        }
        Self::Some(partitions)
    }

    fn has(&self, partition: i32) -> bool {
        match self {
            Self::All => true,
            Self::Some(partitions) => partitions.contains(&partition),
        }
    }
}

/// A rate that is not to be exceeded.
pub struct Throttle {
    effective: Effective,
    /// The key of the rate; it may change at any time.
    key: &'static str,
    rate: Mutex<SampledRate>,
}

impl Throttle {
    pub fn new(effective: Effective, key: &'static str) -> Self {
        Self::measured(effective, key, "replication.quota.window.num", "replication.quota.window.size.seconds")
    }

    /// Of copies from one log directory to another.
    pub fn of_log_dirs(effective: Effective) -> Self {
        Self::measured(
            effective,
            "replica.alter.log.dirs.io.max.bytes.per.second",
            "alter.log.dirs.replication.quota.window.num",
            "alter.log.dirs.replication.quota.window.size.seconds",
        )
    }

    fn measured(effective: Effective, key: &'static str, windows: &str, window_seconds: &str) -> Self {
        let settings = &effective.settings;
        let windows = settings.usize(windows);
        let window_ms = settings.i64(window_seconds).saturating_mul(1000);
        let rate = Mutex::new(SampledRate::new(windows, window_ms));
        Self { effective, key, rate }
    }

    /// Counts bytes of throttled partitions.
    pub fn record(&self, bytes: usize, now: Timestamp) {
        self.rate.lock().record(bytes, now);
    }

    /// True while more was copied lately than the rate allows.
    pub fn is_exceeded(&self, now: Timestamp) -> bool {
        let most = self.effective.i64(self.key);
        self.rate.lock().per_second(now) > most as f64
    }
}

/// Bytes per second over the last windows, as Kafka measures it: what came before them is forgotten window by window.
#[derive(Debug)]
struct SampledRate {
    windows: usize,
    window_ms: i64,
    /// Start of each window and the bytes in it, the oldest first.
    samples: VecDeque<(i64, usize)>,
}

impl SampledRate {
    fn new(windows: usize, window_ms: i64) -> Self {
        Self { windows: windows.max(1), window_ms: window_ms.max(1), samples: VecDeque::new() }
    }

    fn record(&mut self, bytes: usize, now: Timestamp) {
        match self.samples.back_mut() {
            Some((start, sum)) if now.0 - *start < self.window_ms => *sum += bytes,
            _ => self.samples.push_back((now.0, bytes)),
        }
        self.forget(now);
    }

    fn per_second(&mut self, now: Timestamp) -> f64 {
        self.forget(now);
        let Some(&(oldest, _)) = self.samples.front() else { return 0.0 };
        let bytes: usize = self.samples.iter().map(|(_, bytes)| bytes).sum();
        // A burst at the very beginning is no rate yet: it is spread over all windows but the current one.
        let full = self.window_ms * i64::try_from(self.windows - 1).unwrap_or(i64::MAX);
        let elapsed_ms = (now.0 - oldest).max(full).max(self.window_ms);
        bytes as f64 * 1000.0 / elapsed_ms as f64
    }

    fn forget(&mut self, now: Timestamp) {
        let since = now.0 - self.window_ms * i64::try_from(self.windows).unwrap_or(i64::MAX);
        while self.samples.front().is_some_and(|(start, _)| *start <= since) {
            self.samples.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_measured_over_the_last_windows() {
        let mut rate = SampledRate::new(11, 1000);
        assert!(rate.per_second(Timestamp(0)) < 1.0);
        rate.record(10_000, Timestamp(0));
        assert!((rate.per_second(Timestamp(1)) - 1000.0).abs() < 1.0, "spread over ten windows");
        for second in 1..=20 {
            rate.record(2_000, Timestamp(second * 1000));
        }
        assert!((rate.per_second(Timestamp(20_000)) - 2200.0).abs() < 1.0);
        assert!(rate.per_second(Timestamp(40_000)) < 1.0);
    }

    #[test]
    fn replicas_are_named_by_partition_and_broker() {
        let names = |list, partition, broker| Named::read(list, BrokerId(broker)).has(partition);
        assert!(names("*", 3, 1));
        assert!(names("0:1, 3:1", 3, 1));
        assert!(!names("0:1,3:2,1:3", 3, 1));
        assert!(!names("", 0, 0));
    }
}
