//! A partition in memory, with a high watermark that can be held back and appends that can be made to fail.
#![allow(clippy::expect_used)]

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ottla_coordinator::shard::Producer;
use ottla_protocol::record_batch::{batches, stamp};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_replication::LogOffsetSnapshot;
use ottla_storage::{Verification, VerificationGuard};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::log::PartitionLog;

pub(super) struct MemoryLog {
    state: Mutex<State>,
    snapshots: watch::Sender<LogOffsetSnapshot>,
}

#[derive(Default)]
struct State {
    batches: Vec<Bytes>,
    end: Offset,
    held: bool,
    refuse: Option<ErrorCode>,
}

impl MemoryLog {
    pub(super) fn new() -> Arc<Self> {
        let (snapshots, _) =
            watch::channel(LogOffsetSnapshot { leader_epoch: LeaderEpoch(0), ..LogOffsetSnapshot::default() });
        Arc::new(Self { state: Mutex::default(), snapshots })
    }

    pub(super) fn batches(&self) -> Vec<Bytes> {
        self.state.lock().batches.clone()
    }

    /// Holds the high watermark where it is, or lets it go to the end.
    pub(super) fn hold(&self, held: bool) {
        let mut state = self.state.lock();
        state.held = held;
        self.publish(&state);
    }

    /// Another leader cut off what was not committed and wrote on; what it wrote is committed.
    pub(super) fn follow(&self, leader_epoch: LeaderEpoch, high_watermark: Offset) {
        self.snapshots.send_modify(|snapshot| {
            *snapshot = LogOffsetSnapshot { leader_epoch, high_watermark, log_end: high_watermark, ..*snapshot };
        });
    }

    pub(super) fn refuse(&self, error: Option<ErrorCode>) {
        self.state.lock().refuse = error;
    }

    fn publish(&self, state: &State) {
        self.snapshots.send_modify(|snapshot| {
            snapshot.log_end = state.end;
            if !state.held {
                snapshot.high_watermark = state.end;
            }
        });
    }
}

impl PartitionLog for MemoryLog {
    fn append(&self, batch: Bytes, _verification: Verification, _now: Timestamp) -> Result<Offset, ErrorCode> {
        let mut state = self.state.lock();
        if let Some(error) = state.refuse {
            return Err(error);
        }
        let mut bytes = BytesMut::from(&batch[..]);
        let end = state.end;
        stamp(&mut bytes, end, LeaderEpoch(0));
        let bytes = bytes.freeze();
        let next = batches(&bytes).next().expect("one batch").expect("sound").next_offset();
        state.end = next;
        state.batches.push(bytes);
        self.publish(&state);
        Ok(next)
    }

    fn is_verified(&self, _producer: Producer, _guard: Option<VerificationGuard>) -> bool {
        true
    }

    fn read(&self, from: Offset, _max_bytes: usize) -> Result<Bytes, ErrorCode> {
        let state = self.state.lock();
        let mut read = BytesMut::new();
        for bytes in &state.batches {
            let batch = batches(bytes).next().expect("one batch").expect("sound");
            if batch.next_offset() > from && read.len() < 100 {
                read.extend_from_slice(bytes);
            }
        }
        Ok(read.freeze())
    }

    fn epoch(&self) -> LeaderEpoch {
        LeaderEpoch(0)
    }

    fn snapshots(&self) -> watch::Receiver<LogOffsetSnapshot> {
        self.snapshots.subscribe()
    }

    fn max_batch_bytes(&self) -> usize {
        400
    }
}
