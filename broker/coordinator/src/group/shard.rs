//! The coordinator as its host sees it: one match over the requests, one over the timers.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, Timestamp};

use super::classic::{Cause, ClassicState, LiveGroup};
use super::codec;
use super::config::GroupConfig;
use super::consumer::ConsumerChecks;
use super::explain::Explain;
use super::records::GroupRecord;
use super::request::{GroupAction, GroupRequest, GroupResponse};
use super::state::{Group, GroupState};
use super::timers::{TimerKey, Timers};
use crate::shard::{BadRecord, Context, Decision, Effect, Shard, Stored, Token};

pub(crate) type Cx<'a> = Context<'a, GroupShard>;
pub(crate) type Out = Decision<GroupShard>;

/// The soft half of the group coordinator: timers, live classic groups, and why groups rebalanced.
#[derive(Debug, Default)]
pub struct GroupShard {
    pub(crate) timers: Timers,
    pub(crate) explain: Explain,
    /// Classic groups that have members, or somebody on the way in. Idle ones are as their record says.
    pub(crate) classic: BTreeMap<Arc<str>, LiveGroup>,
    /// When consumer groups were last compared with the topics there are.
    pub(crate) consumer_checks: BTreeMap<Arc<str>, ConsumerChecks>,
}

impl GroupShard {
    /// Takes a classic group out, to change it and put it back.
    pub(crate) fn take_classic(&mut self, hard: &GroupState, id: &Arc<str>, now: Timestamp) -> LiveGroup {
        self.classic.remove(id).unwrap_or_else(|| match hard.classic(id) {
            Some(record) => LiveGroup::from_record(id, record),
            None => LiveGroup::new(id, now),
        })
    }

    pub(crate) fn put_classic(&mut self, group: LiveGroup) {
        if !group.is_idle() {
            self.classic.insert(Arc::clone(&group.id), group);
        }
    }

    /// The group is deleted; nothing of it stays.
    pub(crate) fn forget_group(&mut self, id: &Arc<str>) {
        self.classic.remove(id);
        self.timers.cancel(&TimerKey::ClassicJoin(Arc::clone(id)));
        self.timers.cancel(&TimerKey::ClassicSync(Arc::clone(id)));
        self.consumer_checks.remove(id);
        self.explain.forget(id);
    }

    fn on_timer(&mut self, hard: &GroupState, cx: &mut Cx<'_>, out: &mut Out) -> bool {
        let Some((key, data)) = self.timers.pop_due(cx.now) else { return false };
        match key {
            TimerKey::ClassicSession(group, member) => {
                if let Some(mut group) = self.classic.remove(&group) {
                    self.on_session_timer(&mut group, &member, cx, out);
                    self.put_classic(group);
                }
            }
            TimerKey::ClassicJoin(group) => {
                if let Some(mut group) = self.classic.remove(&group) {
                    self.on_join_timer(&mut group, data, cx, out);
                    self.put_classic(group);
                }
            }
            TimerKey::ClassicSync(group) => {
                if let Some(mut group) = self.classic.remove(&group) {
                    self.on_sync_timer(&mut group, data, cx, out);
                    self.put_classic(group);
                }
            }
            TimerKey::ConsumerSession(..)
            | TimerKey::ConsumerRebalance(..)
            | TimerKey::ConsumerJoin(..)
            | TimerKey::ConsumerSync(..) => self.on_consumer_timer(hard, &key, data, cx, out),
            TimerKey::Expiry => self.expire(hard, cx, out),
        }
        true
    }

    /// Makes a loaded classic group live: its members' sessions run from now.
    fn revive(&mut self, mut group: LiveGroup, cx: &mut Cx<'_>, out: &mut Out) {
        for member in group.members.values().cloned().collect::<Vec<_>>() {
            self.restart_session(&group, &member, cx.now);
        }
        let size = group.members.len();
        if size > cx.config.classic_members_max {
            let cause = Cause::nobody(format!("{size} members are more than group.max.size allows"));
            self.prepare_rebalance(&mut group, cause, cx, out);
        }
        self.put_classic(group);
    }
}

impl Shard for GroupShard {
    type Hard = GroupState;
    type Record = GroupRecord;
    type Request = GroupRequest;
    type Response = GroupResponse;
    type Action = GroupAction;
    type Image = MetadataImage;
    type Config = GroupConfig;

    fn encode(record: &GroupRecord) -> Stored {
        codec::encode(record)
    }

    fn decode(stored: Stored) -> Result<Option<GroupRecord>, BadRecord> {
        codec::decode(&stored)
    }

    fn loaded(hard: &GroupState, cx: &mut Cx<'_>) -> (Self, Out) {
        let mut shard = Self::default();
        let mut out = Out::nothing();
        for (id, group) in hard.groups() {
            match group {
                Group::Classic(record) if record.members.is_empty() => {}
                Group::Classic(record) => shard.revive(LiveGroup::from_record(id, record), cx, &mut out),
                Group::Consumer(_) => shard.revive_consumer(hard, id, cx),
            }
        }
        shard.schedule_expiry(cx);
        (shard, out)
    }

    fn handle(&mut self, hard: &GroupState, token: Token, request: GroupRequest, cx: &mut Cx<'_>) -> Out {
        let mut out = Out::nothing();
        let o = &mut out;
        match request {
            GroupRequest::JoinGroup(client, request) => self.join_group(hard, token, client, &request, cx, o),
            GroupRequest::SyncGroup(client, request) => self.sync_group(hard, token, &client, &request, cx, o),
            GroupRequest::Heartbeat(_, request) => self.heartbeat(hard, token, &request, cx, o),
            GroupRequest::LeaveGroup(client, request) => self.leave_group(hard, token, &client, &request, cx, o),
            GroupRequest::OffsetCommit(client, request) => self.offset_commit(hard, token, &client, &request, cx, o),
            GroupRequest::TxnOffsetCommit(client, request) => {
                self.txn_offset_commit(hard, token, &client, &request, cx, o);
            }
            GroupRequest::OffsetFetch { client, group, require_stable } => {
                self.offset_fetch(hard, token, &client, &group, require_stable, o);
            }
            GroupRequest::OffsetDelete(_, request) => self.offset_delete(hard, token, &request, cx.now, o),
            GroupRequest::DeleteGroups(ids) => self.delete_groups(hard, token, &ids, cx, o),
            GroupRequest::ListGroups { states_filter, types_filter } => {
                self.list_groups(hard, token, &states_filter, &types_filter, cx, o);
            }
            GroupRequest::DescribeGroups(client, ids) => self.describe_groups(hard, token, &client, &ids, cx, o),
            GroupRequest::ConsumerGroupHeartbeat(client, request) => {
                self.consumer_group_heartbeat(hard, token, &client, &request, cx, o);
            }
            GroupRequest::ConsumerGroupDescribe(ids) => self.consumer_group_describe(hard, token, &ids, cx, o),
            GroupRequest::EndTransaction { producer, coordinator_epoch, commit } => {
                o.records.push(GroupRecord::TransactionEnd { producer, coordinator_epoch, commit });
                o.effects.push(Effect::Reply(token, GroupResponse::EndTransaction));
            }
            GroupRequest::TopicsDeleted(topics) => self.topics_deleted(hard, token, &topics, cx.now, o),
            GroupRequest::Explain(group) => {
                let reasons = self.explain.reasons(&group);
                o.effects.push(Effect::Reply(token, GroupResponse::Explain(reasons)));
            }
        }
        out
    }

    fn next_deadline(&self, _hard: &GroupState) -> Option<Timestamp> {
        self.timers.next()
    }

    fn on_deadline(&mut self, hard: &GroupState, cx: &mut Cx<'_>) -> Out {
        let mut out = Out::nothing();
        // A timer decides on the state that the one before left: its records have to be replayed first.
        while out.records.is_empty() && self.on_timer(hard, cx, &mut out) {}
        out
    }

    fn append_failed(&mut self, hard: &GroupState, error: ErrorCode, cx: &mut Cx<'_>) -> Out {
        let mut out = Out::nothing();
        let failed: Vec<Arc<str>> = self
            .classic
            .values()
            .filter(|group| hard.consumer(&group.id).is_none() && group.written.as_ref() != hard.classic(&group.id))
            .map(|group| Arc::clone(&group.id))
            .collect();
        for id in failed {
            let Some(mut group) = self.classic.remove(&id) else { continue };
            group.written = hard.classic(&id).cloned();
            if matches!(group.state, ClassicState::Stable | ClassicState::CompletingRebalance) {
                for member in group.members.values_mut() {
                    member.assignment = bytes::Bytes::new();
                }
                let cause = Cause::nobody(format!("the assignment could not be written: {error}"));
                self.prepare_rebalance(&mut group, cause, cx, &mut out);
            }
            self.put_classic(group);
        }
        // What the failed records said of topics is to be found out again.
        self.consumer_checks.clear();
        // Groups whose last members left, or that were deleted, in records that did not make it.
        for (id, group) in hard.groups() {
            match group {
                Group::Classic(record) if record.members.is_empty() || self.classic.contains_key(id) => {}
                Group::Classic(record) => self.revive(LiveGroup::from_record(id, record), cx, &mut out),
                Group::Consumer(_) => {
                    self.classic.remove(id);
                    self.revive_consumer(hard, id, cx);
                }
            }
        }
        out
    }
}
