//! OffsetFetch: v1-10, one group of it. v7 RequireStable, v8 many groups, v9 member id and epoch, v10 topic ids.

use std::sync::Arc;

use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, TopicId, TopicPartition};

use crate::group::records::CommittedOffset;
use crate::group::request::{Client, GroupResponse};
use crate::group::shard::{GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::{arc, topic_name, wire};
use crate::shard::{Effect, Token};

type Partition = m::offset_fetch_response::OffsetFetchResponsePartitions;

impl GroupShard {
    pub(crate) fn offset_fetch(
        &self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        request: &m::offset_fetch_request::OffsetFetchRequestGroup,
        require_stable: bool,
        out: &mut Out,
    ) {
        let answer =
            m::offset_fetch_response::OffsetFetchResponseGroup::default().with_group_id(request.group_id.clone());
        let answer = match validate(hard, client, request) {
            Err(error) => answer.with_error_code(error.code()),
            Ok(()) => answer.with_topics(match &request.topics {
                Some(topics) => fetch_some(hard, &request.group_id, topics, require_stable),
                None => fetch_all(hard, &request.group_id, require_stable),
            }),
        };
        out.effects.push(Effect::Reply(token, GroupResponse::OffsetFetch(answer)));
    }
}

/// A consumer group checks who asks if the caller says who it is; other callers may always ask.
fn validate(
    hard: &GroupState,
    client: &Client,
    request: &m::offset_fetch_request::OffsetFetchRequestGroup,
) -> Result<(), ErrorCode> {
    let Some(Group::Consumer(group)) = hard.group(&request.group_id) else { return Ok(()) };
    let member_id = request.member_id.as_deref();
    if client.version < 9 || (member_id.is_none() && request.member_epoch < 0) {
        return Ok(());
    }
    let member_id = member_id.unwrap_or_default();
    let member = group.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
    if group.current_of(member_id).member_epoch == request.member_epoch {
        Ok(())
    } else if member.classic.is_some() {
        Err(ErrorCode::IllegalGeneration)
    } else {
        Err(ErrorCode::StaleMemberEpoch)
    }
}

fn fetch_some(
    hard: &GroupState,
    group: &str,
    topics: &[m::offset_fetch_request::OffsetFetchRequestTopics],
    require_stable: bool,
) -> Vec<m::offset_fetch_response::OffsetFetchResponseTopics> {
    let answer = topics.iter().map(|topic| {
        let name = arc(&topic.name);
        let partitions = topic.partition_indexes.iter().map(|&index| {
            let partition = TopicPartition::new(Arc::clone(&name), index);
            if require_stable && hard.offsets().is_pending(group, &partition) {
                return unstable(index);
            }
            // An offset of an older topic of this name is none of this one's.
            let asked = TopicId(topic.topic_id);
            match hard.offsets().get(group, &partition) {
                Some(offset) if asked.is_zero() || offset.topic_id.is_zero() || offset.topic_id == asked => {
                    committed(index, offset)
                }
                _ => none(index),
            }
        });
        m::offset_fetch_response::OffsetFetchResponseTopics::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions.collect())
    });
    answer.collect()
}

fn fetch_all(
    hard: &GroupState,
    group: &str,
    require_stable: bool,
) -> Vec<m::offset_fetch_response::OffsetFetchResponseTopics> {
    let mut topics: Vec<m::offset_fetch_response::OffsetFetchResponseTopics> = Vec::new();
    for (partition, offset) in hard.offsets().of_group(group) {
        let answer = if require_stable && hard.offsets().is_pending(group, partition) {
            unstable(partition.partition)
        } else {
            committed(partition.partition, offset)
        };
        match topics.last_mut() {
            Some(topic) if **topic.name == *partition.topic => topic.partitions.push(answer),
            _ => topics.push(
                m::offset_fetch_response::OffsetFetchResponseTopics::default()
                    .with_name(topic_name(&partition.topic))
                    .with_partitions(vec![answer]),
            ),
        }
    }
    topics
}

fn committed(index: i32, offset: &CommittedOffset) -> Partition {
    Partition::default()
        .with_partition_index(index)
        .with_committed_offset(offset.offset.0)
        .with_committed_leader_epoch(offset.leader_epoch.0)
        .with_metadata(Some(wire(&offset.metadata)))
}

fn none(index: i32) -> Partition {
    Partition::default()
        .with_partition_index(index)
        .with_committed_offset(-1)
        .with_committed_leader_epoch(-1)
        .with_metadata(Some(wire("")))
}

/// A transaction may still change the answer.
fn unstable(index: i32) -> Partition {
    none(index).with_error_code(ErrorCode::UnstableOffsetCommit.code())
}
