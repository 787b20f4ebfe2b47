//! A member of a classic consumer group with the range assignor: enough for a console consumer among other consumers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as AssignedTopic;
use kafka_protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerProtocolAssignment, GroupId, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, OffsetCommitRequest,
    OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use ottla_protocol::ErrorCode;

use super::Failure;
use super::client::{Client, Target};
use super::fetcher::topic_metadata;

const SESSION: Duration = Duration::from_secs(45);
const REBALANCE: Duration = Duration::from_secs(300);
const HEARTBEAT: Duration = Duration::from_secs(3);

type Partition = (String, i32);

/// Membership in one group.
#[derive(Debug)]
pub struct GroupMember {
    group: String,
    member_id: StrBytes,
    generation: i32,
    heartbeat_due: Instant,
    /// A static member (KIP-345) keeps its place across restarts.
    instance_id: Option<StrBytes>,
    session: Duration,
}

impl GroupMember {
    pub fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            member_id: StrBytes::default(),
            generation: -1,
            heartbeat_due: Instant::now(),
            instance_id: None,
            session: SESSION,
        }
    }

    /// Makes it a static member.
    pub fn with_instance_id(mut self, instance_id: Option<&str>) -> Self {
        self.instance_id = instance_id.map(text);
        self
    }

    /// How long the group waits for a heartbeat.
    pub fn with_session(mut self, session: Option<Duration>) -> Self {
        self.session = session.unwrap_or(SESSION);
        self
    }

    fn heartbeat_every(&self) -> Duration {
        HEARTBEAT.min(self.session / 3)
    }

    fn target(&self) -> Target {
        Target::Group(self.group.clone())
    }

    fn group_id(&self) -> GroupId {
        GroupId(text(&self.group))
    }

    /// Joins (again) and returns the partitions that are now this member's.
    pub fn join(&mut self, client: &mut Client, topics: &BTreeSet<String>) -> Result<BTreeSet<Partition>, Failure> {
        loop {
            let subscription =
                ConsumerProtocolSubscription::default().with_topics(topics.iter().map(|topic| text(topic)).collect());
            let metadata = versioned(&subscription, 1)?;
            let response = client.send_with(&self.target(), |version| {
                let protocol =
                    JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(metadata.clone());
                let request = JoinGroupRequest::default()
                    .with_group_id(self.group_id())
                    .with_session_timeout_ms(millis(self.session))
                    .with_member_id(self.member_id.clone())
                    .with_group_instance_id(self.instance_id.clone())
                    .with_protocol_type(text("consumer"))
                    .with_protocols(vec![protocol]);
                if version >= 1 { request.with_rebalance_timeout_ms(millis(REBALANCE)) } else { request }
            })?;
            match ErrorCode::from_code(response.error_code) {
                Some(ErrorCode::None) => {}
                Some(ErrorCode::MemberIdRequired) => {
                    self.member_id = response.member_id;
                    continue;
                }
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                    self.member_id = StrBytes::default();
                    continue;
                }
                Some(error) if error.is_retriable() => {
                    std::thread::sleep(Duration::from_millis(100));
                    continue;
                }
                _ => return Err(Failure::from_code(response.error_code, None)),
            }
            self.member_id = response.member_id.clone();
            self.generation = response.generation_id;
            // A static leader that comes back is told to leave the assignment as it is.
            let assignments = if response.leader == response.member_id && !response.skip_assignment {
                let members = response
                    .members
                    .iter()
                    .map(|member| Ok((member.member_id.clone(), subscribed(&member.metadata)?)))
                    .collect::<Result<BTreeMap<_, _>, Failure>>()?;
                assign_range(client, &members)?
            } else {
                Vec::new()
            };
            let protocol = response.protocol_name.clone();
            let response = client.send_with(&self.target(), |version| {
                let request = SyncGroupRequest::default()
                    .with_group_id(self.group_id())
                    .with_generation_id(self.generation)
                    .with_member_id(self.member_id.clone())
                    .with_group_instance_id(self.instance_id.clone())
                    .with_assignments(assignments.clone());
                if version >= 5 {
                    request.with_protocol_type(Some(text("consumer"))).with_protocol_name(protocol.clone())
                } else {
                    request
                }
            })?;
            match ErrorCode::from_code(response.error_code) {
                Some(ErrorCode::None) => {
                    self.heartbeat_due = Instant::now() + self.heartbeat_every();
                    return assigned(response.assignment);
                }
                Some(ErrorCode::RebalanceInProgress) => {}
                Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => self.member_id = StrBytes::default(),
                Some(error) if error.is_retriable() => std::thread::sleep(Duration::from_millis(100)),
                _ => return Err(Failure::from_code(response.error_code, None)),
            }
        }
    }

    /// Keeps the membership alive; false says that the group rebalances and [`GroupMember::join`] is due.
    pub fn heartbeat(&mut self, client: &mut Client) -> Result<bool, Failure> {
        if Instant::now() < self.heartbeat_due {
            return Ok(true);
        }
        self.heartbeat_due = Instant::now() + self.heartbeat_every();
        let request = HeartbeatRequest::default()
            .with_group_id(self.group_id())
            .with_generation_id(self.generation)
            .with_member_id(self.member_id.clone())
            .with_group_instance_id(self.instance_id.clone());
        let code = client.send(&self.target(), &request)?.error_code;
        match ErrorCode::from_code(code) {
            Some(ErrorCode::None) => Ok(true),
            Some(ErrorCode::RebalanceInProgress) => Ok(false),
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => {
                self.member_id = StrBytes::default();
                Ok(false)
            }
            Some(error) if error.is_retriable() => Ok(true),
            _ => Err(Failure::from_code(code, None)),
        }
    }

    /// The committed offsets of these partitions, where there are any.
    pub fn committed(
        &self,
        client: &mut Client,
        partitions: &BTreeSet<Partition>,
    ) -> Result<BTreeMap<Partition, i64>, Failure> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in partitions {
            topics.entry(topic).or_default().push(*partition);
        }
        let name = |topic: &str| TopicName(text(topic));
        // By name in every version up to 9; version 10 asks by topic id and is left to clients that keep ids.
        let response = client.send_up_to(&self.target(), 9, |version| {
            let request = OffsetFetchRequest::default();
            let request = if version >= 7 { request.with_require_stable(true) } else { request };
            if version >= 8 {
                let topics = topics.iter().map(|(topic, partitions)| {
                    let asked = OffsetFetchRequestTopics::default().with_name(name(topic));
                    asked.with_partition_indexes(partitions.clone())
                });
                let group = OffsetFetchRequestGroup::default().with_group_id(self.group_id());
                request.with_groups(vec![group.with_topics(Some(topics.collect()))])
            } else {
                let topics = topics.iter().map(|(topic, partitions)| {
                    let asked = OffsetFetchRequestTopic::default().with_name(name(topic));
                    asked.with_partition_indexes(partitions.clone())
                });
                request.with_group_id(self.group_id()).with_topics(Some(topics.collect()))
            }
        })?;
        let mut found = BTreeMap::new();
        Failure::check(response.error_code, None)?;
        for topic in response.topics {
            for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
                found.insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
            }
        }
        for group in response.groups {
            Failure::check(group.error_code, None)?;
            for topic in group.topics {
                for partition in topic.partitions.iter().filter(|partition| partition.committed_offset >= 0) {
                    found.insert((topic.name.to_string(), partition.partition_index), partition.committed_offset);
                }
            }
        }
        Ok(found)
    }

    /// Commits positions.
    pub fn commit(&self, client: &mut Client, offsets: &BTreeMap<Partition, i64>) -> Result<(), Failure> {
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for ((topic, partition), offset) in offsets {
            let commit =
                OffsetCommitRequestPartition::default().with_partition_index(*partition).with_committed_offset(*offset);
            topics.entry(topic).or_default().push(commit.with_committed_metadata(Some(StrBytes::default())));
        }
        let response = client.send_up_to(&self.target(), 9, |_| {
            let topics = topics.iter().map(|(topic, partitions)| {
                let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(topic)));
                topic.with_partitions(partitions.clone())
            });
            OffsetCommitRequest::default()
                .with_group_id(self.group_id())
                .with_generation_id_or_member_epoch(self.generation)
                .with_member_id(self.member_id.clone())
                .with_group_instance_id(self.instance_id.clone())
                .with_topics(topics.collect())
        })?;
        response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .try_for_each(|partition| Failure::check(partition.error_code, None))
    }

    /// Leaves, so that the others need not wait for the session to end. A static member only goes away.
    pub fn leave(&self, client: &mut Client) -> Result<(), Failure> {
        if self.instance_id.is_some() {
            return Ok(());
        }
        let response = client.send_with(&self.target(), |version| {
            let request = LeaveGroupRequest::default().with_group_id(self.group_id());
            if version >= 3 {
                request.with_members(vec![MemberIdentity::default().with_member_id(self.member_id.clone())])
            } else {
                request.with_member_id(self.member_id.clone())
            }
        })?;
        Failure::check(response.error_code, None)
    }
}

/// Consecutive partitions of each topic to its members in order of their ids (Kafka's range assignor).
fn assign_range(
    client: &mut Client,
    members: &BTreeMap<StrBytes, BTreeSet<String>>,
) -> Result<Vec<SyncGroupRequestAssignment>, Failure> {
    let names: BTreeSet<&str> = members.values().flatten().map(String::as_str).collect();
    let mut given: BTreeMap<&StrBytes, Vec<AssignedTopic>> = members.keys().map(|id| (id, Vec::new())).collect();
    for topic in topic_metadata(client, Some(&names))? {
        let takers: Vec<&StrBytes> =
            members.iter().filter(|(_, topics)| topics.contains(&topic.name)).map(|(id, _)| id).collect();
        for (partitions, taker) in ranges(topic.leaders.len(), takers.len()).zip(takers) {
            let all: Vec<i32> = topic.leaders.keys().copied().collect();
            if let (Some(list), Some(part)) = (given.get_mut(taker), all.get(partitions))
                && !part.is_empty()
            {
                let name = TopicName(text(&topic.name));
                list.push(AssignedTopic::default().with_topic(name).with_partitions(part.to_vec()));
            }
        }
    }
    given
        .into_iter()
        .map(|(id, topics)| {
            let assignment = ConsumerProtocolAssignment::default().with_assigned_partitions(topics);
            let bytes = versioned(&assignment, 1)?;
            Ok(SyncGroupRequestAssignment::default().with_member_id(id.clone()).with_assignment(bytes))
        })
        .collect()
}

/// `partitions` split among `members`; the first ones get one more where it does not come out even.
fn ranges(partitions: usize, members: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    let members = members.max(1);
    let (each, more) = (partitions / members, partitions % members);
    (0..members).map(move |index| {
        let start = index * each + index.min(more);
        start..start + each + usize::from(index < more)
    })
}

fn subscribed(metadata: &Bytes) -> Result<BTreeSet<String>, Failure> {
    let mut bytes = metadata.clone();
    let subscription = read_versioned::<ConsumerProtocolSubscription>(&mut bytes, 3)?;
    Ok(subscription.topics.iter().map(|topic| topic.to_string()).collect())
}

/// The partitions in an assignment as classic members get it.
pub fn assigned(mut bytes: Bytes) -> Result<BTreeSet<Partition>, Failure> {
    if bytes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let assignment = read_versioned::<ConsumerProtocolAssignment>(&mut bytes, 3)?;
    Ok(assignment
        .assigned_partitions
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.topic.to_string(), *partition)))
        .collect())
}

/// The embedded protocol puts its version in front of each message.
fn versioned<M: Encodable>(message: &M, version: i16) -> Result<Bytes, Failure> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    message.encode(&mut bytes, version).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(bytes.freeze())
}

fn read_versioned<M: Decodable>(bytes: &mut Bytes, newest: i16) -> Result<M, Failure> {
    if bytes.len() < 2 {
        return Err(Failure::failed("A member's metadata is cut off"));
    }
    let version = bytes.get_i16().clamp(0, newest);
    M::decode(bytes, version).map_err(|error| Failure::failed(error.to_string()))
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_share_partitions_out_completely() {
        assert_eq!(ranges(5, 2).collect::<Vec<_>>(), [0..3, 3..5]);
        assert_eq!(ranges(1, 3).collect::<Vec<_>>(), [0..1, 1..1, 1..1]);
        assert!(ranges(4, 1).eq(std::iter::once(0..4)));
    }
}
