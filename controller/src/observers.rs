//! Nodes without the controller role that read the metadata log from this voter: what they are sent, and who they are.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use openraft::EntryPayload;
use openraft::storage::RaftLogReader as _;
use ottla_metadata::MetadataImage;
use ottla_protocol::{Offset, Timestamp};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::controller::{broker_id, wall_clock};
use crate::message::{Pull, PulledData, PulledEntry};
use crate::quorum::ReplicaState;
use crate::raft::log_store::LogStore;
use crate::raft::snapshot;
use crate::raft::types::{Batch, SnapshotMeta};

/// One that is further behind gets a snapshot: cheaper to send and to read.
const BEHIND_MAX: u64 = 1_000;
/// Entries in one answer.
const ENTRIES_MAX: u64 = 256;
/// One that has not asked for this long is no longer listed, as in Kafka.
const SILENT_MAX_MS: i64 = 300_000;
/// Those that are remembered; more are served and not listed.
const SEEN_MAX: usize = 10_000;

/// The observers of this voter.
pub(crate) struct Observers {
    log: LogStore,
    images: watch::Receiver<Arc<MetadataImage>>,
    /// By node id.
    seen: Mutex<BTreeMap<u64, ReplicaState>>,
}

impl Observers {
    pub(crate) fn new(log: LogStore, images: watch::Receiver<Arc<MetadataImage>>) -> Self {
        Self { log, images, seen: Mutex::default() }
    }

    /// What one does not have yet of the log up to `end`, or a snapshot where that is much or gone.
    pub(crate) async fn read(&self, pull: &Pull, image: &Arc<MetadataImage>, end: u64) -> io::Result<PulledData> {
        if pull.next >= end {
            return Ok(PulledData::Entries(Vec::new()));
        }
        let until = end.min(pull.next.saturating_add(ENTRIES_MAX));
        if end - pull.next <= BEHIND_MAX {
            let mut log = self.log.clone();
            let entries = log.try_get_log_entries(pull.next..until).await?;
            if entries.first().is_some_and(|entry| entry.log_id.index == pull.next) {
                let mut bytes = 0;
                let few = entries.into_iter().map(|entry| {
                    let batch = match entry.payload {
                        EntryPayload::Normal(batch) => Some(batch),
                        EntryPayload::Blank | EntryPayload::Membership(_) => None,
                    };
                    PulledEntry { term: entry.log_id.leader_id.term, index: entry.log_id.index, batch }
                });
                // At least one, however long it is.
                let few = few.take_while(|entry| {
                    let fits = bytes < pull.bytes_max as usize;
                    bytes += entry.batch.as_ref().map_or(0, |batch| batch.0.len());
                    fits
                });
                return Ok(PulledData::Entries(few.collect()));
            }
        }
        Ok(PulledData::Snapshot(Batch(snapshot::encode(&SnapshotMeta::default(), image)?)))
    }

    /// One has asked: it is listed from now on.
    pub(crate) fn note(&self, pull: &Pull) {
        let now = wall_clock();
        let end = Offset(i64::try_from(pull.next).unwrap_or(i64::MAX));
        let caught_up = end.0 > self.images.borrow().offset.0;
        let mut observers = self.seen.lock();
        observers.retain(|_, other| now.0 - other.last_fetch.0 < SILENT_MAX_MS);
        let before = observers.get(&pull.node_id).map(|before| before.last_caught_up);
        if before.is_none() && observers.len() >= SEEN_MAX {
            return;
        }
        let state = ReplicaState {
            id: broker_id(pull.node_id),
            directory_id: pull.directory_id,
            log_end_offset: end,
            last_fetch: now,
            last_caught_up: if caught_up { now } else { before.unwrap_or(Timestamp(-1)) },
        };
        observers.insert(pull.node_id, state);
    }

    /// Those that asked of late, by node id.
    pub(crate) fn seen(&self) -> BTreeMap<u64, ReplicaState> {
        self.seen.lock().clone()
    }
}
