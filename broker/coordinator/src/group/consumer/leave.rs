//! Members leave, or are taken out: by heartbeat (-1, and -2 for a static member that will be back), by LeaveGroup for
//! those that speak the classic protocol, by time.

use std::sync::Arc;

use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::member::STATIC_LEAVE_EPOCH;
use crate::group::classic::{Cause, member_response};
use crate::group::records::{CurrentAssignment, GroupRecord};
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::GroupState;
use crate::group::text::{arc, wire};

impl GroupShard {
    pub(crate) fn leave_by_heartbeat(
        &mut self,
        hard: &GroupState,
        request: &m::ConsumerGroupHeartbeatRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, GroupError> {
        let id = arc(&request.group_id);
        let group = hard
            .consumer(&id)
            .ok_or_else(|| GroupError::new(ErrorCode::GroupIdNotFound, format!("there is no consumer group {id}")))?;
        let member = group.find_member(&request.member_id, request.instance_id.as_deref())?;
        let answer = m::ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(wire(&member)))
            .with_member_epoch(request.member_epoch);
        if request.member_epoch == STATIC_LEAVE_EPOCH {
            // Its place is kept until its session ends. Whoever takes it over has had the partitions all along.
            let current = group.current_of(&member);
            let since_ever =
                |partitions: &std::collections::BTreeMap<i32, i32>| partitions.keys().map(|&p| (p, 0)).collect();
            let value = CurrentAssignment {
                member_epoch: STATIC_LEAVE_EPOCH,
                pending_revocation: std::collections::BTreeMap::new(),
                assigned: current.assigned.iter().map(|(topic, p): (&TopicId, _)| (*topic, since_ever(p))).collect(),
                ..(*current).clone()
            };
            let mut draft = Draft::new(&id, group.clone());
            draft.put_current(&member, value);
            self.finish(draft, cx, out);
        } else {
            let cause = cause_of(group, &member, format!("{member} left"));
            self.fence_members(hard, &id, &[member], cause, cx, out);
        }
        Ok(answer)
    }

    /// LeaveGroup in a consumer group.
    pub(crate) fn leave_consumer_group(
        &mut self,
        hard: &GroupState,
        id: &Arc<str>,
        members: &[m::leave_group_request::MemberIdentity],
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) -> Vec<m::leave_group_response::MemberResponse> {
        let Some(group) = hard.consumer(id) else { return Vec::new() };
        let mut leaving: Vec<Arc<str>> = Vec::new();
        let mut results = Vec::with_capacity(members.len());
        for identity in members {
            let instance = identity.group_instance_id.as_deref();
            let found = match instance.and_then(|instance| group.static_member(instance)) {
                // An operator removes a static member by its instance id alone.
                Some(existing) if identity.member_id.is_empty() => Ok(Arc::clone(existing)),
                _ => group.find_member(&identity.member_id, instance).map_err(|error| error.code),
            };
            if let Ok(member) = &found
                && !leaving.contains(member)
            {
                leaving.push(Arc::clone(member));
            }
            results.push(member_response(identity, found.map(|_| ())));
        }
        if let Some(first) = leaving.first() {
            let cause = cause_of(group, first, format!("{} left", leaving.join(", ")));
            self.fence_members(hard, id, &leaving, cause, cx, out);
        }
        results
    }

    /// Takes members out. If only members of the classic protocol stay, the group becomes a classic one again.
    pub(crate) fn fence_members(
        &mut self,
        hard: &GroupState,
        id: &Arc<str>,
        members: &[Arc<str>],
        cause: Cause,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        let Some(group) = hard.consumer(id) else { return };
        for member in members {
            self.cancel_consumer_timers(id, member);
        }
        if let Some(classic) = super::migrate::downgrade(id, group, members, cx) {
            return self.become_classic(group, classic, Some(cause), cx, out);
        }
        let mut draft = Draft::new(id, group.clone());
        for member in members {
            draft.remove_member(member);
        }
        let unused: Vec<Arc<str>> = draft
            .group
            .regexes
            .keys()
            .filter(|regex| draft.group.members.values().all(|m| m.subscribed_topic_regex.as_ref() != Some(regex)))
            .cloned()
            .collect();
        for regex in unused {
            draft.push(GroupRecord::Regex { group: Arc::clone(id), regex, value: None });
        }
        let metadata_hash = draft.group.metadata_hash(cx.image);
        draft.bump(metadata_hash, cause);
        self.finish(draft, cx, out);
    }
}

fn cause_of(group: &super::ConsumerGroup, member: &Arc<str>, reason: String) -> Cause {
    let value = group.members.get(member);
    Cause {
        member_id: Arc::clone(member),
        client_id: value.map(|value| Arc::clone(&value.client_id)).unwrap_or_default(),
        client_host: value.map(|value| Arc::clone(&value.client_host)).unwrap_or_default(),
        reason,
    }
}
