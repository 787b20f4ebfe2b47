//! Up to where a log is on the disk, and who is told when that moves.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};

use ottla_protocol::{Offset, TopicId, TopicPartition};
use parking_lot::Mutex;

use crate::log::Log;

/// Is told when more of a log is on the disk. Called from the thread that syncs, with no lock of the log held.
pub trait DurabilityListener: fmt::Debug + Send + Sync {
    /// [`Log::durable_end`] has moved.
    fn on_durable(&self);
    /// The log directory has failed: the end will not move any more.
    fn on_failed(&self);
}

/// What a log shares with those who make it durable.
pub struct Durable {
    id: TopicPartition,
    end: AtomicI64,
    state: Mutex<State>,
}

/// One lock for all that seldom changes: every log has it.
struct State {
    topic_id: TopicId,
    /// How often the log was cut: what was written before a cut says nothing about the log after it.
    cuts: u64,
    listener: Option<Weak<dyn DurabilityListener>>,
    log: Weak<Log>,
}

impl fmt::Debug for Durable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable").field("id", &self.id).field("end", &self.end()).finish_non_exhaustive()
    }
}

impl Durable {
    pub fn new(id: TopicPartition, topic_id: TopicId, end: Offset) -> Self {
        Self {
            id,
            end: AtomicI64::new(end.0),
            state: Mutex::new(State { topic_id, cuts: 0, listener: None, log: Weak::new() }),
        }
    }

    pub const fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// Zero if the directory does not say.
    pub fn topic_id(&self) -> TopicId {
        self.state.lock().topic_id
    }

    pub fn set_topic_id(&self, id: TopicId) {
        self.state.lock().topic_id = id;
    }

    /// Everything before it is on the disk.
    pub fn end(&self) -> Offset {
        Offset(self.end.load(Ordering::Acquire))
    }

    /// To be read before what is going to be synced is determined.
    pub fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// Everything before `end` is on the disk, unless the log was cut since `cuts` was read.
    pub fn raise(&self, end: Offset, cuts: u64) {
        let state = self.state.lock();
        if state.cuts == cuts {
            self.end.fetch_max(end.0, Ordering::AcqRel);
        }
    }

    /// The log ends at `end` now, with other records to come.
    pub fn cut(&self, end: Offset) {
        let mut state = self.state.lock();
        state.cuts += 1;
        self.end.fetch_min(end.0, Ordering::AcqRel);
    }

    /// The log was emptied and goes on at `start`.
    pub fn restart(&self, start: Offset) {
        let mut state = self.state.lock();
        state.cuts += 1;
        self.end.store(start.0, Ordering::Release);
    }

    pub fn set_listener(&self, listener: Weak<dyn DurabilityListener>) {
        self.state.lock().listener = Some(listener);
    }

    pub fn listener(&self) -> Option<Arc<dyn DurabilityListener>> {
        self.state.lock().listener.as_ref().and_then(Weak::upgrade)
    }

    pub fn set_log(&self, log: Weak<Log>) {
        self.state.lock().log = log;
    }

    pub fn log(&self) -> Option<Arc<Log>> {
        self.state.lock().log.upgrade()
    }
}
