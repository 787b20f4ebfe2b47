//! A partition at rest is not looked at, and is heard of whatever happens to it.

#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::time::Duration;

use super::*;
use crate::replica::tests::{append, assume, fail_disk, last_caught_up, leave, led_by, replica_of};
use crate::replica::{Epochs, FollowerRead, ReadAt};

const LEADER: BrokerId = BrokerId(1);
const FOLLOWER: BrokerId = BrokerId(2);
const EPOCH: i32 = 5;
const CONSUMER: Reader = Reader { isolation: Isolation::HighWatermark, follower: None, learns_by_moves: true };
const OF_FOLLOWER: Reader =
    Reader { isolation: Isolation::LogEnd, follower: Some((FOLLOWER, 7)), learns_by_moves: true };

/// A leader of many partitions, and one session with it.
struct World {
    sessions: FetchSessions,
    partitions: Vec<Arc<Partition>>,
    reader: Reader,
    id: i32,
    epoch: i32,
    now: i64,
}

fn key(partition: usize) -> PartitionKey {
    PartitionKey { topic: TopicKey::Name("t".into()), partition: i32::try_from(partition).unwrap() }
}

fn asked(partition: usize, offset: i64) -> Asked {
    Asked {
        key: key(partition),
        name: Some("t".into()),
        fetch_offset: Offset(offset),
        log_start: Offset(0),
        max_bytes: 1000,
        current_leader_epoch: LeaderEpoch(EPOCH),
        last_fetched_epoch: LeaderEpoch(-1),
        known: None,
    }
}

impl World {
    fn new(count: usize, reader: Reader) -> Self {
        let partitions = (0..count).map(|index| Arc::new(replica_of(i32::try_from(index).unwrap()))).collect();
        let mut world = Self { sessions: FetchSessions::new(10), partitions, reader, id: 0, epoch: 0, now: 20_000 };
        for partition in &world.partitions {
            let state = led_by(LEADER, EPOCH, &[LEADER, FOLLOWER]);
            assume(partition, state, Timestamp(world.now));
        }
        let asked = (0..count).map(|index| asked(index, 0)).collect();
        let _ = world.fetch(asked);
        world
    }

    fn resolve(&mut self, asked: Vec<Asked>) -> FetchContext {
        self.now += 500;
        let request = SessionRequest {
            session_id: self.id,
            epoch: self.epoch,
            uses_topic_ids: false,
            reader: self.reader,
            asked,
            forgotten: vec![],
        };
        self.epoch += 1;
        self.sessions.resolve(request, Timestamp(self.now), |_| None)
    }

    /// As the handler does it: watches, reads, settles and answers. Which partitions were told.
    fn finish(&mut self, mut context: FetchContext) -> Vec<i32> {
        let mut answers = Vec::new();
        for place in 0..context.looks().len() {
            let key = context.looks()[place].asked.key.clone();
            let partition = Arc::clone(&self.partitions[usize::try_from(key.partition).unwrap()]);
            context.watch(place, &partition);
            let asked = context.looks()[place].asked.clone();
            let read = partition.read(&self.read_at(&asked));
            let told = match read {
                Err(_) => Told {
                    has_records: false,
                    is_remarkable: true,
                    is_error: true,
                    high_watermark: Offset(-1),
                    log_start: Offset(-1),
                },
                Ok(read) => {
                    if read.size == 0 && asked.fetch_offset >= self.reader.isolation.bound(&read.offsets) {
                        context.settle(place);
                    }
                    Told {
                        has_records: read.size > 0,
                        is_remarkable: false,
                        is_error: false,
                        high_watermark: read.offsets.high_watermark,
                        log_start: read.offsets.log_start,
                    }
                }
            };
            answers.push((key, told));
        }
        let (id, answers) = self.sessions.finish(context, answers, |told| *told, Timestamp(self.now));
        self.id = id;
        answers.unwrap().iter().map(|(key, _)| key.partition).collect()
    }

    fn read_at(&self, asked: &Asked) -> ReadAt {
        let follower = self.reader.follower.map(|(replica, broker_epoch)| FollowerRead {
            replica,
            log_start: asked.log_start,
            broker_epoch,
            now: Timestamp(self.now),
            counts: true,
        });
        ReadAt {
            offset: asked.fetch_offset,
            max_bytes: 1000,
            at_least_one: true,
            isolation: self.reader.isolation,
            epochs: Epochs { current: asked.current_leader_epoch, leader_only: follower.is_some() },
            last_fetched_epoch: asked.last_fetched_epoch,
            follower,
        }
    }

    fn fetch(&mut self, asked: Vec<Asked>) -> Vec<i32> {
        let context = self.resolve(asked);
        self.finish(context)
    }

    /// How many partitions the next request looks at, and which of them it tells.
    fn looks_and_told(&mut self) -> (usize, Vec<i32>) {
        let context = self.resolve(vec![]);
        (context.looks().len(), self.finish(context))
    }

    /// Until nothing is left to tell.
    fn come_to_rest(&mut self) {
        let _ = self.looks_and_told();
        assert_eq!(self.looks_and_told(), (0, vec![]));
    }
}

#[test]
fn of_ten_thousand_partitions_one_is_looked_at_when_one_moved() {
    let mut world = World::new(10_000, OF_FOLLOWER);
    assert_eq!(world.looks_and_told().0, 10_000, "nobody watches a partition before it was looked at");
    assert_eq!(world.looks_and_told(), (0, vec![]));
    append(&world.partitions[7_003], b"news");
    assert_eq!(world.looks_and_told(), (1, vec![7_003]));
    // As long as the follower does not ask for what comes next, it is told again.
    assert_eq!(world.looks_and_told(), (1, vec![7_003]));
    let context = world.resolve(vec![asked(7_003, 1)]);
    assert_eq!(context.looks().len(), 1);
    assert_eq!(world.finish(context), [7_003], "its high watermark moved with the follower's progress");
    // That rang, so it is looked at once more.
    assert_eq!(world.looks_and_told(), (1, vec![]));
    assert_eq!(world.looks_and_told(), (0, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_waits_hears_of_partitions_it_did_not_look_at() {
    let mut world = World::new(100, CONSUMER);
    world.come_to_rest();
    let mut context = world.resolve(vec![]);
    assert!(context.looks().is_empty() && context.has_partitions_at_rest());
    let idle = tokio::time::timeout(Duration::from_secs(60), world.sessions.moved(&mut context)).await;
    assert!(idle.is_err(), "nothing moved");
    append(&world.partitions[42], b"news");
    world.partitions[42].read(&ReadAt { follower: None, ..world.read_at(&asked(42, 0)) }).unwrap();
    // The consumer hears of it once it is committed: the follower has it.
    let fetched = FollowerRead {
        replica: FOLLOWER,
        log_start: Offset(0),
        broker_epoch: 7,
        now: Timestamp(world.now),
        counts: true,
    };
    let at = ReadAt { isolation: Isolation::LogEnd, follower: Some(fetched), ..world.read_at(&asked(42, 1)) };
    world.partitions[42].read(&at).unwrap();
    assert_eq!(world.sessions.moved(&mut context).await, Some(vec![0]));
    assert_eq!(context.looks()[0].asked.key, key(42));
    assert_eq!(world.finish(context), [42]);
}

#[tokio::test(start_paused = true)]
async fn what_moves_between_two_requests_is_not_missed() {
    let mut world = World::new(3, OF_FOLLOWER);
    world.come_to_rest();
    append(&world.partitions[1], b"before the request");
    let mut context = world.resolve(vec![]);
    assert_eq!(context.looks().len(), 1);
    append(&world.partitions[2], b"before it waits");
    assert_eq!(world.sessions.moved(&mut context).await, Some(vec![1]));
    assert_eq!(world.finish(context), [1, 2]);
    // An answer that was overtaken tells nothing, and what it would have told is looked at by the next one.
    append(&world.partitions[0], b"overtaken");
    let overtaken = world.resolve(vec![]);
    let next = world.resolve(vec![]);
    assert_eq!(world.finish(overtaken), Vec::<i32>::new());
    assert_eq!(next.looks().len(), 3);
    assert_eq!(world.finish(next), [0, 1, 2]);
}

/// A broker that came back may join the in-sync set since its session waits, and another partition ends the wait: what is read then
/// is not counted as its fetch, so that it would never be proposed.
#[tokio::test(start_paused = true)]
async fn what_a_follower_may_do_since_its_request_waits_is_looked_at_by_the_next_one() {
    let mut world = World::new(3, OF_FOLLOWER);
    world.come_to_rest();
    let mut context = world.resolve(vec![]);
    let mut eligible = led_by(LEADER, EPOCH, &[LEADER]);
    eligible.partition_epoch += 1;
    assume(&world.partitions[0], eligible, Timestamp(world.now));
    let idle = tokio::time::timeout(Duration::from_millis(500), world.sessions.moved(&mut context));
    // Nobody who waits is woken by it alone, and where it is seen all the same it is not forgotten.
    assert_eq!(idle.await.ok(), Some(Some(vec![0])));
    append(&world.partitions[1], b"ends the wait");
    assert_eq!(world.sessions.moved(&mut context).await, Some(vec![1]));
    assert_eq!(world.finish(context), [1]);
    let context = world.resolve(vec![]);
    assert_eq!(context.looks().len(), 2);
    let _ = world.finish(context);
    assert_eq!(world.looks_and_told(), (1, vec![1]), "looked at by a request of its own");
}

/// Nothing of it moves an offset.
#[test]
fn a_session_is_told_of_what_moves_no_offset() {
    let mut world = World::new(6, OF_FOLLOWER);
    world.come_to_rest();
    fail_disk(&world.partitions[0]);
    assert_eq!(world.looks_and_told().0, 1, "a log directory that fails");
    world.come_to_rest();
    leave(&world.partitions[1]);
    assert_eq!(world.looks_and_told(), (1, vec![1]), "a partition that is deleted");
    assert_eq!(world.looks_and_told(), (1, vec![1]), "an error is told until it is over");
    let led_by_other = led_by(FOLLOWER, EPOCH + 1, &[FOLLOWER]);
    assume(&world.partitions[2], led_by_other, Timestamp(world.now));
    assert_eq!(world.looks_and_told(), (2, vec![1, 2]), "another leader");
    let led_again = led_by(LEADER, EPOCH + 1, &[LEADER, FOLLOWER]);
    assume(&world.partitions[3], led_again, Timestamp(world.now));
    assert_eq!(world.looks_and_told(), (3, vec![1, 2, 3]), "the same leader, elected again");
    append(&world.partitions[4], b"deleted");
    let _ = world.fetch(vec![asked(4, 1)]);
    let _ = world.looks_and_told();
    assert_eq!(world.looks_and_told(), (3, vec![1, 2, 3]));
    world.partitions[4].delete_records_before(Offset(1)).unwrap();
    assert_eq!(world.looks_and_told(), (4, vec![1, 2, 3, 4]), "a log start");
    let fewer = led_by(LEADER, EPOCH, &[LEADER]);
    assume(&world.partitions[5], fewer, Timestamp(world.now));
    assert_eq!(world.looks_and_told().0, 4, "another in-sync set: a follower may have to be proposed");
}

#[test]
fn a_consumer_learns_of_a_log_start_that_moves_below_what_it_has_read() {
    let mut world = World::new(2, CONSUMER);
    for partition in &world.partitions {
        let mut alone = led_by(LEADER, EPOCH, &[LEADER]);
        alone.partition_epoch += 1;
        assume(partition, alone, Timestamp(world.now));
    }
    append(&world.partitions[0], b"read and deleted");
    let _ = world.fetch(vec![asked(0, 1)]);
    world.come_to_rest();
    world.partitions[0].delete_records_before(Offset(1)).unwrap();
    assert_eq!(world.looks_and_told(), (1, vec![0]));
    assert_eq!(world.looks_and_told(), (0, vec![]));
}

/// The session goes on, and that it does is the follower's word that it still has everything.
#[test]
fn a_follower_at_rest_does_not_lag() {
    let mut world = World::new(1, OF_FOLLOWER);
    world.come_to_rest();
    for _ in 0..200 {
        assert_eq!(world.looks_and_told(), (0, vec![]));
    }
    // `replica.lag.time.max.ms` is 30 s, and nothing was looked at for longer.
    append(&world.partitions[0], b"news");
    let last = world.now;
    assert_eq!(last_caught_up(&world.partitions[0], FOLLOWER), Timestamp(last));
    // What comes after it says nothing until the follower asks for it.
    append(&world.partitions[0], b"more");
    for _ in 0..3 {
        let _ = world.looks_and_told();
    }
    assert_eq!(last_caught_up(&world.partitions[0], FOLLOWER), Timestamp(last));
}

#[test]
fn another_registration_of_a_follower_is_looked_at_anew() {
    let mut world = World::new(3, OF_FOLLOWER);
    world.come_to_rest();
    world.reader = Reader { follower: Some((FOLLOWER, 9)), ..OF_FOLLOWER };
    assert_eq!(world.looks_and_told().0, 3);
    // One that the metadata does not show yet does not count: it is looked at until it does.
    world.reader = Reader { follower: Some((FOLLOWER, 11)), learns_by_moves: false, ..OF_FOLLOWER };
    assert_eq!(world.looks_and_told().0, 3);
    assert_eq!(world.looks_and_told().0, 3);
    world.reader.learns_by_moves = true;
    world.come_to_rest();
}

#[test]
fn sessions_of_a_follower_that_began_anew_are_forgotten() {
    let mut world = World::new(2, OF_FOLLOWER);
    world.come_to_rest();
    let (before, epoch) = (world.id, world.epoch);
    (world.id, world.epoch) = (0, 0);
    world.reader = Reader { follower: Some((FOLLOWER, 9)), ..OF_FOLLOWER };
    let _ = world.fetch(vec![asked(0, 0)]);
    assert_eq!(world.sessions.size(), (1, 1));
    (world.id, world.epoch) = (before, epoch);
    assert!(matches!(world.resolve(vec![]), FetchContext::Refused(ErrorCode::FetchSessionIdNotFound)));
}
