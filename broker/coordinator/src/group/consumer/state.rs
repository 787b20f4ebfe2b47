//! A consumer group as the records tell it.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use ottla_protocol::TopicId;

use crate::group::records::{
    ConsumerGroupMetadata, ConsumerMember, CurrentAssignment, Partitions, ResolvedRegex, TargetMetadata,
};

/// Everything the log says about one consumer group.
///
/// Invariant: `owners` holds exactly the partitions of all current assignments, those pending revocation included.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ConsumerGroup {
    pub(crate) metadata: ConsumerGroupMetadata,
    pub(crate) target: TargetMetadata,
    pub(crate) members: OrdMap<Arc<str>, Arc<ConsumerMember>>,
    pub(crate) targets: OrdMap<Arc<str>, Arc<Partitions>>,
    pub(crate) current: OrdMap<Arc<str>, Arc<CurrentAssignment>>,
    pub(crate) regexes: OrdMap<Arc<str>, Arc<ResolvedRegex>>,
    /// Topics that members subscribe to by name, and how many do: looking at every member on each heartbeat would cost
    /// large groups dear.
    names: OrdMap<Arc<str>, usize>,
    /// Instance id to member id.
    static_members: OrdMap<Arc<str>, Arc<str>>,
    /// Who owns a partition.
    owners: OrdMap<TopicId, OrdMap<i32, Arc<str>>>,
}

/// The state that clients and tools are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsumerGroupState {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl ConsumerGroupState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

impl ConsumerGroup {
    pub(crate) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            return ConsumerGroupState::Empty;
        }
        if self.metadata.epoch > self.target.assignment_epoch {
            return ConsumerGroupState::Assigning;
        }
        let done = self.members.keys().all(|member| {
            self.current.get(member).is_some_and(|current| current.is_reconciled_to(self.target.assignment_epoch))
        });
        if done { ConsumerGroupState::Stable } else { ConsumerGroupState::Reconciling }
    }

    pub(crate) fn static_member(&self, instance_id: &str) -> Option<&Arc<str>> {
        self.static_members.get(instance_id)
    }

    /// Who owns a partition, or has not given it up yet.
    pub(crate) fn owner(&self, topic: TopicId, partition: i32) -> Option<&Arc<str>> {
        self.owners.get(&topic)?.get(&partition)
    }

    /// Topics that members subscribe to by name.
    pub(crate) fn names(&self) -> &OrdMap<Arc<str>, usize> {
        &self.names
    }

    pub(crate) fn current_of(&self, member: &str) -> Arc<CurrentAssignment> {
        self.current.get(member).cloned().unwrap_or_default()
    }

    pub(crate) fn target_of(&self, member: &str) -> Arc<Partitions> {
        self.targets.get(member).cloned().unwrap_or_default()
    }

    pub(crate) fn set_metadata(&mut self, metadata: ConsumerGroupMetadata) {
        self.metadata = metadata;
    }

    pub(crate) fn set_target_metadata(&mut self, target: Option<TargetMetadata>) {
        self.target = target.unwrap_or_default();
    }

    pub(crate) fn set_member(&mut self, id: &Arc<str>, member: Option<&Arc<ConsumerMember>>) {
        let old = match member {
            Some(member) => {
                if let Some(instance) = &member.instance_id {
                    self.static_members.insert(Arc::clone(instance), Arc::clone(id));
                }
                self.members.insert(Arc::clone(id), Arc::clone(member))
            }
            None => self.members.remove(id),
        };
        for name in member.iter().flat_map(|member| &member.subscribed_topic_names) {
            *self.names.entry(Arc::clone(name)).or_default() += 1;
        }
        for name in old.iter().flat_map(|old| &old.subscribed_topic_names) {
            if let Some(count) = self.names.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.names.remove(name);
                }
            }
        }
        // A replaced static member's instance id already points to its successor.
        let instance = old.as_ref().and_then(|old| old.instance_id.as_ref());
        if let Some(instance) = instance
            && member.and_then(|member| member.instance_id.as_ref()) != Some(instance)
            && self.static_members.get(instance) == Some(id)
        {
            self.static_members.remove(instance);
        }
    }

    pub(crate) fn set_target(&mut self, member: &Arc<str>, target: Option<&Arc<Partitions>>) {
        match target {
            Some(target) => self.targets.insert(Arc::clone(member), Arc::clone(target)),
            None => self.targets.remove(member),
        };
    }

    pub(crate) fn set_current(&mut self, member: &Arc<str>, current: Option<&Arc<CurrentAssignment>>) {
        let old = match current {
            Some(current) => self.current.insert(Arc::clone(member), Arc::clone(current)),
            None => self.current.remove(member),
        };
        if let Some(old) = old {
            self.disown(member, &old.assigned);
            self.disown(member, &old.pending_revocation);
        }
        if let Some(current) = current {
            self.own(member, &current.assigned);
            self.own(member, &current.pending_revocation);
        }
    }

    pub(crate) fn set_regex(&mut self, regex: &Arc<str>, resolved: Option<&Arc<ResolvedRegex>>) {
        match resolved {
            Some(resolved) => self.regexes.insert(Arc::clone(regex), Arc::clone(resolved)),
            None => self.regexes.remove(regex),
        };
    }

    fn own(&mut self, member: &Arc<str>, partitions: &BTreeMap<TopicId, BTreeMap<i32, i32>>) {
        for (topic, partitions) in partitions {
            let owners = self.owners.entry(*topic).or_default();
            for partition in partitions.keys() {
                owners.insert(*partition, Arc::clone(member));
            }
        }
    }

    fn disown(&mut self, member: &Arc<str>, partitions: &BTreeMap<TopicId, BTreeMap<i32, i32>>) {
        for (topic, partitions) in partitions {
            let Some(owners) = self.owners.get_mut(topic) else { continue };
            for partition in partitions.keys() {
                if owners.get(partition).is_some_and(|owner| owner == member) {
                    owners.remove(partition);
                }
            }
            if owners.is_empty() {
                self.owners.remove(topic);
            }
        }
    }
}
