//! Members of the classic protocol inside a consumer group: JoinGroup, SyncGroup and Heartbeat on the new machinery.
//!
//! There is no leader: the coordinator assigns. The generation is the member's epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::draft::Draft;
use super::heartbeat::GroupSettings;
use super::state::ConsumerGroup;
use crate::group::classic::{Cause, Join, after, parse_subscription, reply_sync, reply_sync_error};
use crate::group::records::{ClassicMemberMetadata, ConsumerMember, MemberState, Partitions};
use crate::group::request::Client;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::text::wire;
use crate::group::timers::{TimerData, TimerKey};
use crate::shard::Token;

const CONSUMER: &str = "consumer";

/// A member's id, what it said, and what it brought from the classic protocol.
type Known<'a> = (Arc<str>, &'a Arc<ConsumerMember>, &'a Arc<ClassicMemberMetadata>);

impl ConsumerGroup {
    /// One of the protocols has to be known to every classic member.
    fn supports_classic(&self, join: &Join) -> bool {
        let mut members = 0;
        let mut supporters: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values().filter_map(|member| member.classic.as_ref()) {
            members += 1;
            for (name, _) in &member.protocols {
                *supporters.entry(&**name).or_default() += 1;
            }
        }
        *join.protocol_type == *CONSUMER
            && join.protocols.iter().any(|(name, _)| supporters.get(&**name).copied().unwrap_or(0) == members)
    }

    /// A partition of the member's target is still somebody else's.
    fn waits_for_partitions(&self, id: &Arc<str>) -> bool {
        let current = self.current_of(id);
        self.target_of(id).iter().any(|(topic, partitions)| {
            partitions.iter().any(|partition| {
                let has = current.assigned.get(topic).is_some_and(|assigned| assigned.contains_key(partition));
                !has && self.owner(*topic, *partition).is_some()
            })
        })
    }

    /// The classic member that a request comes from.
    fn classic_member(&self, id: &str, instance_id: Option<&str>) -> Result<Known<'_>, ErrorCode> {
        let id = self.find_member(id, instance_id).map_err(|error| error.code)?;
        let member = self.members.get(&id).ok_or(ErrorCode::UnknownMemberId)?;
        let classic = member.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
        Ok((id, member, classic))
    }
}

impl GroupShard {
    pub(crate) fn join_consumer_group(&mut self, group: &ConsumerGroup, join: &Join, cx: &mut Cx<'_>, out: &mut Out) {
        if let Err((member, error)) = self.try_join_consumer_group(group, join, cx, out) {
            join.fail(&member, error, out);
        }
    }

    fn try_join_consumer_group(
        &mut self,
        group: &ConsumerGroup,
        join: &Join,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) -> Result<(), (Arc<str>, ErrorCode)> {
        let is_unknown = join.member.is_empty();
        let id = if is_unknown {
            Arc::from(ottla_protocol::ids::encode_uuid(cx.ids.uuid()))
        } else {
            Arc::clone(&join.member)
        };
        let instance = join.instance_id.as_deref();
        let refused = |error: ErrorCode| (Arc::clone(&join.member), error);
        if cx.config.consumer_migration_policy == crate::group::MigrationPolicy::Disabled {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        group.check_size(&id, instance, cx.config.consumer_members_max).map_err(|error| refused(error.code))?;
        if !group.supports_classic(join) {
            return Err(refused(ErrorCode::InconsistentGroupProtocol));
        }
        if join.client.version >= 4 && is_unknown && instance.is_none() {
            return Err((id, ErrorCode::MemberIdRequired));
        }
        let metadata = join.protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default();
        let subscription =
            parse_subscription(&metadata).ok_or_else(|| refused(ErrorCode::InconsistentGroupProtocol))?;

        let mut draft = Draft::new(&join.group, group.clone());
        let replaced = instance.and_then(|instance| group.static_member(instance)).cloned();
        match instance {
            Some(instance) if is_unknown => {
                draft.join_static(&id, instance, true).map_err(|error| refused(error.code))?;
            }
            Some(_) => {
                draft.group.find_member(&id, instance).map_err(|error| refused(error.code))?;
            }
            None => {}
        }
        let before = draft.group.members.get(&id).cloned();
        let mut member = before.as_deref().cloned().unwrap_or_else(ConsumerMember::new);
        member.instance_id = join.instance_id.clone().or(member.instance_id);
        member.rack_id = subscription.rack_id.or(member.rack_id);
        member.rebalance_timeout_ms = join.rebalance_timeout_ms;
        member.subscribed_topic_names = subscription.topics.into_iter().collect();
        member.subscribed_topic_regex = None;
        member.client_id = Arc::clone(&join.client.client_id);
        member.client_host = Arc::clone(&join.client.client_host);
        member.classic = Some(Arc::new(ClassicMemberMetadata {
            session_timeout_ms: join.session_timeout_ms,
            protocols: join.protocols.clone(),
        }));
        let owned: Partitions = subscription
            .owned
            .into_iter()
            .filter_map(|(name, partitions)| Some((cx.image.topics.by_name(&name)?.id, partitions)))
            .collect();

        let changed = self.update_member(&mut draft, &id, before, member, cx).map_err(|error| refused(error.code))?;
        let was_consumer = replaced.and_then(|old| group.members.get(&old)).is_some_and(|old| old.classic.is_none());
        let downgraded =
            if was_consumer { super::migrate::downgrade(&join.group, &draft.group, &[], cx) } else { None };
        let is_stale = draft.group.target.assignment_epoch < draft.group.metadata.epoch;
        if downgraded.is_none() {
            let interval_ms = GroupSettings::of(&join.group, cx).assignment_interval_ms;
            draft.update_target(interval_ms, cx).map_err(|error| refused(error.code))?;
        }
        if downgraded.is_none() || !is_stale {
            draft.reconcile(&id, changed, Some(&owned), cx).map_err(|error| refused(error.code))?;
        }
        let answer = m::JoinGroupResponse::default()
            .with_member_id(wire(&id))
            .with_generation_id(draft.group.current_of(&id).member_epoch)
            .with_protocol_type(Some(wire(CONSUMER)))
            .with_protocol_name(join.protocols.first().map(|(name, _)| wire(name)));

        self.timers.cancel(&TimerKey::ConsumerJoin(Arc::clone(&join.group), Arc::clone(&id)));
        match downgraded {
            Some(live) => {
                let Draft { group, out: decided, .. } = draft;
                out.extend(decided);
                let cause = is_stale.then(|| Cause {
                    member_id: Arc::clone(&id),
                    client_id: Arc::clone(&join.client.client_id),
                    client_host: Arc::clone(&join.client.client_host),
                    reason: "the last member of the consumer protocol came back with the classic one".to_owned(),
                });
                self.become_classic(&group, live, cause, cx, out);
            }
            None => {
                self.start_consumer_timers(&draft, &id, join.session_timeout_ms, cx);
                let sync = TimerKey::ConsumerSync(Arc::clone(&join.group), Arc::clone(&id));
                self.timers.schedule(sync, after(cx.now, join.rebalance_timeout_ms), TimerData::None);
                self.finish(draft, cx, out);
            }
        }
        join.answer(answer, out);
        Ok(())
    }

    pub(crate) fn sync_consumer_group(
        &mut self,
        group: &ConsumerGroup,
        token: Token,
        _client: &Client,
        request: &m::SyncGroupRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        match self.try_sync_consumer_group(group, request, cx) {
            Ok(answer) => reply_sync(token, answer, out),
            Err(error) => reply_sync_error(token, error, out),
        }
    }

    fn try_sync_consumer_group(
        &mut self,
        group: &ConsumerGroup,
        request: &m::SyncGroupRequest,
        cx: &Cx<'_>,
    ) -> Result<m::SyncGroupResponse, ErrorCode> {
        let (id, member, classic) = group.classic_member(&request.member_id, request.group_instance_id.as_deref())?;
        let current = group.current_of(&id);
        if current.member_epoch != request.generation_id {
            return Err(ErrorCode::IllegalGeneration);
        }
        let protocol = classic.protocols.first().map(|(name, _)| &**name);
        let is_other = |said: Option<&str>, ours: Option<&str>| said.is_some() && said != ours;
        if is_other(request.protocol_type.as_deref(), Some(CONSUMER))
            || is_other(request.protocol_name.as_deref(), protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        let group_id = crate::group::text::arc(&request.group_id);
        // While it gives partitions up it stays in its epoch, and has joined already.
        if group.target.assignment_epoch > current.member_epoch && current.state != MemberState::UnrevokedPartitions {
            self.expect_rejoin(&group_id, &id, member, cx);
            return Err(ErrorCode::RebalanceInProgress);
        }
        self.timers.cancel(&TimerKey::ConsumerSync(Arc::clone(&group_id), Arc::clone(&id)));
        self.start_consumer_session(&group_id, &id, classic.session_timeout_ms, cx.now);
        let partitions = current.assigned.iter().map(|(topic, p)| (*topic, p.keys().copied().collect()));
        Ok(m::SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(super::migrate::classic_assignment(&classic.protocols, partitions, cx.image)))
    }

    pub(crate) fn heartbeat_consumer_group(
        &mut self,
        group: &ConsumerGroup,
        request: &m::HeartbeatRequest,
        cx: &mut Cx<'_>,
    ) -> ErrorCode {
        let found = group.classic_member(&request.member_id, request.group_instance_id.as_deref());
        let (id, member, classic) = match found {
            Ok(found) => found,
            Err(error) => return error,
        };
        let current = group.current_of(&id);
        if current.member_epoch != request.generation_id {
            return ErrorCode::IllegalGeneration;
        }
        let group_id = crate::group::text::arc(&request.group_id);
        self.start_consumer_session(&group_id, &id, classic.session_timeout_ms, cx.now);
        let should_rejoin = current.member_epoch < group.target.assignment_epoch
            || current.state == MemberState::UnrevokedPartitions
            || (current.state == MemberState::UnreleasedPartitions && !group.waits_for_partitions(&id));
        if should_rejoin {
            self.expect_rejoin(&group_id, &id, member, cx);
            ErrorCode::RebalanceInProgress
        } else {
            ErrorCode::None
        }
    }

    fn expect_rejoin(&mut self, group: &Arc<str>, id: &Arc<str>, member: &ConsumerMember, cx: &Cx<'_>) {
        let key = TimerKey::ConsumerJoin(Arc::clone(group), Arc::clone(id));
        if !self.timers.is_scheduled(&key) {
            self.timers.schedule(key, after(cx.now, member.rebalance_timeout_ms), TimerData::None);
        }
    }
}
