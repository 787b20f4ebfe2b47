//! Share group state between partition leaders and share coordinators (KIP-932).

use ottla_protocol::messages::{
    DeleteShareGroupStateRequest, InitializeShareGroupStateRequest, ReadShareGroupStateRequest,
    ReadShareGroupStateSummaryRequest, WriteShareGroupStateRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of InitializeShareGroupState, ReadShareGroupState, WriteShareGroupState, DeleteShareGroupState, ReadShareGroupStateSummary.
pub struct ShareState {}

impl ShareState {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn initialize_share_group_state(
        &self,
        _cx: &RequestContext,
        _request: InitializeShareGroupStateRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn read_share_group_state(&self, _cx: &RequestContext, _request: ReadShareGroupStateRequest) -> Reply {
        Reply::Close
    }

    pub async fn write_share_group_state(&self, _cx: &RequestContext, _request: WriteShareGroupStateRequest) -> Reply {
        Reply::Close
    }

    pub async fn delete_share_group_state(
        &self,
        _cx: &RequestContext,
        _request: DeleteShareGroupStateRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn read_share_group_state_summary(
        &self,
        _cx: &RequestContext,
        _request: ReadShareGroupStateSummaryRequest,
    ) -> Reply {
        Reply::Close
    }
}
