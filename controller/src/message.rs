//! What controllers and brokers say to each other about the metadata log: one byte of format, then postcard.
//!
//! Kafka's own messages for this carry Kafka's raft; ours is openraft, so these are private messages. They are spoken
//! between nodes of one cluster only.

use std::io;

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use ottla_decisions::{ControllerRequest, ControllerResponse, Encoded, RequestOrigin};
use ottla_metadata::Endpoint;
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::controller::{broker_id, voter_info};
use crate::quorum::{QuorumInfo, ReplicaState};
use crate::raft::types::{Batch, SnapshotMeta, TypeConfig, Vote, VoterNode};

/// Bumped when a message changes so that an older build would misread it.
const FORMAT: u8 = 4;

#[derive(Serialize, Deserialize)]
pub(crate) enum Message {
    /// Raft's own, from one member to another.
    Raft(Directed),
    /// A request to the active controller, from another node.
    Submit(Submit),
    /// An observer reads the log.
    Pull(Pull),
    /// The quorum as its leader sees it.
    Quorum,
    /// A controller that is no voter asks to be sent the log.
    Attach(Attach),
    /// The leader is to change the voters.
    ChangeVoters(WireVoterChange),
    /// Whether a voter, too, hears nothing of this leader.
    HearsNothingOf(u64),
    /// A new node asks for a node id; the same token is given the same id.
    AssignNodeId(Uuid),
}

/// A member is its node id and its directory id: who lost its disk is not who it was, and neither hears of what its old
/// self is told nor speaks for it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Directed {
    pub from: u64,
    pub from_directory: String,
    /// As the membership knows it.
    pub to_directory: String,
    pub message: RaftMessage,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum RaftMessage {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Snapshot { vote: Vote, meta: SnapshotMeta, data: Batch },
    TransferLeader(TransferLeaderRequest<TypeConfig>),
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Attach {
    pub id: u64,
    pub node: VoterNode,
}

/// What became of `Attach`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Attached {
    /// It is a member, and will be sent the log.
    Member,
    /// Who asks is who is asked.
    Yourself,
    /// Somebody else leads, if anybody does. `is_new`: who answers belongs to no quorum yet.
    NotLeader { leader: Option<(u64, VoterNode)>, is_new: bool },
    /// The voter of this id has another directory: this one.
    KnownAs(String),
    /// The voters of this quorum are those of its configuration.
    Static,
}

/// A change of the voters, on its way to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireVoterChange {
    pub kind: VoterChangeKind,
    pub id: u64,
    pub node: VoterNode,
    pub timeout_ms: u32,
    pub wait_until_committed: bool,
    /// A node that joins by itself is added only while there are fewer voters: several may have counted at the same moment.
    /// 0 for whoever was told to add one.
    pub below: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum VoterChangeKind {
    Add,
    Remove,
    Update,
}

/// The id that a new node was given, or who leads and can give one.
pub(crate) type AssignedId = Result<u64, Option<(u64, VoterNode)>>;

/// Done, or Kafka's error code and what to say with it.
pub(crate) type VoterChanged = Result<(), (i16, String)>;

/// The answer to each message; a refusal is text for a log.
pub(crate) type Answer<T> = Result<T, String>;

#[derive(Serialize, Deserialize)]
pub(crate) struct Submit {
    client_id: String,
    principal: String,
    api_version: i16,
    /// What the clock of whoever sends it shows.
    sent_ms: i64,
    request: WireMessage,
}

/// One of Kafka's messages in Kafka's encoding.
#[derive(Serialize, Deserialize)]
struct WireMessage {
    api_key: i16,
    version: i16,
    body: Batch,
}

impl From<Encoded> for WireMessage {
    fn from(encoded: Encoded) -> Self {
        Self { api_key: encoded.api_key, version: encoded.version, body: Batch(encoded.body) }
    }
}

impl From<WireMessage> for Encoded {
    fn from(message: WireMessage) -> Self {
        Self { api_key: message.api_key, version: message.version, body: message.body.0 }
    }
}

impl Submit {
    pub(crate) fn new(origin: &RequestOrigin, request: &ControllerRequest, sent: Timestamp) -> io::Result<Self> {
        Ok(Self {
            sent_ms: sent.0,
            client_id: origin.client_id.to_string(),
            principal: origin.principal.to_string(),
            api_version: origin.api_version,
            request: request.encode(origin.api_version).map_err(io::Error::other)?.into(),
        })
    }

    pub(crate) const fn sent(&self) -> Timestamp {
        Timestamp(self.sent_ms)
    }

    pub(crate) fn open(self) -> io::Result<(RequestOrigin, ControllerRequest)> {
        let origin = RequestOrigin {
            client_id: self.client_id.into(),
            principal: self.principal.into(),
            api_version: self.api_version,
        };
        Ok((origin, ControllerRequest::decode(self.request.into()).map_err(io::Error::other)?))
    }
}

/// The answer to `Submit`: what was decided and where it is committed, or Kafka's error code.
#[derive(Serialize, Deserialize)]
pub(crate) struct Submitted(Result<(WireMessage, i64), i16>);

impl Submitted {
    pub(crate) fn refused(code: ErrorCode) -> Self {
        Self(Err(code.code()))
    }

    pub(crate) fn committed(response: &ControllerResponse, offset: Offset, api_version: i16) -> io::Result<Self> {
        let response = response.encode(api_version).map_err(io::Error::other)?;
        Ok(Self(Ok((response.into(), offset.0))))
    }

    pub(crate) fn open(self) -> io::Result<Result<(ControllerResponse, Offset), ErrorCode>> {
        match self.0 {
            Ok((response, offset)) => {
                Ok(Ok((ControllerResponse::decode(response.into()).map_err(io::Error::other)?, Offset(offset))))
            }
            Err(code) => Ok(Err(ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError))),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Pull {
    pub node_id: u64,
    pub directory_id: Uuid,
    /// The first index that is wanted.
    pub next: u64,
    /// How long to wait for it.
    pub wait_ms: u32,
    pub bytes_max: u32,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Pulled {
    pub leader: Option<u64>,
    pub term: u64,
    /// One past the last committed index.
    pub high_watermark: u64,
    pub voters: Vec<(u64, VoterNode)>,
    pub data: PulledData,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum PulledData {
    /// In order, without a gap, from the index that was asked for.
    Entries(Vec<PulledEntry>),
    /// Everything, where the log before has gone: see `snapshot`.
    Snapshot(Batch),
}

#[derive(Serialize, Deserialize)]
pub(crate) struct PulledEntry {
    pub term: u64,
    pub index: u64,
    /// Nothing for an entry of raft itself.
    pub batch: Option<Batch>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WireQuorum {
    leader: Option<u64>,
    term: i32,
    high_watermark: i64,
    voters: Vec<(u64, VoterNode)>,
    replicas: Vec<WireReplica>,
    observers: Vec<WireReplica>,
}

#[derive(Serialize, Deserialize)]
struct WireReplica {
    id: i32,
    directory_id: Uuid,
    log_end_offset: i64,
    last_fetch: i64,
    last_caught_up: i64,
}

impl WireReplica {
    fn new(state: &ReplicaState) -> Self {
        Self {
            id: state.id.0,
            directory_id: state.directory_id,
            log_end_offset: state.log_end_offset.0,
            last_fetch: state.last_fetch.0,
            last_caught_up: state.last_caught_up.0,
        }
    }

    fn open(&self) -> ReplicaState {
        ReplicaState {
            id: BrokerId(self.id),
            directory_id: self.directory_id,
            log_end_offset: Offset(self.log_end_offset),
            last_fetch: Timestamp(self.last_fetch),
            last_caught_up: Timestamp(self.last_caught_up),
        }
    }
}

impl WireQuorum {
    pub(crate) fn new(quorum: &QuorumInfo, voters: Vec<(u64, VoterNode)>) -> Self {
        Self {
            leader: quorum.leader.and_then(|id| u64::try_from(id.0).ok()),
            term: quorum.leader_epoch,
            high_watermark: quorum.high_watermark.0,
            voters,
            replicas: quorum.replicas.iter().map(WireReplica::new).collect(),
            observers: quorum.observers.iter().map(WireReplica::new).collect(),
        }
    }

    pub(crate) fn open(&self) -> QuorumInfo {
        QuorumInfo {
            leader: self.leader.map(broker_id),
            leader_epoch: self.term,
            high_watermark: Offset(self.high_watermark),
            voters: self.voters.iter().map(|(id, node)| voter_info(*id, node)).collect(),
            replicas: self.replicas.iter().map(WireReplica::open).collect(),
            observers: self.observers.iter().map(WireReplica::open).collect(),
        }
    }
}

/// Where the controller listener of a node is: the first one it tells of.
pub(crate) fn endpoint(node: &VoterNode) -> Option<Endpoint> {
    let endpoint = node.endpoints.first()?;
    Some(Endpoint {
        name: endpoint.name.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    })
}

pub(crate) fn write<T: Serialize>(value: &T) -> io::Result<Bytes> {
    Ok(postcard::to_extend(value, vec![FORMAT]).map_err(io::Error::other)?.into())
}

pub(crate) fn read<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> io::Result<T> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => {
            postcard::from_bytes(rest).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        }
        Some((format, _)) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message in format {format}, this build speaks {FORMAT}: are the nodes of one version?"),
        )),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
