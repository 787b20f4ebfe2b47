//! When something has to happen by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::Timestamp;

/// What a timer is for; at most one of each runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKey {
    /// A classic member's session.
    ClassicSession(Arc<str>, Arc<str>),
    /// A classic group's join phase.
    ClassicJoin(Arc<str>),
    /// A classic group's sync phase.
    ClassicSync(Arc<str>),
    /// A consumer group member's session.
    ConsumerSession(Arc<str>, Arc<str>),
    /// A consumer group member has to revoke partitions.
    ConsumerRebalance(Arc<str>, Arc<str>),
    /// A classic member inside a consumer group has to rejoin.
    ConsumerJoin(Arc<str>, Arc<str>),
    /// A classic member inside a consumer group has to sync.
    ConsumerSync(Arc<str>, Arc<str>),
    /// Offsets and empty groups are looked through for old ones.
    Expiry,
}

/// What a timer carries besides its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerData {
    None,
    /// The delay of the first join phase: how long this leg is, and how much of the rebalance timeout is left.
    InitialJoin {
        delay_ms: i32,
        remaining_ms: i32,
    },
    /// Only valid for this generation or member epoch.
    Epoch(i32),
}

/// Timers in order of their time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_time: BTreeSet<(Timestamp, TimerKey)>,
    by_key: BTreeMap<TimerKey, (Timestamp, TimerData)>,
}

impl Timers {
    /// Starts a timer, in place of the one with the same key.
    pub(crate) fn schedule(&mut self, key: TimerKey, at: Timestamp, data: TimerData) {
        if let Some((old, _)) = self.by_key.insert(key.clone(), (at, data)) {
            self.by_time.remove(&(old, key.clone()));
        }
        self.by_time.insert((at, key));
    }

    pub(crate) fn cancel(&mut self, key: &TimerKey) {
        if let Some((at, _)) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    pub(crate) fn is_scheduled(&self, key: &TimerKey) -> bool {
        self.by_key.contains_key(key)
    }

    pub(crate) fn data(&self, key: &TimerKey) -> Option<TimerData> {
        self.by_key.get(key).map(|(_, data)| *data)
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(TimerKey, TimerData)> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        let (_, data) = self.by_key.remove(&key)?;
        Some((key, data))
    }
}
