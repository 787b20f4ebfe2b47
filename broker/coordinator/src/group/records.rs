//! The records of `__consumer_offsets`, as the coordinator thinks of them. How they lie in the log is in `codec`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use crate::shard::Producer;

/// One record. A `None` value is a tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupRecord {
    /// Type 0 and 1. With a producer: pending until that producer's transaction ends.
    OffsetCommit {
        group: Arc<str>,
        partition: TopicPartition,
        producer: Option<Producer>,
        value: Option<Arc<CommittedOffset>>,
    },
    /// A control batch, not a record: the end of a producer's transaction.
    TransactionEnd { producer: Producer, coordinator_epoch: i32, commit: bool },
    /// Type 2.
    ClassicGroup { group: Arc<str>, value: Option<Arc<ClassicGroupRecord>> },
    /// Type 3.
    ConsumerGroup { group: Arc<str>, value: Option<ConsumerGroupMetadata> },
    /// Type 4, of which only tombstones are still written (KIP-1101).
    ConsumerGroupPartitionMetadata { group: Arc<str>, tombstone: bool },
    /// Type 5.
    ConsumerMember { group: Arc<str>, member: Arc<str>, value: Option<Arc<ConsumerMember>> },
    /// Type 6.
    TargetMetadata { group: Arc<str>, value: Option<TargetMetadata> },
    /// Type 7.
    TargetMember { group: Arc<str>, member: Arc<str>, value: Option<Arc<Partitions>> },
    /// Type 8.
    CurrentAssignment { group: Arc<str>, member: Arc<str>, value: Option<Arc<CurrentAssignment>> },
    /// Type 16.
    Regex { group: Arc<str>, regex: Arc<str>, value: Option<Arc<ResolvedRegex>> },
}

/// A committed offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    pub commit_timestamp: Timestamp,
    /// Only from clients that asked for a retention time of their own (OffsetCommit v2-4).
    pub expire_timestamp: Option<Timestamp>,
    /// Zero if unknown.
    pub topic_id: TopicId,
}

/// A classic group at the end of a generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassicGroupRecord {
    /// Empty for a group that only holds offsets.
    pub protocol_type: Arc<str>,
    pub generation: i32,
    pub protocol: Option<Arc<str>>,
    pub leader: Option<Arc<str>>,
    /// When the group came into this state; `None` if the record does not say.
    pub current_state_timestamp: Option<Timestamp>,
    pub members: Vec<ClassicMemberRecord>,
}

/// A member of a classic group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassicMemberRecord {
    pub member_id: Arc<str>,
    pub group_instance_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    /// The member's metadata for the chosen protocol; opaque.
    pub subscription: Bytes,
    /// Opaque.
    pub assignment: Bytes,
}

/// A consumer group as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerGroupMetadata {
    pub epoch: i32,
    /// Changes when a subscribed topic comes, goes, grows or moves between racks.
    pub metadata_hash: i64,
}

impl Default for ConsumerGroupMetadata {
    /// A group begins at epoch 1: its first member, which makes it move on, is told 2, as Kafka's is.
    fn default() -> Self {
        Self { epoch: 1, metadata_hash: 0 }
    }
}

/// Which epoch the target assignment belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetMetadata {
    pub assignment_epoch: i32,
    /// When the assignment was computed.
    pub timestamp: Timestamp,
}

/// What a consumer group member said of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsumerMember {
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<Arc<str>>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    pub subscribed_topic_names: BTreeSet<Arc<str>>,
    pub subscribed_topic_regex: Option<Arc<str>>,
    pub rebalance_timeout_ms: i32,
    pub server_assignor: Option<Arc<str>>,
    /// Set if the member speaks the classic protocol.
    pub classic: Option<Arc<ClassicMemberMetadata>>,
}

impl ConsumerMember {
    /// A member that has not said anything yet.
    pub fn new() -> Self {
        Self { rebalance_timeout_ms: -1, ..Self::default() }
    }
}

/// What a member that speaks the classic protocol inside a consumer group brings with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClassicMemberMetadata {
    pub session_timeout_ms: i32,
    /// Name and opaque metadata, in the member's order of preference.
    pub protocols: Vec<(Arc<str>, Bytes)>,
}

/// Partitions by topic id.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// How far a member is with its assignment. The number is the one in the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i8)]
pub enum MemberState {
    /// Has all it should have in its epoch.
    #[default]
    Stable = 0,
    /// Has to give up partitions before it may go to the next epoch.
    UnrevokedPartitions = 1,
    /// Waits for partitions that another member still owns.
    UnreleasedPartitions = 2,
    /// Written by a newer version.
    Unknown = 127,
}

impl MemberState {
    pub const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// What a member owns now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAssignment {
    pub member_epoch: i32,
    pub previous_member_epoch: i32,
    pub state: MemberState,
    /// Each partition with the epoch in which the member got it.
    pub assigned: BTreeMap<TopicId, BTreeMap<i32, i32>>,
    pub pending_revocation: BTreeMap<TopicId, BTreeMap<i32, i32>>,
}

impl Default for CurrentAssignment {
    /// A member that has just come: it owns nothing, and no epoch came before.
    fn default() -> Self {
        Self {
            member_epoch: 0,
            previous_member_epoch: -1,
            state: MemberState::Stable,
            assigned: BTreeMap::new(),
            pending_revocation: BTreeMap::new(),
        }
    }
}

impl CurrentAssignment {
    /// The member has all that it should have in `epoch`.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.member_epoch == epoch
    }
}

/// The topics that a regular expression stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedRegex {
    pub topics: BTreeSet<Arc<str>>,
    /// Offset of the metadata that was looked at.
    pub version: i64,
    pub timestamp: Timestamp,
}
