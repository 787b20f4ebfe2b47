//! Outcomes in few words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bytes::Bytes;
use ottla_coordinator::group::{GroupAction, GroupRecord, GroupResponse, GroupShard};
use ottla_coordinator::shard::{Decision, Effect};
use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, TopicId};

const PREFIX: &str = "00000000-0000-0000-0000-0000000000";

/// `#7` for the seventh id drawn.
pub fn long_ids(text: &str) -> String {
    let mut parts = text.split('#');
    let mut result = parts.next().unwrap().to_owned();
    for part in parts {
        let digits = part.len() - part.trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
        write!(result, "{PREFIX}{:0>2}{}", &part[..digits], &part[digits..]).unwrap();
    }
    result
}

fn short_ids(text: &str) -> String {
    let mut result = String::new();
    let mut parts = text.split(PREFIX);
    result.push_str(parts.next().unwrap());
    for part in parts {
        write!(result, "#{}{}", part[..2].trim_start_matches('0'), &part[2..]).unwrap();
    }
    result
}

fn code(code: i16) -> String {
    ErrorCode::from_code(code).map_or_else(|| code.to_string(), |code| format!("{code:?}"))
}

fn bytes(bytes: &Bytes) -> String {
    bytes.escape_ascii().to_string()
}

fn partitions<'a>(topics: impl Iterator<Item = (&'a TopicId, Vec<i32>)>, image: &MetadataImage) -> String {
    let text: Vec<String> = topics
        .map(|(topic, partitions)| {
            let name = image.topics.by_id(*topic).map_or("gone", |topic| &topic.name);
            format!("{name}:{}", partitions.iter().map(i32::to_string).collect::<Vec<_>>().join("+"))
        })
        .collect();
    format!("[{}]", text.join(" "))
}

pub fn outcome(out: &Decision<GroupShard>, image: &MetadataImage) -> String {
    let mut text = String::new();
    for record in &out.records {
        writeln!(text, "record: {}", self::record(record, image)).unwrap();
    }
    for effect in &out.effects {
        match effect {
            Effect::Reply(token, response) => writeln!(text, "reply {}: {}", token.0, self::response(response, image)),
            Effect::Refuse(token, error) => writeln!(text, "refuse {}: {error:?}", token.0),
            Effect::Act(GroupAction::Rebalancing { group, reason }) => {
                writeln!(text, "rebalance of {group} from {}: {} ({})", reason.epoch, reason.reason, reason.member_id)
            }
            Effect::Act(GroupAction::Expired { tombstones, .. }) => writeln!(text, "expired: {tombstones}"),
        }
        .unwrap();
    }
    short_ids(&text)
}

fn record(record: &GroupRecord, image: &MetadataImage) -> String {
    let gone = || "tombstone".to_owned();
    match record {
        GroupRecord::OffsetCommit { group, partition, producer, value } => {
            let value = value.as_ref().map_or_else(gone, |value| value.offset.to_string());
            let producer = producer.map(|producer| format!(" producer {}", producer.id)).unwrap_or_default();
            format!("offset {group} {partition} = {value}{producer}")
        }
        GroupRecord::TransactionEnd { producer, commit, .. } => format!("end of {} commit={commit}", producer.id),
        GroupRecord::ClassicGroup { group, value } => {
            let value = value.as_ref().map_or_else(gone, |value| {
                let members: Vec<String> = value
                    .members
                    .iter()
                    .map(|member| format!("{}:{}", member.member_id, bytes(&member.assignment)))
                    .collect();
                format!("generation {} leader {:?} [{}]", value.generation, value.leader, members.join(" "))
            });
            format!("classic {group} {value}")
        }
        GroupRecord::ConsumerGroup { group, value } => {
            format!("consumer {group} {}", value.map_or_else(gone, |value| format!("epoch {}", value.epoch)))
        }
        GroupRecord::ConsumerGroupPartitionMetadata { group, .. } => format!("partition metadata {group} tombstone"),
        GroupRecord::ConsumerMember { group, member, value } => {
            let value = value.as_ref().map_or_else(gone, |value| {
                let topics = value.subscribed_topic_names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
                let regex = value.subscribed_topic_regex.as_ref().map(|r| format!(" regex {r}")).unwrap_or_default();
                let classic = if value.classic.is_some() { " classic" } else { "" };
                format!("topics [{}]{regex}{classic}", topics.join(" "))
            });
            format!("member {group} {member} {value}")
        }
        GroupRecord::TargetMetadata { group, value } => {
            let value = value.map_or_else(gone, |value| format!("epoch {}", value.assignment_epoch));
            format!("target {group} {value}")
        }
        GroupRecord::TargetMember { group, member, value } => {
            let value = value.as_ref().map_or_else(gone, |value| {
                partitions(value.iter().map(|(topic, p)| (topic, p.iter().copied().collect())), image)
            });
            format!("target {group} {member} {value}")
        }
        GroupRecord::CurrentAssignment { group, member, value } => {
            let value = value.as_ref().map_or_else(gone, |value| {
                let list = |topics: &BTreeMap<TopicId, BTreeMap<i32, i32>>| {
                    partitions(topics.iter().map(|(topic, p)| (topic, p.keys().copied().collect())), image)
                };
                let (assigned, revoked) = (list(&value.assigned), list(&value.pending_revocation));
                format!("epoch {} {:?} {assigned} revoking {revoked}", value.member_epoch, value.state)
            });
            format!("current {group} {member} {value}")
        }
        GroupRecord::Regex { group, regex, value } => {
            let value = value.as_ref().map_or_else(gone, |value| format!("{:?}", value.topics));
            format!("regex {group} {regex} {value}")
        }
    }
}

fn response(response: &GroupResponse, image: &MetadataImage) -> String {
    match response {
        GroupResponse::JoinGroup(answer) if answer.error_code != 0 => {
            format!("join {} member {}", code(answer.error_code), answer.member_id)
        }
        GroupResponse::JoinGroup(answer) => {
            let members: Vec<String> = answer.members.iter().map(|member| member.member_id.to_string()).collect();
            let skip = if answer.skip_assignment { " skip" } else { "" };
            format!(
                "join member {} generation {} protocol {} leader {} [{}]{skip}",
                answer.member_id,
                answer.generation_id,
                answer.protocol_name.as_deref().unwrap_or("-"),
                answer.leader,
                members.join(" ")
            )
        }
        GroupResponse::SyncGroup(answer) => format!("sync {} {}", code(answer.error_code), bytes(&answer.assignment)),
        GroupResponse::Heartbeat(answer) => format!("heartbeat {}", code(answer.error_code)),
        GroupResponse::LeaveGroup(answer) => {
            let members: Vec<String> = answer.members.iter().map(|member| code(member.error_code)).collect();
            format!("leave {} [{}]", code(answer.error_code), members.join(" "))
        }
        GroupResponse::OffsetCommit(answer) => {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            format!("commit {}", partitions.map(|p| code(p.error_code)).collect::<Vec<_>>().join(" "))
        }
        GroupResponse::TxnOffsetCommit(answer) => {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            format!("txn-commit {}", partitions.map(|p| code(p.error_code)).collect::<Vec<_>>().join(" "))
        }
        GroupResponse::OffsetFetch(answer) => {
            let offsets: Vec<String> = answer
                .topics
                .iter()
                .flat_map(|topic| topic.partitions.iter().map(move |partition| (topic, partition)))
                .map(|(topic, p)| match p.error_code {
                    0 => format!("{}:{}@{}", topic.name.as_str(), p.partition_index, p.committed_offset),
                    error => format!("{}:{} {}", topic.name.as_str(), p.partition_index, code(error)),
                })
                .collect();
            format!("fetch {} [{}]", code(answer.error_code), offsets.join(" "))
        }
        GroupResponse::OffsetDelete(answer) => {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let partitions: Vec<String> = partitions.map(|p| code(p.error_code)).collect();
            format!("delete-offsets {} [{}]", code(answer.error_code), partitions.join(" "))
        }
        GroupResponse::DeleteGroups(results) => {
            let results: Vec<String> = results.iter().map(|result| code(result.error_code)).collect();
            format!("delete-groups {}", results.join(" "))
        }
        GroupResponse::ListGroups(groups) => {
            let groups: Vec<String> = groups
                .iter()
                .map(|g| format!("{} {} {} {:?}", g.group_id.as_str(), g.group_type, g.group_state, &*g.protocol_type))
                .collect();
            format!("list [{}]", groups.join(", "))
        }
        GroupResponse::DescribeGroups(groups) => {
            let group = &groups[0];
            let members: Vec<String> = group.members.iter().map(|member| member.member_id.to_string()).collect();
            format!("describe {} {} [{}]", code(group.error_code), group.group_state, members.join(" "))
        }
        GroupResponse::ConsumerGroupHeartbeat(answer) if answer.error_code != 0 => {
            format!("consumer {}: {}", code(answer.error_code), answer.error_message.as_deref().unwrap_or_default())
        }
        GroupResponse::ConsumerGroupHeartbeat(answer) => {
            let assignment = answer.assignment.as_ref().map_or_else(
                || "same".to_owned(),
                |assignment| {
                    let topics: Vec<(TopicId, Vec<i32>)> = assignment
                        .topic_partitions
                        .iter()
                        .map(|topic| (TopicId(topic.topic_id), topic.partitions.clone()))
                        .collect();
                    partitions(topics.iter().map(|(topic, p)| (topic, p.clone())), image)
                },
            );
            let member = answer.member_id.as_deref().unwrap_or_default();
            format!("consumer {member} epoch {} {assignment}", answer.member_epoch)
        }
        GroupResponse::ConsumerGroupDescribe(groups) => {
            let group = &groups[0];
            let members: Vec<String> = group
                .members
                .iter()
                .map(|m| format!("{} epoch {} type {}", m.member_id, m.member_epoch, m.member_type))
                .collect();
            let (state, epoch) = (&*group.group_state, group.group_epoch);
            format!("consumer-describe {} {state} epoch {epoch} [{}]", code(group.error_code), members.join(", "))
        }
        GroupResponse::EndTransaction => "end-txn".to_owned(),
        GroupResponse::TopicsDeleted { .. } => "topics-deleted".to_owned(),
        GroupResponse::Explain(reasons) => {
            let reasons: Vec<String> =
                reasons.iter().map(|reason| format!("{} {}: {}", reason.at, reason.epoch, reason.reason)).collect();
            format!("explain\n  {}", reasons.join("\n  "))
        }
    }
}
