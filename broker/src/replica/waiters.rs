//! Fetches that wait for a partition to move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_replication::LogOffsetSnapshot;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::partition::Partition;
use super::read::Isolation;

/// The fetches that wait at one partition. Whoever is woken by a change stays registered until its [`FetchWait`] ends.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// How many wait: what makes the common case, nobody, cost one load.
    count: AtomicUsize,
    waiting: Mutex<BTreeMap<usize, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    isolation: Isolation,
    /// What the fetch calls the partition.
    place: usize,
    bell: Arc<Bell>,
}

/// Says which of a fetch's partitions have moved.
#[derive(Debug, Default)]
struct Bell {
    moved: Mutex<BTreeSet<usize>>,
    notify: Notify,
}

impl Bell {
    fn ring(&self, place: usize) {
        self.moved.lock().insert(place);
        self.notify.notify_one();
    }
}

/// Whether a reader can read further than before, or reads under another leader than it thinks.
fn has_moved(isolation: Isolation, old: &LogOffsetSnapshot, new: &LogOffsetSnapshot) -> bool {
    old.leader_epoch != new.leader_epoch
        || isolation.bound(old) != isolation.bound(new)
        // The high watermark and the log start are part of what a follower must learn without delay.
        || (isolation == Isolation::LogEnd
            && (old.high_watermark, old.log_start) != (new.high_watermark, new.log_start))
}

impl Waiters {
    /// Wakes those who can read further than before, or who wait under another leader than they think.
    pub(super) fn on_moved(&self, old: &LogOffsetSnapshot, new: &LogOffsetSnapshot) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for waiter in self.waiting.lock().values() {
            if has_moved(waiter.isolation, old, new) {
                waiter.bell.ring(waiter.place);
            }
        }
    }

    /// Wakes everybody: the partition leaves.
    pub(super) fn on_gone(&self) {
        for waiter in self.waiting.lock().values() {
            waiter.bell.ring(waiter.place);
        }
    }
}

/// One fetch that waits at all of its partitions at once. Ends with its drop.
#[derive(Debug)]
pub struct FetchWait {
    bell: Arc<Bell>,
    partitions: Vec<Arc<Partition>>,
}

impl FetchWait {
    /// Registers at every partition, each with its place and with what was seen of it when it was read. What has moved since
    /// then, and what moves from now on, is not missed.
    pub fn new(
        partitions: impl Iterator<Item = (usize, Arc<Partition>, LogOffsetSnapshot)>,
        isolation: Isolation,
    ) -> Self {
        let mut wait = Self { bell: Arc::default(), partitions: Vec::with_capacity(partitions.size_hint().0) };
        let key = Arc::as_ptr(&wait.bell).addr();
        for (place, partition, seen) in partitions {
            let waiters = partition.waiters();
            waiters.waiting.lock().insert(key, Waiter { isolation, place, bell: Arc::clone(&wait.bell) });
            waiters.count.fetch_add(1, Ordering::AcqRel);
            if partition.is_gone() || has_moved(isolation, &seen, &partition.snapshot()) {
                wait.bell.ring(place);
            }
            wait.partitions.push(partition);
        }
        wait
    }

    /// The places of those that have moved since the last call; waits until there are some.
    pub async fn moved(&self) -> BTreeSet<usize> {
        loop {
            let moved = std::mem::take(&mut *self.bell.moved.lock());
            if !moved.is_empty() {
                return moved;
            }
            self.bell.notify.notified().await;
        }
    }
}

impl Drop for FetchWait {
    fn drop(&mut self) {
        let key = Arc::as_ptr(&self.bell).addr();
        for partition in &self.partitions {
            let waiters = partition.waiters();
            if waiters.waiting.lock().remove(&key).is_some() {
                waiters.count.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}
