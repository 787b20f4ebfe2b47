//! Members of the consumer protocol come, go, lose answers and fall silent; offsets are committed with and without
//! transactions; the coordinator restarts and fails to write. A seed reproduces everything (`SEED=17`).
//!
//! Named invariants:
//! - `one_owner_per_partition`: what living members were told they own never overlaps;
//! - `commits_never_go_back`: a fetched offset is never older than one whose commit was answered;
//! - `replay_is_live_state`: the log read back gives the state that was served (in `World::restart`);
//! - `everybody_settles`: once faults end, every partition has an owner and the group is stable.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordinator::group::{GroupResponse, GroupShard};
use ottla_coordinator::shard::{Decision, Effect};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{Args, World, request};

const PARTITIONS: i32 = 7;

type Owned = BTreeSet<(String, i32)>;

/// What a client knows.
#[derive(Debug, Default, Clone)]
struct Member {
    epoch: i32,
    owned: Owned,
    joined: bool,
    /// An answer was lost: clients then say everything again, and are told everything.
    lost: bool,
}

struct Story {
    seed: u64,
    random: StdRng,
    world: World,
    members: BTreeMap<String, Member>,
    names: usize,
    /// Highest answered commit.
    committed: BTreeMap<i32, i64>,
    next_offset: i64,
    open: BTreeMap<i32, BTreeMap<i32, i64>>,
}

fn send(world: &mut World, line: &str) -> Decision<GroupShard> {
    let mut words = line.split_whitespace();
    let verb = words.next().unwrap();
    let args = Args(words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect());
    world.request(request(verb, &args))
}

fn answer(out: &Decision<GroupShard>) -> Option<&GroupResponse> {
    out.effects.iter().find_map(|effect| match effect {
        Effect::Reply(_, response) => Some(response),
        _ => None,
    })
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut world = World::new();
        world.add_topic("orders", PARTITIONS);
        let random = StdRng::seed_from_u64(seed);
        let (members, committed, open) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { seed, random, world, members, names: 0, committed, next_offset: 1, open }
    }

    /// One heartbeat; `lossy`: the answer may not arrive.
    fn heartbeat(&mut self, name: &str, lossy: bool) {
        let member = self.members.get(name).cloned().unwrap();
        let owned: Vec<String> = member.owned.iter().map(|(_, partition)| format!("t0:{partition}")).collect();
        let line = if member.joined {
            let full = if member.lost { " rebalance=20000 topics=orders" } else { "" };
            format!("consumer g=g m={name} epoch={} owned={}{full}", member.epoch, owned.join(","))
        } else {
            format!("consumer g=g m={name} topics=orders")
        };
        let out = send(&mut self.world, &line);
        let Some(GroupResponse::ConsumerGroupHeartbeat(answer)) = answer(&out) else {
            self.members.get_mut(name).unwrap().lost = true;
            return;
        };
        let member = self.members.get_mut(name).unwrap();
        member.lost = lossy && self.random.random_bool(0.1);
        if member.lost {
            return;
        }
        if answer.error_code != 0 {
            // Fenced or unknown: give everything up and join again.
            *member = Member::default();
            return;
        }
        member.joined = true;
        member.epoch = answer.member_epoch;
        if let Some(assignment) = &answer.assignment {
            let topics = assignment.topic_partitions.iter();
            member.owned =
                topics.flat_map(|topic| topic.partitions.iter().map(|&p| (topic.topic_id.to_string(), p))).collect();
        }
    }

    fn commit(&mut self) {
        let partition = self.random.random_range(0..PARTITIONS);
        let offset = self.next_offset;
        self.next_offset += 1;
        if self.random.random_bool(0.5) {
            let pid = self.random.random_range(1..4);
            let line = format!("txn-commit g=g pid={pid} at=orders:{partition}@{offset}");
            if let Some(GroupResponse::TxnOffsetCommit(answer)) = answer(&send(&mut self.world, &line))
                && answer.topics[0].partitions[0].error_code == 0
            {
                self.open.entry(pid).or_default().insert(partition, offset);
            }
            return;
        }
        let Some((name, member)) = self.members.iter().find(|(_, member)| member.joined) else { return };
        let line = format!("commit g=g m={name} gen={} at=orders:{partition}@{offset}", member.epoch);
        if let Some(GroupResponse::OffsetCommit(answer)) = answer(&send(&mut self.world, &line))
            && answer.topics[0].partitions[0].error_code == 0
        {
            self.committed.insert(partition, offset);
        }
    }

    fn end_transaction(&mut self) {
        let pid = self.random.random_range(1..4);
        let commit = self.random.random_bool(0.5);
        let line = format!("end-txn pid={pid}{}", if commit { "" } else { " abort" });
        if !matches!(answer(&send(&mut self.world, &line)), Some(GroupResponse::EndTransaction)) {
            return;
        }
        for (partition, offset) in self.open.remove(&pid).unwrap_or_default() {
            let newest = self.committed.entry(partition).or_insert(-1);
            if commit && offset > *newest {
                *newest = offset;
            }
        }
    }

    fn one_owner_per_partition(&self) {
        let mut owners: BTreeMap<&(String, i32), &str> = BTreeMap::new();
        let out = {
            // Only members that the coordinator still counts: a silent one's time may be up without its knowledge.
            let mut world = World::new();
            world.image = self.world.image.clone();
            world.log.clone_from(&self.world.log);
            world.hard = self.world.hard.clone();
            send(&mut world, "consumer-describe g=g")
        };
        let Some(GroupResponse::ConsumerGroupDescribe(groups)) = answer(&out) else { return };
        let living: BTreeSet<&str> = groups[0].members.iter().map(|member| &*member.member_id).collect();
        for (name, member) in self.members.iter().filter(|(name, _)| living.contains(name.as_str())) {
            for partition in &member.owned {
                let other = owners.insert(partition, name);
                assert_eq!(other, None, "seed {}: {partition:?} belongs to {name} too", self.seed);
            }
        }
    }

    fn commits_never_go_back(&mut self) {
        for partition in 0..PARTITIONS {
            let out = send(&mut self.world, &format!("fetch g=g at=orders:{partition}"));
            let Some(GroupResponse::OffsetFetch(answer)) = answer(&out) else { panic!("no answer") };
            let found = answer.topics[0].partitions[0].committed_offset;
            let acked = self.committed.get(&partition).copied().unwrap_or(-1);
            assert!(found >= acked, "seed {}: partition {partition} is at {found}, answered {acked}", self.seed);
        }
    }

    fn step(&mut self) {
        let names: Vec<String> = self.members.keys().cloned().collect();
        let any = |random: &mut StdRng| names.get(random.random_range(0..names.len().max(1))).cloned();
        match self.random.random_range(0..100) {
            0..8 if self.members.len() < 5 => {
                self.names += 1;
                self.members.insert(format!("m{}", self.names), Member::default());
            }
            8..11 => {
                if let Some(name) = any(&mut self.random) {
                    send(&mut self.world, &format!("consumer g=g m={name} epoch=-1"));
                    self.members.remove(&name);
                }
            }
            11..13 => {
                // Gone without a word.
                if let Some(name) = any(&mut self.random) {
                    self.members.remove(&name);
                }
            }
            13..16 => drop(self.world.restart()),
            16..19 => self.world.fail_next = true,
            19..35 => self.commit(),
            35..42 => self.end_transaction(),
            42..60 => {
                let to = self.world.now + self.random.random_range(100..4_000);
                self.world.tick(to);
            }
            _ => {
                if let Some(name) = any(&mut self.random) {
                    self.heartbeat(&name, true);
                }
            }
        }
    }

    fn everybody_settles(&mut self) {
        self.world.fail_next = false;
        self.members.entry("last".to_owned()).or_default();
        for _ in 0..40 {
            for name in self.members.keys().cloned().collect::<Vec<_>>() {
                self.heartbeat(&name, false);
            }
            let to = self.world.now + 3_000;
            self.world.tick(to);
        }
        let owned: usize = self.members.values().map(|member| member.owned.len()).sum();
        assert_eq!(owned, PARTITIONS as usize, "seed {}: {:?}", self.seed, self.members);
        let out = send(&mut self.world, "consumer-describe g=g");
        let Some(GroupResponse::ConsumerGroupDescribe(groups)) = answer(&out) else { panic!("no answer") };
        assert_eq!(&*groups[0].group_state, "Stable", "seed {}", self.seed);
    }
}

#[test]
fn invariants_hold_in_random_stories() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..60).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        let mut story = Story::new(seed);
        for _ in 0..150 {
            story.step();
            story.one_owner_per_partition();
        }
        story.commits_never_go_back();
        story.everybody_settles();
        story.commits_never_go_back();
        story.world.restart();
    }
}
