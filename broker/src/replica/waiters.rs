//! Fetches that wait for a partition to move.

use std::collections::BTreeMap;
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
    notify: Arc<Notify>,
}

impl Waiters {
    /// Wakes those who can read further than before, or who wait under another leader than they think.
    pub(super) fn on_moved(&self, old: &LogOffsetSnapshot, new: &LogOffsetSnapshot) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let role_changed = old.leader_epoch != new.leader_epoch;
        for waiter in self.waiting.lock().values() {
            // The high watermark and the log start are part of what a follower must learn without delay.
            let moved = waiter.isolation.bound(old) != waiter.isolation.bound(new)
                || (waiter.isolation == Isolation::LogEnd
                    && (old.high_watermark, old.log_start) != (new.high_watermark, new.log_start));
            if role_changed || moved {
                waiter.notify.notify_one();
            }
        }
    }

    /// Wakes everybody: the partition leaves.
    pub(super) fn on_gone(&self) {
        for waiter in self.waiting.lock().values() {
            waiter.notify.notify_one();
        }
    }
}

/// One fetch that waits at all of its partitions at once. Ends with its drop.
#[derive(Debug)]
pub struct FetchWait {
    notify: Arc<Notify>,
    partitions: Vec<Arc<Partition>>,
}

impl FetchWait {
    /// Registers at every partition. What moves from now on is not missed: read once more before sleeping.
    pub fn new(partitions: Vec<Arc<Partition>>, isolation: Isolation) -> Self {
        let notify = Arc::new(Notify::new());
        let key = Arc::as_ptr(&notify).addr();
        for partition in &partitions {
            let waiters = partition.waiters();
            waiters.waiting.lock().insert(key, Waiter { isolation, notify: Arc::clone(&notify) });
            waiters.count.fetch_add(1, Ordering::AcqRel);
        }
        Self { notify, partitions }
    }

    /// Until one of the partitions has moved since the last call.
    pub async fn moved(&self) {
        self.notify.notified().await;
    }
}

impl Drop for FetchWait {
    fn drop(&mut self) {
        let key = Arc::as_ptr(&self.notify).addr();
        for partition in &self.partitions {
            let waiters = partition.waiters();
            if waiters.waiting.lock().remove(&key).is_some() {
                waiters.count.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}
