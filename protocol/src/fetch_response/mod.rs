//! Fetch answers, v4-18, whose records are lent and never copied.

mod encoder;

use kafka_protocol::protocol::StrBytes;

use crate::TopicId;
use crate::response::{Chunk, EncodeError, RecordsLen};

/// A fetch answer; fields that a version lacks are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchAnswer<R> {
    pub throttle_time_ms: i32,
    /// From v7.
    pub error_code: i16,
    /// From v7; 0 is no session.
    pub session_id: i32,
    pub topics: Vec<FetchedTopic<R>>,
    /// From v16: where the leaders named in [`FetchedPartition::current_leader`] are.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl<R> Default for FetchAnswer<R> {
    fn default() -> Self {
        Self { throttle_time_ms: 0, error_code: 0, session_id: 0, topics: Vec::new(), node_endpoints: Vec::new() }
    }
}

/// The partitions of one topic.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedTopic<R> {
    /// To v12.
    pub topic: StrBytes,
    /// From v13.
    pub topic_id: TopicId,
    pub partitions: Vec<FetchedPartition<R>>,
}

/// One partition's part of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedPartition<R> {
    pub partition_index: i32,
    pub error_code: i16,
    pub high_watermark: i64,
    /// -1 where it is not known.
    pub last_stable_offset: i64,
    /// From v5; -1 where it is not known.
    pub log_start_offset: i64,
    /// From v12: where the log of the asking replica departs from the leader's.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// From v12.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// From v12, for replicas and observers of the metadata log.
    pub snapshot_id: Option<SnapshotId>,
    /// `None` unless the reader asked for committed records only.
    pub aborted: Option<Vec<AbortedTransaction>>,
    /// From v11; -1 is none.
    pub preferred_read_replica: i32,
    /// In order; together they are the partition's records.
    pub records: Vec<R>,
}

impl<R> Default for FetchedPartition<R> {
    fn default() -> Self {
        Self {
            partition_index: 0,
            error_code: 0,
            high_watermark: 0,
            last_stable_offset: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            current_leader: None,
            snapshot_id: None,
            aborted: None,
            preferred_read_replica: -1,
            records: Vec::new(),
        }
    }
}

/// The largest epoch that both logs know, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEndOffset {
    pub epoch: i32,
    pub end_offset: i64,
}

/// A leader that the client should turn to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

/// A snapshot to fetch instead of records that are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotId {
    pub end_offset: i64,
    pub epoch: i32,
}

/// A transaction whose records the reader skips, from `first_offset` to its abort marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// Where a broker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: StrBytes,
    pub port: i32,
    pub rack: Option<StrBytes>,
}

/// Encodes the whole frame, length prefix included; each element of `records` becomes a [`Chunk::Records`].
pub fn encode<R: RecordsLen + Clone>(
    correlation_id: i32,
    version: i16,
    answer: &FetchAnswer<R>,
) -> Result<Vec<Chunk<R>>, EncodeError> {
    if !(4..=18).contains(&version) {
        return Err(EncodeError { message: "FetchResponse", version, reason: "not a version of Fetch".to_owned() });
    }
    encoder::Encoder::new(correlation_id, version).encode(answer)
}
