//! The phases of a rebalance: opening the join phase, closing it, and what happens when time is up.

use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, Timestamp};

use super::group::{ClassicState, LiveGroup, Member};
use crate::group::explain::RebalanceReason;
use crate::group::records::GroupRecord;
use crate::group::request::{GroupAction, GroupResponse};
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::text::{wire, wire_option};
use crate::group::timers::{TimerData, TimerKey};
use crate::shard::{Effect, Token};

/// Who caused a rebalance, and why.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cause {
    pub(crate) member_id: Arc<str>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) reason: String,
}

impl Cause {
    pub(crate) fn by_member(member: &Member, reason: impl Into<String>) -> Self {
        Self {
            member_id: Arc::clone(&member.id),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            reason: reason.into(),
        }
    }

    pub(crate) fn nobody(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
}

/// `now` and some milliseconds later.
pub(crate) const fn after(now: Timestamp, ms: i32) -> Timestamp {
    Timestamp(now.0.saturating_add(ms as i64))
}

impl GroupShard {
    /// Keeps why a group rebalances, for the log and for whoever asks later.
    pub(crate) fn note_rebalance(&mut self, id: &Arc<str>, epoch: i32, cause: Cause, cx: &Cx<'_>, out: &mut Out) {
        let Cause { member_id, client_id, client_host, reason } = cause;
        let reason = RebalanceReason { at: cx.now, epoch, member_id, client_id, client_host, reason };
        self.explain.note(id, reason.clone());
        out.effects.push(Effect::Act(GroupAction::Rebalancing { group: Arc::clone(id), reason }));
    }

    /// A member's session runs from now.
    pub(crate) fn restart_session(&mut self, group: &LiveGroup, member: &Member, now: Timestamp) {
        let key = TimerKey::ClassicSession(Arc::clone(&group.id), Arc::clone(&member.id));
        self.timers.schedule(key, after(now, member.session_timeout_ms), TimerData::None);
    }

    pub(crate) fn cancel_session(&mut self, group: &LiveGroup, member: &Arc<str>) {
        self.timers.cancel(&TimerKey::ClassicSession(Arc::clone(&group.id), Arc::clone(member)));
    }

    /// Rebalances if the group is settled, or goes on with the join phase that is open.
    pub(crate) fn rebalance_or_complete_join(
        &mut self,
        group: &mut LiveGroup,
        cause: Cause,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        if group.state == ClassicState::PreparingRebalance {
            self.maybe_complete_join(group, cx, out);
        } else {
            self.prepare_rebalance(group, cause, cx, out);
        }
    }

    /// Opens the join phase.
    pub(crate) fn prepare_rebalance(&mut self, group: &mut LiveGroup, cause: Cause, cx: &mut Cx<'_>, out: &mut Out) {
        if group.state == ClassicState::CompletingRebalance {
            for member in group.members.values_mut() {
                member.assignment = Bytes::new();
            }
            self.answer_syncs(group, ErrorCode::RebalanceInProgress, cx.now, out);
        }
        group.pending_sync.clear();
        self.timers.cancel(&TimerKey::ClassicSync(Arc::clone(&group.id)));
        self.note_rebalance(&Arc::clone(&group.id), group.generation, cause, cx, out);

        let is_first = group.state == ClassicState::Empty;
        group.transition(ClassicState::PreparingRebalance, cx.now);
        let join = TimerKey::ClassicJoin(Arc::clone(&group.id));
        if is_first {
            // A new group gets some time in which its members may arrive together.
            let delay_ms = cx.config.classic_initial_rebalance_delay_ms;
            let remaining_ms = (group.rebalance_timeout_ms() - delay_ms).max(0);
            let data = TimerData::InitialJoin { delay_ms, remaining_ms };
            self.timers.schedule(join, after(cx.now, delay_ms), data);
        } else if group.has_all_members_joined() {
            self.complete_join(group, cx, out);
        } else {
            self.timers.schedule(join, after(cx.now, group.rebalance_timeout_ms()), TimerData::None);
        }
    }

    /// Closes the join phase if everybody is there. The first one of a group only ends by time.
    pub(crate) fn maybe_complete_join(&mut self, group: &mut LiveGroup, cx: &mut Cx<'_>, out: &mut Out) {
        if group.state == ClassicState::PreparingRebalance
            && group.previous_state != ClassicState::Empty
            && group.has_all_members_joined()
        {
            self.complete_join(group, cx, out);
        }
    }

    /// Closes the join phase: dynamic members that are not there are out, the others are told the new generation.
    pub(crate) fn complete_join(&mut self, group: &mut LiveGroup, cx: &mut Cx<'_>, out: &mut Out) {
        let join = TimerKey::ClassicJoin(Arc::clone(&group.id));
        self.timers.cancel(&join);
        let absent: Vec<Arc<str>> = group
            .members
            .values()
            .filter(|member| member.awaiting_join.is_none() && member.instance_id.is_none())
            .map(|member| Arc::clone(&member.id))
            .collect();
        for member in &absent {
            group.remove(member);
            self.cancel_session(group, member);
        }
        if !group.members.is_empty() && !group.elect_joined_leader() {
            // Only static members are left and none of them came: wait until their sessions end.
            self.timers.schedule(join, after(cx.now, group.rebalance_timeout_ms()), TimerData::None);
            return;
        }
        group.init_next_generation(cx.now);
        if group.state == ClassicState::Empty {
            self.write_classic(group, out);
            return;
        }
        let mut answers = Vec::new();
        for member in group.members.values() {
            let members = if group.is_leader(&member.id) { join_members(group) } else { Vec::new() };
            answers.push((Arc::clone(&member.id), join_answer(group, &member.id).with_members(members)));
        }
        for (id, answer) in answers {
            let Some(member) = group.members.get_mut(&id) else { continue };
            member.is_new = false;
            if let Some(waiting) = member.awaiting_join.take() {
                reply_join(waiting.token, waiting.version, answer, out);
            }
            let member = member.clone();
            self.restart_session(group, &member, cx.now);
            group.pending_sync.insert(id);
        }
        let sync = TimerKey::ClassicSync(Arc::clone(&group.id));
        let data = TimerData::Epoch(group.generation);
        self.timers.schedule(sync, after(cx.now, group.rebalance_timeout_ms()), data);
    }

    /// Writes the group as it is now.
    pub(crate) fn write_classic(&self, group: &mut LiveGroup, out: &mut Out) {
        let record = group.to_record();
        group.written = Some(Arc::clone(&record));
        out.records.push(GroupRecord::ClassicGroup { group: Arc::clone(&group.id), value: Some(record) });
    }

    /// Answers everybody who waits for the sync phase: with the assignment, or with an error.
    pub(crate) fn answer_syncs(&mut self, group: &mut LiveGroup, error: ErrorCode, now: Timestamp, out: &mut Out) {
        let (protocol_type, protocol) = if error.is_error() {
            (None, None)
        } else {
            (wire_option(group.protocol_type.as_ref()), wire_option(group.protocol.as_ref()))
        };
        let mut answered = Vec::new();
        for member in group.members.values_mut() {
            let Some(token) = member.awaiting_sync.take() else { continue };
            let answer = m::SyncGroupResponse::default()
                .with_error_code(error.code())
                .with_protocol_type(protocol_type.clone())
                .with_protocol_name(protocol.clone())
                .with_assignment(member.assignment.clone());
            out.effects.push(Effect::Reply(token, GroupResponse::SyncGroup(answer)));
            answered.push(member.clone());
        }
        for member in answered {
            self.restart_session(group, &member, now);
        }
    }

    /// The join phase's time is up.
    pub(crate) fn on_join_timer(&mut self, group: &mut LiveGroup, data: TimerData, cx: &mut Cx<'_>, out: &mut Out) {
        if group.state != ClassicState::PreparingRebalance {
            return;
        }
        match data {
            TimerData::InitialJoin { delay_ms, remaining_ms } if group.new_member_added && remaining_ms != 0 => {
                group.new_member_added = false;
                let next_delay_ms = cx.config.classic_initial_rebalance_delay_ms.min(remaining_ms);
                let data =
                    TimerData::InitialJoin { delay_ms: next_delay_ms, remaining_ms: (remaining_ms - delay_ms).max(0) };
                self.timers.schedule(TimerKey::ClassicJoin(Arc::clone(&group.id)), after(cx.now, next_delay_ms), data);
            }
            _ => self.complete_join(group, cx, out),
        }
    }

    /// The sync phase's time is up: who has not synced is out.
    pub(crate) fn on_sync_timer(&mut self, group: &mut LiveGroup, data: TimerData, cx: &mut Cx<'_>, out: &mut Out) {
        let settled = matches!(group.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if data != TimerData::Epoch(group.generation) || !settled || group.pending_sync.is_empty() {
            return;
        }
        let late: Vec<Arc<str>> = group.pending_sync.iter().cloned().collect();
        let cause = Cause {
            member_id: late.first().cloned().unwrap_or_default(),
            ..Cause::nobody(format!("{} did not sync in time", late.join(", ")))
        };
        for member in &late {
            group.remove(member);
            self.cancel_session(group, member);
        }
        self.prepare_rebalance(group, cause, cx, out);
    }

    /// A member's session is over.
    pub(crate) fn on_session_timer(&mut self, group: &mut LiveGroup, id: &Arc<str>, cx: &mut Cx<'_>, out: &mut Out) {
        if group.pending_join.contains(id) {
            group.remove(id);
            if group.state == ClassicState::PreparingRebalance && group.has_all_members_joined() {
                self.complete_join(group, cx, out);
            }
            return;
        }
        let Some(member) = group.members.get(id) else { return };
        if member.is_excused() {
            return;
        }
        let cause = Cause::by_member(member, format!("the session of {id} timed out"));
        self.remove_member(group, id, out);
        self.after_removal(group, cause, cx, out);
    }

    /// Takes a member out; one that waits for its join is told that it is unknown, so that it comes back.
    pub(crate) fn remove_member(&mut self, group: &mut LiveGroup, id: &Arc<str>, out: &mut Out) {
        self.cancel_session(group, id);
        let Some(member) = group.remove(id) else { return };
        if let Some(waiting) = member.awaiting_join {
            let answer = join_error("", ErrorCode::UnknownMemberId);
            reply_join(waiting.token, waiting.version, answer, out);
        }
        if let Some(token) = member.awaiting_sync {
            let answer = m::SyncGroupResponse::default().with_error_code(ErrorCode::UnknownMemberId.code());
            out.effects.push(Effect::Reply(token, GroupResponse::SyncGroup(answer)));
        }
    }

    /// Goes on after members were taken out by time.
    fn after_removal(&mut self, group: &mut LiveGroup, cause: Cause, cx: &mut Cx<'_>, out: &mut Out) {
        match group.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(group, cause, cx, out),
            ClassicState::PreparingRebalance if group.has_all_members_joined() => self.complete_join(group, cx, out),
            _ => {}
        }
    }
}

/// The answer that tells a member the current generation.
pub(crate) fn join_answer(group: &LiveGroup, member: &str) -> m::JoinGroupResponse {
    m::JoinGroupResponse::default()
        .with_generation_id(group.generation)
        .with_protocol_type(wire_option(group.protocol_type.as_ref()))
        .with_protocol_name(wire_option(group.protocol.as_ref()))
        .with_leader(wire(group.leader.as_deref().unwrap_or_default()))
        .with_member_id(wire(member))
}

/// What the leader learns of the members.
pub(crate) fn join_members(group: &LiveGroup) -> Vec<m::join_group_response::JoinGroupResponseMember> {
    let protocol = group.protocol.as_deref().unwrap_or_default();
    group
        .members
        .values()
        .map(|member| {
            m::join_group_response::JoinGroupResponseMember::default()
                .with_member_id(wire(&member.id))
                .with_group_instance_id(wire_option(member.instance_id.as_ref()))
                .with_metadata(member.metadata(protocol))
        })
        .collect()
}

pub(crate) fn join_error(member: &str, error: ErrorCode) -> m::JoinGroupResponse {
    m::JoinGroupResponse::default()
        .with_error_code(error.code())
        .with_generation_id(-1)
        .with_protocol_name(None)
        .with_protocol_type(None)
        .with_member_id(wire(member))
}

/// Before version 7 a protocol name cannot be null.
pub(crate) fn reply_join(token: Token, version: i16, mut answer: m::JoinGroupResponse, out: &mut Out) {
    if version < 7 && answer.protocol_name.is_none() {
        answer.protocol_name = Some(wire(""));
    }
    out.effects.push(Effect::Reply(token, GroupResponse::JoinGroup(answer)));
}
