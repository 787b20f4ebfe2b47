//! JoinGroup: v0-9. v4 a dynamic member first learns its id (MEMBER_ID_REQUIRED), v5 static members (KIP-345), v9
//! SkipAssignment for a leader that came back.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::group::{ClassicState, LiveGroup, Member, WaitingJoin};
use super::rebalance::{Cause, after, join_answer, join_error, join_members, reply_join};
use crate::group::records::GroupRecord;
use crate::group::request::Client;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::{arc, arc_option};
use crate::group::timers::{TimerData, TimerKey};
use crate::shard::Token;

/// The request in our own words.
pub(crate) struct Join {
    pub(crate) token: Token,
    pub(crate) client: Client,
    pub(crate) group: Arc<str>,
    pub(crate) member: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) protocol_type: Arc<str>,
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) reason: Arc<str>,
}

impl Join {
    fn new(token: Token, client: Client, request: &m::JoinGroupRequest) -> Self {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        let protocols = request.protocols.iter().filter(|protocol| names.insert(protocol.name.as_str()));
        let protocols = protocols.map(|protocol| (arc(&protocol.name), protocol.metadata.clone())).collect();
        // Version 0 has one timeout for both.
        let rebalance_timeout_ms =
            if client.version == 0 { request.session_timeout_ms } else { request.rebalance_timeout_ms };
        let reason = request.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided");
        Self {
            token,
            group: arc(&request.group_id),
            member: arc(&request.member_id),
            instance_id: arc_option(request.group_instance_id.as_ref()),
            protocol_type: arc(&request.protocol_type),
            protocols,
            session_timeout_ms: request.session_timeout_ms,
            rebalance_timeout_ms,
            reason: Arc::from(reason),
            client,
        }
    }

    pub(crate) fn answer(&self, answer: m::JoinGroupResponse, out: &mut Out) {
        reply_join(self.token, self.client.version, answer, out);
    }

    pub(crate) fn fail(&self, member: &str, error: ErrorCode, out: &mut Out) {
        self.answer(join_error(member, error), out);
    }

    fn waiting(&self) -> WaitingJoin {
        WaitingJoin { token: self.token, version: self.client.version }
    }

    fn cause(&self, member: &Arc<str>, what: &str) -> Cause {
        Cause {
            member_id: Arc::clone(member),
            client_id: Arc::clone(&self.client.client_id),
            client_host: Arc::clone(&self.client.client_host),
            reason: format!("{what}; client reason: {}", self.reason),
        }
    }
}

impl GroupShard {
    pub(crate) fn join_group(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: Client,
        request: &m::JoinGroupRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        let join = Join::new(token, client, request);
        if join.group.is_empty() {
            return join.fail(&join.member, ErrorCode::InvalidGroupId, out);
        }
        let sessions = cx.config.classic_session_timeout_ms_min..=cx.config.classic_session_timeout_ms_max;
        if !sessions.contains(&join.session_timeout_ms) {
            return join.fail(&join.member, ErrorCode::InvalidSessionTimeout, out);
        }
        let is_unknown = join.member.is_empty();
        let mut group = match hard.group(&join.group) {
            Some(Group::Consumer(consumer)) if !consumer.members.is_empty() => {
                return self.join_consumer_group(consumer, &join, cx, out);
            }
            Some(Group::Consumer(_)) | None if !is_unknown => {
                return join.fail(&join.member, ErrorCode::UnknownMemberId, out);
            }
            Some(Group::Consumer(consumer)) => {
                // An empty group takes the protocol of whoever comes.
                consumer.tombstones(&join.group, out);
                self.new_classic(&join.group, cx, out)
            }
            Some(Group::Classic(_)) => self.take_classic(hard, &join.group, cx.now),
            None => self.new_classic(&join.group, cx, out),
        };
        self.join_classic(&mut group, &join, cx, out);
        self.put_classic(group);
    }

    /// A group without members, written at once so that the log knows it.
    pub(crate) fn new_classic(&mut self, id: &Arc<str>, cx: &Cx<'_>, out: &mut Out) -> LiveGroup {
        let mut group = LiveGroup::new(id, cx.now);
        let record = group.to_record();
        group.written = Some(Arc::clone(&record));
        out.records.push(GroupRecord::ClassicGroup { group: Arc::clone(id), value: Some(record) });
        group
    }

    fn join_classic(&mut self, group: &mut LiveGroup, join: &Join, cx: &mut Cx<'_>, out: &mut Out) {
        if !accepts(group, &join.member, cx.config.classic_members_max) {
            group.remove(&join.member);
            return join.fail("", ErrorCode::GroupMaxSizeReached, out);
        }
        let is_unknown = join.member.is_empty();
        if !group.supports(&join.protocol_type, &join.protocols) {
            return join.fail(&join.member, ErrorCode::InconsistentGroupProtocol, out);
        }
        if !is_unknown {
            return self.join_known(group, join, cx, out);
        }
        let prefix = join.instance_id.as_ref().unwrap_or(&join.client.client_id);
        let id: Arc<str> = Arc::from(format!("{prefix}-{}", cx.ids.uuid()));
        if let Some(instance) = &join.instance_id {
            match group.static_members.get(instance).cloned() {
                Some(old) => self.replace_static(group, join, &old, &id, cx, out),
                None => self.add_member(group, join, &id, cx, out),
            }
        } else if join.client.version >= 4 {
            // It has to come back with this id: a client that gave up leaves nothing behind for long.
            group.pending_join.insert(Arc::clone(&id));
            let key = TimerKey::ClassicSession(Arc::clone(&group.id), Arc::clone(&id));
            self.timers.schedule(key, after(cx.now, join.session_timeout_ms), TimerData::None);
            join.fail(&id, ErrorCode::MemberIdRequired, out);
        } else {
            self.add_member(group, join, &id, cx, out);
        }
    }

    fn join_known(&mut self, group: &mut LiveGroup, join: &Join, cx: &mut Cx<'_>, out: &mut Out) {
        let id = &join.member;
        if group.pending_join.contains(id) {
            if join.instance_id.is_some() {
                // Ids are only handed out ahead to dynamic members.
                return join.fail(id, ErrorCode::UnknownServerError, out);
            }
            return self.add_member(group, join, id, cx, out);
        }
        if let Err(error) = group.validate_member(id, join.instance_id.as_deref()) {
            return join.fail(id, error, out);
        }
        let is_leader = group.is_leader(id);
        let is_unchanged = group.members.get(id).is_some_and(|member| member.protocols == join.protocols);
        match group.state {
            ClassicState::Empty => join.fail(id, ErrorCode::UnknownMemberId, out),
            ClassicState::PreparingRebalance => {
                self.rejoin_member(group, join, id, cx, out, "a member rejoined during the rebalance");
            }
            // It did not get the answer to its join: the same again.
            ClassicState::CompletingRebalance if is_unchanged => {
                let members = if is_leader { join_members(group) } else { Vec::new() };
                join.answer(join_answer(group, id).with_members(members), out);
            }
            // A leader may know of changes that no member's metadata shows, such as new partitions.
            ClassicState::Stable if is_leader => {
                self.rejoin_member(group, join, id, cx, out, "the leader rejoined");
            }
            ClassicState::Stable if is_unchanged => join.answer(join_answer(group, id), out),
            ClassicState::Stable | ClassicState::CompletingRebalance => {
                self.rejoin_member(group, join, id, cx, out, "a member changed its metadata");
            }
        }
    }

    fn rejoin_member(
        &mut self,
        group: &mut LiveGroup,
        join: &Join,
        id: &Arc<str>,
        cx: &mut Cx<'_>,
        out: &mut Out,
        what: &str,
    ) {
        if let Some(member) = group.members.get_mut(id) {
            take_over(member, join, out);
        }
        self.rebalance_or_complete_join(group, join.cause(id, what), cx, out);
    }

    fn add_member(&mut self, group: &mut LiveGroup, join: &Join, id: &Arc<str>, cx: &mut Cx<'_>, out: &mut Out) {
        if group.members.is_empty() {
            group.protocol_type = Some(Arc::clone(&join.protocol_type));
        }
        if group.state == ClassicState::PreparingRebalance && group.previous_state == ClassicState::Empty {
            group.new_member_added = true;
        }
        group.add(Member {
            id: Arc::clone(id),
            instance_id: join.instance_id.clone(),
            client_id: Arc::clone(&join.client.client_id),
            client_host: Arc::clone(&join.client.client_host),
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols.clone(),
            assignment: Bytes::new(),
            awaiting_join: Some(join.waiting()),
            awaiting_sync: None,
            is_new: true,
        });
        // It cannot heartbeat while its join is parked, and a closed connection goes unnoticed: there is an end to waiting.
        let key = TimerKey::ClassicSession(Arc::clone(&group.id), Arc::clone(id));
        self.timers.schedule(key, after(cx.now, cx.config.classic_new_member_join_timeout_ms), TimerData::None);
        self.rebalance_or_complete_join(group, join.cause(id, "a new member joined"), cx, out);
    }

    /// A static member came back under a new id: the old id is fenced, and if nothing else changed nobody else notices.
    fn replace_static(
        &mut self,
        group: &mut LiveGroup,
        join: &Join,
        old: &Arc<str>,
        id: &Arc<str>,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        let old_leader = group.leader.clone();
        let Some(mut member) = group.members.remove(old) else { return };
        self.cancel_session(group, old);
        group.pending_sync.remove(old);
        if let Some(waiting) = member.awaiting_join.take() {
            reply_join(waiting.token, waiting.version, join_error(old, ErrorCode::FencedInstanceId), out);
        }
        if let Some(token) = member.awaiting_sync.take() {
            super::sync::reply_sync_error(token, ErrorCode::FencedInstanceId, out);
        }
        member.id = Arc::clone(id);
        take_over(&mut member, join, out);
        if old_leader.as_ref() == Some(old) {
            group.leader = Some(Arc::clone(id));
        }
        if let Some(instance) = &member.instance_id {
            group.static_members.insert(Arc::clone(instance), Arc::clone(id));
        }
        group.members.insert(Arc::clone(id), member.clone());
        self.restart_session(group, &member, cx.now);

        match group.state {
            ClassicState::Stable if group.select_protocol() == group.protocol => {
                if let Some(member) = group.members.get_mut(id) {
                    member.awaiting_join = None;
                }
                self.write_classic(group, out);
                let answer = join_answer(group, id);
                let is_leader = group.is_leader(id);
                join.answer(
                    if join.client.version >= 9 {
                        let members = if is_leader { join_members(group) } else { Vec::new() };
                        answer.with_members(members).with_skip_assignment(is_leader)
                    } else {
                        // Told that it leads, an older client would assign anew; the old id keeps it from that.
                        answer.with_leader(crate::group::text::wire(old_leader.as_deref().unwrap_or_default()))
                    },
                    out,
                );
            }
            ClassicState::Stable => {
                let cause = join.cause(id, "a static member came back and changes the protocol");
                self.rebalance_or_complete_join(group, cause, cx, out);
            }
            ClassicState::CompletingRebalance => {
                let cause = join.cause(id, "a static member came back during the sync phase");
                self.prepare_rebalance(group, cause, cx, out);
            }
            ClassicState::PreparingRebalance | ClassicState::Empty => self.maybe_complete_join(group, cx, out),
        }
    }
}

/// The member waits for this join now, with what it says.
fn take_over(member: &mut Member, join: &Join, out: &mut Out) {
    if let Some(older) = member.awaiting_join.replace(join.waiting()) {
        // The client asks again; whoever still listens to the older request should do the same.
        reply_join(older.token, older.version, join_error(&member.id, ErrorCode::RebalanceInProgress), out);
    }
    member.protocols.clone_from(&join.protocols);
    member.session_timeout_ms = join.session_timeout_ms;
    member.rebalance_timeout_ms = join.rebalance_timeout_ms;
}

/// Whether there is room for the caller.
fn accepts(group: &LiveGroup, member: &str, members_max: usize) -> bool {
    match group.state {
        ClassicState::Empty => true,
        // Those that rejoin first stay: the limit may have been lowered below the size of the group.
        ClassicState::PreparingRebalance => {
            group.members.get(member).is_some_and(|member| member.awaiting_join.is_some())
                || group.awaiting_join_count() < members_max
        }
        ClassicState::CompletingRebalance | ClassicState::Stable => {
            group.members.contains_key(member) || group.members.len() < members_max
        }
    }
}
