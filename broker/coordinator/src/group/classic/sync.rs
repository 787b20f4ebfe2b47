//! SyncGroup: v0-5. v3 static members, v5 the protocol's type and name are checked.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::group::{ClassicState, LiveGroup};
use crate::group::request::{Client, GroupResponse};
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::{arc, wire_option};
use crate::group::timers::TimerKey;
use crate::shard::{Effect, Token};

pub(crate) fn reply_sync(token: Token, answer: m::SyncGroupResponse, out: &mut Out) {
    out.effects.push(Effect::Reply(token, GroupResponse::SyncGroup(answer)));
}

pub(crate) fn reply_sync_error(token: Token, error: ErrorCode, out: &mut Out) {
    reply_sync(token, m::SyncGroupResponse::default().with_error_code(error.code()), out);
}

impl GroupShard {
    pub(crate) fn sync_group(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        request: &m::SyncGroupRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        if request.group_id.is_empty() {
            return reply_sync_error(token, ErrorCode::InvalidGroupId, out);
        }
        match hard.group(&request.group_id) {
            None => reply_sync_error(token, ErrorCode::UnknownMemberId, out),
            Some(Group::Consumer(group)) => self.sync_consumer_group(group, token, client, request, cx, out),
            Some(Group::Classic(_)) => {
                let id = arc(&request.group_id);
                let mut group = self.take_classic(hard, &id, cx.now);
                self.sync_classic(&mut group, token, request, cx, out);
                self.put_classic(group);
            }
        }
    }

    fn sync_classic(
        &mut self,
        group: &mut LiveGroup,
        token: Token,
        request: &m::SyncGroupRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        if let Err(error) = validate(group, request) {
            return reply_sync_error(token, error, out);
        }
        let id: Arc<str> = arc(&request.member_id);
        match group.state {
            ClassicState::Empty => reply_sync_error(token, ErrorCode::UnknownMemberId, out),
            ClassicState::PreparingRebalance => reply_sync_error(token, ErrorCode::RebalanceInProgress, out),
            ClassicState::Stable => {
                self.synced(group, &id);
                let assignment = group.members.get(&id).map(|member| member.assignment.clone()).unwrap_or_default();
                reply_sync(token, answer(group, assignment), out);
            }
            ClassicState::CompletingRebalance => {
                self.synced(group, &id);
                let older = group.members.get_mut(&id).and_then(|member| member.awaiting_sync.replace(token));
                if let Some(older) = older {
                    reply_sync_error(older, ErrorCode::RebalanceInProgress, out);
                }
                if group.is_leader(&id) {
                    self.assign(group, request, cx, out);
                }
            }
        }
    }

    /// The leader's assignment: written, and then told to everybody who waits for it.
    fn assign(&mut self, group: &mut LiveGroup, request: &m::SyncGroupRequest, cx: &mut Cx<'_>, out: &mut Out) {
        for member in group.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for assigned in &request.assignments {
            if let Some(member) = group.members.get_mut(assigned.member_id.as_str()) {
                member.assignment = assigned.assignment.clone();
            }
        }
        group.transition(ClassicState::Stable, cx.now);
        self.write_classic(group, out);
        self.answer_syncs(group, ErrorCode::None, cx.now, out);
    }

    fn synced(&mut self, group: &mut LiveGroup, id: &Arc<str>) {
        group.pending_sync.remove(id);
        if group.pending_sync.is_empty() {
            self.timers.cancel(&TimerKey::ClassicSync(Arc::clone(&group.id)));
        }
    }
}

fn validate(group: &LiveGroup, request: &m::SyncGroupRequest) -> Result<(), ErrorCode> {
    if group.state == ClassicState::Empty {
        return Err(ErrorCode::UnknownMemberId);
    }
    group.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
    if request.generation_id != group.generation {
        return Err(ErrorCode::IllegalGeneration);
    }
    let differs = |said: Option<&str>, ours: Option<&str>| said.is_some() && ours.is_some() && said != ours;
    if differs(request.protocol_type.as_deref(), group.protocol_type.as_deref())
        || differs(request.protocol_name.as_deref(), group.protocol.as_deref())
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    Ok(())
}

fn answer(group: &LiveGroup, assignment: Bytes) -> m::SyncGroupResponse {
    m::SyncGroupResponse::default()
        .with_protocol_type(wire_option(group.protocol_type.as_ref()))
        .with_protocol_name(wire_option(group.protocol.as_ref()))
        .with_assignment(assignment)
}
