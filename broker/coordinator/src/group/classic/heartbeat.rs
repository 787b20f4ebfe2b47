//! Heartbeat: v0-4. v3 static members.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::group::{ClassicState, LiveGroup};
use crate::group::request::GroupResponse;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::arc;
use crate::shard::{Effect, Token};

impl GroupShard {
    pub(crate) fn heartbeat(
        &mut self,
        hard: &GroupState,
        token: Token,
        request: &m::HeartbeatRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        let error = if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else {
            match hard.group(&request.group_id) {
                None => ErrorCode::UnknownMemberId,
                Some(Group::Consumer(group)) => self.heartbeat_consumer_group(group, request, cx),
                Some(Group::Classic(_)) => {
                    let group = self.take_classic(hard, &arc(&request.group_id), cx.now);
                    let error = self.heartbeat_classic(&group, request, cx);
                    self.put_classic(group);
                    error
                }
            }
        };
        let answer = m::HeartbeatResponse::default().with_error_code(error.code());
        out.effects.push(Effect::Reply(token, GroupResponse::Heartbeat(answer)));
    }

    fn heartbeat_classic(&mut self, group: &LiveGroup, request: &m::HeartbeatRequest, cx: &Cx<'_>) -> ErrorCode {
        if let Err(error) = group.validate_member(&request.member_id, request.group_instance_id.as_deref()) {
            return error;
        }
        if request.generation_id != group.generation {
            return ErrorCode::IllegalGeneration;
        }
        let Some(member) = group.members.get(request.member_id.as_str()) else { return ErrorCode::UnknownMemberId };
        self.restart_session(group, member, cx.now);
        match group.state {
            ClassicState::Empty => ErrorCode::UnknownMemberId,
            ClassicState::PreparingRebalance => ErrorCode::RebalanceInProgress,
            // Members begin to heartbeat as soon as they have joined.
            ClassicState::CompletingRebalance | ClassicState::Stable => ErrorCode::None,
        }
    }
}
