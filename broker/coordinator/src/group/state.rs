//! The hard half of the coordinator: what the records of one partition of `__consumer_offsets` add up to.

use std::sync::Arc;

use imbl::OrdMap;
use ottla_state_machine::StateMachine;

use super::consumer::ConsumerGroup;
use super::offsets::Offsets;
use super::records::{ClassicGroupRecord, GroupRecord};

/// A group as the log knows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Group {
    /// The end of the last generation; the live group is soft state. A group that only holds offsets is one of these too.
    Classic(Arc<ClassicGroupRecord>),
    Consumer(ConsumerGroup),
}

/// Every group and every committed offset of the shard.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GroupState {
    groups: OrdMap<Arc<str>, Group>,
    offsets: Offsets,
}

impl GroupState {
    pub(crate) fn of_one(id: &Arc<str>, group: Group) -> Self {
        Self { groups: OrdMap::unit(Arc::clone(id), group), offsets: Offsets::default() }
    }

    pub(crate) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    pub(crate) fn classic(&self, id: &str) -> Option<&Arc<ClassicGroupRecord>> {
        match self.groups.get(id)? {
            Group::Classic(group) => Some(group),
            Group::Consumer(_) => None,
        }
    }

    pub(crate) fn consumer(&self, id: &str) -> Option<&ConsumerGroup> {
        match self.groups.get(id)? {
            Group::Consumer(group) => Some(group),
            Group::Classic(_) => None,
        }
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&Arc<str>, &Group)> {
        self.groups.iter()
    }

    pub(crate) const fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// How many groups there are, of both kinds.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// How many partitions have a committed offset, over all groups.
    pub fn offset_count(&self) -> usize {
        self.offsets.len()
    }

    /// Changes a consumer group. A value makes the group if need be (compaction may have taken the record that did, and an
    /// offset read before it made a group without members); a tombstone for a group that is gone means nothing.
    fn with_consumer(&mut self, id: &Arc<str>, create: bool, change: impl FnOnce(&mut ConsumerGroup)) {
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => change(group),
            Some(Group::Classic(classic)) if !classic.members.is_empty() => {}
            _ if create => {
                let mut group = ConsumerGroup::default();
                change(&mut group);
                self.groups.insert(Arc::clone(id), Group::Consumer(group));
            }
            _ => {}
        }
    }
}

impl StateMachine for GroupState {
    type Record = GroupRecord;

    fn replay(&mut self, record: &GroupRecord) {
        match record {
            GroupRecord::OffsetCommit { group, partition, producer, value } => match value {
                Some(value) => {
                    // A group that commits without members is a group all the same.
                    if !self.groups.contains_key(group) {
                        self.groups.insert(Arc::clone(group), Group::Classic(Arc::default()));
                    }
                    self.offsets.commit(group, partition, producer.map(|producer| producer.id), value);
                }
                None => self.offsets.remove(group, partition),
            },
            GroupRecord::TransactionEnd { producer, commit, .. } => self.offsets.end_transaction(producer.id, *commit),
            GroupRecord::ClassicGroup { group, value: Some(value) } => {
                self.groups.insert(Arc::clone(group), Group::Classic(Arc::clone(value)));
            }
            GroupRecord::ClassicGroup { group, value: None } => {
                if self.classic(group).is_some() {
                    self.groups.remove(group);
                }
            }
            GroupRecord::ConsumerGroup { group, value: None } => {
                if self.consumer(group).is_some() {
                    self.groups.remove(group);
                }
            }
            GroupRecord::ConsumerGroup { group, value: Some(value) } => {
                self.with_consumer(group, true, |group| group.set_metadata(*value));
            }
            GroupRecord::ConsumerGroupPartitionMetadata { .. } => {}
            GroupRecord::ConsumerMember { group, member, value } => {
                self.with_consumer(group, value.is_some(), |group| group.set_member(member, value.as_ref()));
            }
            GroupRecord::TargetMetadata { group, value } => {
                self.with_consumer(group, value.is_some(), |group| group.set_target_metadata(*value));
            }
            GroupRecord::TargetMember { group, member, value } => {
                self.with_consumer(group, value.is_some(), |group| group.set_target(member, value.as_ref()));
            }
            GroupRecord::CurrentAssignment { group, member, value } => {
                self.with_consumer(group, value.is_some(), |group| group.set_current(member, value.as_ref()));
            }
            GroupRecord::Regex { group, regex, value } => {
                self.with_consumer(group, value.is_some(), |group| group.set_regex(regex, value.as_ref()));
            }
        }
    }
}
