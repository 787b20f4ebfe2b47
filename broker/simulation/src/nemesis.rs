//! What goes wrong, as far as the loss rule of the plan allows.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_decisions::{ControllerRequest, IdSource};
use ottla_protocol::BrokerId;
use ottla_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use ottla_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use ottla_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionRequest, ElectLeadersRequest};
use ottla_storage::disk::faulty::Operation;
use std::rc::Rc;

use crate::broker::registration;
use crate::clients::is_exactly_once;
use crate::context::Event;
use crate::message::{CONTROLLERS, FIRST_CLIENT, FIRST_CONTROLLER, Message, Node};
use crate::observation::Observation;
use crate::plan::LossRule;
use crate::world::World;

/// Some stay away for so long that everybody misses them.
const LONG_MS: usize = 2_200;

/// How often each kind of fault happened: a simulation that never reached a state proves nothing about it.
pub type Counts = std::collections::BTreeMap<&'static str, u64>;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The disk keeps everything, synced or not.
    Kill,
    /// What was not synced survives in any part.
    PowerCut,
    /// Another disk, with nothing on it.
    Wipe,
}

#[derive(Debug, Default)]
pub struct Nemesis {
    /// Brokers that died and are not in sync everywhere again.
    pub unwell: BTreeSet<Node>,
    pub counts: Counts,
}

impl World {
    pub fn on_nemesis(&mut self) {
        let wait = (1_000.0 / self.cx.plan.fault_rate) as usize;
        let mut wait = 1 + self.cx.below(2 * wait) as i64;
        if self.cx.plan.bursts > 0.0 && self.cx.chance(self.cx.plan.bursts) {
            wait = 1 + wait % 25;
        }
        self.cx.after(wait, Event::Nemesis);
        let broker = 1 + self.cx.below(self.brokers.len()) as Node;
        let controller = FIRST_CONTROLLER + self.cx.below(usize::from(CONTROLLERS)) as Node;
        if self.cx.plan.only_overload {
            return self.overload(broker);
        }
        match self.cx.below(29) {
            0 => self.pause(broker),
            1 | 2 => self.end(broker, End::Kill),
            3 | 4 => self.end(broker, End::PowerCut),
            5 => self.everybody_loses_power(),
            6 => self.isolate(broker, true),
            7 => self.isolate(broker, false),
            8 => self.cut_a_link(),
            9 | 10 => self.mend_network(),
            11 => self.pause(controller),
            12 => self.isolate(controller, true),
            13 => self.restart_controller(controller),
            14 => {
                self.count("controller moved");
                self.quorum.elect(&self.nodes, &mut self.cx);
            }
            15 | 16 => self.reassign(),
            17 => self.elect_preferred(),
            18 => self.shut_down(broker),
            19 => self.fill_disk(broker),
            20 => self.break_disk(broker),
            21 => self.end(broker, End::Wipe),
            22 => self.slow_or_skewed(broker),
            23 => {
                self.count("slow controller");
                let by = 20 + self.cx.below(200) as i64;
                self.cx.network.slow_down(controller, by);
            }
            24 => self.start_second_process(broker),
            25 => self.meddle(broker),
            26 | 27 => self.part_from_leader(broker),
            _ => self.delete_records(),
        }
    }

    /// Everything takes long, and the office of the controller goes round.
    fn overload(&mut self, broker: Node) {
        match self.cx.below(4) {
            0 => {
                self.count("controller moved");
                self.quorum.elect(&self.nodes, &mut self.cx);
            }
            1 => self.mend_network(),
            _ => {
                self.count("slow node");
                let by = 20 + self.cx.below(100) as i64;
                self.cx.network.slow_down(broker, by);
            }
        }
        if let Some(leader) = self.quorum.leader() {
            let processes = self.brokers.values_mut().filter_map(|machine| machine.process.as_mut());
            processes.for_each(|process| process.hear_of_controller(leader));
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.nemesis.counts.entry(what).or_insert(0) += 1;
        self.cx.tell(|| format!("** {what}"));
    }

    /// Whether one more broker may die without having shut down.
    fn may_die(&self, broker: Node, end: End) -> bool {
        match (self.cx.plan.loss, end) {
            (LossRule::Kills, End::Kill) | (LossRule::Strict, End::Kill | End::PowerCut) => true,
            (LossRule::Kills, _) | (LossRule::Strict, End::Wipe) => false,
            (LossRule::FewerThanMinIsr, _) => {
                let others = self.nemesis.unwell.iter().filter(|other| **other != broker).count();
                others + 1 < self.cx.plan.min_insync_replicas
            }
        }
    }

    fn end(&mut self, broker: Node, end: End) {
        if !self.nodes.is_up(broker) || !self.may_die(broker, end) {
            return;
        }
        self.count(match end {
            End::Kill => "killed",
            End::PowerCut => "power cut",
            End::Wipe => "disk wiped",
        });
        if end == End::PowerCut && self.cx.chance(0.4) {
            // In the middle of whatever it writes next.
            let steps = self.cx.below(12) as u64;
            if let Some(machine) = self.brokers.get(&broker) {
                machine.disk.stop_after(steps);
            }
            self.nemesis.unwell.insert(broker);
            self.dying.insert(broker, end);
            return;
        }
        self.die(broker, end);
    }

    /// The process is gone; the machine comes back after a while.
    pub fn die(&mut self, node: Node, end: End) {
        self.cx.tell(|| format!("broker {node} dies: {end:?}"));
        self.nodes.stop(node);
        self.dying.remove(&node);
        self.nemesis.unwell.insert(node);
        let Some(machine) = self.brokers.get_mut(&node) else { return };
        machine.process = None;
        machine.disk = match end {
            End::Kill => machine.disk.after_kill(),
            End::PowerCut => {
                let cx = &mut self.cx;
                machine.disk.after_power_cut(|below| cx.below(below))
            }
            End::Wipe => machine.disk.after_kill(),
        };
        if end == End::Wipe {
            machine.wipe(&mut self.cx);
        }
        machine.disk.set_capacity(u64::MAX);
        if end != End::Kill {
            self.cx.observe(Observation::Damaged { broker: node });
        }
        let pause = match self.cx.below(12) {
            // Back before anybody has missed it.
            0..=3 => 1 + self.cx.below(30),
            4 => LONG_MS + self.cx.below(800),
            _ => 10 + self.cx.below(900),
        };
        self.cx.after(pause as i64, Event::Start { node });
    }

    fn everybody_loses_power(&mut self) {
        if self.cx.plan.loss != LossRule::Strict {
            return;
        }
        self.count("power cut of all");
        let up: Vec<Node> = self.brokers.keys().copied().filter(|broker| self.nodes.is_up(*broker)).collect();
        for broker in up {
            self.die(broker, End::PowerCut);
        }
    }

    fn pause(&mut self, node: Node) {
        if !self.nodes.is_running(node) {
            return;
        }
        self.count(if node < FIRST_CONTROLLER { "broker paused" } else { "controller paused" });
        self.cx.tell(|| format!("{node} is paused"));
        self.nodes.pause(node);
        let pause = 30 + self.cx.below(1_200) as i64;
        self.cx.after(pause, Event::Resume { node });
    }

    fn others(&self, node: Node) -> Vec<Node> {
        let brokers = self.brokers.keys().copied();
        brokers.chain(FIRST_CONTROLLER..FIRST_CONTROLLER + CONTROLLERS).filter(|other| *other != node).collect()
    }

    /// From all others; in one direction only, or in both.
    fn isolate(&mut self, node: Node, both: bool) {
        self.count(if both { "isolated" } else { "isolated one way" });
        let outwards = self.cx.chance(0.5);
        self.cx.tell(|| format!("{node} is isolated (both: {both}, outwards: {outwards})"));
        for other in self.others(node) {
            if both || outwards {
                self.cx.network.cut(node, other);
            }
            if both || !outwards {
                self.cx.network.cut(other, node);
            }
        }
        let after = 100 + self.cx.below(1_500) as i64;
        self.cx.after(after, Event::Mend { node: 0 });
    }

    fn cut_a_link(&mut self) {
        let nodes = self.others(0);
        let (from, to) = (nodes[self.cx.below(nodes.len())], nodes[self.cx.below(nodes.len())]);
        if from != to {
            self.count("link cut");
            self.cx.network.cut(from, to);
            if self.cx.chance(0.5) {
                self.cx.network.cut(to, from);
            }
        }
    }

    fn mend_network(&mut self) {
        self.cx.tell(|| "the network is mended".to_owned());
        self.cx.network.heal();
    }

    fn restart_controller(&mut self, controller: Node) {
        self.count("controller killed");
        self.quorum.restart(controller, &mut self.cx);
        self.nodes.stop(controller);
        let pause = 10 + self.cx.below(600) as i64;
        self.cx.after(pause, Event::Start { node: controller });
    }

    fn tell_controller(&mut self, request: impl Into<ControllerRequest>) {
        let Some(leader) = self.quorum.leader() else { return };
        let request = Rc::new(request.into());
        let id = self.cx.id();
        self.cx.send(FIRST_CLIENT - 1, leader, Message::Ask { id, request });
    }

    fn reassign(&mut self) {
        let mut all: Vec<i32> = self.started.iter().map(|broker| i32::from(*broker)).collect();
        let partition = self.cx.below(usize::try_from(self.cx.plan.partitions).unwrap_or(1)) as i32;
        let factor = self.cx.plan.replication_factor;
        if all.len() < factor {
            return;
        }
        self.count("reassignment");
        let cancels = self.cx.chance(0.2);
        let mut wanted = Vec::new();
        while wanted.len() < factor {
            let at = self.cx.below(all.len());
            wanted.push(all.swap_remove(at).into());
        }
        let partition = ReassignablePartition::default()
            .with_partition_index(partition)
            .with_replicas((!cancels).then_some(wanted));
        let topic = ReassignableTopic::default().with_name(crate::topic_name()).with_partitions(vec![partition]);
        self.tell_controller(AlterPartitionReassignmentsRequest::default().with_topics(vec![topic]));
    }

    fn elect_preferred(&mut self) {
        self.count("preferred election");
        self.tell_controller(ElectLeadersRequest::default().with_election_type(0).with_topic_partitions(None));
    }

    /// A process that says it is a broker which runs already: started twice, or from a copy of its machine.
    fn start_second_process(&mut self, broker: Node) {
        // Where the first one is silent the second takes its place, and what the first has in memory is no more.
        if self.cx.plan.loss == LossRule::FewerThanMinIsr || !self.started.contains(&broker) {
            return;
        }
        self.count("second process");
        let (incarnation, dir) = (self.cx.uuid(), self.cx.uuid());
        self.tell_controller(registration(broker, incarnation, dir, -1));
    }

    /// A broker asks for an in-sync set that is not its to ask for: of a partition which another one leads, or under an
    /// epoch of its own that has passed.
    fn meddle(&mut self, broker: Node) {
        let image = self.quorum.committed();
        let index = self.cx.below(usize::try_from(self.cx.plan.partitions).unwrap_or(1)) as i32;
        let Some(topic) = image.topics.by_name("t") else { return };
        let Some(partition) = topic.partition(index) else { return };
        let mut leader_epoch = partition.leader_epoch.0;
        let mut asks = BrokerId(i32::from(broker));
        if let (Some(leader), true) = (partition.leader, self.cx.chance(0.5)) {
            (asks, leader_epoch) = (leader, leader_epoch - 1);
        } else if partition.leader == Some(asks) {
            return;
        }
        let Some(epoch) = image.brokers.get(&asks).map(|registered| registered.epoch) else { return };
        self.count("meddling");
        let member = BrokerState::default().with_broker_id(asks.0.into()).with_broker_epoch(epoch);
        let data = PartitionData::default()
            .with_partition_index(index)
            .with_leader_epoch(leader_epoch)
            .with_partition_epoch(partition.partition_epoch)
            .with_new_isr_with_epochs(vec![member]);
        let topic = TopicData::default().with_topic_id(topic.id.0).with_partitions(vec![data]);
        let request = AlterPartitionRequest::default().with_broker_id(asks.0.into()).with_broker_epoch(epoch);
        self.tell_controller(request.with_topics(vec![topic]));
    }

    /// A follower and its leader lose each other; everybody else reaches both.
    fn part_from_leader(&mut self, broker: Node) {
        let index = self.cx.below(usize::try_from(self.cx.plan.partitions).unwrap_or(1)) as i32;
        let leader = self.quorum.committed().topics.partition("t", index).and_then(|partition| partition.leader);
        let Some(leader) = leader.map(|leader| leader.0 as Node).filter(|leader| *leader != broker) else { return };
        self.count("parted from the leader");
        self.cx.network.cut(broker, leader);
        if self.cx.chance(0.5) {
            self.cx.network.cut(leader, broker);
        }
        let after = 100 + self.cx.below(1_500) as i64;
        self.cx.after(after, Event::Mend { node: 0 });
    }

    fn shut_down(&mut self, broker: Node) {
        if !self.nodes.is_running(broker) {
            return;
        }
        self.count("controlled shutdown");
        if let Some(process) = self.brokers.get_mut(&broker).and_then(|machine| machine.process.as_mut()) {
            process.shut_down();
        }
    }

    fn fill_disk(&mut self, broker: Node) {
        self.count("disk full");
        let room = self.cx.below(400) as u64;
        if let Some(machine) = self.brokers.get(&broker) {
            machine.disk.set_capacity(machine.disk.used() + room);
        }
        let after = 50 + self.cx.below(800) as i64;
        self.cx.after(after, Event::Mend { node: broker });
    }

    /// One operation fails with EIO: from then on nothing on that disk is trusted.
    fn break_disk(&mut self, broker: Node) {
        let may_die = self.may_die(broker, End::PowerCut);
        if !self.nodes.is_up(broker) || !may_die || self.dying.contains_key(&broker) {
            return;
        }
        self.count("input/output error");
        self.nemesis.unwell.insert(broker);
        self.dying.insert(broker, End::PowerCut);
        let kinds = [Operation::Write, Operation::SyncData, Operation::Create, Operation::SyncDir, Operation::Rename];
        let kind = kinds[self.cx.below(kinds.len())];
        let mut left = self.cx.below(4);
        let failed = Arc::new(AtomicBool::new(false));
        self.failed_disks.insert(broker, Arc::clone(&failed));
        if let Some(machine) = self.brokers.get(&broker) {
            machine.disk.set_fault(move |operation, _| {
                if operation != kind {
                    return None;
                }
                left = left.checked_sub(1).unwrap_or(usize::MAX);
                (left == usize::MAX).then(|| {
                    left = usize::MAX - 1;
                    failed.store(true, Ordering::Relaxed);
                    io::Error::from_raw_os_error(5)
                })
            });
        }
    }

    fn slow_or_skewed(&mut self, broker: Node) {
        if self.cx.chance(0.5) {
            self.count("slow node");
            let by = 20 + self.cx.below(200) as i64;
            self.cx.network.slow_down(broker, by);
        } else if let Some(machine) = self.brokers.get_mut(&broker) {
            // Less than a day: by then producers that were silent are forgotten, as in Kafka.
            let jump = 20 * 3_600_000;
            machine.clock_skew = if self.cx.below(2) == 0 { jump } else { -jump };
            let skew = machine.clock_skew;
            if let Some(process) = &mut machine.process {
                process.skew_clock(skew);
            }
            self.count("clock jumped");
        }
    }

    fn delete_records(&mut self) {
        let partition = self.cx.below(usize::try_from(self.cx.plan.partitions).unwrap_or(1)) as i32;
        // What is left is enough to know its producers by: of one that a log has forgotten any sequence number is taken for a
        // first one, and its batches may overtake each other.
        let values = self.watch.ledger().values(partition);
        let mut last = std::collections::BTreeMap::new();
        for (offset, value) in values.iter().enumerate().filter(|(_, value)| is_exactly_once(**value)) {
            last.insert(value >> 24, offset);
        }
        let known = last.into_values().min().unwrap_or(0);
        let leader = self.leader_of(partition);
        if let (Some(leader), true) = (leader, known > 0) {
            self.count("records deleted");
            let before = self.cx.below(known) as i64;
            self.cx.send(FIRST_CLIENT - 1, leader, Message::DeleteRecords { partition, before });
        }
    }
}
