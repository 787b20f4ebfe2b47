//! What the journal has and the logs have not: found when a directory is opened, appended after its logs were recovered.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::record_batch::batches;
use ottla_protocol::{Offset, Timestamp, TopicId, TopicPartition};

use super::entry::{self, Kind};
use super::{files, frame, reader};
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::log::Log;

/// What an earlier process left in a log directory's journal.
#[derive(Debug, Default)]
pub struct Left {
    pub paths: Vec<PathBuf>,
    pub run: Option<u64>,
    /// Number of the next frame.
    pub next: u64,
    pub oldest: u64,
    /// Frames that were never whole have others behind them: the files must go before anything is written.
    pub leftovers: bool,
    /// A frame that had been on the disk is damaged.
    pub corrupt: Option<String>,
    pub tails: HashMap<TopicPartition, Tail>,
    /// Logs that were cut: a killed process may not have synced their files afterwards, and what was cut off must not come
    /// back behind what is written next.
    pub cut: HashSet<TopicPartition>,
    files: Vec<Arc<dyn DiskFile>>,
}

/// What the journal says about one log.
#[derive(Debug)]
pub struct Tail {
    pub topic_id: TopicId,
    appends: Vec<Append>,
}

/// An append, and where its batches lie.
#[derive(Debug)]
struct Append {
    before: Offset,
    after: Offset,
    /// Nothing from here on: it was cut later.
    limit: Offset,
    file: usize,
    position: u64,
    bytes: usize,
}

/// What became of a tail.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Up to here the journal vouches for the log.
    pub end: Offset,
    /// What the log had not.
    pub bytes: u64,
    /// Records between the two are neither in the log nor in the journal.
    pub hole: Option<(Offset, Offset)>,
}

impl Left {
    /// Reads a directory's journal.
    pub fn find(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let paths = files::find(disk, dir)?;
        let found = reader::read(disk, &paths)?;
        let mut tails: HashMap<TopicPartition, Tail> = HashMap::new();
        let mut cut = HashSet::new();
        for read in &found.frames {
            let entries = reader::entries_of(&found.files, read)?;
            let parsed = entry::parse(&entries)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the journal cannot be understood"))?;
            for one in parsed {
                if !matches!(one.kind, Kind::Append { .. }) {
                    cut.insert(one.id.clone());
                }
                let fresh = || Tail { topic_id: one.topic_id, appends: Vec::new() };
                let tail = tails.entry(one.id).or_insert_with(fresh);
                if tail.topic_id != one.topic_id {
                    // The topic was deleted and created again.
                    *tail = Tail { topic_id: one.topic_id, appends: Vec::new() };
                }
                match one.kind {
                    Kind::Append { before, after, bytes } => tail.appends.push(Append {
                        before,
                        after,
                        limit: after,
                        file: read.file,
                        position: read.position + (frame::HEADER + bytes.start) as u64,
                        bytes: bytes.len(),
                    }),
                    Kind::Cut(offset) => {
                        tail.appends.retain(|append| append.before < offset);
                        for append in &mut tail.appends {
                            append.limit = append.limit.min(offset);
                        }
                    }
                    Kind::Reset => tail.appends.clear(),
                }
            }
        }
        tails.retain(|_, tail| !tail.appends.is_empty());
        // In the order in which they may go: files without a frame that counts, then the oldest frames first.
        let oldest_in = |file: usize| found.frames.iter().find(|read| read.file == file).map(|read| read.header.number);
        let mut ordered: Vec<(Option<u64>, PathBuf)> =
            paths.into_iter().enumerate().map(|(file, path)| (oldest_in(file), path)).collect();
        ordered.sort();
        let paths = ordered.into_iter().map(|(_, path)| path).collect();
        Ok(Self {
            paths,
            run: found.run,
            next: found.next,
            oldest: found.oldest,
            leftovers: found.leftovers,
            corrupt: found.corrupt,
            tails,
            cut,
            files: found.files,
        })
    }

    /// Appends to a recovered log what is missing of its tail. What comes behind a hole is left out.
    pub fn replay(&self, log: &Log, tail: &Tail, now: Timestamp) -> io::Result<Replayed> {
        let mut replayed = Replayed::default();
        for append in &tail.appends {
            let end = log.offsets().log_end;
            if append.limit <= end {
                replayed.end = replayed.end.max(append.limit);
                continue;
            }
            if append.before > end {
                replayed.hole = Some((end, append.before));
                return Ok(replayed);
            }
            let mut bytes = vec![0; append.bytes];
            read_exact_at(&*self.files[append.file], &mut bytes, append.position)?;
            let bytes = Bytes::from(bytes);
            for batch in batches(&bytes) {
                let batch = batch.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
                if batch.base_offset < log.offsets().log_end || batch.base_offset >= append.limit {
                    continue;
                }
                replayed.bytes += batch.size() as u64;
                log.append_as_follower(bytes.slice_ref(batch.bytes()), now).map_err(io::Error::other)?;
            }
            replayed.end = replayed.end.max(log.offsets().log_end.min(append.after));
        }
        Ok(replayed)
    }
}

impl Tail {
    /// Whether the log began with this tail: then its directory may never have reached the disk.
    pub fn is_whole(&self) -> bool {
        self.start() == Offset::ZERO
    }

    /// Where the log ended before the first append.
    pub fn start(&self) -> Offset {
        self.appends.first().map_or(Offset::ZERO, |first| first.before)
    }
}
