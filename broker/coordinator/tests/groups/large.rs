//! How long a large group holds its shard up: `cargo test --release -p ottla-coordinator --test groups large -- --ignored
//! --nocapture`.

use std::time::{Duration, Instant};

use ottla_coordinator::group::GroupResponse;
use ottla_coordinator::shard::Effect;

use crate::world::{Args, World, request};

const MEMBERS: usize = 1_000;
const TOPICS: i32 = 100;
const PARTITIONS: i32 = 100;

#[test]
#[ignore = "a measurement"]
fn large_group_rebalances_without_stalling_the_shard() {
    let mut world = World::new();
    let names: Vec<String> = (0..TOPICS).map(|number| format!("topic{number}")).collect();
    for name in &names {
        world.add_topic(name, PARTITIONS);
    }
    let topics = names.join(",");
    let mut longest = Duration::ZERO;
    let mut total = Duration::ZERO;
    let mut send = |world: &mut World, line: &str| {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let args = Args(words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect());
        let asked = request(verb, &args);
        let start = Instant::now();
        let out = world.request(asked);
        longest = longest.max(start.elapsed());
        total += start.elapsed();
        out.effects.into_iter().find_map(|effect| match effect {
            Effect::Reply(_, GroupResponse::ConsumerGroupHeartbeat(answer)) => Some(answer),
            _ => None,
        })
    };
    for member in 0..MEMBERS {
        world.now += 5;
        send(&mut world, &format!("consumer g=g m=m{member} topics={topics}")).unwrap();
    }
    println!("{MEMBERS} joins: longest {longest:?}, together {total:?}");
    assert!(world.log.len() > MEMBERS);
}
