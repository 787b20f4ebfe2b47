#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::TopicId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

use super::{AssignorMember, RANGE, UNIFORM, assign};
use crate::group::records::Partitions;

fn topic(number: u128) -> TopicId {
    TopicId(Uuid::from_u128(number))
}

fn member(id: &str, topics: &[u128], assigned: Partitions) -> AssignorMember {
    AssignorMember {
        id: Arc::from(id),
        instance_id: None,
        topics: Arc::new(topics.iter().map(|&number| topic(number)).collect()),
        assigned: Arc::new(assigned),
    }
}

fn size(partitions: &Partitions) -> usize {
    partitions.values().map(BTreeSet::len).sum()
}

#[test]
fn uniform_gives_even_shares_and_moves_only_what_it_must() {
    let counts = BTreeMap::from([(topic(1), 6), (topic(2), 3)]);
    let two = [member("a", &[1, 2], Partitions::new()), member("b", &[1, 2], Partitions::new())];
    let first = assign(UNIFORM, &two, &counts).unwrap();
    assert_eq!(first.values().map(size).collect::<Vec<_>>(), vec![4, 5]);

    let three = [
        member("a", &[1, 2], first["a"].clone()),
        member("b", &[1, 2], first["b"].clone()),
        member("c", &[1, 2], Partitions::new()),
    ];
    let second = assign(UNIFORM, &three, &counts).unwrap();
    assert_eq!(second.values().map(size).collect::<Vec<_>>(), vec![3, 3, 3]);
    for id in ["a", "b"] {
        for (topic, partitions) in &second[id] {
            assert!(first[id].get(topic).is_some_and(|before| partitions.is_subset(before)), "{id} got something new");
        }
    }
}

#[test]
fn range_cuts_topics_of_one_size_alike() {
    let counts = BTreeMap::from([(topic(1), 5), (topic(2), 5)]);
    let members = [member("a", &[1, 2], Partitions::new()), member("b", &[1, 2], Partitions::new())];
    let assignment = assign(RANGE, &members, &counts).unwrap();
    assert_eq!(assignment["a"], BTreeMap::from([(topic(1), (0..3).collect()), (topic(2), (0..3).collect())]));
    assert_eq!(assignment["b"], BTreeMap::from([(topic(1), (3..5).collect()), (topic(2), (3..5).collect())]));
}

#[test]
fn every_partition_has_exactly_one_owner_that_wants_it() {
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let counts: BTreeMap<TopicId, i32> =
            (1..=random.random_range(1..5)).map(|number| (topic(number), random.random_range(0..12))).collect();
        let mut members: Vec<AssignorMember> = Vec::new();
        for round in 0..6 {
            if random.random_bool(0.7) || members.is_empty() {
                let topics: Vec<u128> = (1..=counts.len() as u128).filter(|_| random.random_bool(0.7)).collect();
                members.push(member(&format!("m{seed}-{round}"), &topics, Partitions::new()));
            } else {
                let index = random.random_range(0..members.len());
                members.remove(index);
            }
            for name in [UNIFORM, RANGE] {
                let assignment = assign(name, &members, &counts).unwrap();
                let mut owned = BTreeSet::new();
                for member in &members {
                    for (topic, partitions) in &assignment[&member.id] {
                        assert!(member.topics.contains(topic), "seed {seed}: {name} gave an unwanted topic");
                        for partition in partitions {
                            assert!(owned.insert((*topic, *partition)), "seed {seed}: {name} gave a partition twice");
                        }
                    }
                }
                let wanted: BTreeSet<TopicId> = members.iter().flat_map(|m| m.topics.iter().copied()).collect();
                let all: i32 = counts.iter().filter(|(topic, _)| wanted.contains(topic)).map(|(_, count)| count).sum();
                assert_eq!(owned.len(), usize::try_from(all).unwrap(), "seed {seed}: {name} left partitions over");
                let same = members.iter().all(|member| member.topics == members[0].topics);
                if name == UNIFORM && same && !members.is_empty() {
                    let sizes: Vec<usize> = assignment.values().map(size).collect();
                    assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "seed {seed}: {sizes:?}");
                }
                if name == UNIFORM {
                    for member in &mut members {
                        member.assigned = Arc::new(assignment[&member.id].clone());
                    }
                }
            }
        }
    }
}
