//! A member has its whole rebalance timeout each time that it is told to give partitions up.

use ottla_protocol::ErrorCode;
use ottla_protocol::messages::ConsumerGroupHeartbeatResponse;

use crate::world::World;

/// The error, and how many partitions the member is told to own.
fn told(answer: &ConsumerGroupHeartbeatResponse) -> (i16, usize) {
    let topics = answer.assignment.iter().flat_map(|assignment| &assignment.topic_partitions);
    (answer.error_code, topics.map(|topic| topic.partitions.len()).sum())
}

#[test]
fn giving_up_more_within_an_epoch_has_its_own_time() {
    let mut world = World::new();
    world.add_topic("orders", 6);
    let epoch = world.beat(1_000, "g=g m=a topics=orders").member_epoch;
    let beat_a = |world: &mut World, now: i64, owned: &str| {
        told(&world.beat(now, &format!("g=g m=a epoch={epoch} owned={owned}")))
    };
    world.beat(3_000, "g=g m=b topics=orders");
    assert_eq!(beat_a(&mut world, 4_000, "t0:0,t0:1,t0:2,t0:3,t0:4,t0:5"), (0, 3));
    world.beat(5_000, "g=g m=c topics=orders");
    // Just in time, and there is more to give up.
    assert_eq!(beat_a(&mut world, 23_000, "t0:0,t0:1,t0:2"), (0, 2));
    // For that it has another twenty seconds, which asking does not prolong.
    assert_eq!(beat_a(&mut world, 42_000, "t0:0,t0:1,t0:2"), (0, 0));
    assert_eq!(beat_a(&mut world, 43_001, "t0:0,t0:1,t0:2").0, ErrorCode::UnknownMemberId.code());
}
