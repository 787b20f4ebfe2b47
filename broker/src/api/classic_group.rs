//! JoinGroup v0-9, Heartbeat v0-4, LeaveGroup v0-5, SyncGroup v0-5.

use ottla_protocol::messages::{HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of JoinGroup, Heartbeat, LeaveGroup, SyncGroup.
pub struct ClassicGroup {}

impl ClassicGroup {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn join_group(&self, _cx: &RequestContext, _request: JoinGroupRequest) -> Reply {
        Reply::Close
    }

    pub async fn heartbeat(&self, _cx: &RequestContext, _request: HeartbeatRequest) -> Reply {
        Reply::Close
    }

    pub async fn leave_group(&self, _cx: &RequestContext, _request: LeaveGroupRequest) -> Reply {
        Reply::Close
    }

    pub async fn sync_group(&self, _cx: &RequestContext, _request: SyncGroupRequest) -> Reply {
        Reply::Close
    }
}
