//! What holds for every plan.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
struct World {
    brokers: Vec<Broker>,
    partitions: Vec<Partition>,
    drained: BTreeSet<i32>,
}

fn world(racks: usize, closed: bool) -> impl Strategy<Value = World> {
    let brokers = (2..8_usize, 0..3_usize).prop_flat_map(move |(count, drained)| {
        let rack = proptest::collection::vec(0..racks, count);
        let open = proptest::collection::vec(prop::bool::weighted(if closed { 0.8 } else { 1.0 }), count);
        (rack, open, Just(drained.min(count - 1)))
    });
    brokers.prop_flat_map(move |(racks_of, open, drained)| {
        let count = racks_of.len();
        let topics = proptest::collection::vec((1..12_usize, 1..4_usize, any::<u64>()), 1..6);
        let brokers: Vec<Broker> = racks_of
            .into_iter()
            .zip(open)
            .enumerate()
            .map(|(id, (rack, is_open))| Broker { id: id as i32, rack: Some(rack.to_string()), is_open })
            .collect();
        topics.prop_map(move |topics| {
            let mut partitions = Vec::new();
            for (number, (length, factor, seed)) in topics.into_iter().enumerate() {
                let mut seed = seed;
                let mut next = |below: usize| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    (seed >> 33) as usize % below
                };
                for index in 0..length {
                    let mut ids: Vec<i32> = (0..count as i32).collect();
                    let replicas = (0..factor.min(count)).map(|_| ids.remove(next(ids.len()))).collect();
                    partitions.push(Partition {
                        topic: number.to_string(),
                        index: index as i32,
                        replicas,
                        bytes: [0, 1, 100, 1000, 100_000][next(5)],
                        is_online: true,
                    });
                }
            }
            World { brokers: brokers.clone(), partitions, drained: (0..drained as i32).collect() }
        })
    })
}

fn after(world: &World, moves: &[Move]) -> World {
    let mut world = world.clone();
    for step in moves {
        let of_step = |p: &&mut Partition| p.topic == step.topic && p.index == step.partition;
        world.partitions.iter_mut().find(of_step).unwrap().replicas.clone_from(&step.to);
    }
    world
}

/// Pairs of replicas in one rack.
fn rack_pairs(world: &World, partition: &Partition) -> usize {
    let rack = |id: &i32| world.brokers[*id as usize].rack.clone();
    let racks: Vec<_> = partition.replicas.iter().map(rack).collect();
    (0..racks.len()).flat_map(|i| (0..i).map(move |j| (i, j))).filter(|(i, j)| racks[*i] == racks[*j]).count()
}

fn remaining(world: &World) -> Vec<i32> {
    world.brokers.iter().filter(|b| b.is_open && !world.drained.contains(&b.id)).map(|broker| broker.id).collect()
}

fn spread(counts: impl Iterator<Item = u64> + Clone) -> u64 {
    counts.clone().max().unwrap_or(0) - counts.min().unwrap_or(0)
}

proptest! {
    #[test]
    fn plans_keep_their_promises(world in world(3, true)) {
        let Ok(moves) = plan(&world.brokers, &world.partitions, &world.drained) else {
            // Refused: it cannot be done.
            let remaining = remaining(&world);
            let cannot = |p: &Partition| {
                let fixed = p.replicas.iter().filter(|id| !world.drained.contains(id) && !remaining.contains(id)).count();
                p.replicas.len() > remaining.len() + fixed
            };
            prop_assert!(remaining.is_empty() || world.partitions.iter().any(cannot));
            return Ok(());
        };
        let new = after(&world, &moves);
        for (old, partition) in world.partitions.iter().zip(&new.partitions) {
            let distinct: BTreeSet<i32> = partition.replicas.iter().copied().collect();
            prop_assert_eq!(distinct.len(), partition.replicas.len());
            prop_assert_eq!(old.replicas.len(), partition.replicas.len());
            prop_assert!(partition.replicas.iter().all(|id| !world.drained.contains(id)));
            for id in distinct.iter().filter(|id| !old.replicas.contains(id)) {
                prop_assert!(world.brokers[*id as usize].is_open);
            }
            for broker in world.brokers.iter().filter(|b| !b.is_open && !world.drained.contains(&b.id)) {
                prop_assert_eq!(old.replicas.contains(&broker.id), partition.replicas.contains(&broker.id));
            }
            if !old.replicas.iter().any(|id| world.drained.contains(id)) {
                prop_assert!(rack_pairs(&new, partition) <= rack_pairs(&world, old));
            }
        }
    }

    #[test]
    fn without_racks_counts_and_leaders_are_even_and_a_second_plan_copies_nothing(world in world(1, false)) {
        let Ok(moves) = plan(&world.brokers, &world.partitions, &world.drained) else { return Ok(()) };
        let new = after(&world, &moves);
        let shares = shares(&new.brokers, &new.partitions, &[]);
        let of = remaining(&world);
        prop_assert!(spread(of.iter().map(|id| shares[id].1.replicas)) <= 1);
        // Nobody could hand a leadership to one with two less.
        for partition in &new.partitions {
            for other in &partition.replicas[1..] {
                prop_assert!(shares[&partition.replicas[0]].1.leaders <= shares[other].1.leaders + 1);
            }
        }
        let again = plan(&new.brokers, &new.partitions, &new.drained).unwrap();
        prop_assert_eq!(again.iter().map(Move::bytes_to_copy).sum::<u64>(), 0, "{:?}", again);
    }

    #[test]
    fn with_racks_no_single_move_would_make_counts_more_even(mut world in world(3, false)) {
        world.drained.clear();
        let moves = plan(&world.brokers, &world.partitions, &world.drained).unwrap();
        let new = after(&world, &moves);
        let shares = shares(&new.brokers, &new.partitions, &[]);
        let count = |id: &i32| shares[id].1.replicas;
        for partition in &new.partitions {
            for from in &partition.replicas {
                for to in remaining(&new).iter().filter(|to| !partition.replicas.contains(to)) {
                    let mut other = partition.clone();
                    other.replicas.iter_mut().filter(|id| *id == from).for_each(|id| *id = *to);
                    let is_harmless = rack_pairs(&new, &other) <= rack_pairs(&new, partition);
                    prop_assert!(!is_harmless || count(from) <= count(to) + 1);
                }
            }
        }
    }
}
