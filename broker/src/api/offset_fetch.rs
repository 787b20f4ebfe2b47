//! OffsetFetch: v1-10. v2 may ask for all topics and has an error for the whole, v7 waits for open transactions, v8 many
//! groups, v9 member epochs, v10 topic ids.

use std::collections::{HashMap, HashSet};

use ottla_coordinator::group::{GroupRequest, GroupResponse, GroupShard};
use ottla_metadata::MetadataImage;
use ottla_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use ottla_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use ottla_protocol::{ErrorCode, StrBytes, TopicId};
use uuid::Uuid;

use super::coordinated::{ask_group, client, expect_answer};
use super::offsets::Offsets;
use super::{Reply, RequestContext};
use crate::coordinators::Waiting;

/// A group whose coordinator was asked.
struct Pending {
    asked: OffsetFetchRequestGroup,
    /// Topics that are refused without asking.
    refused: Vec<OffsetFetchResponseTopics>,
    waiting: Result<Waiting<GroupShard>, ErrorCode>,
}

pub(super) async fn handle(handler: &Offsets, cx: &RequestContext, request: OffsetFetchRequest) -> Reply {
    let image = handler.metadata.load();
    let require_stable = request.require_stable;
    let mut pending = Vec::new();
    for mut group in once(groups(request, cx.version)) {
        let refused = if cx.version >= 10 { name_topics(&mut group, &image) } else { Vec::new() };
        let ask = GroupRequest::OffsetFetch { client: client(cx), group: group.clone(), require_stable };
        let waiting = ask_group(&handler.coordinators, &group.group_id.0.clone(), ask).await;
        pending.push(Pending { asked: group, refused, waiting });
    }
    let cx = cx.clone();
    Reply::Later(Box::pin(async move {
        let mut answers = Vec::with_capacity(pending.len());
        for group in pending {
            answers.push(finish(group, &image, cx.version).await);
        }
        cx.respond(&shape(answers, cx.version))
    }))
}

/// The groups asked for, in the form of v8 and later.
fn groups(request: OffsetFetchRequest, version: i16) -> Vec<OffsetFetchRequestGroup> {
    if version >= 8 {
        // All topics of a group are told once.
        let mut seen = HashSet::new();
        let mut groups = request.groups;
        groups.retain(|group| group.topics.is_some() || seen.insert(group.group_id.clone()));
        return groups;
    }
    let topics = request.topics.map(|topics| {
        let topic = |topic: ottla_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
        };
        topics.into_iter().map(topic).collect()
    });
    let group = OffsetFetchRequestGroup::default().with_group_id(request.group_id).with_member_epoch(-1);
    vec![group.with_topics(topics)]
}

/// A partition that is named again is told once: a request of repetitions would have an answer of many times its size.
fn once(mut groups: Vec<OffsetFetchRequestGroup>) -> Vec<OffsetFetchRequestGroup> {
    let mut seen: HashMap<(StrBytes, StrBytes, Uuid), HashSet<i32>> = HashMap::new();
    for group in &mut groups {
        let id = group.group_id.0.clone();
        for topic in group.topics.iter_mut().flatten() {
            let partitions = seen.entry((id.clone(), topic.name.0.clone(), topic.topic_id)).or_default();
            topic.partition_indexes.retain(|index| partitions.insert(*index));
        }
    }
    groups
}

/// Gives topics that come by id their names; those that have none are taken out and refused.
fn name_topics(group: &mut OffsetFetchRequestGroup, image: &MetadataImage) -> Vec<OffsetFetchResponseTopics> {
    let mut refused = Vec::new();
    if let Some(topics) = &mut group.topics {
        topics.retain_mut(|topic| {
            if let Some(known) = image.topics.by_id(TopicId(topic.topic_id)) {
                topic.name = TopicName(StrBytes::from_string(known.name.to_string()));
                return true;
            }
            refused.push(refused_topic(topic, ErrorCode::UnknownTopicId));
            false
        });
    }
    refused
}

fn refused_topic(topic: &OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partition = |index: &i32| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::default()))
            .with_error_code(error.code())
    };
    OffsetFetchResponseTopics::default()
        .with_name(topic.name.clone())
        .with_topic_id(topic.topic_id)
        .with_partitions(topic.partition_indexes.iter().map(partition).collect())
}

async fn finish(group: Pending, image: &MetadataImage, version: i16) -> OffsetFetchResponseGroup {
    let answer = match group.waiting {
        Ok(waiting) => waiting.answer().await,
        Err(error) => Err(error),
    };
    let mut answer = match expect_answer!(answer, GroupResponse::OffsetFetch) {
        Ok(answer) => answer,
        Err(error) => OffsetFetchResponseGroup::default()
            .with_group_id(group.asked.group_id.clone())
            .with_error_code(told(error).code()),
    };
    if answer.error_code != 0 {
        answer.topics.clear();
        if version < 2 {
            // There is no error for the whole yet.
            let error = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
            let topics = group.asked.topics.unwrap_or_default();
            answer.topics = topics.iter().map(|topic| refused_topic(topic, error)).collect();
        }
        return answer;
    }
    answer.topics.extend(group.refused);
    if version >= 10 {
        for topic in &mut answer.topics {
            if topic.topic_id.is_nil()
                && let Some(known) = image.topics.by_name(topic.name.as_str())
            {
                topic.topic_id = known.id.0;
            }
            topic.name = TopicName::default();
        }
        // A topic without an id cannot be told; it is gone anyway.
        answer.topics.retain(|topic| !topic.topic_id.is_nil());
    } else {
        for topic in &mut answer.topics {
            topic.topic_id = Uuid::nil();
        }
    }
    answer
}

/// Consumers before 3.9 do not expect COORDINATOR_NOT_AVAILABLE here, and give up; at NOT_COORDINATOR they look for the
/// coordinator, and ask again.
const fn told(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::CoordinatorNotAvailable => ErrorCode::NotCoordinator,
        other => other,
    }
}

fn shape(mut answers: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= 8 {
        return OffsetFetchResponse::default().with_groups(answers);
    }
    let answer = answers.pop().unwrap_or_default();
    let topic = |topic: OffsetFetchResponseTopics| {
        let partition = |partition: OffsetFetchResponsePartitions| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(if version >= 5 { partition.committed_leader_epoch } else { -1 })
                .with_metadata(partition.metadata)
                .with_error_code(partition.error_code)
        };
        OffsetFetchResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(topic.partitions.into_iter().map(partition).collect())
    };
    OffsetFetchResponse::default()
        .with_error_code(if version >= 2 { answer.error_code } else { 0 })
        .with_topics(answer.topics.into_iter().map(topic).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumers_are_told_only_what_they_ask_again_after() {
        assert_eq!(told(ErrorCode::CoordinatorNotAvailable), ErrorCode::NotCoordinator);
        assert_eq!(told(ErrorCode::CoordinatorLoadInProgress), ErrorCode::CoordinatorLoadInProgress);
        assert_eq!(told(ErrorCode::StaleMemberEpoch), ErrorCode::StaleMemberEpoch);
    }

    #[test]
    fn a_partition_that_is_named_again_is_told_once() {
        let topic = |name: &str, partitions: &[i32]| {
            let name = TopicName(StrBytes::from_string(name.to_owned()));
            OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(partitions.to_vec())
        };
        let group = |id: &str, topics| {
            let id = ottla_protocol::messages::GroupId(StrBytes::from_string(id.to_owned()));
            OffsetFetchRequestGroup::default().with_group_id(id).with_topics(Some(topics))
        };
        let asked = vec![
            group("a", vec![topic("t", &[1, 0, 1]), topic("t", &[0, 2])]),
            group("b", vec![topic("t", &[0])]),
            group("a", vec![topic("t", &[0]), topic("u", &[0])]),
        ];
        let told: Vec<Vec<Vec<i32>>> = once(asked)
            .into_iter()
            .map(|group| group.topics.unwrap_or_default().into_iter().map(|topic| topic.partition_indexes).collect())
            .collect();
        assert_eq!(told, [vec![vec![1, 0], vec![2]], vec![vec![0]], vec![vec![], vec![0]]]);
    }
}
