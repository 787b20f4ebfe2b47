//! What a Fetch answers about each partition, and how partitions make an answer.

use ottla_metadata::MetadataImage;
use ottla_protocol::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchedPartition, FetchedTopic, LeaderIdAndEpoch, NodeEndpoint,
};
use ottla_protocol::{BrokerId, ErrorCode, Offset, StrBytes, TopicId};
use ottla_storage::FileRecords;

use super::RequestContext;
use super::fetch_session::{PartitionKey, Told, TopicKey};
use super::wire::{current_leader, endpoint_of, text};
use crate::replica::ReadAnswer;

const CURRENT_LEADER_VERSION: i16 = 16;

pub(super) type Answered = FetchedPartition<FileRecords>;

/// What the session goes by when it looks whether a partition is worth telling.
pub(super) fn told(answer: &Answered) -> Told {
    Told {
        has_records: !answer.records.is_empty(),
        is_remarkable: answer.error_code != 0
            || answer.diverging_epoch.is_some()
            || answer.preferred_read_replica != -1,
        is_error: answer.error_code != 0,
        high_watermark: Offset(answer.high_watermark),
        log_start: Offset(answer.log_start_offset),
    }
}

pub(super) fn readable(partition_index: i32, read: ReadAnswer) -> Answered {
    let diverging_epoch = read.diverging.map(|(epoch, end)| EpochEndOffset { epoch: epoch.0, end_offset: end.0 });
    let aborted = read.aborted.map(|aborted| {
        aborted
            .iter()
            .map(|txn| AbortedTransaction { producer_id: txn.producer_id.0, first_offset: txn.first_offset.0 })
            .collect()
    });
    Answered {
        partition_index,
        high_watermark: read.offsets.high_watermark.0,
        last_stable_offset: read.offsets.last_stable.0,
        log_start_offset: read.offsets.log_start.0,
        diverging_epoch,
        aborted,
        records: read.records,
        ..Answered::default()
    }
}

/// A partition that nobody looked at.
pub(super) fn unreadable(partition_index: i32, code: ErrorCode) -> Answered {
    Answered {
        partition_index,
        error_code: code as i16,
        high_watermark: -1,
        aborted: Some(Vec::new()),
        ..Answered::default()
    }
}

/// A partition whose read failed; who came to the wrong broker is told the right one.
pub(super) fn failed(
    version: i16,
    image: &MetadataImage,
    topic: &str,
    partition_index: i32,
    code: ErrorCode,
) -> Answered {
    // Old clients give up on a storage error, while they look for another leader on this one.
    let told = if code == ErrorCode::KafkaStorageError && version <= 5 { ErrorCode::NotLeaderOrFollower } else { code };
    let mut answer = Answered { aborted: None, ..unreadable(partition_index, told) };
    if version >= CURRENT_LEADER_VERSION
        && matches!(code, ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch)
    {
        let (leader, epoch) = current_leader(image, topic, partition_index);
        answer.current_leader = Some(LeaderIdAndEpoch { leader_id: leader.0, leader_epoch: epoch.0 });
    }
    answer
}

/// Where the leaders are that the partitions name.
pub(super) fn endpoints(
    cx: &RequestContext,
    image: &MetadataImage,
    answers: &[(PartitionKey, Answered)],
) -> Vec<NodeEndpoint> {
    let named = answers.iter().filter_map(|(_, answer)| answer.current_leader).map(|leader| leader.leader_id);
    let mut leaders: Vec<i32> = named.filter(|&id| id >= 0).collect();
    leaders.sort_unstable();
    leaders.dedup();
    leaders
        .into_iter()
        .filter_map(|node_id| {
            let (broker, endpoint) = endpoint_of(image, BrokerId(node_id), &cx.listener.name)?;
            Some(NodeEndpoint {
                node_id,
                host: text(&endpoint.host),
                port: i32::from(endpoint.port),
                rack: broker.rack.as_deref().map(text),
            })
        })
        .collect()
}

/// Neighbours of one topic share an entry; the order of partitions stays.
pub(super) fn by_topic(
    image: &MetadataImage,
    answers: Vec<(PartitionKey, Answered)>,
) -> Vec<FetchedTopic<FileRecords>> {
    let mut topics: Vec<FetchedTopic<FileRecords>> = Vec::new();
    let mut current: Option<TopicKey> = None;
    for (key, answer) in answers {
        match topics.last_mut() {
            Some(topic) if current.as_ref() == Some(&key.topic) => topic.partitions.push(answer),
            _ => {
                let (topic, topic_id) = match &key.topic {
                    TopicKey::Name(name) => {
                        (text(name), image.topics.by_name(name).map_or(TopicId::ZERO, |topic| topic.id))
                    }
                    TopicKey::Id(id) => (StrBytes::default(), *id),
                };
                topics.push(FetchedTopic { topic, topic_id, partitions: vec![answer] });
                current = Some(key.topic);
            }
        }
    }
    topics
}
