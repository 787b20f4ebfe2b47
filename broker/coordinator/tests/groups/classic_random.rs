//! Classic members, static ones among them, join, sync, fall silent, restart and are killed; the coordinator restarts and
//! fails to write. A seed reproduces everything (`SEED=17`).
//!
//! Named invariants:
//! - `assignment_is_of_the_generation`: a sync is answered with what the leader of that generation assigned;
//! - `one_member_per_instance`: an instance id is never alive under two member ids;
//! - `everybody_settles`: once faults end, all members are stable in one generation;
//! - `replay_is_live_state` (in `World::restart`).

use std::collections::BTreeMap;

use ottla_coordinator::group::{GroupResponse, GroupShard};
use ottla_coordinator::shard::{Decision, Effect};
use ottla_protocol::ErrorCode;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::world::{Args, World, request};

#[derive(Debug, Clone, PartialEq)]
enum Phase {
    Idle,
    Joining(u64),
    Joined(Vec<String>),
    Syncing(u64),
    Stable,
}

#[derive(Debug, Clone)]
struct Client {
    member: String,
    instance: Option<String>,
    generation: i32,
    phase: Phase,
}

struct Story {
    seed: u64,
    random: StdRng,
    world: World,
    clients: BTreeMap<u32, Client>,
    names: u32,
}

impl Story {
    fn new(seed: u64) -> Self {
        let (random, clients) = (StdRng::seed_from_u64(seed), BTreeMap::new());
        Self { seed, random, world: World::new(), clients, names: 0 }
    }

    /// Sends, and hands every answer in the outcome to whoever waits for it.
    fn send(&mut self, line: &str) -> u64 {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap();
        let args = Args(words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect());
        let out = self.world.request(request(verb, &args));
        let token = self.world.tokens;
        self.deliver_later(&out);
        token
    }

    fn deliver_later(&mut self, out: &Decision<GroupShard>) {
        for effect in &out.effects {
            if let Effect::Reply(token, response) = effect {
                self.deliver(token.0, response);
            }
        }
        for token in std::mem::take(&mut self.world.refused) {
            if let Some(client) = self.waiting(token) {
                client.phase = Phase::Idle;
            }
        }
    }

    fn waiting(&mut self, token: u64) -> Option<&mut Client> {
        self.clients.values_mut().find(|c| c.phase == Phase::Joining(token) || c.phase == Phase::Syncing(token))
    }

    fn deliver(&mut self, token: u64, response: &GroupResponse) {
        let seed = self.seed;
        let Some(client) = self.waiting(token) else { return };
        let code = match response {
            GroupResponse::JoinGroup(answer) => answer.error_code,
            GroupResponse::SyncGroup(answer) => answer.error_code,
            _ => return,
        };
        match (ErrorCode::from_code(code).unwrap(), response) {
            (ErrorCode::None, GroupResponse::JoinGroup(answer)) => {
                client.member = answer.member_id.to_string();
                client.generation = answer.generation_id;
                let assigns = *answer.leader == *answer.member_id && !answer.skip_assignment;
                let members = answer.members.iter().filter(|_| assigns);
                client.phase = Phase::Joined(members.map(|member| member.member_id.to_string()).collect());
            }
            (ErrorCode::None, GroupResponse::SyncGroup(answer)) => {
                let assigned = std::str::from_utf8(&answer.assignment).unwrap();
                let expected = client.generation.to_string();
                assert_eq!(assigned, expected, "seed {seed}: {client:?} was assigned another generation");
                client.phase = Phase::Stable;
            }
            (ErrorCode::MemberIdRequired, GroupResponse::JoinGroup(answer)) => {
                client.member = answer.member_id.to_string();
                client.phase = Phase::Idle;
            }
            (ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId, _) => {
                client.member.clear();
                client.phase = Phase::Idle;
            }
            _ => client.phase = Phase::Idle,
        }
    }

    fn act(&mut self, name: u32) {
        let client = self.clients[&name].clone();
        let who = match &client.instance {
            Some(instance) => format!("g=g m={} instance={instance}", client.member),
            None => format!("g=g m={}", client.member),
        };
        // The answer may come within the call: the phase is set to the token it will have.
        let token = self.world.tokens + 1;
        match &client.phase {
            Phase::Joining(_) | Phase::Syncing(_) => {}
            Phase::Idle => {
                self.clients.get_mut(&name).unwrap().phase = Phase::Joining(token);
                let metadata = if self.random.random_bool(0.2) { "x" } else { "y" };
                self.send(&format!("join {who} meta={metadata} type=t rebalance=8000 session=10000"));
            }
            Phase::Joined(members) => {
                self.clients.get_mut(&name).unwrap().phase = Phase::Syncing(token);
                let assign: Vec<String> = members.iter().map(|m| format!("{m}:{}", client.generation)).collect();
                self.send(&format!("sync {who} gen={} assign={}", client.generation, assign.join(",")));
            }
            Phase::Stable => {
                let (group, line) = ("g", format!("heartbeat {who} gen={}", client.generation));
                let mut words = line.split_whitespace().skip(1);
                let args = Args(words.by_ref().map(|word| word.split_once('=').unwrap()).collect());
                let out = self.world.request(request("heartbeat", &args));
                self.deliver_later(&out);
                let code = out.effects.iter().find_map(|effect| match effect {
                    Effect::Reply(_, GroupResponse::Heartbeat(answer)) => Some(answer.error_code),
                    _ => None,
                });
                let client = self.clients.get_mut(&name).unwrap();
                match code.and_then(ErrorCode::from_code) {
                    Some(ErrorCode::None) => {}
                    Some(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => {
                        client.member.clear();
                        client.phase = Phase::Idle;
                    }
                    error => {
                        assert!(error.is_some(), "group {group} gave no answer");
                        client.phase = Phase::Idle;
                    }
                }
            }
        }
    }

    fn tick(&mut self, ms: i64) {
        let to = self.world.now + ms;
        for out in self.world.tick(to) {
            self.deliver_later(&out);
        }
    }

    fn restart(&mut self) {
        // Connections break with the coordinator: whoever waited asks again.
        for client in self.clients.values_mut() {
            if matches!(client.phase, Phase::Joining(_) | Phase::Syncing(_)) {
                client.phase = Phase::Idle;
            }
        }
        self.world.restart();
    }

    fn step(&mut self) {
        let names: Vec<u32> = self.clients.keys().copied().collect();
        let chosen = names.get(self.random.random_range(0..names.len().max(1))).copied();
        match (self.random.random_range(0..100), chosen) {
            (0..6, _) if names.len() < 5 => {
                self.names += 1;
                let instance = self.random.random_bool(0.5).then(|| format!("i{}", self.names));
                let client = Client { member: String::new(), instance, generation: -1, phase: Phase::Idle };
                self.clients.insert(self.names, client);
            }
            (6..9, Some(name)) => drop(self.clients.remove(&name)),
            (9..13, Some(name)) => {
                // Killed and started again: it knows no more than its instance id.
                let client = self.clients.get_mut(&name).unwrap();
                client.member.clear();
                client.phase = Phase::Idle;
            }
            (13..16, Some(name)) => {
                let member = self.clients[&name].member.clone();
                self.send(&format!("leave g=g m={member}"));
                self.clients.remove(&name);
            }
            (16..19, _) => self.restart(),
            (19..22, _) => self.world.fail_next = true,
            (22..40, _) => {
                let ms = self.random.random_range(100..4_000);
                self.tick(ms);
            }
            (_, Some(name)) => self.act(name),
            _ => {}
        }
    }

    fn one_member_per_instance(&self) {
        let mut alive: BTreeMap<&str, &str> = BTreeMap::new();
        for client in self.clients.values().filter(|client| client.phase == Phase::Stable) {
            if let Some(instance) = &client.instance {
                let other = alive.insert(instance, &client.member);
                assert_eq!(other, None, "seed {}: two members with {instance}", self.seed);
            }
        }
    }

    fn everybody_settles(&mut self) {
        self.world.fail_next = false;
        for _ in 0..120 {
            for name in self.clients.keys().copied().collect::<Vec<_>>() {
                self.act(name);
            }
            self.tick(500);
        }
        let mut generations: Vec<i32> = self.clients.values().map(|client| client.generation).collect();
        generations.dedup();
        let settled = self.clients.values().all(|client| client.phase == Phase::Stable) && generations.len() <= 1;
        assert!(settled, "seed {}: {:?}", self.seed, self.clients);
    }
}

#[test]
fn invariants_hold_in_random_classic_stories() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..200).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        let mut story = Story::new(seed);
        for _ in 0..200 {
            story.step();
            story.one_member_per_instance();
        }
        story.everybody_settles();
        story.restart();
    }
}
