//! The logs that are served, and how many each directory has of them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use ottla_protocol::TopicPartition;

use super::directory::Directory;
use crate::log::Log;

/// A log and where it is.
#[derive(Debug, Clone)]
pub(super) struct Hosted {
    pub log: Arc<Log>,
    pub dir: Arc<Directory>,
}

/// All of them by partition. Changed only here, so that the directory for a new log is found without going through all.
#[derive(Debug, Default)]
pub(super) struct Logs {
    by_id: HashMap<TopicPartition, Hosted>,
    /// By the directory's address.
    counts: HashMap<usize, usize>,
}

impl Deref for Logs {
    type Target = HashMap<TopicPartition, Hosted>;

    fn deref(&self) -> &Self::Target {
        &self.by_id
    }
}

fn key(dir: &Arc<Directory>) -> usize {
    Arc::as_ptr(dir).addr()
}

impl Logs {
    pub(super) fn count_in(&self, dir: &Arc<Directory>) -> usize {
        self.counts.get(&key(dir)).copied().unwrap_or(0)
    }

    /// The one that was there before.
    pub(super) fn insert(&mut self, id: TopicPartition, hosted: Hosted) -> Option<Hosted> {
        *self.counts.entry(key(&hosted.dir)).or_default() += 1;
        let replaced = self.by_id.insert(id, hosted);
        replaced.inspect(|replaced| Self::leaves(&mut self.counts, &replaced.dir))
    }

    pub(super) fn remove(&mut self, id: &TopicPartition) -> Option<Hosted> {
        let removed = self.by_id.remove(id)?;
        Self::leaves(&mut self.counts, &removed.dir);
        Some(removed)
    }

    /// The log is in another directory now.
    pub(super) fn relocate(&mut self, id: &TopicPartition, to: &Arc<Directory>) {
        if let Some(hosted) = self.by_id.get_mut(id) {
            Self::leaves(&mut self.counts, &hosted.dir);
            *self.counts.entry(key(to)).or_default() += 1;
            hosted.dir = Arc::clone(to);
        }
    }

    fn leaves(counts: &mut HashMap<usize, usize>, dir: &Arc<Directory>) {
        if let Some(count) = counts.get_mut(&key(dir)) {
            *count -= 1;
        }
    }
}
