#![allow(clippy::unwrap_used)]

use super::*;

fn brokers(ids: &[i32]) -> Vec<Broker> {
    ids.iter().map(|id| Broker { id: *id, rack: None, is_open: true }).collect()
}

fn in_racks(racks: &[(i32, &str)]) -> Vec<Broker> {
    racks.iter().map(|(id, rack)| Broker { id: *id, rack: Some((*rack).to_owned()), is_open: true }).collect()
}

/// Partitions of one topic by their replicas, 100 bytes each.
fn topic(name: &str, replicas: &[&[i32]]) -> Vec<Partition> {
    let partition = |(index, replicas): (i32, &&[i32])| Partition {
        topic: name.to_owned(),
        index,
        replicas: replicas.to_vec(),
        bytes: 100,
        is_online: true,
    };
    (0..).zip(replicas).map(partition).collect()
}

fn sized(name: &str, broker: i32, sizes: &[u64]) -> Vec<Partition> {
    let mut partitions = topic(name, &vec![&[broker][..]; sizes.len()]);
    partitions.iter_mut().zip(sizes).for_each(|(partition, bytes)| partition.bytes = *bytes);
    partitions
}

fn drained(ids: &[i32]) -> BTreeSet<i32> {
    ids.iter().copied().collect()
}

fn after(partitions: &[Partition], moves: &[Move]) -> Vec<Partition> {
    let mut partitions = partitions.to_vec();
    for step in moves {
        let of_step = |p: &&mut Partition| p.topic == step.topic && p.index == step.partition;
        partitions.iter_mut().find(of_step).unwrap().replicas.clone_from(&step.to);
    }
    partitions
}

fn counts(brokers: &[Broker], partitions: &[Partition], moves: &[Move]) -> Vec<u64> {
    shares(brokers, partitions, moves).values().map(|(_, after)| after.replicas).collect()
}

#[test]
fn a_cluster_that_is_even_is_left_alone() {
    let brokers = brokers(&[1, 2, 3]);
    let partitions = topic("a", &[&[1, 2], &[2, 3], &[3, 1]]);
    assert_eq!(plan(&brokers, &partitions, &drained(&[])).unwrap(), []);
}

#[test]
fn a_new_broker_gets_its_share_and_nothing_else_moves() {
    let brokers = brokers(&[1, 2, 3, 4]);
    let partitions =
        topic("a", &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2], &[1, 2, 3], &[2, 3, 1], &[3, 1, 2], &[1, 3, 2], &[2, 1, 3]]);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    assert_eq!(counts(&brokers, &partitions, &moves), [6, 6, 6, 6]);
    // Six replicas go to the new broker and none from one of the old ones to another.
    assert_eq!(moves.iter().map(|step| step.bytes_to_copy()).sum::<u64>(), 600);
    assert!(moves.iter().flat_map(Move::adding).all(|id| id == 4));
    let leaders: Vec<u64> = shares(&brokers, &partitions, &moves).values().map(|(_, after)| after.leaders).collect();
    assert_eq!(leaders, [2, 2, 2, 2]);
    assert_eq!(plan(&brokers, &after(&partitions, &moves), &drained(&[])).unwrap(), []);
}

#[test]
fn a_drained_broker_is_left_with_nothing_and_only_its_replicas_move() {
    let brokers = brokers(&[1, 2, 3, 4]);
    let partitions = topic("a", &[&[1, 2], &[2, 3], &[3, 4], &[4, 1], &[4, 2], &[3, 1]]);
    let moves = plan(&brokers, &partitions, &drained(&[4])).unwrap();
    assert_eq!(counts(&brokers, &partitions, &moves), [4, 4, 4, 0]);
    assert_eq!(moves.iter().map(|step| step.bytes_to_copy()).sum::<u64>(), 300);
    let stays = |step: &Move| step.from.iter().all(|id| *id == 4 || step.to.contains(id));
    assert!(moves.iter().all(stays), "{moves:?}");
}

#[test]
fn a_receiver_gets_replicas_of_the_size_that_it_lacks() {
    let brokers = brokers(&[1, 2]);
    let partitions = sized("a", 1, &[1, 1, 1, 500, 500, 1000]);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    let after = shares(&brokers, &partitions, &moves);
    assert_eq!((after[&1].1.replicas, after[&2].1.replicas), (3, 3));
    assert!(after[&1].1.bytes.abs_diff(after[&2].1.bytes) <= 10, "{after:?}");
    assert_eq!(moves.len(), 3);
}

#[test]
fn bytes_are_swapped_where_counts_are_even() {
    let brokers = brokers(&[1, 2]);
    let mut partitions = sized("a", 1, &[1000, 1000, 1000, 1000]);
    let mut small = sized("a", 2, &[10, 10, 10, 10]);
    small.iter_mut().for_each(|partition| partition.index += 4);
    partitions.extend(small);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    let after = shares(&brokers, &partitions, &moves);
    assert_eq!((after[&1].1.replicas, after[&2].1.replicas), (4, 4));
    assert_eq!(after[&1].1.bytes, after[&2].1.bytes);
}

#[test]
fn topics_are_spread_even_where_counts_are_even() {
    let brokers = brokers(&[1, 2, 3]);
    let partitions: Vec<Partition> = [("a", 1), ("b", 2), ("c", 3)]
        .iter()
        .flat_map(|(name, broker)| topic(name, &[&[*broker], &[*broker], &[*broker]]))
        .collect();
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    let mut places: Vec<(String, i32)> =
        after(&partitions, &moves).into_iter().map(|p| (p.topic, p.replicas[0])).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 9, "each topic is on each broker: {places:?}");
}

#[test]
fn racks_stay_spread_and_get_better_where_a_replica_moves_anyway() {
    let brokers = in_racks(&[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "b")]);
    let partitions = topic("t", &[&[1, 3], &[2, 3], &[1, 4], &[2, 4], &[3, 1], &[4, 2], &[3, 4], &[3, 2]]);
    let moves = plan(&brokers, &partitions, &drained(&[4])).unwrap();
    for partition in after(&partitions, &moves) {
        let racks: BTreeSet<bool> = partition.replicas.iter().map(|id| *id <= 2).collect();
        assert_eq!(racks.len(), 2, "{partition:?}");
    }
}

#[test]
fn what_is_on_a_broker_that_is_down_stays_unless_it_is_drained() {
    let mut brokers = brokers(&[1, 2, 3]);
    brokers[2].is_open = false;
    let partitions = topic("a", &[&[1, 3], &[1, 3], &[1, 3], &[1, 3]]);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    assert_eq!(counts(&brokers, &partitions, &moves), [2, 2, 4]);
    let moves = plan(&brokers, &partitions, &drained(&[3])).unwrap();
    assert_eq!(counts(&brokers, &partitions, &moves), [4, 4, 0]);
}

#[test]
fn leaderships_are_evened_out_by_the_order_of_replicas_alone() {
    let brokers = brokers(&[1, 2, 3]);
    let partitions = topic("a", &[&[1, 2], &[1, 2], &[1, 3], &[1, 3], &[2, 3], &[2, 3]]);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    let after = shares(&brokers, &partitions, &moves);
    assert!(after.values().all(|(_, after)| after.leaders == 2), "{after:?}");
    assert_eq!(moves.iter().map(Move::bytes_to_copy).sum::<u64>(), 0);
    assert_eq!(moves.len(), 2);
}

#[test]
fn leaderships_are_handed_on_by_way_of_others() {
    // Nothing that 1 leads could be led by 3: 2 takes one of it and gives one to 3.
    let brokers = brokers(&[1, 2, 3, 4]);
    let partitions = topic("a", &[&[1, 2], &[1, 2], &[1, 4], &[2, 3], &[4, 3], &[4, 3]]);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    let mut leaders: Vec<u64> =
        shares(&brokers, &partitions, &moves).values().map(|(_, after)| after.leaders).collect();
    leaders.sort_unstable();
    assert_eq!(leaders, [1, 1, 2, 2]);
    assert_eq!(moves.iter().map(Move::bytes_to_copy).sum::<u64>(), 0);
}

#[test]
fn what_cannot_be_is_refused() {
    let three = brokers(&[1, 2, 3]);
    let partitions = topic("orders", &[&[1, 2, 3]]);
    let refusal = |brokers: &[Broker], partitions: &[Partition], ids: &[i32]| {
        plan(brokers, partitions, &drained(ids)).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(&three, &partitions, &[3]),
        "orders-0 has 3 replicas, and only 2 broker(s) remain that can hold one each: 1, 2. Add a broker, or give the topic \
         fewer replicas first."
    );
    assert_eq!(refusal(&three, &partitions, &[9]), "There is no broker 9 in this cluster; its brokers are 1, 2, 3.");
    assert_eq!(refusal(&three, &[], &[1, 2, 3]), "No broker remains that could take the replicas.");
    let mut lost = topic("orders", &[&[3]]);
    lost[0].is_online = false;
    assert!(refusal(&three, &lost, &[3]).starts_with("orders-0 has no leader"));
    // It does no harm where nothing has to leave.
    assert_eq!(plan(&three, &lost, &drained(&[])).unwrap(), []);
}

#[test]
fn a_broker_that_was_unregistered_too_early_can_still_be_drained() {
    let brokers = brokers(&[1, 2, 3]);
    let partitions = topic("a", &[&[1, 7], &[2, 7]]);
    let moves = plan(&brokers, &partitions, &drained(&[7])).unwrap();
    assert!(after(&partitions, &moves).iter().all(|partition| !partition.replicas.contains(&7)));
}

#[test]
fn a_large_cluster_is_planned_in_one_go() {
    let ids: Vec<i32> = (1..=10).collect();
    let mut partitions = Vec::new();
    for number in 0..200 {
        let list: Vec<Vec<i32>> = (0..50).map(|p| (0..3).map(|r| (number + p + r) % 8 + 1).collect()).collect();
        let list: Vec<&[i32]> = list.iter().map(Vec::as_slice).collect();
        partitions.extend(topic(&format!("t-{number}"), &list));
    }
    let brokers = brokers(&ids);
    let moves = plan(&brokers, &partitions, &drained(&[])).unwrap();
    assert_eq!(counts(&brokers, &partitions, &moves), [3000; 10]);
    assert_eq!(moves.iter().map(Move::bytes_to_copy).sum::<u64>(), 600_000);
    assert_eq!(plan(&brokers, &after(&partitions, &moves), &drained(&[])).unwrap(), []);
}
