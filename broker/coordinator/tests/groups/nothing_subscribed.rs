//! A member that subscribes to nothing, as one whose pattern matches no topic does.

use crate::world::World;

#[test]
fn a_member_without_topics_does_not_disturb_the_others() {
    let mut world = World::new();
    world.add_topic("orders", 2);
    let epoch = world.beat(1_000, "g=g m=a topics=orders").member_epoch;
    let idle = world.beat(3_000, "g=g m=b topics=");
    assert_eq!((idle.error_code, idle.member_epoch), (0, epoch));
    assert!(idle.assignment.unwrap().topic_partitions.is_empty());
    assert_eq!(world.beat(4_000, &format!("g=g m=a epoch={epoch}")).member_epoch, epoch);
    // Once it wants something there is something to share.
    let busy = world.beat(5_000, &format!("g=g m=b epoch={epoch} topics=orders"));
    assert_eq!((busy.error_code, busy.member_epoch), (0, epoch + 1));
}
