//! Group records as they lie in the log: Kafka's keys and values, so that its tools read ours and we read its logs.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::StrBytes;
use ottla_protocol::records::RecordError;
use ottla_protocol::records::group as g;
use ottla_protocol::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use super::records::{
    ClassicGroupRecord, ClassicMemberMetadata, ClassicMemberRecord, CommittedOffset, ConsumerGroupMetadata,
    ConsumerMember, CurrentAssignment, GroupRecord, MemberState, Partitions, ResolvedRegex, TargetMetadata,
};
use super::text::{arc, arc_option, wire, wire_option};
use crate::shard::{BadRecord, Stored};

pub(crate) fn encode(record: &GroupRecord) -> Stored {
    let (key, value): (g::GroupRecordKey, Option<g::GroupRecordValue>) = match record {
        GroupRecord::TransactionEnd { producer, coordinator_epoch, commit } => {
            return Stored::Marker { producer: *producer, coordinator_epoch: *coordinator_epoch, commit: *commit };
        }
        GroupRecord::OffsetCommit { group, partition, producer, value } => {
            let key = g::OffsetCommitKey {
                group: wire(group),
                topic: wire(&partition.topic),
                partition: partition.partition,
            };
            let (key, value) = to_bytes(&key.into(), value.as_ref().map(|value| offset_to(value).into()));
            return Stored::Data { key, value, producer: *producer };
        }
        GroupRecord::ClassicGroup { group, value } => {
            (g::GroupMetadataKey { group: wire(group) }.into(), value.as_ref().map(|value| classic_to(value).into()))
        }
        GroupRecord::ConsumerGroup { group, value } => (
            g::ConsumerGroupMetadataKey { group_id: wire(group) }.into(),
            value.map(|value| {
                g::ConsumerGroupMetadataValue { epoch: value.epoch, metadata_hash: value.metadata_hash }.into()
            }),
        ),
        GroupRecord::ConsumerGroupPartitionMetadata { group, tombstone } => (
            g::ConsumerGroupPartitionMetadataKey { group_id: wire(group) }.into(),
            (!tombstone).then(|| g::ConsumerGroupPartitionMetadataValue::default().into()),
        ),
        GroupRecord::ConsumerMember { group, member, value } => (
            g::ConsumerGroupMemberMetadataKey { group_id: wire(group), member_id: wire(member) }.into(),
            value.as_ref().map(|value| member_to(value).into()),
        ),
        GroupRecord::TargetMetadata { group, value } => (
            g::ConsumerGroupTargetAssignmentMetadataKey { group_id: wire(group) }.into(),
            value.map(|value| {
                g::ConsumerGroupTargetAssignmentMetadataValue {
                    assignment_epoch: value.assignment_epoch,
                    assignment_timestamp: value.timestamp.0,
                }
                .into()
            }),
        ),
        GroupRecord::TargetMember { group, member, value } => (
            g::ConsumerGroupTargetAssignmentMemberKey { group_id: wire(group), member_id: wire(member) }.into(),
            value.as_ref().map(|value| target_to(value).into()),
        ),
        GroupRecord::CurrentAssignment { group, member, value } => (
            g::ConsumerGroupCurrentMemberAssignmentKey { group_id: wire(group), member_id: wire(member) }.into(),
            value.as_ref().map(|value| current_to(value).into()),
        ),
        GroupRecord::Regex { group, regex, value } => (
            g::ConsumerGroupRegularExpressionKey { group_id: wire(group), regular_expression: wire(regex) }.into(),
            value.as_ref().map(|value| {
                g::ConsumerGroupRegularExpressionValue {
                    topics: value.topics.iter().map(|topic| wire(topic)).collect(),
                    version: value.version,
                    timestamp: value.timestamp.0,
                }
                .into()
            }),
        ),
    };
    let (key, value) = to_bytes(&key, value);
    Stored::Data { key, value, producer: None }
}

#[expect(clippy::expect_used, reason = "text::arc cuts every string to what a record can hold")]
fn to_bytes(key: &g::GroupRecordKey, value: Option<g::GroupRecordValue>) -> (Bytes, Option<Bytes>) {
    let key = key.encode().expect("strings fit");
    (key, value.map(|value| value.encode().expect("strings fit")))
}

/// `None` for records of groups that are not kept here (share and streams groups, and what later versions add).
pub(crate) fn decode(stored: &Stored) -> Result<Option<GroupRecord>, BadRecord> {
    let (key, value, producer) = match stored {
        Stored::Marker { producer, coordinator_epoch, commit } => {
            let (producer, coordinator_epoch, commit) = (*producer, *coordinator_epoch, *commit);
            return Ok(Some(GroupRecord::TransactionEnd { producer, coordinator_epoch, commit }));
        }
        Stored::Data { key, value, producer } => (key, value, *producer),
    };
    let bad = |error: RecordError| BadRecord(error.to_string());
    let key = match g::GroupRecordKey::decode(key) {
        Ok(key) => key,
        Err(RecordError::UnknownType(_)) => return Ok(None),
        Err(error) => return Err(bad(error)),
    };
    let value = match value {
        Some(value) => Some(g::GroupRecordValue::decode(&key, value).map_err(bad)?),
        None => None,
    };
    // The value's kind follows from the key's.
    macro_rules! value {
        ($kind:ident, $read:expr) => {
            match value {
                Some(g::GroupRecordValue::$kind(value)) => Some($read(value)),
                _ => None,
            }
        };
    }
    Ok(Some(match key {
        g::GroupRecordKey::LegacyOffsetCommit(key) => GroupRecord::OffsetCommit {
            group: arc(&key.group),
            partition: TopicPartition::new(arc(&key.topic), key.partition),
            producer,
            value: value!(LegacyOffsetCommit, |value: g::LegacyOffsetCommitValue| Arc::new(CommittedOffset {
                offset: Offset(value.offset),
                leader_epoch: LeaderEpoch::UNKNOWN,
                metadata: arc(&value.metadata),
                commit_timestamp: Timestamp(value.commit_timestamp),
                expire_timestamp: None,
                topic_id: TopicId::ZERO,
            })),
        },
        g::GroupRecordKey::OffsetCommit(key) => GroupRecord::OffsetCommit {
            group: arc(&key.group),
            partition: TopicPartition::new(arc(&key.topic), key.partition),
            producer,
            value: value!(OffsetCommit, |value: g::OffsetCommitValue| Arc::new(CommittedOffset {
                offset: Offset(value.offset),
                leader_epoch: LeaderEpoch(value.leader_epoch),
                metadata: arc(&value.metadata),
                commit_timestamp: Timestamp(value.commit_timestamp),
                expire_timestamp: (value.expire_timestamp != -1).then_some(Timestamp(value.expire_timestamp)),
                topic_id: TopicId(value.topic_id),
            })),
        },
        g::GroupRecordKey::GroupMetadata(key) => GroupRecord::ClassicGroup {
            group: arc(&key.group),
            value: value!(GroupMetadata, |value| Arc::new(classic_from(value))),
        },
        g::GroupRecordKey::ConsumerGroupMetadata(key) => GroupRecord::ConsumerGroup {
            group: arc(&key.group_id),
            value: value!(ConsumerGroupMetadata, |value: g::ConsumerGroupMetadataValue| ConsumerGroupMetadata {
                epoch: value.epoch,
                metadata_hash: value.metadata_hash,
            }),
        },
        g::GroupRecordKey::ConsumerGroupPartitionMetadata(key) => {
            GroupRecord::ConsumerGroupPartitionMetadata { group: arc(&key.group_id), tombstone: value.is_none() }
        }
        g::GroupRecordKey::ConsumerGroupMemberMetadata(key) => GroupRecord::ConsumerMember {
            group: arc(&key.group_id),
            member: arc(&key.member_id),
            value: value!(ConsumerGroupMemberMetadata, |value| Arc::new(member_from(value))),
        },
        g::GroupRecordKey::ConsumerGroupTargetAssignmentMetadata(key) => GroupRecord::TargetMetadata {
            group: arc(&key.group_id),
            value: value!(
                ConsumerGroupTargetAssignmentMetadata,
                |value: g::ConsumerGroupTargetAssignmentMetadataValue| TargetMetadata {
                    assignment_epoch: value.assignment_epoch,
                    timestamp: Timestamp(value.assignment_timestamp),
                }
            ),
        },
        g::GroupRecordKey::ConsumerGroupTargetAssignmentMember(key) => GroupRecord::TargetMember {
            group: arc(&key.group_id),
            member: arc(&key.member_id),
            value: value!(ConsumerGroupTargetAssignmentMember, |value| Arc::new(target_from(value))),
        },
        g::GroupRecordKey::ConsumerGroupCurrentMemberAssignment(key) => GroupRecord::CurrentAssignment {
            group: arc(&key.group_id),
            member: arc(&key.member_id),
            value: value!(ConsumerGroupCurrentMemberAssignment, |value| Arc::new(current_from(value))),
        },
        g::GroupRecordKey::ConsumerGroupRegularExpression(key) => GroupRecord::Regex {
            group: arc(&key.group_id),
            regex: arc(&key.regular_expression),
            value: value!(ConsumerGroupRegularExpression, |value: g::ConsumerGroupRegularExpressionValue| {
                Arc::new(ResolvedRegex {
                    topics: value.topics.iter().map(arc).collect(),
                    version: value.version,
                    timestamp: Timestamp(value.timestamp),
                })
            }),
        },
        _ => return Ok(None),
    }))
}

fn offset_to(value: &CommittedOffset) -> g::OffsetCommitValue {
    g::OffsetCommitValue {
        offset: value.offset.0,
        leader_epoch: value.leader_epoch.0,
        metadata: wire(&value.metadata),
        commit_timestamp: value.commit_timestamp.0,
        expire_timestamp: value.expire_timestamp.map_or(-1, |at| at.0),
        topic_id: value.topic_id.0,
    }
}

fn classic_to(value: &ClassicGroupRecord) -> g::GroupMetadataValue {
    let members = value.members.iter().map(|member| g::group_metadata::MemberMetadata {
        member_id: wire(&member.member_id),
        group_instance_id: wire_option(member.group_instance_id.as_ref()),
        client_id: wire(&member.client_id),
        client_host: wire(&member.client_host),
        rebalance_timeout: member.rebalance_timeout_ms,
        session_timeout: member.session_timeout_ms,
        subscription: member.subscription.clone(),
        assignment: member.assignment.clone(),
    });
    g::GroupMetadataValue {
        protocol_type: wire(&value.protocol_type),
        generation: value.generation,
        protocol: wire_option(value.protocol.as_ref()),
        leader: wire_option(value.leader.as_ref()),
        current_state_timestamp: value.current_state_timestamp.map_or(-1, |at| at.0),
        members: members.collect(),
    }
}

fn classic_from(value: g::GroupMetadataValue) -> ClassicGroupRecord {
    let members = value.members.into_iter().map(|member| ClassicMemberRecord {
        member_id: arc(&member.member_id),
        group_instance_id: arc_option(member.group_instance_id.as_ref()),
        client_id: arc(&member.client_id),
        client_host: arc(&member.client_host),
        rebalance_timeout_ms: member.rebalance_timeout,
        session_timeout_ms: member.session_timeout,
        subscription: member.subscription,
        assignment: member.assignment,
    });
    let at = value.current_state_timestamp;
    ClassicGroupRecord {
        protocol_type: arc(&value.protocol_type),
        generation: value.generation,
        protocol: arc_option(value.protocol.as_ref()),
        leader: arc_option(value.leader.as_ref()),
        current_state_timestamp: (at != -1).then_some(Timestamp(at)),
        members: members.collect(),
    }
}

fn member_to(value: &ConsumerMember) -> g::ConsumerGroupMemberMetadataValue {
    use g::consumer_group_member_metadata as wire_member;
    g::ConsumerGroupMemberMetadataValue {
        instance_id: wire_option(value.instance_id.as_ref()),
        rack_id: wire_option(value.rack_id.as_ref()),
        client_id: wire(&value.client_id),
        client_host: wire(&value.client_host),
        subscribed_topic_names: value.subscribed_topic_names.iter().map(|topic| wire(topic)).collect(),
        // Kafka writes an empty string for a member without an expression.
        subscribed_topic_regex: Some(wire(value.subscribed_topic_regex.as_deref().unwrap_or_default())),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        server_assignor: wire_option(value.server_assignor.as_ref()),
        classic_member_metadata: value.classic.as_ref().map(|classic| wire_member::ClassicMemberMetadata {
            session_timeout_ms: classic.session_timeout_ms,
            supported_protocols: classic
                .protocols
                .iter()
                .map(|(name, metadata)| wire_member::ClassicProtocol { name: wire(name), metadata: metadata.clone() })
                .collect(),
        }),
    }
}

fn member_from(value: g::ConsumerGroupMemberMetadataValue) -> ConsumerMember {
    let not_empty = |text: &&StrBytes| !text.is_empty();
    ConsumerMember {
        instance_id: arc_option(value.instance_id.as_ref()),
        rack_id: arc_option(value.rack_id.as_ref()),
        client_id: arc(&value.client_id),
        client_host: arc(&value.client_host),
        subscribed_topic_names: value.subscribed_topic_names.iter().map(arc).collect(),
        subscribed_topic_regex: arc_option(value.subscribed_topic_regex.as_ref().filter(not_empty)),
        rebalance_timeout_ms: value.rebalance_timeout_ms,
        server_assignor: arc_option(value.server_assignor.as_ref()),
        classic: value.classic_member_metadata.map(|classic| {
            Arc::new(ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic
                    .supported_protocols
                    .into_iter()
                    .map(|protocol| (arc(&protocol.name), protocol.metadata))
                    .collect(),
            })
        }),
    }
}

fn target_to(value: &Partitions) -> g::ConsumerGroupTargetAssignmentMemberValue {
    let topics = value.iter().map(|(topic, partitions)| g::consumer_group_target_assignment_member::TopicPartition {
        topic_id: topic.0,
        partitions: partitions.iter().copied().collect(),
    });
    g::ConsumerGroupTargetAssignmentMemberValue { topic_partitions: topics.collect() }
}

fn target_from(value: g::ConsumerGroupTargetAssignmentMemberValue) -> Partitions {
    let topics = value.topic_partitions.into_iter();
    topics.map(|topic| (TopicId(topic.topic_id), topic.partitions.into_iter().collect())).collect()
}

type WithEpochs = BTreeMap<TopicId, BTreeMap<i32, i32>>;

fn current_to(value: &CurrentAssignment) -> g::ConsumerGroupCurrentMemberAssignmentValue {
    let topics = |topics: &WithEpochs| {
        let topics =
            topics.iter().map(|(topic, partitions)| g::consumer_group_current_member_assignment::TopicPartitions {
                topic_id: topic.0,
                partitions: partitions.keys().copied().collect(),
                assignment_epochs: Some(partitions.values().copied().collect()),
            });
        topics.collect()
    };
    g::ConsumerGroupCurrentMemberAssignmentValue {
        member_epoch: value.member_epoch,
        previous_member_epoch: value.previous_member_epoch,
        state: value.state as i8,
        assigned_partitions: topics(&value.assigned),
        partitions_pending_revocation: topics(&value.pending_revocation),
    }
}

fn current_from(value: g::ConsumerGroupCurrentMemberAssignmentValue) -> CurrentAssignment {
    let member_epoch = value.member_epoch;
    // Before 4.3 the partitions' epochs were not written: the member's own is the safe one.
    let topics = |topics: Vec<g::consumer_group_current_member_assignment::TopicPartitions>| -> WithEpochs {
        let topics = topics.into_iter().map(|topic| {
            let epochs = topic.assignment_epochs.unwrap_or_default();
            let epochs = epochs.into_iter().chain(std::iter::repeat(member_epoch));
            (TopicId(topic.topic_id), topic.partitions.into_iter().zip(epochs).collect())
        });
        topics.collect()
    };
    CurrentAssignment {
        member_epoch,
        previous_member_epoch: value.previous_member_epoch,
        state: MemberState::from_code(value.state),
        assigned: topics(value.assigned_partitions),
        pending_revocation: topics(value.partitions_pending_revocation),
    }
}
