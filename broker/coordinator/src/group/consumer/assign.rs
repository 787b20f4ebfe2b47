//! The target assignment: who should own what in the group's newest epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::state::ConsumerGroup;
use crate::group::assignor::{self, AssignorMember};
use crate::group::records::{ConsumerMember, GroupRecord, TargetMetadata};
use crate::group::shard::Cx;

impl ConsumerGroup {
    /// The assignor that most members ask for; the configured one if none asks.
    pub(crate) fn preferred_assignor(&self, default: Option<&Arc<str>>) -> Arc<str> {
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for assignor in self.members.values().filter_map(|member| member.server_assignor.as_ref()) {
            *votes.entry(assignor).or_default() += 1;
        }
        let chosen = votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name);
        chosen.or(default).cloned().unwrap_or_else(|| Arc::from(assignor::UNIFORM))
    }
}

fn is_same_subscription(a: &ConsumerMember, b: &ConsumerMember) -> bool {
    a.subscribed_topic_regex == b.subscribed_topic_regex && a.subscribed_topic_names == b.subscribed_topic_names
}

/// How many partitions a topic has.
fn partition_counts(image: &MetadataImage, members: &[AssignorMember]) -> BTreeMap<TopicId, i32> {
    let mut topics: BTreeSet<TopicId> = BTreeSet::new();
    let mut last: Option<&Arc<BTreeSet<TopicId>>> = None;
    for member in members {
        if last.is_none_or(|last| !Arc::ptr_eq(last, &member.topics)) {
            topics.extend(member.topics.iter());
        }
        last = Some(&member.topics);
    }
    let count = |topic: TopicId| image.topics.by_id(topic).map_or(0, |topic| topic.partitions.len());
    topics.into_iter().map(|topic| (topic, i32::try_from(count(topic)).unwrap_or(i32::MAX))).collect()
}

impl Draft {
    /// Computes the target assignment if it is behind the group, and not sooner after the last one than is allowed.
    pub(crate) fn update_target(&mut self, interval_ms: i64, cx: &Cx<'_>) -> Result<(), GroupError> {
        if self.group.target.assignment_epoch >= self.group.metadata.epoch {
            return Ok(());
        }
        let last = self.group.target.timestamp.0;
        if last != 0 && interval_ms != 0 && cx.now.0 < last.saturating_add(interval_ms) {
            return Ok(());
        }
        let mut members: Vec<AssignorMember> = Vec::with_capacity(self.group.members.len());
        let mut last: Option<(&Arc<ConsumerMember>, Arc<BTreeSet<TopicId>>)> = None;
        for (id, member) in &self.group.members {
            // Most groups are of one mind: what one member's names stand for is what the next one's do.
            let topics = match &last {
                Some((other, topics)) if is_same_subscription(other, member) => Arc::clone(topics),
                _ => Arc::new(self.group.topics_of(member, cx.image)),
            };
            last = Some((member, Arc::clone(&topics)));
            members.push(AssignorMember {
                id: Arc::clone(id),
                instance_id: member.instance_id.clone(),
                topics,
                assigned: self.group.target_of(id),
            });
        }
        let name = self.group.preferred_assignor(cx.config.consumer_assignors.first());
        let counts = partition_counts(cx.image, &members);
        let assignment = assignor::assign(&name, &members, &counts).ok_or_else(|| {
            GroupError::new(ErrorCode::UnknownServerError, format!("there is no assignor named {name}"))
        })?;
        for (member, partitions) in assignment {
            let old = self.group.targets.get(&member);
            if old.is_none_or(|old| **old != partitions) {
                self.put_target(&member, partitions);
            }
        }
        let value = TargetMetadata { assignment_epoch: self.group.metadata.epoch, timestamp: cx.now };
        self.push(GroupRecord::TargetMetadata { group: Arc::clone(&self.id), value: Some(value) });
        Ok(())
    }
}
