//! Range: members in a fixed order, each topic in consecutive pieces of (almost) equal length.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::TopicId;

use super::AssignorMember;
use crate::group::records::Partitions;

/// How a topic is cut, and where its next piece begins.
struct Pieces {
    partitions: i32,
    quota: i32,
    /// The first members get one more.
    extra: i32,
    next: i32,
}

pub(super) fn assign(members: &[AssignorMember], counts: &BTreeMap<TopicId, i32>) -> BTreeMap<Arc<str>, Partitions> {
    // Static members first, by instance id: a new member id does not move their pieces.
    let mut ordered: Vec<&AssignorMember> = members.iter().collect();
    ordered.sort_by(|a, b| match (&a.instance_id, &b.instance_id) {
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.id.cmp(&b.id),
    });

    let mut subscribers: BTreeMap<TopicId, i32> = BTreeMap::new();
    for topic in members.iter().flat_map(|member| member.topics.iter()) {
        *subscribers.entry(*topic).or_default() += 1;
    }
    let pieces = subscribers.into_iter().map(|(topic, subscribers)| {
        let partitions = counts.get(&topic).copied().unwrap_or(0);
        (topic, Pieces { partitions, quota: partitions / subscribers, extra: partitions % subscribers, next: 0 })
    });
    let mut topics: BTreeMap<TopicId, Pieces> = pieces.collect();

    let mut assignment = BTreeMap::new();
    for member in ordered {
        let mut own = Partitions::new();
        for topic in member.topics.iter() {
            let Some(pieces) = topics.get_mut(topic) else { continue };
            let length = pieces.quota + i32::from(pieces.extra > 0);
            pieces.extra -= i32::from(pieces.extra > 0);
            let end = (pieces.next + length).min(pieces.partitions);
            if pieces.next < end {
                own.insert(*topic, (pieces.next..end).collect());
            }
            pieces.next = end;
        }
        assignment.insert(Arc::clone(&member.id), own);
    }
    assignment
}
