//! Old offsets go (KIP-211), and with the last one the group, if it is empty.
//!
//! The clock runs from the moment a group became empty; for topics that nobody in a stable group subscribes to any more,
//! for groups without members of their own (simple consumers), and for consumer groups from each commit. Offsets that an
//! open transaction is about to replace stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_protocol::{Timestamp, TopicPartition};

use super::delete::{FORGET_BYTES_MAX, orphaned, room_after, tombstone};
use crate::group::classic::{ClassicState, LiveGroup};
use crate::group::records::{CommittedOffset, GroupRecord};
use crate::group::request::GroupAction;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::timers::{TimerData, TimerKey};
use crate::shard::Effect;

/// Before the rest of a sweep that did not fit into one append.
const REST_AFTER_MS: i64 = 100;

/// From when on an offset ages.
#[derive(Debug, Clone, Copy)]
enum AgeFrom {
    Commit,
    /// The group became empty then.
    Empty(Timestamp),
    /// The group is in use in a way that does not show which topics are.
    Never,
}

impl AgeFrom {
    fn of_classic(group: &LiveGroup) -> Self {
        if group.protocol_type.is_none() {
            return Self::Commit;
        }
        match group.state {
            ClassicState::Empty => group.state_timestamp.map_or(Self::Commit, Self::Empty),
            ClassicState::Stable if group.uses_consumer_protocol() && group.subscribed_topics.is_some() => Self::Commit,
            _ => Self::Never,
        }
    }

    fn is_expired(self, offset: &CommittedOffset, now: Timestamp, retention_ms: i64) -> bool {
        let from = match self {
            Self::Never => return false,
            Self::Commit => offset.commit_timestamp,
            Self::Empty(since) => since,
        };
        match offset.expire_timestamp {
            Some(at) => now >= at,
            None => now.0.saturating_sub(from.0) >= retention_ms,
        }
    }
}

impl GroupShard {
    pub(crate) fn schedule_expiry(&mut self, cx: &Cx<'_>) {
        self.schedule_expiry_in(cx.config.offsets_retention_check_interval_ms, cx);
    }

    fn schedule_expiry_in(&mut self, wait_ms: i64, cx: &Cx<'_>) {
        let at = Timestamp(cx.now.0.saturating_add(wait_ms));
        self.timers.schedule(TimerKey::Expiry, at, TimerData::None);
    }

    /// Looks through all groups, or as many as fit into one append; the rest follows soon. Orphaned offsets go here, too,
    /// and not at once when a partition is loaded: a broker that has just become the coordinator may be behind the metadata
    /// that offsets were committed under.
    pub(crate) fn expire(&mut self, hard: &GroupState, cx: &Cx<'_>, out: &mut Out) {
        let orphaned = orphaned(hard, cx.image);
        let groups: Vec<&Arc<str>> = hard.groups().map(|(id, _)| id).collect();
        let mut room = FORGET_BYTES_MAX;
        for id in groups {
            let all_gone = self.expire_offsets(hard, id, &orphaned, &mut room, cx, out);
            if all_gone {
                let before = out.records.len();
                self.delete_if_empty(hard, id, cx.now, out);
                for _ in before..out.records.len() {
                    room = room_after(room, id, "");
                }
            }
            if room == 0 {
                break;
            }
        }
        let wait_ms = cx.config.offsets_retention_check_interval_ms;
        self.schedule_expiry_in(if room == 0 { wait_ms.min(REST_AFTER_MS) } else { wait_ms }, cx);
        if !out.records.is_empty() {
            let action = GroupAction::Expired { tombstones: out.records.len(), at: cx.now };
            out.effects.push(Effect::Act(action));
        }
    }

    /// True if the group has no offsets left, neither committed nor pending.
    fn expire_offsets(
        &mut self,
        hard: &GroupState,
        id: &Arc<str>,
        orphaned: &BTreeSet<(&Arc<str>, &TopicPartition)>,
        room: &mut usize,
        cx: &Cx<'_>,
        out: &mut Out,
    ) -> bool {
        let pending = hard.offsets().has_pending(id);
        if !hard.offsets().has_offsets(id) {
            return !pending;
        }
        let classic = match hard.group(id) {
            Some(Group::Classic(_)) => Some(self.take_classic(hard, id, cx.now)),
            _ => None,
        };
        let age = classic.as_ref().map_or(AgeFrom::Commit, AgeFrom::of_classic);
        let mut all_gone = !pending;
        let (mut without_topic, mut expired) = (Vec::new(), Vec::new());
        for (partition, offset) in hard.offsets().of_group(id) {
            let in_use = match (&classic, hard.consumer(id)) {
                (Some(group), _) => group.is_subscribed_to(&partition.topic),
                (None, Some(group)) => group.is_subscribed_to(&partition.topic),
                (None, None) => false,
            };
            let is_orphaned = orphaned.contains(&(id, partition));
            let is_old = !in_use
                && age.is_expired(offset, cx.now, cx.config.offsets_retention_ms)
                && !hard.offsets().is_pending(id, partition);
            if (is_orphaned || is_old) && *room > 0 {
                *room = room_after(*room, id, &partition.topic);
                out.records.push(tombstone(id, partition.clone()));
                if is_orphaned { &mut without_topic } else { &mut expired }.push(partition.clone());
            } else {
                all_gone = false;
            }
        }
        self.explain.note_lost_offsets(id, cx.now, &without_topic, "their topic was deleted");
        self.explain.note_lost_offsets(id, cx.now, &expired, "nobody used them for offsets.retention.minutes");
        if let Some(group) = classic {
            self.put_classic(group);
        }
        all_gone
    }

    fn delete_if_empty(&mut self, hard: &GroupState, id: &Arc<str>, now: Timestamp, out: &mut Out) {
        match hard.group(id) {
            Some(Group::Classic(_)) => {
                let group = self.take_classic(hard, id, now);
                if group.is_idle() {
                    self.forget_group(id);
                    out.records.push(GroupRecord::ClassicGroup { group: Arc::clone(id), value: None });
                } else {
                    self.put_classic(group);
                }
            }
            Some(Group::Consumer(group)) if group.members.is_empty() => {
                self.forget_group(id);
                group.tombstones(id, out);
            }
            _ => {}
        }
    }
}
