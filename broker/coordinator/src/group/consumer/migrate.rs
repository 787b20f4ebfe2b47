//! A live group changes its protocol: classic to consumer when the first member of the new protocol joins, and back when
//! the last one leaves. Members of the classic protocol notice no more than a rebalance.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_metadata::MetadataImage;
use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::state::ConsumerGroup;
use crate::group::classic::{
    Cause, ClassicMember, ClassicState, LiveGroup, join_error, parse_assignment, parse_subscription, reply_join,
    reply_sync, write_assignment,
};
use crate::group::records::{
    ClassicMemberMetadata, ConsumerGroupMetadata, ConsumerMember, CurrentAssignment, GroupRecord, MemberState,
    Partitions, TargetMetadata,
};
use crate::group::shard::{Cx, GroupShard, Out};

/// The protocol type of consumers in the classic protocol.
const CONSUMER: &str = "consumer";

/// The consumer group that a classic group becomes.
pub(super) fn upgrade(classic: &LiveGroup, cx: &Cx<'_>) -> Result<Draft, GroupError> {
    let refused = |why: &str| {
        let message = format!("group {} cannot become a consumer group: {why}", classic.id);
        Err(GroupError::new(ErrorCode::GroupIdNotFound, message))
    };
    let mut draft = Draft::new(&classic.id, ConsumerGroup::default());
    draft.out.records.push(GroupRecord::ClassicGroup { group: Arc::clone(&classic.id), value: None });
    if classic.state == ClassicState::Empty {
        return Ok(draft);
    }
    if !cx.config.consumer_migration_policy.allows_upgrade() {
        return refused("group.consumer.migration.policy does not allow it");
    }
    if classic.protocol_type.as_deref() != Some(CONSUMER) {
        return refused("its members are no consumers");
    }
    if classic.members.len() > cx.config.consumer_members_max {
        return refused("it has more members than group.consumer.max.size allows");
    }
    // Whoever waits is asked to come again, to the new group.
    for member in classic.members.values() {
        if let Some(waiting) = member.awaiting_join {
            let answer = join_error(&member.id, ErrorCode::RebalanceInProgress);
            reply_join(waiting.token, waiting.version, answer, &mut draft.out);
        }
        if let Some(token) = member.awaiting_sync {
            let answer = m::SyncGroupResponse::default().with_error_code(ErrorCode::RebalanceInProgress.code());
            reply_sync(token, answer, &mut draft.out);
        }
    }
    let epoch = classic.generation;
    let mut assigned: BTreeMap<Arc<str>, Partitions> = BTreeMap::new();
    for member in classic.members.values() {
        let Some((subscription, partitions)) = read_member(classic, member, cx.image) else {
            return refused("the metadata of its members cannot be read, or a custom assignor uses it");
        };
        assigned.insert(Arc::clone(&member.id), partitions);
        draft.put_member(
            &member.id,
            ConsumerMember {
                instance_id: member.instance_id.clone(),
                rack_id: subscription.rack_id,
                client_id: Arc::clone(&member.client_id),
                client_host: Arc::clone(&member.client_host),
                subscribed_topic_names: subscription.topics.into_iter().collect(),
                subscribed_topic_regex: None,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                server_assignor: None,
                classic: Some(Arc::new(ClassicMemberMetadata {
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member.protocols.clone(),
                })),
            },
        );
    }
    let value = ConsumerGroupMetadata { epoch, metadata_hash: draft.group.metadata_hash(cx.image) };
    draft.push(GroupRecord::ConsumerGroup { group: Arc::clone(&classic.id), value: Some(value) });
    for (member, partitions) in &assigned {
        draft.put_target(member, partitions.clone());
    }
    let value = TargetMetadata { assignment_epoch: epoch, ..TargetMetadata::default() };
    draft.push(GroupRecord::TargetMetadata { group: Arc::clone(&classic.id), value: Some(value) });
    for (member, partitions) in assigned {
        let with_epoch =
            |partitions: std::collections::BTreeSet<i32>| partitions.into_iter().map(|p| (p, epoch)).collect();
        let value = CurrentAssignment {
            member_epoch: epoch,
            previous_member_epoch: epoch,
            state: MemberState::Stable,
            assigned: partitions.into_iter().map(|(topic, partitions)| (topic, with_epoch(partitions))).collect(),
            pending_revocation: BTreeMap::new(),
        };
        draft.put_current(&member, value);
    }
    Ok(draft)
}

/// What a classic consumer subscribes to and was assigned; `None` if that would be lost.
fn read_member(
    group: &LiveGroup,
    member: &ClassicMember,
    image: &MetadataImage,
) -> Option<(crate::group::classic::Subscription, Partitions)> {
    let protocol = group.protocol.as_deref().or_else(|| member.protocols.first().map(|(name, _)| &**name))?;
    let subscription = parse_subscription(&member.metadata(protocol))?;
    let by_name = if member.assignment.is_empty() { BTreeMap::new() } else { parse_assignment(&member.assignment)? };
    let by_id =
        by_name.into_iter().filter_map(|(name, partitions)| Some((image.topics.by_name(&name)?.id, partitions)));
    Some((subscription, by_id.collect()))
}

/// The assignment in a classic member's own terms, in the version of its subscription.
pub(super) fn classic_assignment<'a>(
    protocols: &[(Arc<str>, Bytes)],
    partitions: impl Iterator<Item = (TopicId, Vec<i32>)> + 'a,
    image: &MetadataImage,
) -> Bytes {
    let version =
        protocols.first().and_then(|(_, metadata)| metadata.get(..2)).map_or(0, |b| i16::from_be_bytes([b[0], b[1]]));
    let by_name =
        partitions.filter_map(|(topic, partitions)| Some((Arc::clone(&image.topics.by_id(topic)?.name), partitions)));
    write_assignment(version, &by_name.collect())
}

/// The classic group that is left when `leaving` are gone; `None` if it has to stay a consumer group.
pub(super) fn downgrade(id: &Arc<str>, group: &ConsumerGroup, leaving: &[Arc<str>], cx: &Cx<'_>) -> Option<LiveGroup> {
    let staying = || group.members.iter().filter(|(member, _)| !leaving.contains(member));
    let count = staying().count();
    if count == 0
        || count > cx.config.classic_members_max
        || !cx.config.consumer_migration_policy.allows_downgrade()
        || staying().any(|(_, member)| member.classic.is_none())
    {
        return None;
    }
    let mut live = LiveGroup::new(id, cx.now);
    live.state = ClassicState::Stable;
    live.generation = group.metadata.epoch;
    live.protocol_type = Some(Arc::from(CONSUMER));
    for (member_id, member) in staying() {
        let classic = member.classic.as_ref()?;
        let target = group.target_of(member_id);
        let target = target.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()));
        live.add(ClassicMember {
            id: Arc::clone(member_id),
            instance_id: member.instance_id.clone(),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: classic.session_timeout_ms,
            protocols: classic.protocols.clone(),
            assignment: classic_assignment(&classic.protocols, target, cx.image),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        });
    }
    live.protocol = live.select_protocol();
    live.subscribed_topics = live.compute_subscribed_topics();
    Some(live)
}

impl GroupShard {
    /// Writes the classic group in place of the consumer group, and rebalances it if there is cause.
    pub(super) fn become_classic(
        &mut self,
        old: &ConsumerGroup,
        mut live: LiveGroup,
        cause: Option<Cause>,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        old.tombstones(&live.id, out);
        self.write_classic(&mut live, out);
        for member in old.members.keys() {
            self.cancel_consumer_timers(&live.id, member);
        }
        for member in live.members.values().cloned().collect::<Vec<_>>() {
            self.restart_session(&live, &member, cx.now);
        }
        self.consumer_checks.remove(&live.id);
        if let Some(cause) = cause {
            self.prepare_rebalance(&mut live, cause, cx, out);
        }
        self.put_classic(live);
    }

    /// A classic group that has become a consumer group: its members' sessions go on in the new one.
    pub(super) fn drop_classic(&mut self, draft_id: &Arc<str>, group: &ConsumerGroup, cx: &Cx<'_>) {
        let Some(live) = self.classic.remove(draft_id) else { return };
        self.timers.cancel(&crate::group::timers::TimerKey::ClassicJoin(Arc::clone(draft_id)));
        self.timers.cancel(&crate::group::timers::TimerKey::ClassicSync(Arc::clone(draft_id)));
        for member in live.members.keys().chain(&live.pending_join) {
            self.cancel_session(&live, member);
        }
        for (member, value) in &group.members {
            if let Some(classic) = &value.classic {
                self.start_consumer_session(draft_id, member, classic.session_timeout_ms, cx.now);
            }
        }
    }
}
