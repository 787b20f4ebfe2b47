//! One log directory: its lock, its identity, its checkpoints and its clean-shutdown marker.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ottla_protocol::topic_names::CLUSTER_METADATA_TOPIC;
use ottla_protocol::{Offset, TopicPartition};
use parking_lot::Mutex;
use uuid::Uuid;

use super::meta_properties::{self, MetaProperties};
use super::open::partition_of;
use super::{LogDirInfo, LogDirsOptions, OpenError};
use crate::checkpoint::{self, CheckpointFile, Offsets, brief};
use crate::disk::{DirLock, Disk, read_file, remove_if_present, rewrite_atomic};
use crate::errors::is_shortage;
use crate::journal::Journal;
use crate::log::Log;
use crate::segment::DirHealth;

const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const LOCK: &str = ".lock";

/// One log directory.
#[derive(Debug)]
pub struct Directory {
    pub path: PathBuf,
    pub id: Uuid,
    pub health: Arc<DirHealth>,
    _lock: Option<DirLock>,
    recovery_points: CheckpointFile,
    high_watermarks: CheckpointFile,
    log_starts: CheckpointFile,
    pub cleaner: CheckpointFile,
    /// Missing in a directory that is offline from the start.
    pub journal: OnceLock<Arc<Journal>>,
    /// What the checkpoints on the disk say, in short; `None` while nobody knows.
    writing: Mutex<Option<u64>>,
    /// Whose offsets the checkpoints on the disk tell, by [`brief`].
    remembered: Mutex<HashSet<u64>>,
    /// Logs that are here and could not be opened for want of space or of file descriptors.
    pub absent: Mutex<HashMap<TopicPartition, KnownLog>>,
}

/// What a directory knows of a log before the log is opened.
#[derive(Debug, Clone, Copy)]
pub struct KnownLog {
    pub recovery_point: Offset,
    pub high_watermark: Offset,
    pub log_start: Offset,
    /// It was closed before: all of it is sound.
    pub clean: bool,
}

/// In place of a log start that the checkpoint leaves out: the name of the first segment says it.
const NOT_TOLD: Offset = Offset(-1);

/// What checkpoints say, in 64 bits: two that differ say different things, whatever the order of the logs.
#[derive(Default)]
struct Summary(u64);

impl Summary {
    /// Recovery point, high watermark and log start.
    fn add(&mut self, log: &Log) -> [Offset; 3] {
        let offsets = log.offsets();
        let is_told = log.segments().first().is_some_and(|first| offsets.log_start > first.base.max(Offset::ZERO));
        let log_start = if is_told { offsets.log_start } else { NOT_TOLD };
        let told = [offsets.recovery_point, log.high_watermark(), log_start];
        self.mix(log.topic_partition(), told);
        told
    }

    fn add_absent(&mut self, id: &TopicPartition, absent: &KnownLog) {
        self.mix(id, [absent.recovery_point, absent.high_watermark, absent.log_start]);
    }

    fn mix(&mut self, id: &TopicPartition, told: [Offset; 3]) {
        self.0 = self.0.wrapping_add(brief(&(id, told)));
    }

    const fn finish(&self) -> u64 {
        self.0
    }
}

/// What the process before left in a directory.
#[derive(Debug, Default)]
pub struct Left {
    /// Its broker epoch if it stopped cleanly.
    pub clean: Option<i64>,
    pub recovery_points: Offsets,
    pub high_watermarks: Offsets,
    pub log_starts: Offsets,
    pub cleaned: Offsets,
}

impl Left {
    /// What is known of one log.
    pub fn of(&self, id: &TopicPartition) -> KnownLog {
        let at = |offsets: &Offsets| offsets.get(id).copied().unwrap_or(Offset::ZERO);
        KnownLog {
            recovery_point: at(&self.recovery_points),
            high_watermark: at(&self.high_watermarks),
            log_start: at(&self.log_starts),
            clean: self.clean.is_some(),
        }
    }
}

impl Directory {
    /// Locks a directory and checks whose it is. The outer error refuses the start, the inner one is the directory's own.
    pub fn open(path: &Path, options: &LogDirsOptions) -> Result<io::Result<(Self, Left)>, OpenError> {
        let disk = &*options.disk;
        let io = || {
            disk.create_dir_all(path)?;
            if let Some(parent) = path.parent() {
                disk.sync_dir(parent)?;
            }
            disk.lock(&path.join(LOCK))
        };
        let lock = match io() {
            Err(error) => return Ok(Err(error)),
            Ok(None) => return Err(OpenError::Locked(path.to_path_buf())),
            Ok(Some(lock)) => lock,
        };
        let id = match settle_identity(path, options) {
            Err(error) => return Ok(Err(error)),
            Ok(Err(reason)) => return Err(OpenError::Mismatch { dir: path.to_path_buf(), reason }),
            Ok(Ok(id)) => id,
        };
        let dir = Self::new(path, id, Some(lock));
        Ok(dir.take_over(disk).map(|left| (dir, left)))
    }

    /// A directory that cannot be used.
    pub fn offline(path: &Path, error: &io::Error) -> Self {
        let dir = Self::new(path, Uuid::nil(), None);
        dir.health.fail(path, error);
        dir
    }

    fn new(path: &Path, id: Uuid, lock: Option<DirLock>) -> Self {
        Self {
            path: path.to_path_buf(),
            id,
            health: Arc::default(),
            _lock: lock,
            recovery_points: CheckpointFile::new(path, checkpoint::RECOVERY_POINTS),
            high_watermarks: CheckpointFile::new(path, checkpoint::HIGH_WATERMARKS),
            log_starts: CheckpointFile::new(path, checkpoint::LOG_STARTS),
            cleaner: CheckpointFile::new(path, checkpoint::CLEANER),
            journal: OnceLock::new(),
            writing: Mutex::new(None),
            remembered: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// Reads what was left and removes the clean-shutdown marker before anything else changes: it must not vouch for
    /// what happens from now on.
    fn take_over(&self, disk: &dyn Disk) -> io::Result<Left> {
        let marker = self.path.join(CLEAN_SHUTDOWN);
        let clean = read_file(disk, &marker)?.map(|bytes| broker_epoch(&bytes));
        if clean.is_some() {
            disk.remove_file(&marker)?;
            disk.sync_dir(&self.path)?;
        }
        let left = Left {
            clean,
            recovery_points: self.recovery_points.read(disk)?,
            high_watermarks: self.high_watermarks.read(disk)?,
            log_starts: self.log_starts.read(disk)?,
            cleaned: self.cleaner.read(disk)?,
        };
        let told = [&left.recovery_points, &left.high_watermarks, &left.log_starts];
        *self.remembered.lock() = told.into_iter().flat_map(Offsets::keys).map(brief).collect();
        Ok(left)
    }

    /// Whether the checkpoints on the disk tell offsets of this partition. Those of a log that was deleted must not be taken for
    /// those of a new one of the same name. Where two are the same in brief they are written once more than needed.
    pub fn remembers(&self, id: &TopicPartition) -> bool {
        self.remembered.lock().contains(&brief(id))
    }

    pub fn info(&self, disk: &dyn Disk) -> LogDirInfo {
        let online = self.health.is_online();
        let space = if online { disk.space(&self.path).ok() } else { None };
        let bytes = |bytes: Option<u64>| bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        LogDirInfo {
            path: self.path.clone(),
            id: self.id,
            online,
            total_bytes: bytes(space.map(|space| space.total)),
            usable_bytes: bytes(space.map(|space| space.usable)),
        }
    }

    /// An error of this directory; all but lack of space take it offline.
    pub fn report(&self, error: &io::Error) {
        if !is_shortage(error) {
            self.health.fail(&self.path, error);
        }
    }

    /// Writes the three offset checkpoints of `logs`, which are looked up while nobody else writes them.
    pub fn checkpoint(&self, disk: &dyn Disk, logs: impl Fn() -> Vec<Arc<Log>>) -> io::Result<()> {
        let written = self.write_checkpoints(disk, &logs);
        match written {
            // What frees space must not fail for want of it.
            Err(error) if is_shortage(&error) => {
                self.health.on_shortage(&self.path, &error);
                self.write_checkpoints(disk, &logs)
            }
            written => written,
        }
    }

    fn write_checkpoints(&self, disk: &dyn Disk, logs: &dyn Fn() -> Vec<Arc<Log>>) -> io::Result<()> {
        let mut written = self.writing.lock();
        self.health.check()?;
        if written.is_some() && *written == Some(self.summary(&logs())) {
            // Nothing has moved, as most of the time: of many partitions not even the texts are made.
            return Ok(());
        }
        let mut recovery_points = Offsets::new();
        let mut high_watermarks = Offsets::new();
        let mut log_starts = Offsets::new();
        // Known before it is on the disk: whoever begins a log of a name either finds it here or is looked up.
        let (logs, told) = {
            let mut remembered = self.remembered.lock();
            let logs = logs();
            let told: HashSet<u64> = logs.iter().map(|log| brief(log.topic_partition())).collect();
            remembered.extend(&told);
            (logs, told)
        };
        let mut summary = Summary::default();
        for log in logs {
            let id = log.topic_partition();
            let [recovery_point, high_watermark, log_start] = summary.add(&log);
            recovery_points.insert(id.clone(), recovery_point);
            high_watermarks.insert(id.clone(), high_watermark);
            if log_start != NOT_TOLD {
                log_starts.insert(id.clone(), log_start);
            }
        }
        // What is known of them must not be lost meanwhile: records that were deleted would be there again.
        for (id, absent) in &*self.absent.lock() {
            summary.add_absent(id, absent);
            recovery_points.insert(id.clone(), absent.recovery_point);
            high_watermarks.insert(id.clone(), absent.high_watermark);
            if absent.log_start > Offset::ZERO {
                log_starts.insert(id.clone(), absent.log_start);
            }
        }
        *written = None;
        let done = self
            .log_starts
            .write(disk, &log_starts)
            .and_then(|()| self.recovery_points.write(disk, &recovery_points))
            .and_then(|()| self.high_watermarks.write(disk, &high_watermarks));
        if done.is_ok() {
            *self.remembered.lock() = told;
            *written = Some(summary.finish());
        }
        done.inspect_err(|error| self.report(error))
    }

    /// What the checkpoints of these logs would say now.
    fn summary(&self, logs: &[Arc<Log>]) -> u64 {
        let mut summary = Summary::default();
        for log in logs {
            summary.add(log);
        }
        for (id, absent) in &*self.absent.lock() {
            summary.add_absent(id, absent);
        }
        summary.finish()
    }

    /// After every log was closed: the checkpoints, then the marker that vouches for them.
    pub fn close(&self, disk: &dyn Disk, logs: Vec<Arc<Log>>, broker_epoch: i64) -> io::Result<()> {
        self.checkpoint(disk, || logs.clone())?;
        if let Some(journal) = self.journal.get() {
            journal.stop();
            self.health.check()?;
            journal.remove()?;
        }
        if self.absent.lock().values().any(|absent| !absent.clean) {
            // Nobody has checked them since a crash.
            return Ok(());
        }
        let marker = format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}");
        rewrite_atomic(disk, &self.path.join(CLEAN_SHUTDOWN), marker.as_bytes())
    }
}

/// The epoch in the marker; -1 for a marker without one, as older Kafkas wrote it.
fn broker_epoch(bytes: &[u8]) -> i64 {
    serde_json::from_slice::<serde_json::Value>(bytes).ok().and_then(|json| json["brokerEpoch"].as_i64()).unwrap_or(-1)
}

/// Whether a name is that of a partition's log. The metadata log is begun before the directory has its identity.
fn holds_records(name: &str) -> bool {
    partition_of(name).is_some_and(|partition| &*partition.topic != CLUSTER_METADATA_TOPIC)
}

/// The directory's id, from its meta.properties or newly given; the reason if it belongs to somebody else.
fn settle_identity(path: &Path, options: &LogDirsOptions) -> io::Result<Result<Uuid, String>> {
    let disk = &*options.disk;
    let file = path.join(meta_properties::FILE);
    remove_if_present(disk, &path.join(format!("{}.tmp", meta_properties::FILE)))?;
    let found = match read_file(disk, &file)? {
        None => None,
        Some(bytes) => match MetaProperties::decode(&String::from_utf8_lossy(&bytes)) {
            Ok(found) => Some(found),
            Err(reason) => return Ok(Err(reason)),
        },
    };
    if let Some(found) = &found {
        if found.cluster_id != options.cluster_id {
            return Ok(Err(format!("it belongs to cluster {}, not to {}", found.cluster_id, options.cluster_id)));
        }
        if found.node_id != options.broker_id {
            return Ok(Err(format!("it belongs to node {}, not to {}", found.node_id, options.broker_id)));
        }
        if let Some(id) = found.directory_id {
            return Ok(Ok(id));
        }
    }
    if found.is_none()
        && let Some(log) = disk.list(path)?.into_iter().find(|entry| entry.is_dir && holds_records(&entry.name))
    {
        // With a new identity none of these logs would be served, and nobody would be told.
        return Ok(Err(format!("it holds {} but no {}", log.name, meta_properties::FILE)));
    }
    let mut id = Uuid::new_v4();
    // As in Kafka no id is given out whose text begins with a dash: tools would take it for an option.
    while ottla_protocol::ids::encode_uuid(id).starts_with('-') {
        id = Uuid::new_v4();
    }
    let meta =
        MetaProperties { cluster_id: options.cluster_id.clone(), node_id: options.broker_id, directory_id: Some(id) };
    rewrite_atomic(disk, &file, meta.encode().as_bytes())?;
    Ok(Ok(id))
}
