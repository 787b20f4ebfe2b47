//! ConsumerGroupHeartbeat: v0-1. v1 member ids made by the client, regular expressions.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_metadata::configs::{ConfigKind, ConfigResource};
use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::member::STATIC_LEAVE_EPOCH;
use super::reconcile::Reconciliation;
use crate::group::classic::Cause;
use crate::group::records::{ConsumerGroupMetadata, ConsumerMember, CurrentAssignment, GroupRecord, Partitions};
use crate::group::request::{Client, GroupResponse};
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::{arc, arc_option, wire};
use crate::shard::{Effect, Token};

/// Settings of one group: its own (`kafka-configs --entity-type groups`), or the broker's.
pub(crate) struct GroupSettings {
    pub(crate) session_timeout_ms: i32,
    pub(crate) heartbeat_interval_ms: i32,
    pub(crate) assignment_interval_ms: i64,
}

impl GroupSettings {
    pub(crate) fn of(group: &Arc<str>, cx: &Cx<'_>) -> Self {
        let own = cx.image.configs.get(&ConfigResource::new(ConfigKind::Group, Arc::clone(group)));
        let number = |key: &str| own.and_then(|own| own.get(key)).and_then(|value| value.trim().parse::<i32>().ok());
        let config = cx.config;
        let within = |value: i32, min: i32, max: i32| value.max(min).min(max.max(min));
        Self {
            session_timeout_ms: number("consumer.session.timeout.ms")
                .map_or(config.consumer_session_timeout_ms, |ms| {
                    within(ms, config.consumer_session_timeout_ms_min, config.consumer_session_timeout_ms_max)
                }),
            heartbeat_interval_ms: number("consumer.heartbeat.interval.ms")
                .map_or(config.consumer_heartbeat_interval_ms, |ms| {
                    within(ms, config.consumer_heartbeat_interval_ms_min, config.consumer_heartbeat_interval_ms_max)
                }),
            assignment_interval_ms: number("consumer.assignment.interval.ms")
                .map_or(config.consumer_assignment_interval_ms, i64::from),
        }
    }
}

pub(crate) fn reply_heartbeat(
    token: Token,
    result: Result<m::ConsumerGroupHeartbeatResponse, GroupError>,
    out: &mut Out,
) {
    let answer = result.unwrap_or_else(|error| {
        m::ConsumerGroupHeartbeatResponse::default()
            .with_error_code(error.code.code())
            .with_error_message(Some(wire(&error.message)))
    });
    out.effects.push(Effect::Reply(token, GroupResponse::ConsumerGroupHeartbeat(answer)));
}

fn check_request(request: &m::ConsumerGroupHeartbeatRequest, version: i16, cx: &Cx<'_>) -> Result<(), GroupError> {
    let is_blank = |text: Option<&str>| text.is_some_and(|text| text.trim().is_empty());
    let epoch = request.member_epoch;
    if (version >= 1 || epoch > 0 || epoch == -1) && is_blank(Some(&request.member_id)) {
        return Err(GroupError::invalid("the member id must not be empty"));
    }
    if is_blank(Some(&request.group_id)) {
        return Err(GroupError::invalid("the group id must not be empty"));
    }
    if is_blank(request.instance_id.as_deref()) {
        return Err(GroupError::invalid("the instance id must not be empty"));
    }
    if is_blank(request.rack_id.as_deref()) {
        return Err(GroupError::invalid("the rack must not be empty"));
    }
    if epoch == 0 {
        if request.rebalance_timeout_ms == -1 {
            return Err(GroupError::invalid("a member that joins has to give its rebalance timeout"));
        }
        if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return Err(GroupError::invalid("a member that joins must own no partitions"));
        }
        if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
            return Err(GroupError::invalid("a member that joins has to say what it subscribes to"));
        }
    } else if epoch == STATIC_LEAVE_EPOCH && request.instance_id.is_none() {
        return Err(GroupError::invalid("only a static member, with its instance id, may leave for a while"));
    } else if epoch < STATIC_LEAVE_EPOCH {
        return Err(GroupError::invalid("there is no such member epoch"));
    }
    if let Some(assignor) = &request.server_assignor
        && cx.config.consumer_assignors.iter().all(|known| **known != **assignor)
    {
        let known = cx.config.consumer_assignors.join(", ");
        let message = format!("there is no assignor {assignor} here; there are {known}");
        return Err(GroupError::new(ErrorCode::UnsupportedAssignor, message));
    }
    Ok(())
}

impl GroupShard {
    pub(crate) fn consumer_group_heartbeat(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        request: &m::ConsumerGroupHeartbeatRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        if let Err(error) = check_request(request, client.version, cx) {
            return reply_heartbeat(token, Err(error), out);
        }
        let result = if request.member_epoch < 0 {
            self.leave_by_heartbeat(hard, request, cx, out)
        } else {
            self.keep_alive(hard, client, request, cx, out)
        };
        reply_heartbeat(token, result, out);
    }

    /// The group as a draft, made or converted if the member joins.
    fn draft(&mut self, hard: &GroupState, id: &Arc<str>, joins: bool, cx: &Cx<'_>) -> Result<Draft, GroupError> {
        let not_found =
            |message: &str| Err(GroupError::new(ErrorCode::GroupIdNotFound, format!("group {id} {message}")));
        match hard.group(id) {
            Some(Group::Consumer(group)) => Ok(Draft::new(id, group.clone())),
            None if joins => Ok(Draft::new(id, super::ConsumerGroup::default())),
            None => not_found("does not exist"),
            Some(Group::Classic(_)) if !joins => not_found("is not a consumer group"),
            Some(Group::Classic(_)) => {
                let group = self.take_classic(hard, id, cx.now);
                let draft = super::migrate::upgrade(&group, cx);
                self.put_classic(group);
                draft
            }
        }
    }

    fn keep_alive(
        &mut self,
        hard: &GroupState,
        client: &Client,
        request: &m::ConsumerGroupHeartbeatRequest,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) -> Result<m::ConsumerGroupHeartbeatResponse, GroupError> {
        let id = arc(&request.group_id);
        let joins = request.member_epoch == 0;
        let mut draft = self.draft(hard, &id, joins, cx)?;
        let instance = arc_option(request.instance_id.as_ref());
        let member_id: Arc<str> = if request.member_id.is_empty() {
            Arc::from(ottla_protocol::ids::encode_uuid(cx.ids.uuid()))
        } else {
            arc(&request.member_id)
        };
        let owned = request.topic_partitions.as_ref().map(|owned| {
            let topics =
                owned.iter().map(|topic| (TopicId(topic.topic_id), topic.partitions.iter().copied().collect()));
            topics.collect::<Partitions>()
        });
        draft.group.check_size(&member_id, instance.as_deref(), cx.config.consumer_members_max)?;
        match &instance {
            Some(instance) if joins => draft.join_static(&member_id, instance, false)?,
            _ if joins => {}
            instance => {
                draft.group.find_member(&member_id, instance.as_deref())?;
                draft.group.check_epoch(&member_id, request.member_epoch, owned.as_ref())?;
            }
        }

        let before = draft.group.members.get(&member_id).cloned();
        let current_before = draft.group.current_of(&member_id);
        let mut member = before.as_deref().cloned().unwrap_or_else(ConsumerMember::new);
        member.instance_id = instance.or(member.instance_id);
        member.rack_id = arc_option(request.rack_id.as_ref()).or(member.rack_id);
        if request.rebalance_timeout_ms != -1 {
            member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        member.server_assignor = arc_option(request.server_assignor.as_ref()).or(member.server_assignor);
        if let Some(names) = &request.subscribed_topic_names {
            member.subscribed_topic_names = names.iter().map(|name| arc(name)).collect();
        }
        if let Some(regex) = &request.subscribed_topic_regex {
            member.subscribed_topic_regex = Some(arc(regex)).filter(|regex| !regex.is_empty());
        }
        member.client_id = Arc::clone(&client.client_id);
        member.client_host = Arc::clone(&client.client_host);
        member.classic = None;

        let settings = GroupSettings::of(&id, cx);
        let changed = self.update_member(&mut draft, &member_id, before, member, cx)?;
        draft.update_target(settings.assignment_interval_ms, cx)?;
        draft.reconcile(&member_id, changed, owned.as_ref(), cx)?;

        let current = draft.group.current_of(&member_id);
        let is_full = request.rebalance_timeout_ms != -1
            && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
            && request.topic_partitions.is_some();
        let moved = !same_partitions(&current, &current_before);
        let assignment = (joins || is_full || moved).then(|| to_assignment(&current));
        self.start_consumer_timers(&draft, &member_id, settings.session_timeout_ms, cx);
        self.finish(draft, cx, out);
        Ok(m::ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(wire(&member_id)))
            .with_member_epoch(current.member_epoch)
            .with_heartbeat_interval_ms(settings.heartbeat_interval_ms)
            .with_assignment(assignment))
    }

    /// Writes what is new about a member, and bumps the group epoch if that, or the topics, ask for another assignment.
    /// True if the member's own subscription changed.
    pub(crate) fn update_member(
        &mut self,
        draft: &mut Draft,
        id: &Arc<str>,
        before: Option<Arc<ConsumerMember>>,
        member: ConsumerMember,
        cx: &Cx<'_>,
    ) -> Result<bool, GroupError> {
        let names_changed =
            before.as_ref().is_none_or(|before| before.subscribed_topic_names != member.subscribed_topic_names);
        let old_regex = before.as_ref().and_then(|before| before.subscribed_topic_regex.clone());
        let regex_changed = old_regex != member.subscribed_topic_regex;
        if let Some(regex) = member.subscribed_topic_regex.as_ref().filter(|_| regex_changed) {
            crate::pattern::whole(regex)?;
        }
        let cause = |what: &str| Cause {
            member_id: Arc::clone(id),
            client_id: Arc::clone(&member.client_id),
            client_host: Arc::clone(&member.client_host),
            reason: what.to_owned(),
        };
        let subscribes = !member.subscribed_topic_names.is_empty() || member.subscribed_topic_regex.is_some();
        let bump = match &before {
            // One that subscribes to nothing takes nothing from the others: they need no new assignment.
            None if !subscribes && !draft.group.members.is_empty() => None,
            None => Some(cause("a new member joined")),
            Some(_) if names_changed || regex_changed => Some(cause("a member changed its subscription")),
            Some(_) => None,
        };
        if before.as_deref() != Some(&member) {
            draft.put_member(id, member);
        }
        let soft = self.consumer_checks.entry(Arc::clone(&draft.id)).or_default();
        let topics_changed = draft.refresh_regexes(&mut soft.regexes, cx)?;
        let is_new_metadata = soft.image != Some(cx.image.offset);
        soft.image = Some(cx.image.offset);
        if bump.is_some() || topics_changed || is_new_metadata {
            let metadata_hash = draft.group.metadata_hash(cx.image);
            let changed_topics = topics_changed || metadata_hash != draft.group.metadata.metadata_hash;
            let bump = bump.or_else(|| changed_topics.then(|| Cause::nobody("the subscribed topics changed")));
            if let Some(cause) = bump {
                draft.bump(metadata_hash, cause);
            }
        }
        Ok(names_changed || regex_changed)
    }

    /// The draft becomes the decision.
    pub(crate) fn finish(&mut self, draft: Draft, cx: &Cx<'_>, out: &mut Out) {
        let Draft { id, group, out: decided, cause } = draft;
        out.extend(decided);
        // What was live as a classic group is a consumer group now.
        self.drop_classic(&id, &group, cx);
        if let Some(cause) = cause {
            self.note_rebalance(&id, group.metadata.epoch.saturating_sub(1), cause, cx, out);
        }
    }
}

impl Draft {
    /// The next group epoch: the target assignment has to be made anew.
    pub(crate) fn bump(&mut self, metadata_hash: i64, cause: Cause) {
        let epoch = self.group.metadata.epoch + 1;
        let value = Some(ConsumerGroupMetadata { epoch, metadata_hash });
        self.push(GroupRecord::ConsumerGroup { group: Arc::clone(&self.id), value });
        self.cause = Some(cause);
    }

    /// One step of a member towards its target.
    pub(crate) fn reconcile(
        &mut self,
        id: &Arc<str>,
        subscription_changed: bool,
        owned: Option<&Partitions>,
        cx: &Cx<'_>,
    ) -> Result<(), GroupError> {
        let current = self.group.current_of(id);
        let is_written = self.group.current.contains_key(id);
        let target_epoch = self.group.target.assignment_epoch;
        if is_written && !subscription_changed && current.is_reconciled_to(target_epoch) {
            return Ok(());
        }
        let topics: BTreeSet<TopicId> =
            self.group.members.get(id).map(|member| self.group.topics_of(member, cx.image)).unwrap_or_default();
        let target = self.group.target_of(id);
        let step = Reconciliation {
            group: &self.group,
            current: &current,
            target_epoch,
            target: &target,
            topics: &topics,
            subscription_changed,
            owned,
        };
        let next = step.step()?;
        if !is_written || next != *current {
            self.put_current(id, next);
        }
        Ok(())
    }
}

/// Whether two assignments hold the same partitions, whenever they were got.
fn same_partitions(a: &CurrentAssignment, b: &CurrentAssignment) -> bool {
    a.assigned.len() == b.assigned.len()
        && a.assigned.iter().zip(&b.assigned).all(|((t, a), (u, b))| t == u && a.keys().eq(b.keys()))
}

fn to_assignment(current: &CurrentAssignment) -> m::consumer_group_heartbeat_response::Assignment {
    let topics = current.assigned.iter().map(|(topic, partitions)| {
        m::consumer_group_heartbeat_response::TopicPartitions::default()
            .with_topic_id(topic.0)
            .with_partitions(partitions.keys().copied().collect())
    });
    m::consumer_group_heartbeat_response::Assignment::default().with_topic_partitions(topics.collect())
}
