//! What the group tools ask of coordinators: lists, descriptions, committed offsets.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::consumer_group_describe_response as new;
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetFetchRequest,
};
use ottla_protocol::ErrorCode;

use super::Failure;
use super::admin::{Partition, message, text};
use super::client::{Client, Target};
use super::group_member::assigned;

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub id: String,
    pub protocol: String,
    pub state: String,
    /// `Classic`, `Consumer`, `Share`, `Streams`; empty where the broker is too old to say.
    pub kind: String,
}

/// All groups of all brokers that are in one of the states and of one of the types; an empty filter lets everything pass.
pub fn list(client: &mut Client, states: &[String], types: &[String]) -> Result<Vec<Listing>, Failure> {
    let mut found = Vec::new();
    let brokers: Vec<i32> = client.brokers().keys().copied().collect();
    for broker in brokers {
        let response = client.send_with(&Target::Node(broker), |version| {
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request = request.with_states_filter(states.iter().map(|state| text(state)).collect());
            }
            if version >= 5 {
                request = request.with_types_filter(types.iter().map(|kind| text(kind)).collect());
            }
            request
        })?;
        Failure::check(response.error_code, None)?;
        found.extend(response.groups.into_iter().map(|group| Listing {
            id: group.group_id.to_string(),
            protocol: group.protocol_type.to_string(),
            state: group.group_state.to_string(),
            kind: capitalized(&group.group_type),
        }));
    }
    found.sort_by(|a: &Listing, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Brokers write types in small letters, the tools do not.
fn capitalized(kind: &str) -> String {
    let mut letters = kind.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

/// The groups that consumers use: of the new protocol, and classic ones that hold consumers or only offsets.
pub fn list_consumer_groups(client: &mut Client, states: &[String], types: &[String]) -> Result<Vec<Listing>, Failure> {
    let both = ["Classic".to_owned(), "Consumer".to_owned()];
    let types = if types.is_empty() { &both[..] } else { types };
    let mut found = list(client, states, types)?;
    found.retain(|group| group.protocol.is_empty() || group.protocol == "consumer");
    Ok(found)
}

/// A member of a described group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assignment: BTreeSet<Partition>,
    pub target: BTreeSet<Partition>,
    pub epoch: Option<i32>,
    /// Whether a member of a new group speaks the new protocol; `None` where that is not known.
    pub is_upgraded: Option<bool>,
}

/// A described group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub id: String,
    pub state: String,
    pub assignor: String,
    pub coordinator: (i32, String, u16),
    pub epoch: Option<i32>,
    pub assignment_epoch: Option<i32>,
    pub members: Vec<Member>,
}

/// Describes a group with the new API, and with the classic one where that does not know it.
pub fn describe(client: &mut Client, id: &str) -> Result<Group, Failure> {
    let target = Target::Group(id.to_owned());
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![GroupId(text(id))]);
    let described = client.send(&target, &request).and_then(|response| {
        let group = response.groups.into_iter().next().unwrap_or_default();
        Failure::check(group.error_code, message(group.error_message.as_ref()))?;
        Ok(group)
    });
    let mut group = match described {
        Ok(group) => of_new(group),
        Err(failure) if matches!(failure.code, Some(ErrorCode::GroupIdNotFound | ErrorCode::UnsupportedVersion)) => {
            describe_classic(client, id)?
        }
        Err(failure) => return Err(failure),
    };
    group.coordinator = client.group_coordinator(id)?;
    Ok(group)
}

fn describe_classic(client: &mut Client, id: &str) -> Result<Group, Failure> {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text(id))]);
    let response = client.send(&Target::Group(id.to_owned()), &request)?;
    let group = response.groups.into_iter().next().unwrap_or_default();
    Failure::check(group.error_code, message(group.error_message.as_ref()))?;
    let protocol = group.protocol_type.to_string();
    if !protocol.is_empty() && protocol != "consumer" {
        return Err(Failure::failed(format!(
            "java.lang.IllegalArgumentException: GroupId {id} is not a consumer group ({protocol})."
        )));
    }
    of_classic(group)
}

fn of_classic(group: classic::DescribedGroup) -> Result<Group, Failure> {
    let member = |member: classic::DescribedGroupMember| -> Result<Member, Failure> {
        Ok(Member {
            id: member.member_id.to_string(),
            instance_id: message(member.group_instance_id.as_ref()),
            client_id: member.client_id.to_string(),
            host: member.client_host.to_string(),
            assignment: assigned(member.member_assignment)?,
            ..Member::default()
        })
    };
    Ok(Group {
        id: group.group_id.to_string(),
        state: group.group_state.to_string(),
        assignor: group.protocol_data.to_string(),
        members: group.members.into_iter().map(member).collect::<Result<_, _>>()?,
        ..Group::default()
    })
}

fn of_new(group: new::DescribedGroup) -> Group {
    let partitions = |assignment: &new::Assignment| {
        let topic = |topic: &new::TopicPartitions| {
            let name = topic.topic_name.to_string();
            topic.partitions.iter().map(|partition| (name.clone(), *partition)).collect::<Vec<_>>()
        };
        assignment.topic_partitions.iter().flat_map(topic).collect::<BTreeSet<_>>()
    };
    let member = |member: &new::Member| Member {
        id: member.member_id.to_string(),
        instance_id: message(member.instance_id.as_ref()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: partitions(&member.assignment),
        target: partitions(&member.target_assignment),
        epoch: Some(member.member_epoch),
        is_upgraded: match member.member_type {
            -1 => None,
            kind => Some(kind == 1),
        },
    };
    Group {
        id: group.group_id.to_string(),
        state: group.group_state.to_string(),
        assignor: group.assignor_name.to_string(),
        coordinator: Default::default(),
        epoch: Some(group.group_epoch),
        assignment_epoch: Some(group.assignment_epoch),
        members: group.members.iter().map(member).collect(),
    }
}

/// What a group committed for one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: Option<i32>,
}

/// Everything that a group has committed.
pub fn committed(client: &mut Client, group: &str) -> Result<BTreeMap<Partition, Committed>, Failure> {
    let id = || GroupId(text(group));
    // By name in every version up to 9; all topics are asked for, so ids would only have to be translated back.
    let response = client.send_up_to(&Target::Group(group.to_owned()), 9, |version| {
        let request = OffsetFetchRequest::default();
        if version >= 8 {
            request.with_groups(vec![OffsetFetchRequestGroup::default().with_group_id(id()).with_topics(None)])
        } else {
            request.with_group_id(id()).with_topics(None)
        }
    })?;
    Failure::check(response.error_code, None)?;
    let mut found = BTreeMap::new();
    let mut add = |topic: &str, partition: i32, offset: i64, epoch: i32, code: i16| {
        if code == 0 && offset >= 0 {
            let committed = Committed { offset, leader_epoch: Some(epoch).filter(|epoch| *epoch >= 0) };
            found.insert((topic.to_owned(), partition), committed);
        }
    };
    for topic in &response.topics {
        for p in &topic.partitions {
            add(&topic.name, p.partition_index, p.committed_offset, p.committed_leader_epoch, p.error_code);
        }
    }
    for group in &response.groups {
        Failure::check(group.error_code, None)?;
        for topic in &group.topics {
            for p in &topic.partitions {
                add(&topic.name, p.partition_index, p.committed_offset, p.committed_leader_epoch, p.error_code);
            }
        }
    }
    Ok(found)
}
