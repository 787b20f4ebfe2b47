//! JoinGroup v0-9, SyncGroup v0-5, Heartbeat v0-4, LeaveGroup v0-5: the classic group protocol.
//!
//! JoinGroup v1 has a rebalance timeout of its own, v4 asks new members to come back with an id, v5 static members, v9 may
//! skip the assignment. LeaveGroup v3 lets several members go at once.

use ottla_coordinator::group::{GroupRequest, GroupResponse};
use ottla_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    SyncGroupRequest, SyncGroupResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::coordinated::{Asked, answer_later, ask_group, client, expect_answer};
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::Coordinators;

/// Handler of JoinGroup, SyncGroup, Heartbeat, LeaveGroup.
pub struct ClassicGroup {
    coordinators: Coordinators,
}

impl ClassicGroup {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(11), ApiSpec::of(12), ApiSpec::of(13), ApiSpec::of(14)];

    pub fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone() }
    }

    pub async fn join_group(&self, cx: &RequestContext, mut request: JoinGroupRequest) -> Reply {
        let (group, version) = (request.group_id.0.clone(), cx.version);
        if version == 0 {
            // The only timeout that v0 knows serves for both.
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        let asked = self.ask(&group, GroupRequest::JoinGroup(client(cx), request)).await;
        answer_later(cx, asked, move |answer| {
            let mut response = expect_answer!(answer, GroupResponse::JoinGroup).unwrap_or_else(|error| {
                JoinGroupResponse::default()
                    .with_error_code(error.code())
                    .with_generation_id(-1)
                    .with_protocol_name(None)
            });
            if version < 7 {
                // Null came with v7.
                response.protocol_name.get_or_insert_default();
            }
            response
        })
    }

    pub async fn sync_group(&self, cx: &RequestContext, request: SyncGroupRequest) -> Reply {
        let group = request.group_id.0.clone();
        let asked = if cx.version >= 5 && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
            Err(ErrorCode::InconsistentGroupProtocol)
        } else {
            self.ask(&group, GroupRequest::SyncGroup(client(cx), request)).await
        };
        answer_later(cx, asked, |answer| {
            expect_answer!(answer, GroupResponse::SyncGroup)
                .unwrap_or_else(|error| SyncGroupResponse::default().with_error_code(error.code()))
        })
    }

    pub async fn heartbeat(&self, cx: &RequestContext, request: HeartbeatRequest) -> Reply {
        let group = request.group_id.0.clone();
        let asked = self.ask(&group, GroupRequest::Heartbeat(client(cx), request)).await;
        answer_later(cx, asked, |answer| {
            expect_answer!(answer, GroupResponse::Heartbeat).unwrap_or_else(|error| {
                // A member must not lose heart while its coordinator loads: sessions begin anew after that anyway.
                let error = if error == ErrorCode::CoordinatorLoadInProgress { ErrorCode::None } else { error };
                HeartbeatResponse::default().with_error_code(error.code())
            })
        })
    }

    pub async fn leave_group(&self, cx: &RequestContext, request: LeaveGroupRequest) -> Reply {
        let asked = self.ask(&request.group_id.0.clone(), GroupRequest::LeaveGroup(client(cx), request)).await;
        answer_later(cx, asked, move |answer| {
            expect_answer!(answer, GroupResponse::LeaveGroup)
                .unwrap_or_else(|error| LeaveGroupResponse::default().with_error_code(error.code()))
        })
    }

    async fn ask(&self, group: &StrBytes, request: GroupRequest) -> Asked {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        ask_group(&self.coordinators, group, request).await
    }
}
