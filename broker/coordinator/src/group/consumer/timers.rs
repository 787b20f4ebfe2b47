//! Sessions and rebalance timeouts of consumer group members.

use std::sync::Arc;

use ottla_protocol::{Offset, Timestamp};

use super::draft::Draft;
use super::heartbeat::GroupSettings;
use super::subscription::RegexCheck;
use crate::group::classic::{Cause, after};
use crate::group::records::MemberState;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::GroupState;
use crate::group::timers::{TimerData, TimerKey};

/// When a group was last compared with the topics there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConsumerChecks {
    pub(crate) image: Option<Offset>,
    pub(crate) regexes: Option<RegexCheck>,
}

impl GroupShard {
    /// A member showed a sign of life, and may have been asked to give partitions up.
    pub(crate) fn start_consumer_timers(&mut self, draft: &Draft, member: &Arc<str>, session_ms: i32, cx: &Cx<'_>) {
        self.start_consumer_session(&draft.id, member, session_ms, cx.now);
        let current = draft.group.current_of(member);
        let key = TimerKey::ConsumerRebalance(Arc::clone(&draft.id), Arc::clone(member));
        let timeout_ms =
            draft.group.members.get(member).filter(|m| m.classic.is_none()).map(|m| m.rebalance_timeout_ms);
        match timeout_ms {
            Some(timeout_ms) if current.state == MemberState::UnrevokedPartitions => {
                // Time runs from when the member was told what to give up, however often it asks meanwhile. It may be told
                // to give up more within the same epoch: then it has that long again.
                let data = TimerData::Epoch(current.member_epoch);
                if draft.has_reconciled(member) || self.timers.data(&key) != Some(data) {
                    self.timers.schedule(key, after(cx.now, timeout_ms), data);
                }
            }
            _ => self.timers.cancel(&key),
        }
    }

    pub(crate) fn start_consumer_session(&mut self, group: &Arc<str>, member: &Arc<str>, ms: i32, now: Timestamp) {
        let key = TimerKey::ConsumerSession(Arc::clone(group), Arc::clone(member));
        self.timers.schedule(key, after(now, ms), TimerData::None);
    }

    pub(crate) fn cancel_consumer_timers(&mut self, group: &Arc<str>, member: &Arc<str>) {
        let keys =
            [TimerKey::ConsumerSession, TimerKey::ConsumerRebalance, TimerKey::ConsumerJoin, TimerKey::ConsumerSync];
        for key in keys {
            self.timers.cancel(&key(Arc::clone(group), Arc::clone(member)));
        }
    }

    /// Timers of a group that was loaded, or that was brought back by a failed append. Those that run keep running.
    pub(crate) fn revive_consumer(&mut self, hard: &GroupState, id: &Arc<str>, cx: &Cx<'_>) {
        let Some(group) = hard.consumer(id) else { return };
        let session_ms = GroupSettings::of(id, cx).session_timeout_ms;
        let draft = Draft::new(id, group.clone());
        for (member, value) in &group.members {
            let key = TimerKey::ConsumerSession(Arc::clone(id), Arc::clone(member));
            if !self.timers.is_scheduled(&key) {
                let session_ms = value.classic.as_ref().map_or(session_ms, |classic| classic.session_timeout_ms);
                self.start_consumer_timers(&draft, member, session_ms, cx);
            }
        }
    }

    /// A member's time is up.
    pub(crate) fn on_consumer_timer(
        &mut self,
        hard: &GroupState,
        key: &TimerKey,
        data: TimerData,
        cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        let (id, member, reason) = match key {
            TimerKey::ConsumerSession(group, member) => (group, member, "its session timed out"),
            TimerKey::ConsumerRebalance(group, member) => (group, member, "it did not give up partitions in time"),
            TimerKey::ConsumerJoin(group, member) => (group, member, "it did not rejoin in time"),
            TimerKey::ConsumerSync(group, member) => (group, member, "it did not sync in time"),
            _ => return,
        };
        let Some(group) = hard.consumer(id) else { return };
        let Some(value) = group.members.get(member) else { return };
        if let TimerData::Epoch(epoch) = data
            && group.current_of(member).member_epoch != epoch
        {
            return;
        }
        let cause = Cause {
            member_id: Arc::clone(member),
            client_id: Arc::clone(&value.client_id),
            client_host: Arc::clone(&value.client_host),
            reason: format!("{member} was removed: {reason}"),
        };
        self.fence_members(hard, id, std::slice::from_ref(member), cause, cx, out);
    }
}
