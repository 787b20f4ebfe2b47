//! What is forgotten all at once is more than one append takes: it goes in parts.

use ottla_coordinator::group::{GroupRecord, GroupResponse, GroupShard};
use ottla_coordinator::shard::{Effect, Shard, Stored};

use crate::world::{Args, World, request};

/// Half of what a partition takes by default.
const PART_BYTES_MAX: usize = 512 * 1024;
const MANY: usize = 5_000;

fn bytes_of(records: &[GroupRecord]) -> usize {
    let bytes = |record: &GroupRecord| match GroupShard::encode(record) {
        Stored::Data { key, value, .. } => key.len() + value.map_or(0, |value| value.len()),
        Stored::Marker { .. } => 0,
    };
    records.iter().map(bytes).sum()
}

/// A group's name of some length: it stands in every record.
fn name(number: usize) -> String {
    format!("{number:0>200}")
}

/// A coordinator of a topic's offsets that are old after a second.
fn world() -> World {
    let mut world = World::new();
    world.config.offsets_retention_ms = 1_000;
    world.add_topic("orders", 1);
    world
}

/// One group commits many partitions.
fn commit_many(world: &mut World) {
    let offsets: Vec<String> = (0..MANY).map(|partition| format!("orders:{partition}@1")).collect();
    world.run(&format!("commit g={} at={}", name(0), offsets.join(",")));
    assert_eq!(world.hard.offset_count(), MANY);
}

/// The first sweep is at 601000.
fn sweep(world: &mut World) {
    let sweeps = world.tick(700_000);
    let parts: Vec<usize> = sweeps.iter().map(|out| bytes_of(&out.records)).collect();
    assert!(parts.len() > 1 && parts.iter().all(|bytes| *bytes <= PART_BYTES_MAX), "{parts:?}");
    assert_eq!((world.hard.offset_count(), world.hard.group_count()), (0, 0));
}

#[test]
fn many_offsets_of_a_group_expire_in_parts() {
    let mut world = world();
    commit_many(&mut world);
    sweep(&mut world);
}

#[test]
fn many_groups_expire_in_parts() {
    let mut world = world();
    for number in 0..MANY {
        world.run(&format!("commit g={} at=orders:0@1", name(number)));
    }
    sweep(&mut world);
}

#[test]
fn offsets_of_a_deleted_topic_go_in_parts() {
    let mut world = world();
    commit_many(&mut world);
    let args = Args([("name", "orders")].into());
    let mut left = true;
    while left {
        let out = world.request(request("topic-deleted", &args));
        assert!(bytes_of(&out.records) <= PART_BYTES_MAX);
        left = out
            .effects
            .iter()
            .any(|effect| matches!(effect, Effect::Reply(_, GroupResponse::TopicsDeleted { left: true })));
    }
    assert_eq!(world.hard.offset_count(), 0);
}
