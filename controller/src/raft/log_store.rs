//! openraft's log storage on the segment log, the flusher and the vote file.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::Arc;

use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::Mutex;

use super::flusher::{Flusher, Pending};
use super::segment::EntryId;
use super::segment_log::{Recovery, SegmentLog};
use super::types::{Batch, Entry, LogId, TypeConfig, Vote};
use super::vote::VoteFile;
use super::witness::Witness;
use crate::disk::Space;

const KIND_BLANK: u8 = 0;
const KIND_BATCH: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// The durable side of one raft member. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct LogStore {
    log: Arc<Mutex<SegmentLog>>,
    vote_file: VoteFile,
    vote: Arc<Mutex<Option<Vote>>>,
    flusher: Flusher,
    witness: Witness,
    space: Space,
}

impl LogStore {
    /// Opens the log and the vote in `dir`, which must reach as far as the witness in `witness_dir` says.
    pub(crate) fn open(dir: &Path, witness_dir: &Path, segment_bytes: u64) -> io::Result<(Self, Recovery)> {
        let (log, recovery) = SegmentLog::open(dir, segment_bytes)?;
        let witness = Witness::open(witness_dir)?;
        witness.check(dir, log.last().map(|id| id.index))?;
        let vote_file = VoteFile::new(dir);
        let vote = vote_file.load()?;
        let store = Self {
            log: Arc::new(Mutex::new(log)),
            vote_file,
            vote: Arc::new(Mutex::new(vote)),
            flusher: Flusher::start(witness.clone())?,
            witness,
            space: Space::default(),
        };
        Ok((store, recovery))
    }

    /// True when this member has neither voted nor received anything yet.
    pub(crate) fn is_pristine(&self) -> bool {
        self.vote.lock().is_none() && self.log.lock().last().is_none()
    }

    /// What waits for space beside this store.
    pub(crate) fn space(&self) -> Space {
        self.space.apart()
    }

    /// Whether raft stands still, because something cannot be written for want of space.
    pub(crate) fn lacks_space(&self) -> bool {
        self.space.is_lacking()
    }

    /// What waits for space fails from now on: the node stops.
    pub(crate) fn stop_waiting(&self) {
        self.space.stop();
    }

    /// Has the witness say how far the log reaches: the node stops.
    pub(crate) fn settle_witness(&self) {
        self.witness.settle();
    }

    /// True when this member has voted and holds no entry: a voter among others may, one on its own has lost its log.
    pub(crate) fn has_only_a_vote(&self) -> bool {
        self.vote.lock().is_some() && self.log.lock().last().is_none()
    }
}

fn log_id(id: EntryId) -> LogId {
    LogId::new(id.term.into(), id.index)
}

fn entry_id(id: &LogId) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index }
}

fn encode(entry: &Entry) -> io::Result<(EntryId, Vec<u8>)> {
    let payload = match &entry.payload {
        EntryPayload::Blank => vec![KIND_BLANK],
        EntryPayload::Normal(batch) => [&[KIND_BATCH][..], &batch.0].concat(),
        EntryPayload::Membership(membership) => {
            let json = serde_json::to_vec(&membership).map_err(io::Error::other)?;
            [&[KIND_MEMBERSHIP][..], &json].concat()
        }
    };
    Ok((entry_id(&entry.log_id), payload))
}

fn decode(id: EntryId, mut payload: Vec<u8>) -> io::Result<Entry> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
    let payload = match payload.first() {
        Some(&KIND_BLANK) => EntryPayload::Blank,
        Some(&KIND_BATCH) => {
            payload.remove(0);
            EntryPayload::Normal(Batch(payload.into()))
        }
        Some(&KIND_MEMBERSHIP) => {
            let membership = serde_json::from_slice(&payload[1..]).map_err(|error| invalid(error.to_string()))?;
            EntryPayload::Membership(membership)
        }
        kind => return Err(invalid(format!("entry {} of kind {kind:?}", id.index))),
    };
    Ok(Entry { log_id: log_id(id), payload })
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(&start) => start,
        Bound::Excluded(&start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(&end) => end + 1,
        Bound::Excluded(&end) => end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let entries = self.log.lock().read(indexes(&range))?;
        entries.into_iter().map(|(id, payload)| decode(id, payload)).collect()
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(*self.vote.lock())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let log = self.log.lock();
        Ok(LogState { last_purged_log_id: log.purged().map(log_id), last_log_id: log.last().map(log_id) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.space.wait("quorum-state", || self.vote_file.save(vote)).await?;
        *self.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().map(|entry| encode(&entry)).collect::<io::Result<_>>()?;
        let mut callback = Some(callback);
        let append = || {
            let mut log = self.log.lock();
            log.append(&entries)?;
            let active = log.active()?;
            let (file, end, synced) = (Arc::clone(&active.file), active.end, Arc::clone(&active.synced));
            let last = entries.last().map_or(0, |(id, _)| id.index);
            // Still under the lock: the queue has the order of the appends.
            if let Some(done) = callback.take() {
                self.flusher.flush(Pending { file, end, last, cuts: self.witness.cuts(), synced, done });
            }
            Ok(())
        };
        self.space.wait("metadata log", append).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let truncate = || {
            let mut log = self.log.lock();
            self.witness.lower(last_log_id.map(|id| id.index))?;
            log.truncate_from(last_log_id.map_or(0, |id| id.index + 1))
        };
        self.space.wait("metadata log", truncate).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.space.wait("metadata log", || self.log.lock().purge(entry_id(&log_id))).await
    }
}
