//! Uniform: as even as can be, and as little moved as can be; even comes first.
//!
//! Members keep what they had, up to a fair share; the rest goes to those with the least. If all subscribe to the same
//! topics the shares differ by at most one and one pass is enough. If they do not, partitions then move from fuller to
//! emptier members as long as that helps.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use ottla_protocol::TopicId;

use super::AssignorMember;
use crate::group::records::Partitions;

/// Most passes of the last phase. Each roughly halves the imbalance, so that more would hardly be seen.
const PASSES_MAX: usize = 16;

type Counts = BTreeMap<TopicId, i32>;

pub(super) fn assign(members: &[AssignorMember], counts: &Counts) -> BTreeMap<Arc<str>, Partitions> {
    let Some(first) = members.first() else { return BTreeMap::new() };
    if members.iter().all(|member| member.topics == first.topics) {
        let wanted = counts.iter().filter(|(topic, _)| first.topics.contains(topic));
        same_topics(members, &wanted.map(|(topic, count)| (*topic, *count)).collect())
    } else {
        Balance::new(members, counts).finish()
    }
}

/// What a member was to own and still exists.
fn former<'a>(member: &'a AssignorMember, counts: &'a Counts) -> impl Iterator<Item = (TopicId, i32)> + 'a {
    member.assigned.iter().filter(|(topic, _)| member.topics.contains(topic)).flat_map(|(topic, partitions)| {
        let count = counts.get(topic).copied().unwrap_or(0);
        partitions.iter().filter(move |&&partition| partition < count).map(|&partition| (*topic, partition))
    })
}

fn same_topics(members: &[AssignorMember], counts: &Counts) -> BTreeMap<Arc<str>, Partitions> {
    let total: usize = counts.values().map(|&count| usize::try_from(count).unwrap_or(0)).sum();
    let quota = total / members.len();
    let mut extra = total % members.len();
    let mut held: BTreeSet<(TopicId, i32)> = BTreeSet::new();
    let mut kept: Vec<(Partitions, usize)> = Vec::with_capacity(members.len());
    for (index, member) in members.iter().enumerate() {
        let share = quota + usize::from(extra > 0);
        let mut own = Partitions::new();
        let mut size = 0;
        for (topic, partition) in former(member, counts) {
            if size < share && held.insert((topic, partition)) {
                own.entry(topic).or_default().insert(partition);
                size += 1;
            }
        }
        // Who does not fill the longer share leaves it to another, as long as there are more members than such shares.
        let takes_extra = extra > 0 && (size == share || members.len() - index <= extra);
        extra -= usize::from(takes_extra);
        kept.push((own, (quota + usize::from(takes_extra)).saturating_sub(size)));
    }
    let all = counts.iter().flat_map(|(&topic, &count)| (0..count).map(move |partition| (topic, partition)));
    let mut rest = all.filter(|partition| !held.contains(partition));
    let mut result = BTreeMap::new();
    for (member, (mut own, room)) in members.iter().zip(kept) {
        for (topic, partition) in rest.by_ref().take(room) {
            own.entry(topic).or_default().insert(partition);
        }
        result.insert(Arc::clone(&member.id), own);
    }
    result
}

/// Members (by index) with the fewest partitions first.
type Emptiest = BinaryHeap<Reverse<(usize, usize)>>;

/// An assignment in the making, for members with different topics.
struct Balance<'a> {
    members: &'a [AssignorMember],
    counts: &'a Counts,
    /// Each topic with those that may have it. Topics with the least choice first.
    topics: Vec<(TopicId, Vec<usize>)>,
    owner: BTreeMap<(TopicId, i32), usize>,
    sizes: Vec<usize>,
}

impl<'a> Balance<'a> {
    fn new(members: &'a [AssignorMember], counts: &'a Counts) -> Self {
        let mut subscribers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            for topic in member.topics.iter() {
                subscribers.entry(*topic).or_default().push(index);
            }
        }
        let mut topics: Vec<(TopicId, Vec<usize>)> = subscribers.into_iter().collect();
        topics.sort_by_key(|(topic, subscribers)| (subscribers.len(), *topic));
        Self { members, counts, topics, owner: BTreeMap::new(), sizes: vec![0; members.len()] }
    }

    fn finish(mut self) -> BTreeMap<Arc<str>, Partitions> {
        self.keep();
        self.fill();
        for _ in 0..PASSES_MAX {
            if !self.even_out() {
                break;
            }
        }
        let members = self.members.iter();
        let mut result: BTreeMap<Arc<str>, Partitions> =
            members.map(|member| (Arc::clone(&member.id), Partitions::new())).collect();
        for ((topic, partition), index) in self.owner {
            if let Some(own) = result.get_mut(&self.members[index].id) {
                own.entry(topic).or_default().insert(partition);
            }
        }
        result
    }

    fn keep(&mut self) {
        for (index, member) in self.members.iter().enumerate() {
            for partition in former(member, self.counts) {
                if let Entry::Vacant(entry) = self.owner.entry(partition) {
                    entry.insert(index);
                    self.sizes[index] += 1;
                }
            }
        }
    }

    fn emptiest(&self, subscribers: &[usize]) -> Emptiest {
        subscribers.iter().map(|&index| Reverse((self.sizes[index], index))).collect()
    }

    fn partitions(&self, topic: TopicId) -> std::ops::Range<i32> {
        0..self.counts.get(&topic).copied().unwrap_or(0)
    }

    fn fill(&mut self) {
        for (topic, subscribers) in &self.topics {
            let mut emptiest = self.emptiest(subscribers);
            for partition in self.partitions(*topic) {
                let Entry::Vacant(entry) = self.owner.entry((*topic, partition)) else { continue };
                let Some(Reverse((size, index))) = emptiest.pop() else { break };
                entry.insert(index);
                self.sizes[index] = size + 1;
                emptiest.push(Reverse((size + 1, index)));
            }
        }
    }

    /// Moves each partition to the emptiest member that may have it, if that one then still has less than the giver had.
    fn even_out(&mut self) -> bool {
        let mut moved = false;
        for (topic, subscribers) in &self.topics {
            let mut emptiest = self.emptiest(subscribers);
            for partition in self.partitions(*topic) {
                let Some(from) = self.owner.get_mut(&(*topic, partition)) else { continue };
                let Some(Reverse((size, to))) = emptiest.pop() else { break };
                if size == self.sizes[to] && self.sizes[*from] > size + 1 {
                    self.sizes[*from] -= 1;
                    self.sizes[to] += 1;
                    *from = to;
                    moved = true;
                }
                // A giver's entry may be too high until it comes up; the next pass sees it as it is.
                emptiest.push(Reverse((self.sizes[to], to)));
            }
        }
        moved
    }
}
