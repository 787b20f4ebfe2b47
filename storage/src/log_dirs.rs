//! All logs of a broker.
#![allow(clippy::todo, unused_variables, clippy::missing_const_for_fn)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_protocol::{BrokerId, Timestamp, TopicId, TopicPartition};
use uuid::Uuid;

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::log::Log;

/// How log directories are opened.
#[derive(Clone)]
pub struct LogDirsOptions {
    pub broker_id: BrokerId,
    /// The cluster's id, 22 characters of base64url. A directory of another cluster is refused.
    pub cluster_id: String,
    /// The configuration of a log that is found on disk, until [`Log::update_config`] brings the topic's own.
    pub default_config: Arc<LogConfig>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: usize,
    /// `log.cleaner.threads`; 0 starts none.
    pub cleaner_threads: usize,
    /// `log.cleaner.dedupe.buffer.size`, of all cleaner threads together.
    pub cleaner_dedupe_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub cleaner_io_bytes_per_second_max: f64,
    /// `log.cleaner.backoff.ms`.
    pub cleaner_backoff_ms: u64,
    /// Files that may be open at a time besides those being read.
    pub open_files_max: usize,
    pub disk: Arc<dyn Disk>,
}

/// Why a broker's log directories cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no log directory is given")]
    NoDirectory,
    #[error("{} is locked by another process", .0.display())]
    Locked(PathBuf),
    #[error("{}: {reason}", dir.display())]
    Mismatch { dir: PathBuf, reason: String },
    #[error("none of the log directories can be used: {0}")]
    AllOffline(io::Error),
}

/// A log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogDirInfo {
    pub path: PathBuf,
    /// `directory.id` of its meta.properties.
    pub id: Uuid,
    pub online: bool,
    /// -1 when unknown.
    pub total_bytes: i64,
    /// -1 when unknown.
    pub usable_bytes: i64,
}

/// All logs of a broker.
#[derive(Debug)]
pub struct LogDirs {}

impl LogDirs {
    pub fn open(paths: &[PathBuf], options: LogDirsOptions) -> Result<Arc<Self>, OpenError> {
        todo!()
    }
    pub fn create_log(&self, id: &TopicPartition, topic_id: TopicId, config: Arc<LogConfig>) -> io::Result<Arc<Log>> {
        todo!()
    }
    pub fn get(&self, id: &TopicPartition) -> Option<Arc<Log>> {
        todo!()
    }
    pub fn delete_log(&self, id: &TopicPartition) -> io::Result<()> {
        todo!()
    }
    pub fn move_aside(&self, id: &TopicPartition) -> io::Result<()> {
        todo!()
    }
    pub fn logs(&self) -> Vec<Arc<Log>> {
        todo!()
    }
    pub fn dirs(&self) -> Vec<LogDirInfo> {
        todo!()
    }
    pub fn checkpoint_all(&self) -> io::Result<()> {
        todo!()
    }
    pub fn maintenance(&self, now: Timestamp) {
        todo!()
    }
    pub fn shutdown(&self, broker_epoch: i64) {
        todo!()
    }
}
