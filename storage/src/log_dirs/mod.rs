//! All logs of a broker, in one or several log directories.
//!
//! ```text
//! log.dirs[0]/
//!   .lock  .kafka_cleanshutdown  meta.properties
//!   recovery-point-offset-checkpoint  replication-offset-checkpoint
//!   log-start-offset-checkpoint       cleaner-offset-checkpoint
//!   ottla-journal-000000 ..  ottla-reserve
//!   orders-0/  orders-1/  orders-2.<uuid>-delete/  orders-3.<uuid>-stray/  orders-4.<uuid>-future/
//! ```

mod cleaning;
mod copies;
mod directory;
mod hosted;
mod meta_properties;
mod moves;
mod open;
mod worker;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use ottla_protocol::topic_names::validate_topic_name;
use ottla_protocol::{BrokerId, Timestamp, TopicId, TopicPartition};
use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use crate::config::{Durability, LogConfig};
use crate::disk::Disk;
use crate::errors::offline;
use crate::journal::JournalOptions;
use crate::log::{Log, LogHost, LogOptions};
use crate::segment::OpenFiles;
use cleaning::Cleaning;
use directory::Directory;
use hosted::{Hosted, Logs};
use moves::Moves;
pub use moves::{MoveError, MoveStep, MovingLog};
use worker::Worker;

/// More logs than these are closed with one sync of everything.
const SYNCED_ONE_BY_ONE_MAX: usize = 4;

/// How log directories are opened.
#[derive(Debug, Clone)]
pub struct LogDirsOptions {
    pub broker_id: BrokerId,
    /// The cluster's id, 22 characters of base64url. A directory of another cluster is refused.
    pub cluster_id: String,
    /// The configuration of a log that is found on disk, until [`Log::update_config`] brings the topic's own.
    pub default_config: Arc<LogConfig>,
    /// `num.recovery.threads.per.data.dir`.
    pub recovery_threads: usize,
    /// `log.cleaner.threads`; 0: nothing is compacted but by [`LogDirs::clean_one`].
    pub cleaner_threads: usize,
    /// `log.cleaner.dedupe.buffer.size`, of all cleaner threads together.
    pub cleaner_dedupe_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`, of all cleaner threads together.
    pub cleaner_io_bytes_per_second_max: f64,
    /// `log.cleaner.backoff.ms`: how long a cleaner thread sleeps when nothing is to be cleaned.
    pub cleaner_backoff_ms: u64,
    /// Files that may be open at a time besides those being read.
    pub open_files_max: usize,
    pub journal: JournalOptions,
    /// Space kept back in each directory for when its disk is full; less on a small disk. 0: none.
    pub reserve_bytes: u64,
    pub disk: Arc<dyn Disk>,
}

impl LogDirsOptions {
    /// Kafka's defaults on the machine's disk.
    pub fn new(broker_id: BrokerId, cluster_id: impl Into<String>) -> Self {
        Self {
            broker_id,
            cluster_id: cluster_id.into(),
            default_config: Arc::default(),
            recovery_threads: 2,
            cleaner_threads: 1,
            cleaner_dedupe_bytes: 128 * 1024 * 1024,
            cleaner_io_bytes_per_second_max: f64::INFINITY,
            cleaner_backoff_ms: 15_000,
            open_files_max: 4096,
            journal: JournalOptions::default(),
            reserve_bytes: 16 << 20,
            disk: Arc::new(crate::disk::RealDisk),
        }
    }
}

/// Why a broker's log directories cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("no log directory is given")]
    NoDirectory,
    #[error("{} is in use by another broker", .0.display())]
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
    /// Of its file system; -1 when unknown.
    pub total_bytes: i64,
    /// -1 when unknown.
    pub usable_bytes: i64,
}

/// All logs of a broker.
#[derive(Debug)]
pub struct LogDirs {
    dirs: Vec<Arc<Directory>>,
    logs: RwLock<Logs>,
    /// Creation and deletion, one at a time; appends and reads do not come here.
    changing: Mutex<()>,
    /// Under `changing`: none is created or found any more.
    is_shut: AtomicBool,
    open_files: Arc<OpenFiles>,
    worker: Worker,
    cleaning: Cleaning,
    moves: Moves,
    /// Logs whose newer files may lie in a directory that is not here.
    blocked: std::sync::OnceLock<std::collections::HashSet<TopicPartition>>,
    /// Directories that get no new logs as long as there are others.
    cordoned: RwLock<Vec<Uuid>>,
    /// Logs of partitions that were found in another directory before, until it is settled which of them counts.
    twins: Mutex<Vec<Hosted>>,
    /// Set when all directories were closed cleanly by the process before.
    was_clean: bool,
    previous_broker_epoch: i64,
    pub(crate) options: LogDirsOptions,
}

impl LogDirs {
    /// Opens every log of every directory; a directory that fails is offline from the start. The directories are locked until
    /// [`Self::shutdown`] was called and the last reference is gone: without it the threads hold one for up to
    /// `cleaner_backoff_ms`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(paths: &[PathBuf], options: LogDirsOptions) -> Result<Arc<Self>, OpenError> {
        open::open(paths, options)
    }

    /// Whether the process before stopped cleanly.
    pub const fn was_clean(&self) -> bool {
        self.was_clean
    }

    /// The broker epoch of the process before if it stopped cleanly (KIP-966), otherwise -1.
    pub const fn previous_broker_epoch(&self) -> i64 {
        self.previous_broker_epoch
    }

    pub fn get(&self, id: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().get(id).map(|hosted| Arc::clone(&hosted.log))
    }

    /// All logs, in no order.
    pub fn logs(&self) -> Vec<Arc<Log>> {
        self.logs.read().values().map(|hosted| Arc::clone(&hosted.log)).collect()
    }

    /// The id of the directory that holds a log.
    pub fn directory_of(&self, id: &TopicPartition) -> Option<Uuid> {
        self.logs.read().get(id).map(|hosted| hosted.dir.id)
    }

    /// New logs go to other directories than these from now on, if there are any, and no log can be moved to them.
    pub fn cordon(&self, dirs: &[Uuid]) {
        if *self.cordoned.read() != dirs {
            *self.cordoned.write() = dirs.to_vec();
        }
    }

    /// The directories, with how much room they have.
    pub fn dirs(&self) -> Vec<LogDirInfo> {
        self.dirs.iter().map(|dir| dir.info(&*self.options.disk)).collect()
    }

    /// From now on `listener` is called whenever a directory has failed, perhaps under the locks of logs: it must not wait.
    /// To be set once.
    pub fn on_failure(&self, listener: impl Fn() + Send + Sync + 'static) {
        let listener: Arc<dyn Fn() + Send + Sync> = Arc::new(listener);
        self.dirs.iter().for_each(|dir| dir.health.on_failure(Arc::clone(&listener)));
    }

    /// The directories that have failed, with their ids; an id is nil where it could not even be read.
    pub fn failed_dirs(&self) -> Vec<(PathBuf, Uuid)> {
        let failed = self.dirs.iter().filter(|dir| !dir.health.is_online());
        failed.map(|dir| (dir.path.clone(), dir.id)).collect()
    }

    /// Whether no directory is left.
    pub fn all_have_failed(&self) -> bool {
        self.dirs.iter().all(|dir| !dir.health.is_online())
    }

    /// The log of a partition that is new on this broker: as it is if there is one, else a new one in the directory with the
    /// fewest logs.
    ///
    /// # Errors
    /// If the log on disk belongs to another topic id, no directory is online, or after [`Self::shutdown`]. `InvalidInput` for
    /// what is no topic's name in Kafka, a negative partition, and a directory's name of more than 255 bytes.
    pub fn create_log(
        self: &Arc<Self>,
        id: &TopicPartition,
        topic_id: TopicId,
        config: Arc<LogConfig>,
    ) -> io::Result<Arc<Log>> {
        self.log_for(id, topic_id, config, true)
    }

    /// The log of a partition that this broker had before: as [`Self::create_log`], but none is begun while a directory is
    /// offline, for the log may be in there.
    ///
    /// # Errors
    /// As [`Self::create_log`], and when the log is in no directory that is online.
    pub fn find_or_create_log(
        self: &Arc<Self>,
        id: &TopicPartition,
        topic_id: TopicId,
        config: Arc<LogConfig>,
    ) -> io::Result<Arc<Log>> {
        self.log_for(id, topic_id, config, false)
    }

    fn log_for(
        self: &Arc<Self>,
        id: &TopicPartition,
        topic_id: TopicId,
        config: Arc<LogConfig>,
        is_new: bool,
    ) -> io::Result<Arc<Log>> {
        check_name(id)?;
        let _changing = self.changing.lock();
        if self.is_shut.load(Ordering::Relaxed) {
            return Err(io::Error::other("the log directories were shut down"));
        }
        let existing = match self.get(id) {
            None => self.open_absent(id)?,
            log => log,
        };
        if let Some(log) = existing {
            if log.topic_id().is_zero() && !topic_id.is_zero() {
                if log.has_lost_its_topic() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!(
                            "{} holds {} bytes of records but no partition.metadata says of which topic id; nothing is written \
                             there until the file is put back (topic_id: {topic_id}) or the directory is moved away",
                            log.dir().display(),
                            log.size()
                        ),
                    ));
                }
                log.set_topic_id(topic_id)?;
            }
            if log.topic_id() != topic_id {
                return Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    format!("the log on disk belongs to topic id {}, not {topic_id}", log.topic_id()),
                ));
            }
            log.update_config(config);
            return Ok(log);
        }
        if self.blocked.get().is_some_and(|blocked| blocked.contains(id)) {
            return Err(io::Error::other("the log directory that the log was being moved from is not here"));
        }
        if !is_new && let Some(offline) = self.dirs.iter().find(|dir| !dir.health.is_online()) {
            return Err(io::Error::other(format!(
                "its log may be in {}, which is offline: none is begun elsewhere",
                offline.path.display()
            )));
        }
        let dir = self.dir_for(id).ok_or_else(offline)?;
        if dir.remembers(id) {
            // Of a log that was deleted: after a kill its log start and recovery point would be taken for those of this one.
            self.checkpoint_dir(&dir)?;
        }
        let options = LogOptions {
            topic_id,
            config,
            clean_shutdown: true,
            disk: Arc::clone(&self.options.disk),
            health: Arc::clone(&dir.health),
            open_files: Arc::clone(&self.open_files),
            ..LogOptions::new(id.clone(), now())
        };
        let (log, _) = Log::open(dir.path.join(id.to_string()), options).inspect_err(|error| dir.report(error))?;
        let log = Arc::new(log);
        self.adopt(&log, dir);
        Ok(log)
    }

    fn adopt(self: &Arc<Self>, log: &Arc<Log>, dir: Arc<Directory>) {
        let hosted = self.host(log, dir);
        self.logs.write().insert(log.topic_partition().clone(), hosted);
    }

    fn host(self: &Arc<Self>, log: &Arc<Log>, dir: Arc<Directory>) -> Hosted {
        let host: Weak<dyn LogHost> = Arc::<Self>::downgrade(self);
        log.set_host(host);
        if let Some(journal) = dir.journal.get() {
            log.set_journal(journal);
        }
        Hosted { log: Arc::clone(log), dir }
    }

    /// Deletes a partition: its directory is renamed at once and removed after `file.delete.delay.ms`.
    pub fn delete_log(self: &Arc<Self>, id: &TopicPartition) -> io::Result<()> {
        let Some((log, to)) = self.rename_away(id, "delete")? else { return Ok(()) };
        let delay_ms = log.config().file_delete_delay_ms;
        tracing::info!(partition = %id, dir = %to.display(), delay_ms, "log renamed, to be deleted after the delay");
        self.worker.remove_dir_later(to, delay_ms);
        Ok(())
    }

    /// Takes a log that nobody knows out of service and keeps its files under another name.
    pub fn move_aside(self: &Arc<Self>, id: &TopicPartition) -> io::Result<()> {
        if let Some((_, to)) = self.rename_away(id, "stray")? {
            tracing::warn!(partition = %id, dir = %to.display(), "log moved aside");
        }
        Ok(())
    }

    fn rename_away(self: &Arc<Self>, id: &TopicPartition, suffix: &str) -> io::Result<Option<(Arc<Log>, PathBuf)>> {
        let _changing = self.changing.lock();
        self.give_up(id);
        // To be renamed like the others it has to be one of them.
        self.open_absent(id)?;
        let Some(hosted) = self.logs.write().remove(id) else { return Ok(None) };
        self.forget_cleaning(id);
        let to = self.set_aside(&hosted, suffix)?;
        Ok(Some((hosted.log, to)))
    }

    /// Renames the directory of a log that is no longer served; where it is then.
    fn set_aside(&self, hosted: &Hosted, suffix: &str) -> io::Result<PathBuf> {
        hosted.log.refuse_appends();
        let to = hosted.dir.path.join(aside_name(hosted.log.topic_partition(), suffix));
        hosted.log.home().guard(|| {
            if suffix == "stray" {
                // It may be wanted after all: its own files have to have everything.
                hosted.log.finish()?;
            }
            hosted.log.retire(to.clone())?;
            self.options.disk.sync_dir(&hosted.dir.path)?;
            // Or the journal would bring it back.
            hosted.dir.journal.get().map_or(Ok(()), |journal| journal.reset(hosted.log.durable()))
        })?;
        Ok(to)
    }

    /// Writes all checkpoints of all directories. One that fails takes its directory offline; the others are written.
    pub fn checkpoint_all(&self) -> io::Result<()> {
        let mut result = Ok(());
        for dir in self.dirs.iter().filter(|dir| dir.health.is_online()) {
            if let Err(error) = self.checkpoint_dir(dir) {
                result = Err(error);
            }
        }
        result
    }

    fn checkpoint_dir(&self, dir: &Arc<Directory>) -> io::Result<()> {
        dir.checkpoint(&*self.options.disk, || {
            let mut logs = self.logs_in(dir);
            logs.extend(self.coming_to(dir));
            logs
        })
    }

    fn logs_in(&self, dir: &Arc<Directory>) -> Vec<Arc<Log>> {
        let (logs, twins) = (self.logs.read(), self.twins.lock());
        let here = logs.values().chain(&*twins).filter(|hosted| Arc::ptr_eq(&hosted.dir, dir));
        here.map(|hosted| Arc::clone(&hosted.log)).collect()
    }

    /// What is due from time to time: retention, rolling by time, expiry of producers. Called every minute; blocks.
    pub fn maintenance(&self, now: Timestamp) {
        for log in self.logs() {
            if !log.is_online() {
                continue;
            }
            let done = log.roll_if_old(now).and_then(|_| log.apply_retention(now));
            if let Err(error) = done {
                tracing::error!(partition = %log.topic_partition(), %error, "retention failed");
            }
            log.expire_producers(now);
        }
        self.open_files.close_idle();
    }

    /// Flushes what is due by `flush.ms`, bounds what recovery has to read, and looks after full disks. Called every few
    /// seconds; blocks.
    pub fn flush_due(&self, now: Timestamp) {
        for dir in self.dirs.iter().filter(|dir| dir.health.is_online()) {
            match dir.health.check_space(&dir.path) {
                Ok(false) => {}
                Ok(true) => self.free_space(dir, now),
                Err(error) => tracing::warn!(dir = %dir.path.display(), %error, "no look at the space left"),
            }
        }
        for log in self.logs().into_iter().filter(|log| log.is_online()) {
            if let Err(error) = log.flush_if_old(now) {
                tracing::error!(partition = %log.topic_partition(), %error, "log could not be flushed");
            }
        }
    }

    /// Deletes at once what may go.
    fn free_space(&self, dir: &Arc<Directory>, now: Timestamp) {
        for log in self.logs_in(dir) {
            if let Err(error) = log.apply_retention(now) {
                tracing::error!(partition = %log.topic_partition(), %error, "retention failed");
            }
        }
    }

    /// Makes durable what `strict` logs wait for and does what appends do not wait for, where [`JournalOptions::threads`] is
    /// off. False if there was nothing.
    pub fn commit(&self) -> bool {
        let worked = self.worker.run_pending(&*self.options.disk);
        let committed = self.dirs.iter().filter_map(|dir| dir.journal.get()).filter(|journal| journal.commit()).count();
        worked || committed > 0
    }

    /// Writes to the segments' files what was collected for them, where [`JournalOptions::threads`] is off.
    pub fn write_out(&self) {
        self.dirs.iter().filter_map(|dir| dir.journal.get()).for_each(|journal| journal.write_out());
    }

    /// Brings to the logs' own files what the journals hold, where [`JournalOptions::threads`] is off.
    pub fn trim(&self) {
        self.dirs.iter().filter_map(|dir| dir.journal.get()).for_each(|journal| journal.trim());
    }

    /// Closes every log and leaves what the next start trusts: checkpoints, snapshots and the clean-shutdown marker. Nothing is
    /// appended and no log is created any more.
    pub fn shutdown(&self, broker_epoch: i64) {
        {
            let _changing = self.changing.lock();
            self.is_shut.store(true, Ordering::Relaxed);
        }
        // A compaction in progress notices that its log takes nothing any more.
        for log in self.logs() {
            log.refuse_appends();
        }
        self.cleaning.stop();
        self.worker.stop();
        for dir in self.dirs.iter().filter(|dir| dir.health.is_online()) {
            let logs = self.logs_in(dir);
            let done =
                self.close_logs(dir, &logs).and_then(|()| dir.close(&*self.options.disk, logs.clone(), broker_epoch));
            if let Err(error) = done {
                tracing::error!(dir = %dir.path.display(), %error, "log directory was not closed cleanly");
            }
        }
    }

    /// Many logs are closed with one sync of the file system that holds them: with a handful of syncs for each, a broker of
    /// many partitions would take seconds to end.
    fn close_logs(&self, dir: &Directory, logs: &[Arc<Log>]) -> io::Result<()> {
        let is_slow = |log: &&Arc<Log>| log.is_unsynced() && log.config().durability != Durability::Ephemeral;
        let slow = logs.iter().filter(is_slow).count();
        let file_system = dir.journal.get().and_then(|journal| journal.file_system());
        let Some(file_system) = file_system.filter(|_| slow > SYNCED_ONE_BY_ONE_MAX) else {
            return in_parallel(logs, self.options.recovery_threads, Log::finish);
        };
        let (slow, quick): (Vec<_>, Vec<_>) = logs.iter().map(Arc::clone).partition(|log| is_slow(&log));
        in_parallel(&quick, 1, Log::finish)?;
        let unsynced = slow.iter().map(|log| log.finish_unsynced()).collect::<io::Result<Vec<_>>>()?;
        file_system.sync().inspect_err(|error| dir.report(error))?;
        slow.iter().zip(unsynced).for_each(|(log, what)| log.mark_synced(what));
        Ok(())
    }
}

impl LogHost for LogDirs {
    fn flush_soon(&self, log: &Log) {
        if let Some(log) = self.get(log.topic_partition()) {
            self.worker.flush(log);
        }
    }

    fn cut_zeros_later(&self, log: &Log) -> bool {
        // Not another of its name.
        let found = self.get(log.topic_partition()).filter(|found| std::ptr::eq(&raw const **found, log));
        found.is_some_and(|log| self.worker.cut_zeros_later(&log))
    }

    fn checkpoint(&self, log: &Log) -> io::Result<()> {
        let dir = self.logs.read().get(log.topic_partition()).map(|hosted| Arc::clone(&hosted.dir));
        dir.map_or(Ok(()), |dir| self.checkpoint_dir(&dir))
    }

    fn unlink_later(&self, segments: Vec<Arc<crate::segment::Segment>>, delay_ms: i64) {
        // Somebody may wait for the space.
        if segments.first().is_some_and(|segment| segment.log_file().home().health.is_full()) {
            Worker::unlink_now(&*self.options.disk, segments);
        } else {
            self.worker.unlink_later(segments, delay_ms);
        }
    }
}

/// Closing syncs, so it is worth doing several logs at a time.
fn in_parallel(logs: &[Arc<Log>], threads: usize, work: impl Fn(&Log) -> io::Result<()> + Sync) -> io::Result<()> {
    let chunk = logs.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> =
            logs.chunks(chunk).map(|logs| scope.spawn(move || logs.iter().try_for_each(|log| work(log)))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| Err(io::Error::other("panicked"))))
    })
}

/// Kafka's rule for topics, and what is needed beside it for the directory's name.
fn check_name(id: &TopicPartition) -> io::Result<()> {
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidInput, reason);
    validate_topic_name(&id.topic).map_err(invalid)?;
    if id.partition < 0 || id.to_string().len() > 255 {
        return Err(invalid(format!("no directory of a log is called {id}")));
    }
    Ok(())
}

/// `orders-0.<32 hex digits>-delete`, never longer than a file name may be.
fn aside_name(id: &TopicPartition, suffix: &str) -> String {
    let tail = format!("-{}.{}-{suffix}", id.partition, Uuid::new_v4().simple());
    let room = 255 - tail.len();
    let topic: &str = &id.topic[..id.topic.floor_char_boundary(room)];
    format!("{topic}{tail}")
}

/// The machine's time.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}
