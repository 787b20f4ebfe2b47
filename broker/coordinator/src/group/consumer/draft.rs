//! A consumer group as it will be once the records decided so far are replayed.

use std::sync::Arc;

use ottla_state_machine::StateMachine;

use super::state::ConsumerGroup;
use crate::group::classic::Cause;
use crate::group::records::{ConsumerMember, CurrentAssignment, GroupRecord, Partitions};
use crate::group::shard::Out;
use crate::group::state::{Group, GroupState};

/// Later steps of a decision see what the earlier ones decided; nothing is real until the outcome leaves the shard, so a
/// refused request simply drops its draft.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) id: Arc<str>,
    pub(crate) group: ConsumerGroup,
    pub(crate) out: Out,
    /// Why the group epoch grew, if it did.
    pub(crate) cause: Option<Cause>,
}

impl Draft {
    pub(crate) fn new(id: &Arc<str>, group: ConsumerGroup) -> Self {
        Self { id: Arc::clone(id), group, out: Out::nothing(), cause: None }
    }

    /// Decides a record of this group.
    pub(crate) fn push(&mut self, record: GroupRecord) {
        // The draft goes the same way as the real group: through replay.
        let mut state = GroupState::of_one(&self.id, Group::Consumer(std::mem::take(&mut self.group)));
        state.replay(&record);
        if let Some(group) = state.consumer(&self.id) {
            self.group = group.clone();
        }
        self.out.records.push(record);
    }

    pub(crate) fn put_member(&mut self, member: &Arc<str>, value: ConsumerMember) {
        let (group, member) = (Arc::clone(&self.id), Arc::clone(member));
        self.push(GroupRecord::ConsumerMember { group, member, value: Some(Arc::new(value)) });
    }

    pub(crate) fn put_target(&mut self, member: &Arc<str>, value: Partitions) {
        let (group, member) = (Arc::clone(&self.id), Arc::clone(member));
        self.push(GroupRecord::TargetMember { group, member, value: Some(Arc::new(value)) });
    }

    pub(crate) fn put_current(&mut self, member: &Arc<str>, value: CurrentAssignment) {
        let (group, member) = (Arc::clone(&self.id), Arc::clone(member));
        self.push(GroupRecord::CurrentAssignment { group, member, value: Some(Arc::new(value)) });
    }

    /// Whether the member's current assignment was decided anew.
    pub(crate) fn has_reconciled(&self, member: &Arc<str>) -> bool {
        self.out.records.iter().any(|record| {
            matches!(record, GroupRecord::CurrentAssignment { member: of, value: Some(_), .. } if of == member)
        })
    }

    /// Tombstones for everything about a member.
    pub(crate) fn remove_member(&mut self, member: &Arc<str>) {
        let key = || (Arc::clone(&self.id), Arc::clone(member));
        let ((g1, m1), (g2, m2), (g3, m3)) = (key(), key(), key());
        self.push(GroupRecord::CurrentAssignment { group: g1, member: m1, value: None });
        self.push(GroupRecord::TargetMember { group: g2, member: m2, value: None });
        self.push(GroupRecord::ConsumerMember { group: g3, member: m3, value: None });
    }
}

impl ConsumerGroup {
    /// Tombstones for the whole group.
    pub(crate) fn tombstones(&self, id: &Arc<str>, out: &mut Out) {
        let group = || Arc::clone(id);
        for member in self.current.keys() {
            let member = Arc::clone(member);
            out.records.push(GroupRecord::CurrentAssignment { group: group(), member, value: None });
        }
        for member in self.targets.keys() {
            let member = Arc::clone(member);
            out.records.push(GroupRecord::TargetMember { group: group(), member, value: None });
        }
        out.records.push(GroupRecord::TargetMetadata { group: group(), value: None });
        for member in self.members.keys() {
            let member = Arc::clone(member);
            out.records.push(GroupRecord::ConsumerMember { group: group(), member, value: None });
        }
        for regex in self.regexes.keys() {
            out.records.push(GroupRecord::Regex { group: group(), regex: Arc::clone(regex), value: None });
        }
        // An older Kafka may have written one.
        out.records.push(GroupRecord::ConsumerGroupPartitionMetadata { group: group(), tombstone: true });
        out.records.push(GroupRecord::ConsumerGroup { group: group(), value: None });
    }
}
