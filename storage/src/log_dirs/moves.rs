//! Moving logs from one log directory to another while they are written to and read.
//!
//! ```text
//!  1. to/orders-0.<uuid>-future                    a copy, filled until it has caught up
//!  2. appends wait, the rest is copied, copy and log are synced
//!  3. to/orders-0.<uuid>-swap                      a file with the id of the directory `from`
//!  4. to/orders-0.<uuid>-future   -> to/orders-0
//!  5. the journal of `from` forgets the log: its files have everything
//!  6. from/orders-0 -> from/orders-0.<uuid>-delete from here on the copy is the log; appends go on
//!  7. the -swap file goes
//! ```
//! Step 6 decides, and it is one rename in one directory: whatever happens before it leaves the log where it was. A start
//! that finds the -swap file and `orders-0` in both directories lets the old one be the log: nothing was appended to either
//! since. If `from` cannot be looked at, the partition stays offline rather than go on with what may be the older of two.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_protocol::TopicPartition;
use ottla_protocol::ids::{decode_uuid, encode_uuid};
use parking_lot::Mutex;
use uuid::Uuid;

use super::directory::Directory;
use super::open::partition_of;
use super::{LogDirs, now};
use crate::disk::{Disk, read_file, remove_if_present, rewrite_atomic};
use crate::log::{Log, LogOptions};

/// Why a log is not moved.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    #[error("there is no such log directory")]
    NoSuchDirectory,
    #[error("the log directory is offline")]
    Offline,
    #[error("the log directory is cordoned")]
    Cordoned,
    #[error("the log is not here")]
    NoLog,
    #[error("the topic name is too long for the directory of a copy")]
    NameTooLong,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What one step of a move did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveStep {
    /// So many bytes were copied; there is more to do.
    Copied(usize),
    /// The log lives in its new directory.
    Done,
    /// The move was given up, or the log is gone.
    Gone,
}

/// A log that is being moved.
#[derive(Debug, Clone)]
pub struct MovingLog {
    pub id: TopicPartition,
    /// The log directory it goes to.
    pub to: PathBuf,
    /// Bytes of the copy.
    pub size: u64,
    /// Records that the copy lacks.
    pub lag: i64,
}

/// All moves.
#[derive(Debug, Default)]
pub struct Moves {
    /// Taken after `changing` of the log directories.
    under_way: Mutex<HashMap<TopicPartition, Arc<Move>>>,
    /// Where logs that are not here yet are to be created.
    wanted: Mutex<HashMap<TopicPartition, PathBuf>>,
}

#[derive(Debug)]
struct Move {
    log: Arc<Log>,
    copy: Arc<Log>,
    to: Arc<Directory>,
    /// What the copy's directory is called until it is the log.
    future: PathBuf,
    /// `orders-0.<uuid>`
    name: String,
    stepping: Arc<Mutex<()>>,
    /// The copy has everything: checkpoints of `to` speak of it.
    is_complete: AtomicBool,
}

impl LogDirs {
    /// Begins to move a log to another directory; [`Self::move_on`] has to be called until it is there. True if a move has
    /// begun, false if there is nothing to do: it is there, or on its way. A move to a third directory is given up.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub fn start_move(self: &Arc<Self>, id: &TopicPartition, to: &Path) -> Result<bool, MoveError> {
        let future = format!("{id}.{}-future", Uuid::new_v4().simple());
        if future.len() > 255 {
            return Err(MoveError::NameTooLong);
        }
        let to = self.open_to_moves(to)?;
        let _changing = self.changing.lock();
        let hosted = self.logs.read().get(id).cloned().ok_or(MoveError::NoLog)?;
        if !hosted.log.is_online() {
            return Err(MoveError::Offline);
        }
        let other = self.moves.under_way.lock().get(id).cloned();
        if let Some(other) = other {
            if Arc::ptr_eq(&other.to, to) {
                return Ok(false);
            }
            self.give_up(id);
        }
        if Arc::ptr_eq(&hosted.dir, to) {
            return Ok(false);
        }
        let path = to.path.join(&future);
        let options = LogOptions {
            topic_id: hosted.log.topic_id(),
            config: hosted.log.config(),
            log_start: hosted.log.offsets().log_start,
            clean_shutdown: true,
            disk: Arc::clone(&self.options.disk),
            health: Arc::clone(&to.health),
            open_files: Arc::clone(&self.open_files),
            ..LogOptions::new(id.clone(), now())
        };
        let (copy, _) = Log::open(path.clone(), options).inspect_err(|error| to.report(error))?;
        hosted.log.set_moving(true);
        let name = future.trim_end_matches("-future").to_owned();
        let (log, copy) = (hosted.log, Arc::new(copy));
        let begun = Move {
            log,
            copy,
            to: Arc::clone(to),
            future: path,
            name,
            stepping: Arc::default(),
            is_complete: AtomicBool::new(false),
        };
        self.moves.under_way.lock().insert(id.clone(), Arc::new(begun));
        tracing::info!(partition = %id, from = %hosted.dir.path.display(), to = %to.path.display(), "moving the log");
        Ok(true)
    }

    /// Copies up to `max_bytes` of a log that is being moved, or lets it go on in its new directory. Blocks. After an error
    /// the move has been given up.
    pub fn move_on(&self, id: &TopicPartition, max_bytes: usize) -> io::Result<MoveStep> {
        let Some(moving) = self.moves.under_way.lock().get(id).cloned() else { return Ok(MoveStep::Gone) };
        let step = {
            let _one = moving.stepping.lock();
            // Given up while this waited: its directory may be gone.
            let still = self.moves.under_way.lock().get(id).is_some_and(|here| Arc::ptr_eq(here, &moving));
            if still { self.step(id, &moving, max_bytes) } else { Ok(MoveStep::Gone) }
        };
        if step.is_err() {
            let _changing = self.changing.lock();
            self.give_up_this(id, &moving);
        }
        step
    }

    fn step(&self, id: &TopicPartition, moving: &Arc<Move>, max_bytes: usize) -> io::Result<MoveStep> {
        let copied = moving.log.copy_to(&moving.copy, max_bytes, now())?;
        if !copied.caught_up {
            return Ok(MoveStep::Copied(copied.bytes));
        }
        let _changing = self.changing.lock();
        // Deleted, or called elsewhere, while this waited.
        let still = self.moves.under_way.lock().get(id).is_some_and(|here| Arc::ptr_eq(here, moving));
        let Some(from) = self.logs.read().get(id).map(|hosted| Arc::clone(&hosted.dir)).filter(|_| still) else {
            return Ok(MoveStep::Gone);
        };
        let old = moving.log.home();
        let journal = moving.to.journal.get();
        let swap = moving.to.path.join(format!("{}-swap", moving.name));
        let moved = moving.log.move_to(&moving.copy, journal, now(), || self.switch(id, moving, &from, &swap))?;
        if !moved {
            return Ok(MoveStep::Copied(copied.bytes));
        }
        moving.log.set_moving(false);
        self.moves.under_way.lock().remove(id);
        if let Some(listener) = moving.log.durable().listener() {
            listener.on_durable();
        }
        self.worker.remove_dir_later(old.path(), moving.log.config().file_delete_delay_ms);
        self.write_cleaned(id);
        // Where this fails the next start does it. Synced: should it come back where the other directory is not, the log would be
        // kept from being opened, and its part of the journal would go.
        let disk = &*self.options.disk;
        if let Err(error) = remove_if_present(disk, &swap).and_then(|()| disk.sync_dir(&moving.to.path)) {
            moving.to.report(&error);
        }
        tracing::info!(partition = %id, from = %from.path.display(), to = %moving.to.path.display(), "log moved");
        Ok(MoveStep::Done)
    }

    /// Steps 3 to 6, while the log takes no appends.
    fn switch(&self, id: &TopicPartition, moving: &Move, from: &Arc<Directory>, swap: &Path) -> io::Result<()> {
        let disk = &*self.options.disk;
        let (copy, old) = (moving.copy.home(), moving.log.home());
        let named = copy.guard(|| {
            // The offsets are known where the log will be before it is there.
            moving.is_complete.store(true, Ordering::Release);
            self.checkpoint_dir(&moving.to)?;
            rewrite_atomic(disk, swap, encode_uuid(from.id).as_bytes())?;
            copy.rename(&moving.to.path.join(id.to_string()))?;
            disk.sync_dir(&moving.to.path)
        });
        let renamed = named.and_then(|()| {
            old.guard(|| {
                from.journal.get().map_or(Ok(()), |journal| journal.reset(moving.log.durable()))?;
                old.rename(&from.path.join(format!("{}-delete", moving.name)))
            })
        });
        if renamed.is_err() && *copy.path() != *moving.future {
            // Not decided. The -swap file stays, so that a start sees either name of the copy for what it is.
            let _ = copy.rename(&moving.future);
        }
        renamed?;
        // Decided, though perhaps not on the disk: whatever the error, nothing may be appended to the old files.
        disk.sync_dir(&from.path).inspect_err(|error| from.health.fail(&from.path, error))?;
        self.logs.write().relocate(id, &moving.to);
        Ok(())
    }

    /// Copies that are about to be the logs of a directory.
    pub(super) fn coming_to(&self, dir: &Arc<Directory>) -> Vec<Arc<Log>> {
        let under_way = self.moves.under_way.lock();
        let coming = under_way
            .values()
            .filter(|moving| Arc::ptr_eq(&moving.to, dir) && moving.is_complete.load(Ordering::Acquire));
        coming.map(|moving| Arc::clone(&moving.copy)).collect()
    }

    /// The logs that are being moved.
    pub fn moving(&self) -> Vec<MovingLog> {
        let moves: Vec<(TopicPartition, Arc<Move>)> =
            self.moves.under_way.lock().iter().map(|(id, moving)| (id.clone(), Arc::clone(moving))).collect();
        let describe = |(id, moving): (TopicPartition, Arc<Move>)| MovingLog {
            id,
            to: moving.to.path.clone(),
            size: moving.copy.size(),
            lag: (moving.log.offsets().log_end.0 - moving.copy.offsets().log_end.0).max(0),
        };
        moves.into_iter().map(describe).collect()
    }

    /// Where a log is to be created that is not here yet.
    ///
    /// # Errors
    /// See [`MoveError`].
    pub fn prefer(&self, id: &TopicPartition, dir: &Path) -> Result<(), MoveError> {
        let dir = self.open_to_moves(dir)?;
        self.moves.wanted.lock().insert(id.clone(), dir.path.clone());
        Ok(())
    }

    /// The directory at a path, if logs may be moved there: whoever cordons one wants it to become empty (KIP-1066).
    fn open_to_moves(&self, path: &Path) -> Result<&Arc<Directory>, MoveError> {
        let dir = self.dirs.iter().find(|dir| dir.path == path).ok_or(MoveError::NoSuchDirectory)?;
        if !dir.health.is_online() {
            return Err(MoveError::Offline);
        }
        if self.cordoned.read().contains(&dir.id) {
            return Err(MoveError::Cordoned);
        }
        Ok(dir)
    }

    /// The directory for a new log: the wanted one, else the one with the fewest logs.
    pub(super) fn dir_for(&self, id: &TopicPartition) -> Option<Arc<Directory>> {
        let online = || self.dirs.iter().filter(|dir| dir.health.is_online());
        if let Some(wanted) = self.moves.wanted.lock().remove(id)
            && let Some(dir) = online().find(|dir| dir.path == wanted)
        {
            return Some(Arc::clone(dir));
        }
        let coming: Vec<Arc<Move>> = self.moves.under_way.lock().values().cloned().collect();
        let logs = self.logs.read();
        let count = |dir: &Arc<Directory>| {
            logs.count_in(dir) + coming.iter().filter(|moving| Arc::ptr_eq(&moving.to, dir)).count()
        };
        match &self.dirs[..] {
            [only] => only.health.is_online().then(|| Arc::clone(only)),
            _ => {
                let cordoned = self.cordoned.read();
                online().min_by_key(|dir| (cordoned.contains(&dir.id), count(dir))).cloned()
            }
        }
    }

    /// Ends a move and removes its copy. Called with `changing` held.
    pub(super) fn give_up(&self, id: &TopicPartition) {
        let moving = self.moves.under_way.lock().get(id).cloned();
        if let Some(moving) = moving {
            self.give_up_this(id, &moving);
        }
    }

    fn give_up_this(&self, id: &TopicPartition, moving: &Arc<Move>) {
        {
            let mut under_way = self.moves.under_way.lock();
            if !under_way.get(id).is_some_and(|here| Arc::ptr_eq(here, moving)) {
                return;
            }
            under_way.remove(id);
        }
        moving.log.set_moving(false);
        moving.copy.refuse_appends();
        let home = moving.copy.home();
        if *home.path() != *moving.future {
            // It has the log's name already: the next start sees which of the two counts.
            tracing::error!(partition = %id, dir = %home.path().display(), "a move has failed half-way, its copy is left for the next start");
            return;
        }
        let to = moving.to.path.join(format!("{}-delete", moving.name));
        match moving.copy.retire(to.clone()) {
            Ok(()) => self.worker.remove_copy_later(to, Arc::clone(&moving.stepping)),
            Err(error) => tracing::warn!(dir = %home.path().display(), %error, "a copy could not be removed"),
        }
        tracing::info!(partition = %id, "the move of the log was given up");
    }

    /// Moves that an earlier process has not ended begin anew: nobody vouches for what it had copied.
    pub(super) fn resume_moves(self: &Arc<Self>, found: Vec<(Arc<Directory>, String)>) {
        for (dir, name) in found {
            let Some(id) = future_of(&name) else {
                tracing::warn!(dir = %dir.path.join(&name).display(), "left alone");
                continue;
            };
            let (path, doomed) = (dir.path.join(&name), dir.path.join(name.replace("-future", "-delete")));
            match self.options.disk.rename(&path, &doomed) {
                Ok(()) => self.worker.remove_dir_later(doomed, 0),
                Err(error) => {
                    dir.report(&error);
                    continue;
                }
            }
            match self.start_move(&id, &dir.path) {
                Ok(_) | Err(MoveError::NoLog) => {}
                Err(error) => tracing::error!(partition = %id, %error, "the move of the log could not go on"),
            }
        }
    }
}

/// What the -swap files of all directories say.
#[derive(Debug, Default)]
pub struct Swaps {
    /// Logs that lie in a directory (by its id) and must not be opened there.
    pub blocked: HashSet<(Uuid, TopicPartition)>,
}

impl Swaps {
    /// Looks at the directories before their logs are opened, and undoes what was not decided.
    pub fn settle(disk: &dyn Disk, dirs: &[Arc<Directory>]) -> Self {
        let mut swaps = Self::default();
        for to in dirs {
            let entries = match disk.list(&to.path) {
                Ok(entries) => entries,
                Err(error) => {
                    to.health.fail(&to.path, &error);
                    continue;
                }
            };
            for entry in entries.iter().filter(|entry| !entry.is_dir && entry.name.ends_with("-swap")) {
                let Some((name, id)) = name_of(&entry.name, "-swap") else { continue };
                let is_here = entries.iter().any(|other| other.is_dir && other.name == id.to_string());
                if let Err(error) = swaps.settle_one(disk, dirs, (to, name, is_here), &id) {
                    // For want of descriptors as well: the log that is here may not be the one that counts.
                    to.health.fail(&to.path, &error);
                }
            }
        }
        swaps
    }

    fn settle_one(
        &mut self,
        disk: &dyn Disk,
        dirs: &[Arc<Directory>],
        (to, name, is_here): (&Arc<Directory>, &str, bool),
        id: &TopicPartition,
    ) -> io::Result<()> {
        let file = to.path.join(format!("{name}-swap"));
        let text = read_file(disk, &file)?.unwrap_or_default();
        let from = std::str::from_utf8(&text).ok().and_then(|text| decode_uuid(text.trim()));
        let from = dirs.iter().find(|dir| Some(dir.id) == from && dir.health.is_online());
        // After a mere kill the names that were found may not be on the disk yet, and what is decided by them must stay right.
        disk.sync_dir(&to.path)?;
        if !is_here {
            // It ended before the copy had its name.
            return remove_if_present(disk, &file);
        }
        let Some(from) = from else {
            tracing::error!(partition = %id, dir = %to.path.display(), swap = %file.display(), "the log directory that this log was being moved from is not here: the partition stays offline until it is, or until the file is removed by hand");
            self.blocked.insert((to.id, id.clone()));
            return Ok(());
        };
        disk.sync_dir(&from.path)?;
        let is_there = disk.list(&from.path)?.iter().any(|entry| entry.is_dir && entry.name == id.to_string());
        if is_there {
            disk.rename(&to.path.join(id.to_string()), &to.path.join(format!("{name}-future")))?;
            disk.sync_dir(&to.path)?;
        }
        remove_if_present(disk, &file)
    }
}

/// `orders-0.<32 hex digits>-future` -> orders-0
pub(super) fn future_of(name: &str) -> Option<TopicPartition> {
    name_of(name, "-future").map(|(_, id)| id)
}

fn name_of<'a>(name: &'a str, suffix: &str) -> Option<(&'a str, TopicPartition)> {
    let name = name.strip_suffix(suffix)?;
    let (partition, digits) = name.rsplit_once('.')?;
    (digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| partition_of(partition).map(|id| (name, id)))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_known_by_its_name() {
        let name = "a.b-7.0123456789abcdef0123456789abcdef-future";
        assert_eq!(future_of(name), Some(TopicPartition::new("a.b", 7)));
        assert_eq!(future_of("a.b-7-future"), None);
        assert_eq!(future_of("a.b-7.0123456789abcdef0123456789abcdeg-future"), None);
    }
}
