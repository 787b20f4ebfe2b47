//! ConsumerGroupDescribe: v0-1. v1 the members' type.

use std::collections::BTreeMap;

use ottla_metadata::MetadataImage;
use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, TopicId};

use super::state::ConsumerGroup;
use crate::group::request::GroupResponse;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::GroupState;
use crate::group::text::{topic_name, wire, wire_option};
use crate::shard::{Effect, Token};

impl GroupShard {
    pub(crate) fn consumer_group_describe(
        &self,
        hard: &GroupState,
        token: Token,
        ids: &[m::GroupId],
        cx: &Cx<'_>,
        out: &mut Out,
    ) {
        let described = ids.iter().map(|id| {
            let answer = m::consumer_group_describe_response::DescribedGroup::default().with_group_id(id.clone());
            if id.is_empty() {
                return answer.with_error_code(ErrorCode::InvalidGroupId.code());
            }
            match hard.consumer(id) {
                Some(group) => describe(group, answer, cx),
                None => {
                    let what = if hard.group(id).is_some() { "is not a consumer group" } else { "not found" };
                    answer
                        .with_error_code(ErrorCode::GroupIdNotFound.code())
                        .with_error_message(Some(wire(&format!("Group {} {what}.", id.as_str()))))
                }
            }
        });
        let described = described.collect();
        out.effects.push(Effect::Reply(token, GroupResponse::ConsumerGroupDescribe(described)));
    }
}

fn describe(
    group: &ConsumerGroup,
    answer: m::consumer_group_describe_response::DescribedGroup,
    cx: &Cx<'_>,
) -> m::consumer_group_describe_response::DescribedGroup {
    let members = group.members.iter().map(|(id, member)| {
        let current = group.current_of(id);
        // A member answers for what it has not given up yet.
        let mut held: BTreeMap<TopicId, Vec<i32>> = BTreeMap::new();
        for (topic, partitions) in current.assigned.iter().chain(&current.pending_revocation) {
            held.entry(*topic).or_default().extend(partitions.keys());
        }
        let target = group.target_of(id);
        let target = target.iter().map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()));
        m::consumer_group_describe_response::Member::default()
            .with_member_id(wire(id))
            .with_instance_id(wire_option(member.instance_id.as_ref()))
            .with_rack_id(wire_option(member.rack_id.as_ref()))
            .with_member_epoch(current.member_epoch)
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_subscribed_topic_names(member.subscribed_topic_names.iter().map(|name| topic_name(name)).collect())
            .with_subscribed_topic_regex(Some(wire(member.subscribed_topic_regex.as_deref().unwrap_or_default())))
            .with_assignment(assignment(held, cx.image))
            .with_target_assignment(assignment(target.collect(), cx.image))
            .with_member_type(i8::from(member.classic.is_none()))
    });
    answer
        .with_group_state(wire(group.state().name()))
        .with_group_epoch(group.metadata.epoch)
        .with_assignment_epoch(group.target.assignment_epoch)
        .with_assignor_name(wire(&group.preferred_assignor(cx.config.consumer_assignors.first())))
        .with_members(members.collect())
}

/// Topics that are gone are left out.
fn assignment(
    topics: BTreeMap<TopicId, Vec<i32>>,
    image: &MetadataImage,
) -> m::consumer_group_describe_response::Assignment {
    let topics = topics.into_iter().filter_map(|(id, partitions)| {
        let topic = image.topics.by_id(id)?;
        Some(
            m::consumer_group_describe_response::TopicPartitions::default()
                .with_topic_id(id.0)
                .with_topic_name(topic_name(&topic.name))
                .with_partitions(partitions),
        )
    });
    m::consumer_group_describe_response::Assignment::default().with_topic_partitions(topics.collect())
}
