//! How far the metadata log is known to reach: a small file outside its directory. A log that was cut short, removed or put
//! back from an older copy is noticed by it at the next start, and not taken for a torn tail or for a new node.
//!
//! It may say less than the log has, never more: it is written some time after the log was synced, at most every
//! [`INTERVAL`], exactly when the node stops, and before the log is cut on purpose.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::disk;

/// Name of the file, beside the directory of the log.
pub(crate) const FILE: &str = "metadata-log-witness";
/// How far the file may lag behind.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// The file. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Witness {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    /// Index in the file; `None` while there is none.
    written: Option<u64>,
    /// Index of the last entry that was synced.
    known: Option<u64>,
    at: Instant,
    /// How often the log was cut.
    cuts: u64,
}

impl Witness {
    /// Reads what an earlier process has left in `dir`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join(FILE);
        let written = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            text => Some(parse(&text?).ok_or_else(|| disk::damaged(&path, "not a witness of this build"))?),
        };
        let state = State { written, known: written, at: Instant::now(), cuts: 0 };
        Ok(Self { path, state: Arc::new(Mutex::new(state)) })
    }

    /// Refuses a log in `dir` that ends before what had been on the disk.
    pub(crate) fn check(&self, dir: &Path, last: Option<u64>) -> io::Result<()> {
        let Some(known) = self.state.lock().written else { return Ok(()) };
        if last.is_some_and(|last| last >= known) {
            return Ok(());
        }
        let end = last.map_or("has no entry".to_owned(), |last| format!("ends with entry {last}"));
        Err(disk::damaged(
            dir,
            format!(
                "the metadata log {end}, while entry {known} had been on the disk: it was cut short, removed or replaced by an \
                 older copy. Without its topics the data would be moved aside, so this node does not start. Put the log back; \
                 where it is lost for good and other voters have it, remove {} as well",
                self.path.display()
            ),
        ))
    }

    /// How often the log was cut so far: an entry that is appended now takes it along.
    pub(crate) fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// An entry was synced that was appended after so many `cuts`. One that was cut off meanwhile is no part of the log.
    pub(crate) fn note(&self, index: u64, cuts: u64) {
        let mut state = self.state.lock();
        if state.cuts != cuts {
            return;
        }
        state.known = state.known.max(Some(index));
        if state.at.elapsed() >= INTERVAL {
            self.write(&mut state);
        }
    }

    /// Whether the file lags behind.
    pub(crate) fn is_behind(&self) -> bool {
        let state = self.state.lock();
        state.known > state.written
    }

    /// Brings the file up to date.
    pub(crate) fn settle(&self) {
        self.write(&mut self.state.lock());
    }

    /// The log is about to be cut: entries behind `last` go.
    pub(crate) fn lower(&self, last: Option<u64>) -> io::Result<()> {
        let mut state = self.state.lock();
        state.cuts += 1;
        state.known = state.known.min(last);
        if state.written <= last {
            return Ok(());
        }
        match last {
            Some(last) => disk::replace(&self.path, text(last).as_bytes())?,
            None => {
                fs::remove_file(&self.path)?;
                if let Some(dir) = self.path.parent() {
                    disk::sync_dir(dir)?;
                }
            }
        }
        state.written = last;
        Ok(())
    }

    /// A failure costs the check of the next start, not the log.
    fn write(&self, state: &mut State) {
        state.at = Instant::now();
        let Some(known) = state.known.filter(|_| state.known > state.written) else { return };
        match disk::replace(&self.path, text(known).as_bytes()) {
            Ok(()) => state.written = Some(known),
            Err(error) => tracing::warn!(file = %self.path.display(), %error, "the metadata log goes on unwitnessed"),
        }
    }
}

fn text(index: u64) -> String {
    format!("0\n{index}\n")
}

fn parse(text: &str) -> Option<u64> {
    text.strip_prefix("0\n")?.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_log_that_has_become_shorter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let witness = Witness::open(dir.path()).unwrap();
        witness.check(&log, None).unwrap();
        witness.note(7, witness.cuts());
        assert!(witness.is_behind());
        witness.settle();
        let next = Witness::open(dir.path()).unwrap();
        next.check(&log, Some(7)).unwrap();
        next.check(&log, Some(8)).unwrap();
        for shorter in [Some(6), None] {
            let why = next.check(&log, shorter).unwrap_err().to_string();
            assert!(why.contains("entry 7 had been on the disk") && why.contains(FILE), "{why}");
        }
        // A log that is cut on purpose says so first.
        next.lower(Some(5)).unwrap();
        Witness::open(dir.path()).unwrap().check(&log, Some(5)).unwrap();
        next.lower(None).unwrap();
        Witness::open(dir.path()).unwrap().check(&log, None).unwrap();
        fs::write(dir.path().join(FILE), "what").unwrap();
        assert!(Witness::open(dir.path()).is_err());
    }

    /// The leader has changed while entries were on their way to the disk: the log is cut, then their sync ends.
    #[test]
    fn entries_that_were_cut_off_while_they_were_synced_are_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let witness = Witness::open(dir.path()).unwrap();
        witness.note(5, witness.cuts());
        let cuts = witness.cuts();
        witness.lower(Some(5)).unwrap();
        witness.note(9, cuts);
        witness.settle();
        Witness::open(dir.path()).unwrap().check(&dir.path().join("log"), Some(5)).unwrap();
        witness.note(6, witness.cuts());
        witness.settle();
        assert!(Witness::open(dir.path()).unwrap().check(&dir.path().join("log"), Some(5)).is_err());
    }
}
