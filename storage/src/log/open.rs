//! Opening a partition's directory: what its files say, and what remains of an interrupted change.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::UNIX_EPOCH;

use arc_swap::{ArcSwap, ArcSwapOption};
use ottla_protocol::{Offset, Timestamp, TopicId, TopicPartition};
use parking_lot::{Mutex, RwLock};

use super::ahead::{self, Ahead};
use super::recover::{self, RecoveryReport};
use super::{EPOCHS_FILE, Log, Writer};
use crate::config::LogConfig;
use crate::disk::{DirEntry, Disk, RealDisk, read_file, remove_if_present};
use crate::durable::Durable;
use crate::leader_epoch::LeaderEpochs;
use crate::partition_metadata;
use crate::producer_state::ProducerState;
use crate::segment::{DirHealth, FileKind, Home, OpenFiles, Segment, Suffix};

/// What opening a log needs to know besides its files.
#[derive(Debug, Clone)]
pub struct LogOptions {
    pub id: TopicPartition,
    /// Written to the directory if it does not name one yet.
    pub topic_id: TopicId,
    pub config: Arc<LogConfig>,
    /// Up to here the log is durable. What lies behind is checked.
    pub recovery_point: Offset,
    /// As it was noted; the log begins no earlier than its first segment. Where DeleteRecords moved it within a segment nothing
    /// in the log's own directory tells of it.
    pub log_start: Offset,
    /// As it was noted; brought within the log.
    pub high_watermark: Offset,
    /// The log was closed before: what lies before its recovery point is believed, and where that is its end nothing is checked.
    pub clean_shutdown: bool,
    /// More records will be appended from the journal: the log may end before its start until then.
    pub tail_follows: bool,
    pub now: Timestamp,
    pub disk: Arc<dyn Disk>,
    pub health: Arc<DirHealth>,
    pub open_files: Arc<OpenFiles>,
}

impl LogOptions {
    /// For a log of its own on the machine's disk, all of which is checked when it is opened. Who wants to open it faster, and to keep
    /// its log start and high watermark, stores these after [`Log::close`] ([`Log::offsets`]) and fills them in; [`crate::LogDirs`] does
    /// that in Kafka's checkpoint files.
    pub fn new(id: TopicPartition, now: Timestamp) -> Self {
        Self {
            id,
            topic_id: TopicId::ZERO,
            config: Arc::default(),
            recovery_point: Offset::ZERO,
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO,
            clean_shutdown: false,
            tail_follows: false,
            now,
            disk: Arc::new(RealDisk),
            health: Arc::default(),
            open_files: Arc::new(OpenFiles::new(1024)),
        }
    }
}

impl Log {
    /// Opens the log in `dir`, or begins one there. Says what recovery did. The caller sees to it that nobody else has the log open:
    /// two that append to it overwrite each other's records ([`crate::LogDirs`] locks its directories).
    ///
    /// # Errors
    /// `InvalidData` for a partition.metadata that says nothing, else those of the disk. A damaged log is none: see the report.
    pub fn open(dir: PathBuf, options: LogOptions) -> io::Result<(Self, RecoveryReport)> {
        let LogOptions { config, now, disk, health, open_files, .. } = options;
        disk.create_dir_all(&dir)?;
        let home = Arc::new(Home::new(disk, &dir, health, open_files));
        let (topic_id, named) = settle_topic_id(&home, options.topic_id)?;
        let (mut segments, found_none) = find_segments(&home, options.log_start)?;
        let stored = read_file(&*home.disk, &home.file(EPOCHS_FILE))?
            .and_then(|bytes| LeaderEpochs::from_text(&String::from_utf8_lossy(&bytes)));

        let mut log_start = options.log_start.max(segments[0].base);
        let trusted_to = match (options.clean_shutdown, found_none) {
            (true, _) | (_, true) => Offset(i64::MAX),
            // Without the epochs' file the batches are the only witnesses.
            _ => options.recovery_point,
        };
        if !options.clean_shutdown {
            // What lies before the segment that holds the recovery point, or ends there, was flushed with its length.
            let first = segments.partition_point(|segment| segment.base < options.recovery_point).saturating_sub(1);
            segments[first..]
                .iter()
                .enumerate()
                .try_for_each(|(at, segment)| ahead::cut_zeros_of(segment, first + at + 1 == segments.len()))?;
        }
        let mut recovered =
            recover::recover(&home, &mut segments, trusted_to, stored.clone(), log_start, now, &config)?;
        if found_none && options.recovery_point > log_start {
            // Not one segment is left of a log that had been flushed.
            recovered.report.lost_below = Some(options.recovery_point);
        } else if options.clean_shutdown && options.recovery_point > log_start {
            // A clean stop leaves the recovery point at the log end.
            if recovered.log_end > options.recovery_point {
                let trusted_to = options.recovery_point;
                recovered = recover::recover(&home, &mut segments, trusted_to, stored, log_start, now, &config)?;
            } else if recovered.log_end < options.recovery_point {
                recovered.report.lost_below = Some(options.recovery_point);
            }
        }
        let mut log_end = recovered.log_end;
        let sound_end = log_end;
        let mut report = recovered.report;
        let mut state = (recovered.epochs, recovered.producers, recovered.snapshot);
        if log_end < log_start && options.tail_follows {
            log_start = log_end;
        }
        if log_end < log_start {
            // Records before the log start are of no use to anybody, and the next one must not be among them.
            report.lost_below = Some(log_start);
            for segment in segments.drain(..) {
                for file in segment.files() {
                    remove_if_present(&*home.disk, &file.path())?;
                }
            }
            segments.push(Segment::create(&home, log_start, Suffix::None));
            log_end = log_start;
            state = (LeaderEpochs::default(), ProducerState::default(), None);
        }
        let active = &segments[segments.len() - 1];
        active.create_files()?;
        let bytes_since_index =
            active.size().saturating_sub(active.offset_index().last()?.map_or(0, |entry| u64::from(entry.position)));
        let (mut epochs, mut producers, snapshot) = state;
        epochs.truncate_from_start(log_start);
        let high_watermark = options.high_watermark.clamp(log_start, log_end);
        producers.on_high_watermark(high_watermark);
        // Most logs have one, and stay as they are.
        segments.shrink_to_fit();
        let log = Self {
            durable: Arc::new(Durable::new(
                options.id,
                topic_id,
                if options.clean_shutdown || found_none {
                    log_end
                } else {
                    options.recovery_point.clamp(log_start, log_end)
                },
            )),
            journal: ArcSwapOption::empty(),
            home: ArcSwap::new(home),
            config: ArcSwap::new(config),
            segments: ArcSwap::from_pointee(segments),
            first_unstable: AtomicI64::new(producers.first_unstable().map_or(i64::MAX, |offset| offset.0)),
            has_uncommitted: AtomicBool::new(producers.has_uncommitted()),
            writer: Mutex::new(Writer {
                producers,
                bytes_since_index,
                ahead: Ahead::default(),
                snapshot,
                closed: false,
            }),
            flushing: Mutex::new(()),
            epochs: RwLock::new(epochs),
            epochs_changed: AtomicBool::new(!options.clean_shutdown || found_none),
            names_changed: AtomicBool::new(!options.clean_shutdown || found_none),
            // A crash may have left zeros, which were cut off then.
            length_changed: AtomicBool::new(!options.clean_shutdown),
            identity_changed: AtomicBool::new(named || (!options.clean_shutdown && !topic_id.is_zero())),
            naming: Mutex::new(()),
            unflushed: AtomicU64::new(0),
            lowest_cut: AtomicI64::new(i64::MAX),
            cut_is_unnoted: AtomicBool::new(false),
            is_moving: AtomicBool::new(false),
            flushed_at: AtomicI64::new(now.0),
            log_start: AtomicI64::new(log_start.0),
            log_end: AtomicI64::new(log_end.0),
            recovery_point: AtomicI64::new(options.recovery_point.clamp(log_start, log_end).0),
            high_watermark: AtomicI64::new(high_watermark.0),
            host: OnceLock::new(),
        };
        report.tell(log.topic_partition(), sound_end);
        Ok((log, report))
    }

    /// Names the topic that the log belongs to, where the directory does not.
    pub(crate) fn set_topic_id(&self, topic_id: TopicId) -> io::Result<()> {
        let (topic_id, named) = settle_topic_id(&self.home(), topic_id)?;
        self.durable.set_topic_id(topic_id);
        if named {
            self.identity_changed.store(true, Ordering::Release);
            self.names_changed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

/// The topic id of the directory; `given` is written down if it has none.
/// Also whether it was written down now.
fn settle_topic_id(home: &Home, given: TopicId) -> io::Result<(TopicId, bool)> {
    let path = home.file(partition_metadata::FILE);
    // A power cut may leave an empty file where nothing was ever synced, or one that has its length and no bytes.
    if let Some(bytes) = read_file(&*home.disk, &path)?.filter(|bytes| bytes.iter().any(|byte| *byte != 0)) {
        return partition_metadata::decode(&bytes)
            .map(|id| (id, false))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display())));
    }
    if !given.is_zero() {
        // Synced with the directory by the first flush: before it there is nothing to belong to a topic.
        let file = home.disk.open(&path, crate::disk::OpenMode::Truncate)?;
        file.write_at(&[partition_metadata::encode(given).as_bytes()], 0)?;
    }
    Ok((given, !given.is_zero()))
}

/// The segments in order; one at `start` if there are none. Files of interrupted changes are cleared away.
fn find_segments(home: &Arc<Home>, start: Offset) -> io::Result<(Vec<Arc<Segment>>, bool)> {
    let mut entries = home.disk.list(&home.path())?;
    if crate::segment::swap::finish_interrupted(home, &entries)? {
        entries = home.disk.list(&home.path())?;
    }
    let mut logs = BTreeMap::new();
    let mut txn_indexes = BTreeMap::new();
    let mut others: Vec<(i64, String)> = Vec::new();
    for DirEntry { name, len, modified, .. } in entries {
        let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let modified = Timestamp(i64::try_from(modified).unwrap_or(i64::MAX));
        if name.ends_with(".deleted") || name.ends_with(".cleaned") || name.ends_with(".tmp") {
            remove_if_present(&*home.disk, &home.file(&name))?;
            continue;
        }
        match FileKind::parse(&name) {
            Some((base, FileKind::Log)) => {
                logs.insert(base, (len, modified));
            }
            Some((base, FileKind::TxnIndex)) => {
                txn_indexes.insert(base, len);
                others.push((base, name));
            }
            Some((base, FileKind::Index | FileKind::TimeIndex)) => others.push((base, name)),
            _ => {}
        }
    }
    for (base, name) in others {
        if !logs.contains_key(&base) {
            tracing::warn!(dir = %home.path().display(), file = name, "an index without its log is removed");
            remove_if_present(&*home.disk, &home.file(&name))?;
        }
    }
    let mut segments: Vec<Arc<Segment>> = logs
        .into_iter()
        .map(|(base, (len, modified))| {
            let txn_len = txn_indexes.get(&base).copied().unwrap_or(0);
            Segment::found(home, Offset(base), len, txn_len, modified)
        })
        .collect();
    // Most logs have one, and stay as they are.
    segments.shrink_to_fit();
    let found_none = segments.is_empty();
    if found_none {
        segments.push(Segment::create(home, start, Suffix::None));
    }
    Ok((segments, found_none))
}
