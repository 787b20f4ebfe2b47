//! Bringing to the logs' own files what the journal holds, so that its files can be used again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::Offset;

use super::{Journal, Queue};
use crate::durable::Durable;
use crate::errors::{is_descriptor_shortage, is_shortage};
use crate::log::Log;

/// How long records are collected before they are written to their segments' files: longer while the file system is synced, and
/// where there is no space.
const WRITE_OUT_INTERVAL: Duration = Duration::from_millis(500);

/// A log, how often it was cut, and its end.
type End = (Arc<Durable>, u64, Offset);

impl Journal {
    /// Makes everything durable that the logs have now.
    pub(super) fn sync_all(&self) -> io::Result<Vec<Arc<Durable>>> {
        let ends = self.ends();
        self.behind.write_out()?;
        self.sync_to(ends)
    }

    fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.get().map_or_else(Vec::new, |logs| logs())
    }

    /// How far the logs are beyond what is on the disk.
    fn ends(&self) -> Vec<End> {
        self.logs()
            .iter()
            .filter_map(|log| {
                let durable = log.durable();
                let (cuts, end) = (durable.cuts(), log.offsets().log_end);
                // Asked after its end: what was appended since a move lies in another directory.
                (durable.end() < end && log.is_journaled_by(self)).then(|| (Arc::clone(durable), cuts, end))
            })
            .collect()
    }

    /// Makes durable what has been written, up to `ends` at least: their segments have what was collected before.
    fn sync_to(&self, ends: Vec<End>) -> io::Result<Vec<Arc<Durable>>> {
        match &self.file_system {
            Some(file_system) => file_system.sync()?,
            None => {
                for log in self.logs() {
                    log.sync_data()?;
                }
            }
        }
        for (log, cuts, end) in &ends {
            log.raise(*end, *cuts);
        }
        Ok(ends.into_iter().map(|(log, ..)| log).collect())
    }

    /// Writes to the segments' files what they lack.
    pub fn write_out(&self) {
        if !self.health.is_online() {
            return;
        }
        let done = self.behind.pass();
        // Until nothing is left: what could not be written is kept, and memory for what comes next.
        self.queue.lock().behind |= done.as_ref().map_or(self.health.is_online(), |wrote| *wrote);
        if let Err(error) = done {
            tracing::debug!(dir = %self.dir.display(), %error, "records could not be written to their segments");
        }
    }

    /// Syncs the logs so that the journal's files can be used again.
    pub fn trim(&self) {
        let obsolete = self.files.lock().mark();
        let ends = self.ends();
        match self.behind.write_out() {
            // As long as there is no space for them it is the journal that has them.
            Err(error) if is_shortage(&error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "the journal could not be trimmed");
                return;
            }
            // That has taken the directory offline.
            Err(_) => return,
            Ok(_) => {}
        }
        let done = self.health.check().and_then(|()| self.sync_to(ends));
        let done = done.and_then(|logs| {
            self.files.lock().release(&obsolete)?;
            Ok(logs)
        });
        match done {
            Ok(logs) => self.tell(&logs),
            // The files are kept, and the next trim comes to them.
            Err(error) if is_descriptor_shortage(&error) => {
                tracing::warn!(dir = %self.dir.display(), %error, "the journal could not be trimmed");
            }
            Err(error) => self.health.fail(&self.dir, &error),
        }
    }

    /// Makes the next file while others are written: filling one takes as long as hundreds of commits.
    fn make_ahead(&self) {
        let plan = {
            let mut files = self.files.lock();
            if !files.wants_file() || self.health.is_full() {
                return;
            }
            files.plan()
        };
        let made = plan.make();
        if let Err(error) = self.files.lock().add(made) {
            // Whoever needs it makes it, or does without.
            tracing::debug!(dir = %self.dir.display(), %error, "no file was made ahead for the journal");
        }
    }

    pub(super) fn run_trim(&self) {
        loop {
            let trim = {
                let mut queue = self.queue.lock();
                self.trim.wait_while(&mut queue, |queue| !queue.trim && !queue.behind && !queue.stopped);
                let is_patient = |queue: &mut Queue| !queue.trim && !queue.stopped;
                self.trim.wait_while_for(&mut queue, is_patient, WRITE_OUT_INTERVAL);
                if queue.stopped {
                    return;
                }
                queue.behind = false;
                std::mem::take(&mut queue.trim)
            };
            if trim {
                // First: all acknowledgements would wait for it.
                self.make_ahead();
            }
            self.write_out();
            if trim && self.files.lock().wants_sync() {
                self.trim();
            }
        }
    }
}
