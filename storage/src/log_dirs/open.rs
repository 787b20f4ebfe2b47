//! Opening all log directories and, several at a time, the logs in them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_protocol::topic_names::CLUSTER_METADATA_TOPIC;
use ottla_protocol::{TopicId, TopicPartition};
use parking_lot::{Mutex, RwLock};

use super::cleaning::Cleaning;
use super::directory::{Directory, KnownLog, Left};
use super::moves::{Moves, Swaps};
use super::worker::Worker;
use super::{LogDirs, LogDirsOptions, OpenError, now};
use crate::errors::is_shortage;
use crate::journal::{Journal, recover, recover::Replayed};
use crate::log::{Log, LogOptions, RecoveryReport};
use crate::reserve::Reserve;
use crate::segment::OpenFiles;

pub fn open(paths: &[PathBuf], options: LogDirsOptions) -> Result<Arc<LogDirs>, OpenError> {
    if paths.is_empty() {
        return Err(OpenError::NoDirectory);
    }
    let mut dirs: Vec<(Arc<Directory>, Left)> = Vec::new();
    let mut failed = None;
    for path in paths {
        let (dir, left) = match Directory::open(path, &options)? {
            Ok(opened) => opened,
            Err(error) => {
                let dir = Directory::offline(path, &error);
                failed = Some(error);
                (dir, Left::default())
            }
        };
        if let Some((twin, _)) =
            dirs.iter().find(|(other, _)| other.id == dir.id && other.health.is_online() && dir.health.is_online())
        {
            let reason = format!("it has the same directory.id as {}", twin.path.display());
            return Err(OpenError::Mismatch { dir: path.clone(), reason });
        }
        dirs.push((Arc::new(dir), left));
    }
    if let Some(error) = failed
        && dirs.iter().all(|(dir, _)| !dir.health.is_online())
    {
        return Err(OpenError::AllOffline(error));
    }
    let clean: Vec<Option<i64>> = dirs.iter().map(|(_, left)| left.clean).collect();
    let was_clean = clean.iter().all(Option::is_some);
    // All directories are closed with the same epoch, or somebody put them together.
    let epoch = clean[0].filter(|epoch| clean.iter().all(|other| *other == Some(*epoch))).unwrap_or(-1);
    let open_files = Arc::new(OpenFiles::new(options.open_files_max.max(16)));
    let log_dirs = Arc::new(LogDirs {
        dirs: dirs.iter().map(|(dir, _)| Arc::clone(dir)).collect(),
        logs: RwLock::default(),
        changing: Mutex::new(()),
        is_shut: false.into(),
        open_files,
        worker: Worker::start(Arc::clone(&options.disk), options.journal.threads),
        cleaning: Cleaning::default(),
        moves: Moves::default(),
        blocked: std::sync::OnceLock::new(),
        cordoned: RwLock::default(),
        twins: Mutex::default(),
        was_clean,
        previous_broker_epoch: epoch,
        options,
    });
    let online: Vec<Arc<Directory>> = log_dirs.dirs.iter().filter(|dir| dir.health.is_online()).cloned().collect();
    let swaps = Swaps::settle(&*log_dirs.options.disk, &online);
    let _ = log_dirs.blocked.set(swaps.blocked.iter().map(|(_, id)| id.clone()).collect());
    let mut futures = Vec::new();
    for (dir, left) in dirs.iter().filter(|(dir, _)| dir.health.is_online()) {
        if let Err(error) = open_dir(&log_dirs, dir, left, &swaps, &mut futures) {
            // For want of descriptors as well: nobody knows which logs are there.
            dir.health.fail(&dir.path, &error);
        }
        log_dirs.cleaning.learn(left.cleaned.clone());
    }
    log_dirs.resume_moves(futures);
    log_dirs.cleaning.start(&log_dirs);
    Ok(log_dirs)
}

/// Recovers the logs of a directory, then what its journal has besides, and begins to write.
fn open_dir(
    log_dirs: &Arc<LogDirs>,
    dir: &Arc<Directory>,
    left: &Left,
    swaps: &Swaps,
    futures: &mut Vec<(Arc<Directory>, String)>,
) -> io::Result<()> {
    let disk = &log_dirs.options.disk;
    let mut journal_left = recover::Left::find(&**disk, &dir.path)?;
    if left.clean.is_some() && !journal_left.tails.is_empty() {
        // The logs were closed after it was written, by somebody who does not know it.
        tracing::info!(dir = %dir.path.display(), "a journal from before a clean stop is not used");
        journal_left.tails.clear();
    }
    if let Some(what) = &journal_left.corrupt {
        tracing::error!(dir = %dir.path.display(), what, "the journal of the log directory is damaged");
    }
    let journal = Journal::new(disk, &dir.path, Arc::clone(&dir.health), &journal_left, log_dirs.options.journal)?;
    let _ = dir.journal.set(Arc::clone(&journal));
    let reserve = Reserve::new(Arc::clone(disk), &dir.path, log_dirs.options.reserve_bytes);
    if let Err(error) = dir.health.keep_reserve(&dir.path, Arc::new(reserve)) {
        tracing::warn!(dir = %dir.path.display(), %error, "no space is kept back");
    }
    let recovery = open_logs(log_dirs, dir, left, &journal_left, swaps, futures)?;
    if left.clean.is_none() && !recovery.is_empty() {
        tracing::info!(dir = %dir.path.display(), logs = recovery.logs, bytes_checked = recovery.bytes_checked, bytes_cut = recovery.bytes_cut, bytes_from_journal = recovery.bytes_replayed, damaged_logs = recovery.damaged, "unclean stop found, logs recovered");
    }
    let weak = Arc::downgrade(log_dirs);
    let here = Arc::downgrade(dir);
    let logs = move || match (weak.upgrade(), here.upgrade()) {
        (Some(log_dirs), Some(dir)) => log_dirs.logs_in(&dir),
        _ => Vec::new(),
    };
    let has_left = !journal_left.paths.is_empty();
    journal.start(Box::new(logs), left.clean.is_none());
    if journal_left.leftovers || (has_left && left.clean.is_some()) {
        // Nothing may be written while there are frames that must not be read.
        journal.trim();
    }
    Ok(())
}

/// What recovery found in all logs of a directory.
#[derive(Debug, Default)]
struct Recovery {
    logs: usize,
    bytes_checked: u64,
    bytes_cut: u64,
    bytes_replayed: u64,
    damaged: usize,
}

impl Recovery {
    fn add(&mut self, found: &Found) {
        let Found { report, replayed } = found;
        self.logs += 1;
        self.bytes_checked += report.bytes_checked;
        self.bytes_replayed += replayed.bytes;
        self.bytes_cut += report.cut.as_ref().map_or(0, |cut| cut.bytes);
        self.damaged += usize::from(report.lost_below.is_some());
    }

    const fn is_empty(&self) -> bool {
        self.logs == 0
    }
}

fn open_logs(
    log_dirs: &Arc<LogDirs>,
    dir: &Arc<Directory>,
    left: &Left,
    journal: &recover::Left,
    swaps: &Swaps,
    futures: &mut Vec<(Arc<Directory>, String)>,
) -> io::Result<Recovery> {
    let mut found: Vec<TopicPartition> = Vec::new();
    let is_blocked = |id: &TopicPartition| swaps.blocked.contains(&(dir.id, id.clone()));
    let in_journal = |id: &TopicPartition| journal.tails.contains_key(id) || journal.cut.contains(id);
    let mut blocked: Vec<TopicPartition> = Vec::new();
    for entry in log_dirs.options.disk.list(&dir.path)?.into_iter().filter(|entry| entry.is_dir) {
        if entry.name.ends_with("-delete") {
            // Its deletion was decided before the process ended.
            log_dirs.worker.remove_dir_later(dir.path.join(&entry.name), 0);
        } else if entry.name.ends_with("-stray") {
            tracing::warn!(dir = %dir.path.join(&entry.name).display(), "left alone");
        } else if entry.name.ends_with("-future") {
            futures.push((Arc::clone(dir), entry.name));
        } else if let Some(id) = partition_of(&entry.name)
            // That log has its own keeper.
            && *id.topic != *CLUSTER_METADATA_TOPIC
        {
            if is_blocked(&id) {
                blocked.extend(in_journal(&id).then_some(id));
                continue;
            }
            // The checkpoints' partitions share the names of their topics.
            found.push(left.recovery_points.get_key_value(&id).map_or(id, |(known, _)| known.clone()));
        }
    }
    for (id, tail) in &journal.tails {
        if !found.contains(id) && tail.is_whole() && !is_blocked(id) {
            // Begun shortly before the crash: its directory did not reach the disk.
            found.push(id.clone());
        }
    }
    let next = AtomicUsize::new(0);
    let recovery = Mutex::new(Recovery::default());
    let threads = log_dirs.options.recovery_threads.clamp(1, found.len().max(1));
    let work = || {
        while let Some(id) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
            open_log(log_dirs, dir, (left, journal), id, &recovery);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    for id in &blocked {
        complete_blocked(log_dirs, dir, (left, journal), id, &recovery);
    }
    Ok(recovery.into_inner())
}

/// Where it lacks space or descriptors it is done once more: what was kept back is for this.
fn with_what_is_kept_back<T>(log_dirs: &LogDirs, dir: &Directory, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    work().or_else(|error| {
        if !is_shortage(&error) {
            return Err(error);
        }
        dir.health.on_shortage(&dir.path, &error);
        log_dirs.open_files.relieve(&error);
        work()
    })
}

/// A log that nobody may use gets what the journal has of it all the same: the journal goes on once the logs have all that it holds.
fn complete_blocked(
    log_dirs: &Arc<LogDirs>,
    dir: &Arc<Directory>,
    (left, journal): (&Left, &recover::Left),
    id: &TopicPartition,
    recovery: &Mutex<Recovery>,
) {
    let completed = with_what_is_kept_back(log_dirs, dir, || {
        let (log, found) = try_open(log_dirs, dir, (left, journal), id)?;
        log.flush()?;
        // Also where it is not flushed by itself.
        log.sync_data()?;
        Ok(found)
    });
    match completed {
        Ok(found) => recovery.lock().add(&found),
        Err(error) => {
            tracing::error!(partition = %id, %error, "log could not be opened");
            dir.health.fail(&dir.path, &error);
        }
    }
}

fn open_log(
    log_dirs: &Arc<LogDirs>,
    dir: &Arc<Directory>,
    (left, journal): (&Left, &recover::Left),
    id: &TopicPartition,
    recovery: &Mutex<Recovery>,
) {
    let opened = with_what_is_kept_back(log_dirs, dir, || try_open(log_dirs, dir, (left, journal), id));
    let error = match opened {
        Ok((log, found)) => {
            recovery.lock().add(&found);
            let log = Arc::new(log);
            if log_dirs.get(id).is_some() {
                // Which of them counts the metadata knows.
                let twin = log_dirs.host(&log, Arc::clone(dir));
                log_dirs.twins.lock().push(twin);
                return;
            }
            log_dirs.adopt(&log, Arc::clone(dir));
            return;
        }
        Err(error) => error,
    };
    tracing::error!(partition = %id, %error, "log could not be opened");
    if journal.tails.contains_key(id) || journal.cut.contains(id) {
        // As in `complete_blocked`: this one has not.
        dir.health.fail(&dir.path, &error);
        return;
    }
    dir.report(&error);
    if is_shortage(&error) {
        let absent = left.of(id);
        dir.absent.lock().insert(id.clone(), absent);
    }
}

/// What recovery did with one log.
struct Found {
    report: RecoveryReport,
    replayed: Replayed,
}

fn try_open(
    log_dirs: &Arc<LogDirs>,
    dir: &Arc<Directory>,
    (left, journal): (&Left, &recover::Left),
    id: &TopicPartition,
) -> io::Result<(Log, Found)> {
    let tail = journal.tails.get(id);
    let known = left.of(id);
    let options = LogOptions {
        // A batch of the tail may begin before the log start.
        log_start: tail.map_or(known.log_start, |tail| known.log_start.min(tail.start())),
        tail_follows: tail.is_some(),
        topic_id: tail.map_or(TopicId::ZERO, |tail| tail.topic_id),
        ..log_dirs.log_options(dir, id, &known)
    };
    let (log, mut report) = Log::open(dir.path.join(id.to_string()), options)?;
    if journal.cut.contains(id) {
        log.sync_data()?;
    }
    let replayed = match tail.filter(|tail| tail.topic_id == log.topic_id()) {
        Some(tail) => journal.replay(&log, tail, now())?,
        None => Replayed::default(),
    };
    log.durable().raise(replayed.end, log.durable().cuts());
    if let Some((from, to)) = replayed.hole {
        report.lost_below = Some(to);
        tracing::error!(partition = %id, %from, %to, "records between these offsets are in neither the log nor the journal");
    }
    if tail.is_some() {
        if log.settle_log_start(known.log_start)? {
            report.lost_below = Some(known.log_start);
        }
        log.set_high_watermark(known.high_watermark.max(log.high_watermark()));
    }
    // Opened again when it is used: thousands of idle partitions hold no descriptor.
    log.close_files();
    Ok((log, Found { report, replayed }))
}

impl LogDirs {
    /// How a log that is in `dir` is opened.
    fn log_options(&self, dir: &Directory, id: &TopicPartition, known: &KnownLog) -> LogOptions {
        LogOptions {
            config: Arc::clone(&self.options.default_config),
            recovery_point: known.recovery_point,
            log_start: known.log_start,
            high_watermark: known.high_watermark,
            clean_shutdown: known.clean,
            disk: Arc::clone(&self.options.disk),
            health: Arc::clone(&dir.health),
            open_files: Arc::clone(&self.open_files),
            ..LogOptions::new(id.clone(), now())
        }
    }

    /// The directory that holds a log which could not be opened.
    pub(super) fn holder_of_absent(&self, id: &TopicPartition) -> Option<Arc<Directory>> {
        self.dirs.iter().find(|dir| dir.absent.lock().contains_key(id)).cloned()
    }

    /// Opens a log that could not be opened before, as it would have been then. Called with `changing` held.
    pub(super) fn open_absent(self: &Arc<Self>, id: &TopicPartition) -> io::Result<Option<Arc<Log>>> {
        let Some(dir) = self.holder_of_absent(id) else { return Ok(None) };
        let Some(absent) = dir.absent.lock().get(id).copied() else { return Ok(None) };
        dir.health.check()?;
        let options = self.log_options(&dir, id, &absent);
        let (log, _) = Log::open(dir.path.join(id.to_string()), options).inspect_err(|error| dir.report(error))?;
        let log = Arc::new(log);
        self.adopt(&log, Arc::clone(&dir));
        dir.absent.lock().remove(id);
        Ok(Some(log))
    }
}

/// `orders-0` -> (orders, 0)
pub(super) fn partition_of(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
    (!topic.is_empty()).then(|| TopicPartition::new(topic, partition))
}
