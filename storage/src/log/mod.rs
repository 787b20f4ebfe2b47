//! A partition's log: segments one behind the other, and what is known about them.
//!
//! ```text
//!  log_start .. recovery_point .. first_unstable .. high_watermark .. log_end
//! ```
//! One writer at a time holds a short lock, which readers do not take: they load the list of segments, which is replaced whole,
//! and the offsets, which are atomics. The order of the writer's stores is what makes that right:
//! bytes, `first_unstable`, `log_end`, the segment's size; readers load in the opposite order. Whoever opens a file writes to it what
//! was collected for it, under a lock of its segment (`segment/behind.rs`).

mod ahead;
mod append;
mod flush;
mod open;
mod producers;
mod read;
mod recover;
mod relocate;
mod replace;
mod search;
mod truncate;
mod types;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::{ArcSwap, ArcSwapOption};
use ottla_protocol::{LeaderEpoch, Offset, TopicId, TopicPartition};
use parking_lot::{Mutex, RwLock};

use self::ahead::Ahead;
use crate::config::{Durability, LogConfig};
use crate::durable::{DurabilityListener, Durable};
use crate::journal::Journal;
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::ProducerState;
use crate::segment::{Home, Segment};

pub use open::LogOptions;
pub use recover::{Cut, RecoveryReport};
pub use types::{AbortedTxn, AppendContext, AppendInfo, LogOffsets, LogRead, TimestampOffset};

/// Name of the file that holds the leader epochs.
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";

/// One partition's log.
#[derive(Debug)]
pub struct Log {
    /// What is on the disk, shared with those who bring it there.
    durable: Arc<Durable>,
    /// Where `strict` appends go besides the segment; none for a log that stands alone.
    journal: ArcSwapOption<Journal>,
    /// Replaced when the log moves to another log directory.
    home: ArcSwap<Home>,
    config: ArcSwap<LogConfig>,
    /// In order, never empty; the last one is the active one.
    segments: ArcSwap<Vec<Arc<Segment>>>,
    writer: Mutex<Writer>,
    /// Held while files are synced and while the log is cut, so that the recovery point never gets ahead of a cut.
    flushing: Mutex<()>,
    epochs: RwLock<LeaderEpochs>,
    epochs_changed: AtomicBool,
    /// Files were created or renamed since the directory was synced.
    names_changed: AtomicBool,
    /// Zeros were cut off behind records since files were synced.
    length_changed: AtomicBool,
    /// The file with the topic id was written since it was synced.
    identity_changed: AtomicBool,
    /// Held while the directory is synced: who finds that the names did not change may trust that they are on the disk.
    naming: Mutex<()>,
    /// Bytes appended since the recovery point moved.
    unflushed: AtomicU64,
    /// Where the log was cut at least since a copy of it was last brought up to date; `i64::MAX`: nowhere.
    lowest_cut: AtomicI64,
    /// The log was cut below what the checkpoints of its directory say, and they were not written since.
    cut_is_unnoted: AtomicBool,
    /// A copy is being made in another log directory: what was copied must not be compacted under it.
    is_moving: AtomicBool,
    /// When the log was last flushed, in milliseconds.
    flushed_at: AtomicI64,
    log_start: AtomicI64,
    log_end: AtomicI64,
    recovery_point: AtomicI64,
    high_watermark: AtomicI64,
    /// `i64::MAX`: none.
    first_unstable: AtomicI64,
    has_uncommitted: AtomicBool,
    host: OnceLock<Weak<dyn LogHost>>,
}

/// What only the holder of the writer's lock may touch.
#[derive(Debug)]
struct Writer {
    producers: ProducerState,
    bytes_since_index: u64,
    ahead: Ahead,
    /// Offset of the newest producer snapshot; `None` if there is none.
    snapshot: Option<Offset>,
    closed: bool,
}

/// Whoever looks after many logs: work that an append must not wait for.
pub(crate) trait LogHost: std::fmt::Debug + Send + Sync {
    /// A segment was closed and is to be synced.
    fn flush_soon(&self, log: &Log);
    /// The active segment's file has zeros behind its records now, which are to go once nothing is appended any more.
    /// False: nobody comes back to it.
    fn cut_zeros_later(&self, log: &Log) -> bool;
    /// The log start or the recovery point moved in a way that must survive a crash.
    fn checkpoint(&self, log: &Log) -> io::Result<()>;
    /// Unlinks segments once nobody reads them any more.
    fn unlink_later(&self, segments: Vec<Arc<Segment>>, delay_ms: i64);
}

impl Log {
    pub fn topic_partition(&self) -> &TopicPartition {
        self.durable.id()
    }

    /// Zero if the directory does not say.
    pub fn topic_id(&self) -> TopicId {
        self.durable.topic_id()
    }

    /// Whether the directory does not say which topic the log belongs to, though it did once: it holds records that were
    /// flushed. Where nothing ever was, a power cut can have taken the file, and with it nothing that was promised.
    pub fn has_lost_its_topic(&self) -> bool {
        let offsets = self.offsets();
        self.topic_id().is_zero() && self.size() > 0 && offsets.recovery_point > offsets.log_start
    }

    /// The partition's directory.
    pub fn dir(&self) -> PathBuf {
        self.home().path()
    }

    /// The log directory that holds it.
    pub fn parent_dir(&self) -> PathBuf {
        self.home().path().parent().map(Path::to_path_buf).unwrap_or_default()
    }

    /// False once a write or sync in its log directory has failed.
    pub fn is_online(&self) -> bool {
        self.home().health.is_online()
    }

    pub fn config(&self) -> Arc<LogConfig> {
        self.config.load_full()
    }

    /// From the next append on.
    pub fn update_config(&self, config: Arc<LogConfig>) {
        {
            // An append goes by what holds when it is written.
            let _writer = self.writer.lock();
            if self.is_strict() && config.durability != Durability::Strict {
                // From now on they count as replicated, and for that they have to be with the operating system. Where that fails
                // the journal has them a moment later.
                let _ = self.active().write_collected();
            }
            self.config.store(config);
        }
        // What was appended under another promise is brought under this one.
        if self.is_strict()
            && self.durable.end() < self.log_end()
            && let Some(journal) = &*self.journal.load()
        {
            journal.sync_soon(&self.durable);
        }
    }

    /// Everything before it is on the disk: moved by the journal of [`crate::LogDirs`] and by [`Self::flush`].
    pub fn durable_end(&self) -> Offset {
        self.durable.end().min(self.log_end())
    }

    /// How far this replica has come, as far as acknowledgements and the high watermark are concerned: to the end of what is
    /// on the disk where `log.durability` is `strict`, else to the log end.
    pub fn replicated_end(&self) -> Offset {
        if self.is_strict() { self.durable_end() } else { self.log_end() }
    }

    fn is_strict(&self) -> bool {
        self.config.load().durability == Durability::Strict
    }

    /// Who is told when [`Self::durable_end`] moves by the journal of [`crate::LogDirs`]. A log of its own moves it with
    /// [`Self::flush`] and tells nobody.
    pub fn set_durability_listener(&self, listener: Weak<dyn DurabilityListener>) {
        self.durable.set_listener(listener);
    }

    pub(crate) const fn durable(&self) -> &Arc<Durable> {
        &self.durable
    }

    /// From now on `strict` appends go to `journal` as well.
    pub(crate) fn set_journal(self: &Arc<Self>, journal: &Arc<Journal>) {
        self.durable.set_log(Arc::downgrade(self));
        self.journal.store(Some(Arc::clone(journal)));
    }

    /// Where the offsets are.
    pub fn offsets(&self) -> LogOffsets {
        let log_end = self.log_end();
        LogOffsets {
            log_start: self.log_start(),
            log_end,
            recovery_point: Offset(self.recovery_point.load(Ordering::Acquire)),
            first_unstable: self.first_unstable(),
        }
    }

    fn log_start(&self) -> Offset {
        Offset(self.log_start.load(Ordering::Acquire))
    }

    fn log_end(&self) -> Offset {
        Offset(self.log_end.load(Ordering::Acquire))
    }

    fn first_unstable(&self) -> Option<Offset> {
        Some(Offset(self.first_unstable.load(Ordering::Acquire))).filter(|offset| offset.0 != i64::MAX)
    }

    /// What is committed: every in-sync replica has it.
    pub fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::Acquire))
    }

    /// Told by the replica. Never ahead of the log end, nor before the log start: a new leader may know less of what is
    /// committed than a follower whose records were deleted up to there.
    pub fn set_high_watermark(&self, offset: Offset) {
        let offset = offset.max(self.log_start()).min(self.log_end());
        self.high_watermark.store(offset.0, Ordering::Release);
        if self.has_uncommitted.load(Ordering::Acquire) {
            let mut writer = self.writer.lock();
            writer.producers.on_high_watermark(offset);
            self.publish_first_unstable(&writer.producers);
        }
    }

    /// Up to where a reader of committed records may read.
    pub fn last_stable_offset(&self) -> Offset {
        // The high watermark first: what is transactional below it had set `first_unstable` before.
        let high_watermark = self.high_watermark();
        let first = self.first_unstable().map_or(high_watermark, |first| first.min(high_watermark));
        // Records of an open transaction may have been deleted: readers are sent where there is something to read.
        first.max(self.log_start())
    }

    fn publish_first_unstable(&self, producers: &ProducerState) {
        self.first_unstable.store(producers.first_unstable().map_or(i64::MAX, |offset| offset.0), Ordering::Release);
        self.has_uncommitted.store(producers.has_uncommitted(), Ordering::Release);
    }

    /// Bytes of all segments.
    pub fn size(&self) -> u64 {
        self.segments.load().iter().map(|segment| segment.size()).sum()
    }

    pub fn segment_count(&self) -> usize {
        self.segments.load().len()
    }

    fn active(&self) -> Arc<Segment> {
        #[expect(clippy::expect_used, reason = "a log always has an active segment")]
        let active = self.segments.load().last().map(Arc::clone).expect("an active segment");
        active
    }

    /// Records that `epoch` begins at `start`. It is in the file after the next flush; until then the batches tell it.
    pub fn assign_leader_epoch(&self, epoch: LeaderEpoch, start: Offset) -> io::Result<()> {
        self.home().health.check()?;
        if self.epochs.write().assign(epoch, start) {
            self.epochs_changed.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.read().latest()
    }

    /// The largest epoch that is not above `epoch`, and where it ends.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.read().end_offset_for(epoch, log_end)
    }

    /// The epoch of the record at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.epochs.read().at(offset)
    }

    pub(crate) fn set_host(&self, host: Weak<dyn LogHost>) {
        // Set once, right after the log was opened.
        let _ = self.host.set(host);
    }

    fn host(&self) -> Option<Arc<dyn LogHost>> {
        self.host.get().and_then(Weak::upgrade)
    }

    pub(crate) fn home(&self) -> Arc<Home> {
        self.home.load_full()
    }
}
