//! Which log is cleaned next, by which thread, and how far each has been cleaned.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use ottla_protocol::{Offset, Timestamp, TopicPartition};
use parking_lot::{Condvar, Mutex};

use super::{Hosted, LogDirs, now};
use crate::checkpoint::Offsets;
use crate::cleaner::{Dirty, Throttle, clean, dirty_part};
use crate::errors::is_shortage;

/// What the cleaner threads share.
#[derive(Debug, Default)]
pub struct Cleaning {
    state: Mutex<State>,
    stop: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct State {
    stopped: bool,
    /// First offset that was not cleaned.
    cleaned: HashMap<TopicPartition, Offset>,
    in_progress: HashSet<TopicPartition>,
    /// Logs whose cleaning failed: left alone until a restart, so that the others go on.
    failed: HashMap<TopicPartition, String>,
}

impl Cleaning {
    /// Takes over what a directory's checkpoint says.
    pub fn learn(&self, cleaned: Offsets) {
        self.state.lock().cleaned.extend(cleaned);
    }

    /// Starts the threads. They end by themselves once nobody holds the logs any more.
    pub fn start(&self, log_dirs: &Arc<LogDirs>) {
        for number in 0..log_dirs.options.cleaner_threads {
            let weak = Arc::downgrade(log_dirs);
            let thread = std::thread::Builder::new().name(format!("log-cleaner-{number}")).spawn(move || run(&weak));
            match thread {
                Ok(thread) => self.threads.lock().push(thread),
                Err(error) => tracing::error!(%error, "no thread for compaction"),
            }
        }
    }

    /// Ends the threads after the round that they are in; rounds notice when their log is closed.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.stop.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.thread().id() != std::thread::current().id() {
                // A panic there was reported by its hook.
                let _ = thread.join();
            }
        }
    }
}

fn run(log_dirs: &Weak<LogDirs>) {
    loop {
        let Some(log_dirs) = log_dirs.upgrade() else { return };
        let backoff = Duration::from_millis(log_dirs.options.cleaner_backoff_ms.max(1));
        if log_dirs.cleaning.state.lock().stopped {
            return;
        }
        if !log_dirs.clean_one(now()) {
            // Woken early only to end. The logs are held meanwhile: whoever drops them calls `shutdown` before.
            let mut state = log_dirs.cleaning.state.lock();
            if !state.stopped {
                log_dirs.cleaning.stop.wait_for(&mut state, backoff);
            }
        }
    }
}

impl LogDirs {
    /// Compacts the log that needs it most; false if none needs it. Blocks; several threads may call it. Nothing
    /// at or behind the high watermark, and no active segment, is compacted.
    pub fn clean_one(&self, now: Timestamp) -> bool {
        let Some((id, hosted, dirty)) = self.dirtiest(now) else { return false };
        let threads = self.options.cleaner_threads.max(1);
        let mut throttle = Throttle::new(self.options.cleaner_io_bytes_per_second_max / threads as f64);
        let map_bytes = self.options.cleaner_dedupe_bytes / threads;
        let result = clean(&hosted.log, &dirty, map_bytes, now, &mut throttle);
        let mut state = self.cleaning.state.lock();
        state.in_progress.remove(&id);
        match result {
            Ok(cleaned) => {
                tracing::debug!(partition = %id, from = %dirty.start, to = %cleaned.next_dirty, bytes_before = cleaned.bytes_before, bytes_after = cleaned.bytes_after, keys = cleaned.keys, "log compacted");
                state.cleaned.insert(id, cleaned.next_dirty);
                let offsets = self.cleaned_in(&state, &hosted);
                drop(state);
                if let Err(error) = hosted.dir.cleaner.write(&*self.options.disk, &offsets) {
                    hosted.dir.report(&error);
                }
            }
            // Truncated, cut by retention or deleted meanwhile: the next round sees what there is then.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_shortage(&error) => {
                tracing::warn!(partition = %id, "no space to compact the log");
                return false;
            }
            Err(error) => {
                tracing::error!(partition = %id, %error, "compaction failed, the log is left as it is until a restart");
                state.failed.insert(id, error.to_string());
            }
        }
        true
    }

    /// Logs whose compaction failed, and why.
    pub fn uncleanable(&self) -> Vec<(TopicPartition, String)> {
        self.cleaning.state.lock().failed.iter().map(|(id, why)| (id.clone(), why.clone())).collect()
    }

    fn dirtiest(&self, now: Timestamp) -> Option<(TopicPartition, Hosted, Dirty)> {
        let hosted: Vec<(TopicPartition, Hosted)> = {
            let logs = self.logs.read();
            let compacted = logs.iter().filter(|(_, hosted)| hosted.log.config().compact && hosted.log.is_online());
            compacted.map(|(id, hosted)| (id.clone(), hosted.clone())).collect()
        };
        let mut state = self.cleaning.state.lock();
        let mut worst: Option<(TopicPartition, Hosted, Dirty)> = None;
        for (id, hosted) in hosted {
            if hosted.log.is_moving()
                || hosted.log.segment_count() < 2
                || state.in_progress.contains(&id)
                || state.failed.contains_key(&id)
            {
                continue;
            }
            match dirty_part(&hosted.log, state.cleaned.get(&id).copied(), now) {
                Ok(dirty) if dirty.is_due(hosted.log.config().min_cleanable_dirty_ratio) => {
                    if worst.as_ref().is_none_or(|(_, _, known)| dirty.ratio > known.ratio) {
                        worst = Some((id, hosted, dirty));
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(partition = %id, %error, "the log cannot be judged for compaction");
                    state.failed.insert(id, error.to_string());
                }
            }
        }
        if let Some((id, _, _)) = &worst {
            state.in_progress.insert(id.clone());
        }
        worst
    }

    fn cleaned_in(&self, state: &State, hosted: &Hosted) -> Offsets {
        let logs = self.logs.read();
        let here = |id: &TopicPartition| logs.get(id).is_some_and(|other| Arc::ptr_eq(&other.dir, &hosted.dir));
        state.cleaned.iter().filter(|(id, _)| here(id)).map(|(id, offset)| (id.clone(), *offset)).collect()
    }

    /// A log has come to another directory: so has the note of how far it was cleaned.
    pub(super) fn write_cleaned(&self, id: &TopicPartition) {
        let state = self.cleaning.state.lock();
        let Some(hosted) = self.logs.read().get(id).cloned().filter(|_| state.cleaned.contains_key(id)) else { return };
        let offsets = self.cleaned_in(&state, &hosted);
        drop(state);
        if let Err(error) = hosted.dir.cleaner.write(&*self.options.disk, &offsets) {
            hosted.dir.report(&error);
        }
    }

    /// A partition of that name is gone: one that comes later begins anew.
    pub(super) fn forget_cleaning(&self, id: &TopicPartition) {
        let mut state = self.cleaning.state.lock();
        state.cleaned.remove(id);
        state.failed.remove(id);
    }
}
