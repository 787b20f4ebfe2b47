//! DescribeQuorum v0-2, AddRaftVoter v0-1, RemoveRaftVoter v0.

use ottla_protocol::messages::{AddRaftVoterRequest, DescribeQuorumRequest, RemoveRaftVoterRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeQuorum, AddRaftVoter, RemoveRaftVoter.
pub struct Quorum {}

impl Quorum {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_quorum(&self, _cx: &RequestContext, _request: DescribeQuorumRequest) -> Reply {
        Reply::Close
    }

    pub async fn add_raft_voter(&self, _cx: &RequestContext, _request: AddRaftVoterRequest) -> Reply {
        Reply::Close
    }

    pub async fn remove_raft_voter(&self, _cx: &RequestContext, _request: RemoveRaftVoterRequest) -> Reply {
        Reply::Close
    }
}
