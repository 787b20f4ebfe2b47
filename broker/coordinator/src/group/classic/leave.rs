//! LeaveGroup: v0-5. v3 many members at once, also by instance id alone (an operator's way to remove a static member),
//! v5 a reason.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::group::{ClassicState, LiveGroup};
use super::rebalance::Cause;
use crate::group::request::{Client, GroupResponse};
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::arc;
use crate::shard::{Effect, Token};

pub(crate) fn reply_leave(
    token: Token,
    client: &Client,
    error: ErrorCode,
    members: Vec<m::leave_group_response::MemberResponse>,
    out: &mut Out,
) {
    // Before version 3 there is one member, whose error is the answer's.
    let answer = if client.version >= 3 {
        m::LeaveGroupResponse::default().with_error_code(error.code()).with_members(members)
    } else {
        let code = members.first().map_or(error.code(), |member| member.error_code);
        m::LeaveGroupResponse::default().with_error_code(code)
    };
    out.effects.push(Effect::Reply(token, GroupResponse::LeaveGroup(answer)));
}

pub(crate) fn member_response(
    identity: &m::leave_group_request::MemberIdentity,
    result: Result<(), ErrorCode>,
) -> m::leave_group_response::MemberResponse {
    m::leave_group_response::MemberResponse::default()
        .with_member_id(identity.member_id.clone())
        .with_group_instance_id(identity.group_instance_id.clone())
        .with_error_code(result.err().map_or(0, ErrorCode::code))
}

impl GroupShard {
    pub(crate) fn leave_group(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        request: &m::LeaveGroupRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        if request.group_id.is_empty() {
            return reply_leave(token, client, ErrorCode::InvalidGroupId, Vec::new(), out);
        }
        let members = if client.version >= 3 {
            request.members.clone()
        } else {
            vec![m::leave_group_request::MemberIdentity::default().with_member_id(request.member_id.clone())]
        };
        match hard.group(&request.group_id) {
            None => {
                // As in any other group that they are not members of: clients look at each member, not at the whole.
                let unknown = |identity| member_response(identity, Err(ErrorCode::UnknownMemberId));
                reply_leave(token, client, ErrorCode::None, members.iter().map(unknown).collect(), out);
            }
            Some(Group::Consumer(_)) => {
                let results = self.leave_consumer_group(hard, &arc(&request.group_id), &members, cx, out);
                reply_leave(token, client, ErrorCode::None, results, out);
            }
            Some(Group::Classic(_)) => {
                let mut group = self.take_classic(hard, &arc(&request.group_id), cx.now);
                let results = self.leave_classic(&mut group, &members, cx, out);
                self.put_classic(group);
                reply_leave(token, client, ErrorCode::None, results, out);
            }
        }
    }

    fn leave_classic(
        &mut self,
        group: &mut LiveGroup,
        members: &[m::leave_group_request::MemberIdentity],
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) -> Vec<m::leave_group_response::MemberResponse> {
        let mut results = Vec::with_capacity(members.len());
        let mut cause = None;
        for identity in members {
            let result = self.leave_one(group, identity, &mut cause, out);
            results.push(member_response(identity, result));
        }
        if results.iter().any(|result| result.error_code == 0) {
            let cause = cause.unwrap_or_else(|| Cause::nobody("a member left"));
            match group.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => {
                    self.prepare_rebalance(group, cause, cx, out);
                }
                ClassicState::PreparingRebalance => self.maybe_complete_join(group, cx, out),
                ClassicState::Empty => {}
            }
        }
        results
    }

    fn leave_one(
        &mut self,
        group: &mut LiveGroup,
        identity: &m::leave_group_request::MemberIdentity,
        cause: &mut Option<Cause>,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        let instance_id = identity.group_instance_id.as_deref();
        let id: Arc<str> = if identity.member_id.is_empty() {
            let by_instance = instance_id.and_then(|instance| group.static_members.get(instance));
            by_instance.cloned().ok_or(ErrorCode::UnknownMemberId)?
        } else if group.pending_join.contains(identity.member_id.as_str()) {
            let id = arc(&identity.member_id);
            group.remove(&id);
            self.cancel_session(group, &id);
            return Ok(());
        } else {
            group.validate_member(&identity.member_id, instance_id)?;
            arc(&identity.member_id)
        };
        if let Some(member) = group.members.get(&id) {
            let reason = identity.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided");
            *cause = Some(Cause::by_member(member, format!("{id} left; client reason: {reason}")));
        }
        self.remove_member(group, &id, out);
        Ok(())
    }
}
