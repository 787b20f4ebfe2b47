//! What the coordinator is asked, answers, and asks of its host.

use std::sync::Arc;

use ottla_protocol::messages as m;
use ottla_protocol::{Timestamp, TopicId};

use super::explain::RebalanceReason;
use crate::shard::Producer;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Client {
    pub client_id: Arc<str>,
    /// As Kafka writes it: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Version of the request's API.
    pub version: i16,
}

/// One request. Authorization, and turning topic ids into names, are done before; results of topics or groups that were
/// sorted out there are merged by the caller.
#[derive(Debug, Clone)]
pub enum GroupRequest {
    JoinGroup(Client, m::JoinGroupRequest),
    SyncGroup(Client, m::SyncGroupRequest),
    Heartbeat(Client, m::HeartbeatRequest),
    LeaveGroup(Client, m::LeaveGroupRequest),
    /// Every topic has its name and its id (zero if the topic does not exist).
    OffsetCommit(Client, m::OffsetCommitRequest),
    TxnOffsetCommit(Client, m::TxnOffsetCommitRequest),
    /// One group of an OffsetFetch (older versions are brought into this shape by the caller). Topics have names; `None`
    /// asks for all.
    OffsetFetch {
        client: Client,
        group: m::offset_fetch_request::OffsetFetchRequestGroup,
        require_stable: bool,
    },
    OffsetDelete(Client, m::OffsetDeleteRequest),
    /// The groups of this shard out of one request.
    DeleteGroups(Vec<m::GroupId>),
    /// Asked of every shard of the broker.
    ListGroups {
        states_filter: Vec<String>,
        types_filter: Vec<String>,
    },
    DescribeGroups(Client, Vec<m::GroupId>),
    ConsumerGroupHeartbeat(Client, m::ConsumerGroupHeartbeatRequest),
    ConsumerGroupDescribe(Vec<m::GroupId>),
    /// The transaction coordinator ends a transaction that may have pending offsets here.
    EndTransaction {
        producer: Producer,
        coordinator_epoch: i32,
        commit: bool,
    },
    /// Topics are gone: so are their committed offsets.
    TopicsDeleted(Vec<(TopicId, Arc<str>)>),
    /// Why did this group rebalance?
    Explain(Arc<str>),
}

/// The answer to the request of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupResponse {
    JoinGroup(m::JoinGroupResponse),
    SyncGroup(m::SyncGroupResponse),
    Heartbeat(m::HeartbeatResponse),
    LeaveGroup(m::LeaveGroupResponse),
    OffsetCommit(m::OffsetCommitResponse),
    TxnOffsetCommit(m::TxnOffsetCommitResponse),
    OffsetFetch(m::offset_fetch_response::OffsetFetchResponseGroup),
    OffsetDelete(m::OffsetDeleteResponse),
    DeleteGroups(Vec<m::delete_groups_response::DeletableGroupResult>),
    ListGroups(Vec<m::list_groups_response::ListedGroup>),
    DescribeGroups(Vec<m::describe_groups_response::DescribedGroup>),
    ConsumerGroupHeartbeat(m::ConsumerGroupHeartbeatResponse),
    ConsumerGroupDescribe(Vec<m::consumer_group_describe_response::DescribedGroup>),
    /// The marker is written.
    EndTransaction,
    TopicsDeleted {
        /// There is more than one append takes: to be asked again.
        left: bool,
    },
    /// Oldest first.
    Explain(Vec<RebalanceReason>),
}

/// What the host does beside answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupAction {
    /// One line for the log: a group rebalances, and why.
    Rebalancing { group: Arc<str>, reason: RebalanceReason },
    /// One line for the log: offsets or groups went because they were old.
    Expired { tombstones: usize, at: Timestamp },
}
