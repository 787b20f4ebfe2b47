//! What the quorum looks like from here: what DescribeQuorum and DescribeCluster answer from.

use ottla_metadata::Endpoint;
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use uuid::Uuid;

/// A member of the quorum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterInfo {
    pub id: BrokerId,
    pub directory_id: Uuid,
    /// Where its controller listeners are.
    pub endpoints: Vec<Endpoint>,
}

/// How far one replica of the metadata log is, as the leader knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaState {
    pub id: BrokerId,
    pub directory_id: Uuid,
    /// One past the last entry it has.
    pub log_end_offset: Offset,
    /// When it was last heard of; -1 when unknown.
    pub last_fetch: Timestamp,
    /// When it last had everything; -1 when unknown.
    pub last_caught_up: Timestamp,
}

/// The quorum at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumInfo {
    pub leader: Option<BrokerId>,
    /// Raft's term.
    pub leader_epoch: i32,
    /// One past the last committed entry.
    pub high_watermark: Offset,
    pub voters: Vec<VoterInfo>,
    /// Progress of each voter; complete on the leader only.
    pub replicas: Vec<ReplicaState>,
    /// Nodes that read the log and do not vote; complete on the leader only.
    pub observers: Vec<ReplicaState>,
}

/// A change of the quorum's voters: AddRaftVoter, RemoveRaftVoter, UpdateRaftVoter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoterChange {
    /// A member that has the log gets a vote.
    Add { voter: VoterInfo, timeout_ms: u32, wait_until_committed: bool },
    /// A voter loses its vote.
    Remove { id: BrokerId, directory_id: Uuid },
    /// A voter is reached elsewhere.
    Update { voter: VoterInfo },
}

/// Why voters were not changed: Kafka's error code, and what to say with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterError {
    pub code: ErrorCode,
    pub message: String,
}

impl VoterError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
