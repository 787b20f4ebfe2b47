//! Opening all log directories and, several at a time, the logs in them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_protocol::{Offset, TopicId, TopicPartition};
use parking_lot::{Mutex, RwLock};

use super::cleaning::Cleaning;
use super::directory::{Directory, Left};
use super::moves::{Moves, Swaps};
use super::reserve::Reserve;
use super::worker::Worker;
use super::{LogDirs, LogDirsOptions, OpenError, now};
use crate::journal::{Journal, recover, recover::Replayed};
use crate::log::{Log, LogOptions};
use crate::segment::OpenFiles;

/// The metadata log has its own keeper.
pub(super) const METADATA_TOPIC: &str = "__cluster_metadata";

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
        logs: RwLock::new(HashMap::new()),
        changing: Mutex::new(()),
        open_files,
        worker: Worker::start(Arc::clone(&options.disk), options.journal.threads),
        cleaning: Cleaning::default(),
        moves: Moves::default(),
        blocked: std::sync::OnceLock::new(),
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
            dir.report(&error);
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
    for entry in log_dirs.options.disk.list(&dir.path)?.into_iter().filter(|entry| entry.is_dir) {
        if entry.name.ends_with("-delete") {
            // Its deletion was decided before the process ended.
            log_dirs.worker.remove_dir_later(dir.path.join(&entry.name), 0);
        } else if entry.name.ends_with("-stray") {
            tracing::warn!(dir = %dir.path.join(&entry.name).display(), "left alone");
        } else if entry.name.ends_with("-future") {
            futures.push((Arc::clone(dir), entry.name));
        } else if let Some(id) = partition_of(&entry.name)
            && *id.topic != *METADATA_TOPIC
            && !swaps.blocked.contains(&(dir.id, id.clone()))
        {
            found.push(id);
        }
    }
    for (id, tail) in &journal.tails {
        if !found.contains(id) && tail.is_whole() {
            // Begun shortly before the crash: its directory did not reach the disk.
            found.push(id.clone());
        }
    }
    let next = AtomicUsize::new(0);
    let recovery = Mutex::new(Recovery::default());
    let threads = log_dirs.options.recovery_threads.clamp(1, found.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(id) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                    open_log(log_dirs, dir, (left, journal), id, &recovery);
                }
            });
        }
    });
    Ok(recovery.into_inner())
}

fn open_log(
    log_dirs: &Arc<LogDirs>,
    dir: &Arc<Directory>,
    (left, journal): (&Left, &recover::Left),
    id: &TopicPartition,
    recovery: &Mutex<Recovery>,
) {
    let tail = journal.tails.get(id);
    let at = |offsets: &crate::checkpoint::Offsets| offsets.get(id).copied().unwrap_or(Offset::ZERO);
    let options = LogOptions {
        config: Arc::clone(&log_dirs.options.default_config),
        recovery_point: at(&left.recovery_points),
        // A batch of the tail may begin before the log start.
        log_start: tail.map_or(at(&left.log_starts), |tail| at(&left.log_starts).min(tail.start())),
        high_watermark: at(&left.high_watermarks),
        clean_shutdown: left.clean.is_some(),
        tail_follows: tail.is_some(),
        topic_id: tail.map_or(TopicId::ZERO, |tail| tail.topic_id),
        disk: Arc::clone(&log_dirs.options.disk),
        health: Arc::clone(&dir.health),
        open_files: Arc::clone(&log_dirs.open_files),
        ..LogOptions::new(id.clone(), now())
    };
    let high_watermark = options.high_watermark;
    let opened = Log::open(dir.path.join(id.to_string()), options).and_then(|(log, mut report)| {
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
            let log_start = at(&left.log_starts);
            if log.settle_log_start(log_start)? {
                report.lost_below = Some(log_start);
            }
            log.set_high_watermark(high_watermark.max(log.high_watermark()));
        }
        // Opened again when it is used: thousands of idle partitions hold no descriptor.
        log.close_files();
        let mut recovery = recovery.lock();
        recovery.logs += 1;
        recovery.bytes_checked += report.bytes_checked;
        recovery.bytes_replayed += replayed.bytes;
        recovery.bytes_cut += report.cut.as_ref().map_or(0, |cut| cut.bytes);
        recovery.damaged += usize::from(report.lost_below.is_some());
        Ok(log)
    });
    match opened {
        Ok(log) => {
            let log = Arc::new(log);
            if log_dirs.get(id).is_some() {
                // Which of them counts the metadata knows.
                let twin = log_dirs.host(&log, Arc::clone(dir));
                log_dirs.twins.lock().push(twin);
                return;
            }
            log_dirs.adopt(&log, Arc::clone(dir));
        }
        Err(error) => {
            tracing::error!(partition = %id, %error, "log could not be opened");
            dir.report(&error);
        }
    }
}

/// `orders-0` -> (orders, 0)
pub(super) fn partition_of(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let partition: i32 = partition.parse().ok().filter(|partition| *partition >= 0)?;
    (!topic.is_empty()).then(|| TopicPartition::new(topic, partition))
}
