//! OffsetCommit: v2-10 (v9 member epochs and GROUP_ID_NOT_FOUND, v10 topic ids), and TxnOffsetCommit: v0-5.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};

use crate::group::classic::ClassicState;
use crate::group::records::{CommittedOffset, GroupRecord};
use crate::group::request::{Client, GroupResponse};
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::arc;
use crate::shard::{Effect, Producer, Token};

/// Who commits.
struct Committer<'a> {
    group: Arc<str>,
    member: &'a str,
    instance_id: Option<&'a str>,
    /// Generation of a classic group, member epoch of a consumer group; negative for neither.
    epoch: i32,
    transactional: bool,
    version: i16,
}

/// Whether a partition's offset may be committed, once the committer may commit at all.
enum PartitionCheck {
    Pass,
    /// The member epoch is older than the member's: good for partitions that the member has had since before.
    /// (KIP-1251)
    AssignedSince {
        member: Arc<str>,
        epoch: i32,
        otherwise: ErrorCode,
    },
}

impl GroupShard {
    pub(crate) fn offset_commit(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        request: &m::OffsetCommitRequest,
        cx: &Cx<'_>,
        out: &mut Out,
    ) {
        let committer = Committer {
            group: arc(&request.group_id),
            member: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            epoch: request.generation_id_or_member_epoch,
            transactional: false,
            version: client.version,
        };
        let check = match self.validate_commit(hard, &committer, cx) {
            Ok(check) => check,
            Err(error) => return fail_commit(token, request, error, out),
        };
        let retention_ms = request.retention_time_ms;
        let expire_timestamp = (retention_ms >= 0).then(|| Timestamp(cx.now.0.saturating_add(retention_ms)));
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name = arc(&topic.name);
            let topic_id = TopicId(topic.topic_id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
                let error = if is_too_long(metadata, cx.config.offset_metadata_bytes_max) {
                    ErrorCode::OffsetMetadataTooLarge
                } else if let Err(error) = check.partition(hard, &committer.group, topic_id, index) {
                    return fail_commit(token, request, error, out);
                } else {
                    records.push(GroupRecord::OffsetCommit {
                        group: Arc::clone(&committer.group),
                        partition: TopicPartition::new(Arc::clone(&name), index),
                        producer: None,
                        value: Some(Arc::new(CommittedOffset {
                            offset: Offset(partition.committed_offset),
                            leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                            metadata: Arc::from(metadata),
                            commit_timestamp: cx.now,
                            expire_timestamp,
                            topic_id,
                        })),
                    });
                    ErrorCode::None
                };
                partitions.push(commit_partition(index, error));
            }
            topics.push(
                m::offset_commit_response::OffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_topic_id(topic.topic_id)
                    .with_partitions(partitions),
            );
        }
        out.records.append(&mut records);
        let answer = m::OffsetCommitResponse::default().with_topics(topics);
        out.effects.push(Effect::Reply(token, GroupResponse::OffsetCommit(answer)));
    }

    pub(crate) fn txn_offset_commit(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        request: &m::TxnOffsetCommitRequest,
        cx: &Cx<'_>,
        out: &mut Out,
    ) {
        let committer = Committer {
            group: arc(&request.group_id),
            member: &request.member_id,
            instance_id: request.group_instance_id.as_deref(),
            epoch: request.generation_id,
            transactional: true,
            version: client.version,
        };
        // Producers know generations only, not member epochs.
        let as_producer_sees_it =
            |error| if error == ErrorCode::StaleMemberEpoch { ErrorCode::IllegalGeneration } else { error };
        let check = match self.validate_commit(hard, &committer, cx) {
            Ok(check) => check,
            Err(error) => return fail_txn_commit(token, request, as_producer_sees_it(error), out),
        };
        let producer = Producer { id: ProducerId(request.producer_id.0), epoch: ProducerEpoch(request.producer_epoch) };
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name = arc(&topic.name);
            let topic_id = cx.image.topics.by_name(&name).map(|topic| topic.id).unwrap_or_default();
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let index = partition.partition_index;
                let metadata = partition.committed_metadata.as_deref().unwrap_or_default();
                let error = if is_too_long(metadata, cx.config.offset_metadata_bytes_max) {
                    ErrorCode::OffsetMetadataTooLarge
                } else if let Err(error) = check.partition(hard, &committer.group, topic_id, index) {
                    return fail_txn_commit(token, request, as_producer_sees_it(error), out);
                } else {
                    records.push(GroupRecord::OffsetCommit {
                        group: Arc::clone(&committer.group),
                        partition: TopicPartition::new(Arc::clone(&name), index),
                        producer: Some(producer),
                        value: Some(Arc::new(CommittedOffset {
                            offset: Offset(partition.committed_offset),
                            leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
                            metadata: Arc::from(metadata),
                            commit_timestamp: cx.now,
                            expire_timestamp: None,
                            topic_id: TopicId::ZERO,
                        })),
                    });
                    ErrorCode::None
                };
                partitions.push(txn_partition(index, error));
            }
            topics.push(
                m::txn_offset_commit_response::TxnOffsetCommitResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        out.records.append(&mut records);
        let answer = m::TxnOffsetCommitResponse::default().with_topics(topics);
        out.effects.push(Effect::Reply(token, GroupResponse::TxnOffsetCommit(answer)));
    }

    /// May this caller commit at all? A commit of a classic member is as good as a heartbeat.
    fn validate_commit(
        &mut self,
        hard: &GroupState,
        committer: &Committer<'_>,
        cx: &Cx<'_>,
    ) -> Result<PartitionCheck, ErrorCode> {
        match hard.group(&committer.group) {
            // A group that is not managed here: its first commit makes it.
            None if committer.epoch < 0 => Ok(PartitionCheck::Pass),
            None if committer.transactional || committer.version < 9 => Err(ErrorCode::IllegalGeneration),
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Group::Classic(_)) => {
                let group = self.take_classic(hard, &committer.group, cx.now);
                let result = group.validate_offset_commit(
                    committer.member,
                    committer.instance_id,
                    committer.epoch,
                    committer.transactional,
                );
                if result.is_ok()
                    && !committer.transactional
                    && matches!(group.state, ClassicState::Stable | ClassicState::PreparingRebalance)
                    && let Some(member) = group.members.get(committer.member)
                {
                    self.restart_session(&group, member, cx.now);
                }
                self.put_classic(group);
                result.map(|()| PartitionCheck::Pass)
            }
            Some(Group::Consumer(group)) => {
                // An operator, or a consumer that assigns itself: only while nobody else is in the group.
                if committer.epoch < 0 && group.members.is_empty() {
                    return Ok(PartitionCheck::Pass);
                }
                // Older producers say nothing of themselves.
                let is_anonymous = committer.member.is_empty() && committer.instance_id.is_none();
                if committer.transactional && committer.epoch < 0 && is_anonymous {
                    return Ok(PartitionCheck::Pass);
                }
                let (id, member) = group.members.get_key_value(committer.member).ok_or(ErrorCode::UnknownMemberId)?;
                let is_classic = member.classic.is_some();
                if !is_classic && !committer.transactional && committer.version < 9 {
                    return Err(ErrorCode::UnsupportedVersion);
                }
                let otherwise = if is_classic { ErrorCode::IllegalGeneration } else { ErrorCode::StaleMemberEpoch };
                let epoch = committer.epoch;
                match epoch.cmp(&group.current_of(id).member_epoch) {
                    Ordering::Equal => Ok(PartitionCheck::Pass),
                    Ordering::Greater => Err(otherwise),
                    Ordering::Less => Ok(PartitionCheck::AssignedSince { member: Arc::clone(id), epoch, otherwise }),
                }
            }
        }
    }
}

impl PartitionCheck {
    fn partition(&self, hard: &GroupState, group: &str, topic: TopicId, partition: i32) -> Result<(), ErrorCode> {
        let Self::AssignedSince { member, epoch, otherwise } = self else { return Ok(()) };
        let current = hard.consumer(group).map(|group| group.current_of(member)).unwrap_or_default();
        let since = |assigned: &BTreeMap<TopicId, BTreeMap<i32, i32>>| {
            assigned.get(&topic).and_then(|partitions| partitions.get(&partition)).copied()
        };
        match since(&current.assigned).or_else(|| since(&current.pending_revocation)) {
            Some(since) if *epoch >= since => Ok(()),
            _ => Err(*otherwise),
        }
    }
}

/// Kafka counts UTF-16 units, whatever the setting is called.
fn is_too_long(metadata: &str, max: usize) -> bool {
    metadata.len() > max && metadata.encode_utf16().count() > max
}

fn commit_partition(index: i32, error: ErrorCode) -> m::offset_commit_response::OffsetCommitResponsePartition {
    m::offset_commit_response::OffsetCommitResponsePartition::default()
        .with_partition_index(index)
        .with_error_code(error.code())
}

fn txn_partition(index: i32, error: ErrorCode) -> m::txn_offset_commit_response::TxnOffsetCommitResponsePartition {
    m::txn_offset_commit_response::TxnOffsetCommitResponsePartition::default()
        .with_partition_index(index)
        .with_error_code(error.code())
}

/// The whole request fails: every partition says so, the answer has no other place for it.
fn fail_commit(token: Token, request: &m::OffsetCommitRequest, error: ErrorCode, out: &mut Out) {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| commit_partition(p.partition_index, error)).collect();
        m::offset_commit_response::OffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions)
    });
    let answer = m::OffsetCommitResponse::default().with_topics(topics.collect());
    out.effects.push(Effect::Reply(token, GroupResponse::OffsetCommit(answer)));
}

fn fail_txn_commit(token: Token, request: &m::TxnOffsetCommitRequest, error: ErrorCode, out: &mut Out) {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| txn_partition(p.partition_index, error)).collect();
        m::txn_offset_commit_response::TxnOffsetCommitResponseTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions)
    });
    let answer = m::TxnOffsetCommitResponse::default().with_topics(topics.collect());
    out.effects.push(Effect::Reply(token, GroupResponse::TxnOffsetCommit(answer)));
}
