//! The target assignment: who should own what in the group's newest epoch.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::state::ConsumerGroup;
use crate::group::assignor::{self, AssignorMember};
use crate::group::records::{GroupRecord, TargetMetadata};
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

/// How many partitions a topic has.
fn partition_counts(image: &MetadataImage, members: &[AssignorMember]) -> BTreeMap<TopicId, i32> {
    let topics = members.iter().flat_map(|member| &member.topics);
    let count = |topic: TopicId| image.topics.by_id(topic).map_or(0, |topic| topic.partitions.len());
    topics.map(|&topic| (topic, i32::try_from(count(topic)).unwrap_or(i32::MAX))).collect()
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
        let members: Vec<AssignorMember> = self
            .group
            .members
            .iter()
            .map(|(id, member)| AssignorMember {
                id: Arc::clone(id),
                instance_id: member.instance_id.clone(),
                topics: self.group.topics_of(member, cx.image),
                assigned: self.group.target_of(id),
            })
            .collect();
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
