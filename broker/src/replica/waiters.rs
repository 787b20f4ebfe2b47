//! Who is told that a partition moved: fetches that wait for more, and fetch sessions that look only at what moved.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use ottla_protocol::{BrokerId, Timestamp};
use ottla_replication::LogOffsetSnapshot;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::partition::Partition;
use super::read::Isolation;

/// Those who are told at one partition. Whoever is told of a change stays registered until its [`FetchWait`] or [`Watched`] ends.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// How many there are: what makes the common case, nobody, cost one load.
    count: AtomicUsize,
    /// By their numbers, which ascend.
    waiting: Mutex<Vec<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    number: usize,
    isolation: Isolation,
    /// What the fetch or the session calls the partition.
    place: usize,
    bell: Arc<Bell>,
}

/// Says which partitions have moved.
#[derive(Debug)]
struct Bell {
    rung: Mutex<Rung>,
    /// Set for a session: it hears also of what nobody waits for.
    session: Option<SessionBell>,
}

#[derive(Debug, Default)]
struct Rung {
    places: BTreeSet<usize>,
    /// The fetch that waits, if one does.
    waiting: Arc<Notify>,
}

#[derive(Debug)]
struct SessionBell {
    /// The broker whose session it is; `None` for a consumer's.
    follower: Option<BrokerId>,
    /// When its last request came that counts as progress.
    last_fetch: AtomicI64,
}

impl Bell {
    fn new(session: Option<SessionBell>) -> Arc<Self> {
        Arc::new(Self { rung: Mutex::default(), session })
    }

    fn ring(&self, place: usize) {
        let mut rung = self.rung.lock();
        rung.places.insert(place);
        rung.waiting.notify_one();
    }

    /// To be looked at with the next request; no request that waits need end for it.
    fn note(&self, place: usize) {
        if self.session.is_some() {
            self.rung.lock().places.insert(place);
        }
    }

    fn take(&self) -> BTreeSet<usize> {
        std::mem::take(&mut self.rung.lock().places)
    }
}

/// Whether a reader can read further than before, or reads under another leader than it thinks.
fn has_moved(isolation: Isolation, old: &LogOffsetSnapshot, new: &LogOffsetSnapshot) -> bool {
    old.leader_epoch != new.leader_epoch
        || isolation.bound(old) != isolation.bound(new)
        // The high watermark and the log start are part of what a follower must learn without delay.
        || (isolation == Isolation::LogEnd && are_others_told(old, new))
}

/// What answers tell besides records is other than before.
fn are_others_told(old: &LogOffsetSnapshot, new: &LogOffsetSnapshot) -> bool {
    (old.high_watermark, old.log_start) != (new.high_watermark, new.log_start)
}

impl Waiters {
    /// Wakes those who can read further than before, or who wait under another leader than they think.
    pub(super) fn on_moved(&self, old: &LogOffsetSnapshot, new: &LogOffsetSnapshot) {
        if self.count.load(Ordering::Acquire) == 0 || old == new {
            return;
        }
        for waiter in &*self.waiting.lock() {
            if has_moved(waiter.isolation, old, new) {
                waiter.bell.ring(waiter.place);
            } else if are_others_told(old, new) {
                waiter.bell.note(waiter.place);
            }
        }
    }

    /// Wakes everybody: the partition leaves, or can no longer be read.
    pub(super) fn on_gone(&self) {
        for waiter in &*self.waiting.lock() {
            waiter.bell.ring(waiter.place);
        }
    }

    /// What a follower's next fetch may bring about has changed: its session looks again, though no offset moved.
    pub(super) fn on_state_changed(&self) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for waiter in &*self.waiting.lock() {
            waiter.bell.note(waiter.place);
        }
    }

    /// The followers whose sessions have this partition, and when they last fetched.
    pub(super) fn followers(&self, mut each: impl FnMut(BrokerId, Timestamp)) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        for waiter in &*self.waiting.lock() {
            if let Some(session) = &waiter.bell.session
                && let Some(follower) = session.follower
            {
                each(follower, Timestamp(session.last_fetch.load(Ordering::Acquire)));
            }
        }
    }

    /// The number to leave with.
    fn join(&self, isolation: Isolation, place: usize, bell: &Arc<Bell>) -> usize {
        let mut waiting = self.waiting.lock();
        let number = waiting.last().map_or(0, |last| last.number.wrapping_add(1));
        if waiting.capacity() == 0 {
            // The sessions of two followers.
            waiting.reserve_exact(2);
        }
        waiting.push(Waiter { number, isolation, place, bell: Arc::clone(bell) });
        self.count.fetch_add(1, Ordering::AcqRel);
        number
    }

    fn leave(&self, number: usize) {
        let mut waiting = self.waiting.lock();
        if let Ok(at) = waiting.binary_search_by_key(&number, |waiter| waiter.number) {
            waiting.remove(at);
            self.count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// One fetch that waits at all of its partitions at once. Ends with its drop.
#[derive(Debug)]
pub struct FetchWait {
    bell: Arc<Bell>,
    partitions: Vec<(Arc<Partition>, usize)>,
}

impl FetchWait {
    /// Registers at every partition, each with its place and with what was seen of it when it was read. What has moved since
    /// then, and what moves from now on, is not missed.
    pub fn new(
        partitions: impl Iterator<Item = (usize, Arc<Partition>, LogOffsetSnapshot)>,
        isolation: Isolation,
    ) -> Self {
        let mut wait = Self { bell: Bell::new(None), partitions: Vec::with_capacity(partitions.size_hint().0) };
        for (place, partition, seen) in partitions {
            let number = partition.waiters().join(isolation, place, &wait.bell);
            if partition.is_gone() || has_moved(isolation, &seen, &partition.snapshot()) {
                wait.bell.ring(place);
            }
            wait.partitions.push((partition, number));
        }
        wait
    }

    /// The places of those that have moved since the last call; waits until there are some.
    pub async fn moved(&self) -> BTreeSet<usize> {
        let waiting = Arc::clone(&self.bell.rung.lock().waiting);
        loop {
            let moved = self.bell.take();
            if !moved.is_empty() {
                return moved;
            }
            waiting.notified().await;
        }
    }
}

impl Drop for FetchWait {
    fn drop(&mut self) {
        for (partition, number) in &self.partitions {
            partition.waiters().leave(*number);
        }
    }
}

/// Tells a fetch session which of its partitions have moved. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Bell>);

impl Watch {
    /// For the session of this broker, or of a consumer.
    pub fn new(follower: Option<BrokerId>) -> Self {
        Self(Bell::new(Some(SessionBell { follower, last_fetch: AtomicI64::new(0) })))
    }

    /// The session's next request has come: from now on it is `waiting` that is woken.
    pub fn wake(&self, waiting: &Arc<Notify>) {
        self.0.rung.lock().waiting = Arc::clone(waiting);
    }

    /// The session's follower fetched all of its partitions, those it did not name too: each at the offset it named last.
    pub fn fetched(&self, at: Timestamp) {
        if let Some(session) = &self.0.session {
            session.last_fetch.fetch_max(at.0, Ordering::AcqRel);
        }
    }

    /// The places of those that have moved since the last call.
    pub fn take(&self) -> BTreeSet<usize> {
        self.0.take()
    }

    /// Registers at a partition. To be done before it is read: what moves from now on is not missed.
    pub fn at(&self, place: usize, partition: &Arc<Partition>, isolation: Isolation) -> Watched {
        let number = partition.waiters().join(isolation, place, &self.0);
        Watched { partition: Arc::downgrade(partition), number }
    }
}

/// A partition that a session is told about. Ends with its drop. The session of a client that has died does not keep what was deleted.
#[derive(Debug)]
pub struct Watched {
    partition: Weak<Partition>,
    number: usize,
}

impl Watched {
    /// Whether it is this very replica, and not one that took its place.
    pub fn is_at(&self, partition: &Arc<Partition>) -> bool {
        std::ptr::eq(self.partition.as_ptr(), Arc::as_ptr(partition))
    }

    /// The replica was deleted, or taken away from this broker.
    pub fn is_over(&self) -> bool {
        self.partition.upgrade().is_none_or(|partition| partition.is_gone())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(partition) = self.partition.upgrade() {
            partition.waiters().leave(self.number);
        }
    }
}
