//! ElectLeaders v0-2, AlterPartitionReassignments v0-1, ListPartitionReassignments v0.

use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, ElectLeadersRequest, ListPartitionReassignmentsRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of ElectLeaders, AlterPartitionReassignments, ListPartitionReassignments.
pub struct Reassignments {}

impl Reassignments {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn elect_leaders(&self, _cx: &RequestContext, _request: ElectLeadersRequest) -> Reply {
        Reply::Close
    }

    pub async fn alter_partition_reassignments(
        &self,
        _cx: &RequestContext,
        _request: AlterPartitionReassignmentsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn list_partition_reassignments(
        &self,
        _cx: &RequestContext,
        _request: ListPartitionReassignmentsRequest,
    ) -> Reply {
        Reply::Close
    }
}
