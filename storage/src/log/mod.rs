//! A partition's log.
#![allow(clippy::todo, unused_variables, clippy::missing_const_for_fn, dead_code)]

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};

use crate::config::LogConfig;
use crate::errors::{AppendError, ReadError};
use crate::producer_state::ProducerSnapshotEntry;
use crate::segment::FileRecords;

pub use types::*;
mod types;

/// One partition's log.
#[derive(Debug)]
pub struct Log {}

impl Log {
    pub fn topic_partition(&self) -> &TopicPartition {
        todo!()
    }
    pub fn topic_id(&self) -> TopicId {
        todo!()
    }
    pub fn dir(&self) -> PathBuf {
        todo!()
    }
    pub fn config(&self) -> Arc<LogConfig> {
        todo!()
    }
    pub fn update_config(&self, config: Arc<LogConfig>) {
        todo!()
    }
    pub fn append_as_leader(&self, records: Bytes, cx: &AppendContext) -> Result<AppendInfo, AppendError> {
        todo!()
    }
    pub fn append_as_follower(&self, records: Bytes, now: Timestamp) -> Result<AppendInfo, AppendError> {
        todo!()
    }
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one: bool,
    ) -> Result<LogRead, ReadError> {
        todo!()
    }
    pub fn aborted_transactions(&self, from: Offset, upper: Offset) -> io::Result<Vec<AbortedTxn>> {
        todo!()
    }
    pub fn offsets(&self) -> LogOffsets {
        todo!()
    }
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> io::Result<Option<TimestampOffset>> {
        todo!()
    }
    pub fn offset_of_max_timestamp(&self) -> io::Result<Option<TimestampOffset>> {
        todo!()
    }
    pub fn assign_leader_epoch(&self, epoch: LeaderEpoch, start: Offset) -> io::Result<()> {
        todo!()
    }
    pub fn latest_epoch(&self) -> Option<LeaderEpoch> {
        todo!()
    }
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        todo!()
    }
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        todo!()
    }
    pub fn truncate_to(&self, offset: Offset) -> io::Result<()> {
        todo!()
    }
    pub fn truncate_fully_and_start_at(&self, offset: Offset) -> io::Result<()> {
        todo!()
    }
    pub fn increment_log_start_offset(&self, offset: Offset) -> io::Result<()> {
        todo!()
    }
    pub fn apply_retention(&self, now: Timestamp) -> io::Result<usize> {
        todo!()
    }
    pub fn flush(&self) -> io::Result<()> {
        todo!()
    }
    pub fn size(&self) -> u64 {
        todo!()
    }
    pub fn high_watermark(&self) -> Offset {
        todo!()
    }
    pub fn set_high_watermark(&self, offset: Offset) {
        todo!()
    }
    pub fn last_stable_offset(&self) -> Offset {
        todo!()
    }
    pub fn producers(&self) -> Vec<ProducerSnapshotEntry> {
        todo!()
    }
    pub fn has_ongoing_transaction(&self, id: ProducerId, epoch: ProducerEpoch) -> bool {
        todo!()
    }
    pub fn close(&self) -> io::Result<()> {
        todo!()
    }
}
