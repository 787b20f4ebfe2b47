//! Opening all log directories and, several at a time, the logs in them.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ottla_protocol::{Offset, TopicPartition};
use parking_lot::{Mutex, RwLock};

use super::cleaning::Cleaning;
use super::directory::{Directory, Left};
use super::worker::Worker;
use super::{LogDirs, LogDirsOptions, OpenError, now};
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
        worker: Worker::start(Arc::clone(&options.disk)),
        cleaning: Cleaning::default(),
        was_clean,
        previous_broker_epoch: epoch,
        options,
    });
    for (dir, left) in dirs.iter().filter(|(dir, _)| dir.health.is_online()) {
        if let Err(error) = open_logs(&log_dirs, dir, left) {
            dir.report(&error);
        }
        log_dirs.cleaning.learn(left.cleaned.clone());
    }
    log_dirs.cleaning.start(&log_dirs);
    Ok(log_dirs)
}

fn open_logs(log_dirs: &Arc<LogDirs>, dir: &Arc<Directory>, left: &Left) -> io::Result<()> {
    let mut found: Vec<TopicPartition> = Vec::new();
    for entry in log_dirs.options.disk.list(&dir.path)?.into_iter().filter(|entry| entry.is_dir) {
        if entry.name.ends_with("-delete") {
            // Its deletion was decided before the process ended.
            log_dirs.worker.remove_dir_later(dir.path.join(&entry.name), 0);
        } else if entry.name.ends_with("-stray") || entry.name.ends_with("-future") {
            tracing::warn!(dir = %dir.path.join(&entry.name).display(), "left alone");
        } else if let Some(id) = partition_of(&entry.name)
            && *id.topic != *METADATA_TOPIC
        {
            found.push(id);
        }
    }
    let next = AtomicUsize::new(0);
    let threads = log_dirs.options.recovery_threads.clamp(1, found.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(id) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                    open_log(log_dirs, dir, left, id);
                }
            });
        }
    });
    Ok(())
}

fn open_log(log_dirs: &Arc<LogDirs>, dir: &Arc<Directory>, left: &Left, id: &TopicPartition) {
    let at = |offsets: &crate::checkpoint::Offsets| offsets.get(id).copied().unwrap_or(Offset::ZERO);
    let options = LogOptions {
        config: Arc::clone(&log_dirs.options.default_config),
        recovery_point: at(&left.recovery_points),
        log_start: at(&left.log_starts),
        high_watermark: at(&left.high_watermarks),
        clean_shutdown: left.clean.is_some(),
        disk: Arc::clone(&log_dirs.options.disk),
        health: Arc::clone(&dir.health),
        open_files: Arc::clone(&log_dirs.open_files),
        ..LogOptions::new(id.clone(), now())
    };
    match Log::open(dir.path.join(id.to_string()), options) {
        Ok((log, _)) => {
            if log_dirs.get(id).is_some() {
                tracing::error!(partition = %id, dir = %dir.path.display(), "the partition is in two log directories, this one is left alone");
                return;
            }
            log_dirs.adopt(&Arc::new(log), Arc::clone(dir));
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
