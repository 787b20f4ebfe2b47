//! The world of one seed: all nodes, the loop that lets things happen, and the look at whether all is well again.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ottla_decisions::ControllerRequest;
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::broker::{Broker, Wish};
use crate::clients::{Consumer, Kind, Producer};
use crate::context::{Context, Event};
use crate::invariants::{Scene, Watch};
use crate::message::{CONTROLLERS, FIRST_CLIENT, FIRST_CONTROLLER, Message, Node};
use crate::nemesis::{End, Nemesis};
use crate::nodes::Nodes;
use crate::observation::Observation;
use crate::plan::Plan;
use crate::quorum::Quorum;

/// A session, and the longest that a last heartbeat may have been on its way.
const SILENCE_MAX_MS: i64 = 2_000;

/// Everything.
#[derive(Debug)]
pub struct World {
    pub cx: Context,
    pub nodes: Nodes,
    pub brokers: BTreeMap<Node, Broker>,
    pub quorum: Quorum,
    pub watch: Watch,
    pub nemesis: Nemesis,
    /// Brokers that have ever been switched on.
    pub started: BTreeSet<Node>,
    /// Brokers whose disk is about to end their lives.
    pub dying: BTreeMap<Node, End>,
    /// Whether an operation has failed on a disk that is to fail.
    pub failed_disks: BTreeMap<Node, Arc<AtomicBool>>,
    /// Since when a broker does not run.
    silent_since: BTreeMap<Node, i64>,
    producers: BTreeMap<Node, Producer>,
    consumers: BTreeMap<Node, Consumer>,
    calm: bool,
}

impl World {
    pub fn new(seed: u64, tells: bool) -> Self {
        Self::with(seed, tells, |plan| plan)
    }

    /// The world of a seed with another plan than it drew.
    pub fn with(seed: u64, tells: bool, change: impl FnOnce(Plan) -> Plan) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let plan = Rc::new(change(Plan::draw(&mut rng)));
        let mut cx = Context::new(Rc::clone(&plan), rng, tells);
        cx.tell(|| format!("{plan:?}"));
        let quorum = Quorum::new(&cx);
        let mut brokers = BTreeMap::new();
        for node in 1..=plan.brokers {
            brokers.insert(node, Broker::new(node, &mut cx));
        }
        let mut world = Self {
            cx,
            nodes: Nodes::default(),
            brokers,
            quorum,
            watch: Watch::default(),
            nemesis: Nemesis::default(),
            started: BTreeSet::new(),
            dying: BTreeMap::new(),
            failed_disks: BTreeMap::new(),
            silent_since: BTreeMap::new(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            calm: false,
        };
        world.begin(&plan);
        world
    }

    fn begin(&mut self, plan: &Plan) {
        for controller in FIRST_CONTROLLER..FIRST_CONTROLLER + CONTROLLERS {
            self.nodes.start(controller);
        }
        self.cx.at(0, Event::QuorumTick);
        for node in 1..=plan.brokers {
            let late = plan.newcomer && node == plan.brokers;
            let at = if late { 1_000 + self.cx.below(1_500) as i64 } else { 1 };
            self.cx.at(at, Event::Start { node });
        }
        let mut client = FIRST_CLIENT;
        for partition in 0..plan.partitions {
            for kind in [Kind::Idempotent, Kind::Plain, Kind::Transactional] {
                self.producers.insert(client, Producer::new(client, partition, kind));
                self.cx.at(400, Event::Tick { node: client, life: 0 });
                client += 1;
            }
            for committed_only in [false, true] {
                self.consumers.insert(client, Consumer::new(client, partition, committed_only));
                self.cx.at(500, Event::Tick { node: client, life: 0 });
                client += 1;
            }
        }
        self.cx.at(900, Event::Nemesis);
        self.cx.at(plan.calm_at, Event::Calm);
    }

    /// Runs to the end, or to the first thing that must not be.
    pub fn run(&mut self) -> Result<(), String> {
        let mut asked_for_topic = false;
        let mut next_look = 0;
        while let Some(event) = self.cx.next() {
            if self.cx.now > self.cx.plan.end_at {
                return Err(format!("all is well again: it is not: {}", self.is_well().err().unwrap_or_default()));
            }
            self.on_event(event);
            self.check()?;
            if !asked_for_topic || self.calm {
                if self.cx.now < next_look {
                    continue;
                }
                next_look = self.cx.now + 100;
                if self.calm && self.is_well().is_ok() {
                    let scene = Scene { brokers: &self.brokers, quorum: &self.quorum, plan: &self.cx.plan };
                    return self.watch.at_end(scene);
                }
                asked_for_topic = asked_for_topic || self.create_topic();
            }
        }
        Err("nothing happens any more".to_owned())
    }

    /// Once three brokers are there. True when the topic is.
    fn create_topic(&mut self) -> bool {
        let image = self.quorum.committed();
        if image.topics.by_name("t").is_some() {
            return true;
        }
        let factor = self.cx.plan.replication_factor;
        if let (Some(leader), true) = (self.quorum.leader(), image.active_brokers().count() >= factor) {
            let topic = CreatableTopic::default()
                .with_name(crate::topic_name())
                .with_num_partitions(self.cx.plan.partitions)
                .with_replication_factor(factor as i16);
            let request = ControllerRequest::from(CreateTopicsRequest::default().with_topics(vec![topic]));
            let id = self.cx.id();
            self.cx.send(FIRST_CLIENT - 1, leader, Message::Ask { id, request: Rc::new(request) });
        }
        false
    }

    fn on_event(&mut self, event: Event) {
        let target = match &event {
            Event::Deliver { to, .. } => Some(*to),
            Event::Tick { node, .. } => Some(*node),
            Event::Proposed { controller, .. } => Some(*controller),
            _ => None,
        };
        if let Some(node) = target.filter(|node| *node < FIRST_CLIENT) {
            if self.nodes.is_paused(node) {
                self.nodes.keep(node, event);
                return;
            }
            if !self.nodes.is_up(node) {
                return;
            }
        }
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Tick { node, life } => self.on_tick(node, life),
            Event::Proposed { controller, proposal } => {
                self.quorum.on_proposed(controller, proposal, &self.nodes, &mut self.cx);
            }
            Event::QuorumTick => {
                self.quorum.tick(&self.nodes, &mut self.cx);
                self.look_who_is_well();
                self.look_who_is_silent();
            }
            Event::Start { node } => self.start(node),
            Event::Resume { node } => {
                self.cx.tell(|| format!("{node} goes on"));
                for event in self.nodes.resume(node) {
                    self.cx.after(0, event);
                }
            }
            Event::Mend { node } => {
                if let Some(machine) = self.brokers.get(&node) {
                    machine.disk.set_capacity(u64::MAX);
                } else {
                    self.cx.network.heal();
                }
            }
            Event::Nemesis => {
                if !self.calm {
                    self.on_nemesis();
                }
            }
            Event::Calm => self.calm_down(),
        }
    }

    fn deliver(&mut self, from: Node, to: Node, message: Message) {
        match to {
            FIRST_CLIENT.. => match message {
                Message::Produced { id, answer } => {
                    if let Some(producer) = self.producers.get_mut(&to) {
                        producer.on_produced(id, answer, &mut self.cx);
                    }
                }
                Message::ReadAnswer(answer) => {
                    if let Some(consumer) = self.consumers.get_mut(&to) {
                        consumer.on_answer(answer, &mut self.cx);
                    }
                }
                _ => {}
            },
            FIRST_CONTROLLER.. => self.quorum.on_message(to, from, message, &self.nodes, &mut self.cx),
            _ => {
                if let Some(process) = self.brokers.get_mut(&to).and_then(|broker| broker.process.as_mut()) {
                    process.on_message(from, message, &mut self.cx);
                }
                self.grant_wish(to);
            }
        }
    }

    fn on_tick(&mut self, node: Node, life: u64) {
        if node >= FIRST_CLIENT {
            if let Some(partition) = self.producers.get(&node).map(|producer| producer.partition) {
                let leader = self.leader_of(partition);
                if let Some(producer) = self.producers.get_mut(&node) {
                    producer.on_tick(leader, &mut self.cx);
                }
            } else if let Some(partition) = self.consumers.get(&node).map(|consumer| consumer.partition) {
                let leader = self.leader_of(partition);
                if let Some(consumer) = self.consumers.get_mut(&node) {
                    consumer.on_tick(leader, &mut self.cx);
                }
            }
            return;
        }
        if let Some(process) = self.brokers.get_mut(&node).and_then(|broker| broker.process.as_mut())
            && process.life() == life
        {
            process.on_tick(&mut self.cx);
        }
        self.grant_wish(node);
    }

    /// Who leads, as some broker believes.
    pub fn leader_of(&mut self, partition: i32) -> Option<Node> {
        let up: Vec<&Broker> = self.brokers.values().filter(|broker| broker.image().is_some()).collect();
        if up.is_empty() {
            return None;
        }
        let asked = up[self.cx.below(up.len())];
        let leader = asked.image()?.topics.partition("t", partition)?.leader?;
        Some(leader.0 as Node)
    }

    fn grant_wish(&mut self, node: Node) {
        self.end_or_go_on(node);
        let outlives = self.brokers.get(&node).is_some_and(|broker| broker.process.is_some());
        if outlives && self.failed_disks.get(&node).is_some_and(|failed| failed.load(Ordering::Relaxed)) {
            self.cx.observe(Observation::OutlivesItsDisk { broker: node });
        }
    }

    fn end_or_go_on(&mut self, node: Node) {
        let process = self.brokers.get_mut(&node).and_then(|broker| broker.process.as_mut());
        match process.and_then(|process| process.wish) {
            None => {}
            Some(Wish::Halt) => {
                let end = self.dying.get(&node).copied().unwrap_or(End::Kill);
                self.die(node, end);
            }
            Some(Wish::ShutDown) => {
                self.cx.tell(|| format!("broker {node} has shut down"));
                self.nodes.stop(node);
                if let Some(machine) = self.brokers.get_mut(&node) {
                    machine.process = None;
                    machine.disk = machine.disk.after_kill();
                }
                self.dying.remove(&node);
                let pause = 10 + self.cx.below(600) as i64;
                self.cx.after(pause, Event::Start { node });
            }
        }
    }

    fn start(&mut self, node: Node) {
        if self.nodes.is_up(node) {
            return;
        }
        let life = self.nodes.start(node);
        if node >= FIRST_CONTROLLER {
            return;
        }
        self.started.insert(node);
        self.failed_disks.remove(&node);
        if let Some(machine) = self.brokers.get_mut(&node)
            && !machine.start(life, &mut self.cx)
        {
            self.cx.tell(|| format!("broker {node} cannot start"));
            self.nodes.stop(node);
            machine.disk.clear_fault();
            self.cx.after(100, Event::Start { node });
        }
    }

    fn check(&mut self) -> Result<(), String> {
        for seen in std::mem::take(&mut self.cx.observed) {
            let scene = Scene { brokers: &self.brokers, quorum: &self.quorum, plan: &self.cx.plan };
            self.watch.on(&seen, scene)?;
            if let Observation::Damaged { broker } = seen {
                self.nemesis.unwell.insert(broker);
            }
        }
        Ok(())
    }

    /// Brokers that do not run, and that the controller has had the time to miss.
    fn look_who_is_silent(&mut self) {
        let now = self.cx.now;
        for node in self.brokers.keys().copied() {
            if self.nodes.is_up(node) {
                self.silent_since.remove(&node);
                continue;
            }
            let for_ms = now - *self.silent_since.entry(node).or_insert(now);
            let for_ms = for_ms.min(self.quorum.steady_for(now));
            if for_ms > SILENCE_MAX_MS {
                self.cx.observe(Observation::Silent { broker: node, for_ms });
            }
        }
    }

    /// A broker that died is well again once it is in sync wherever it has a replica.
    fn look_who_is_well(&mut self) {
        if self.nemesis.unwell.is_empty() {
            return;
        }
        let image = self.quorum.committed();
        let well: Vec<Node> = self
            .nemesis
            .unwell
            .iter()
            .copied()
            .filter(|node| {
                let id = ottla_protocol::BrokerId(i32::from(*node));
                let epoch = self.brokers.get(node).and_then(|broker| broker.process.as_ref()?.epoch());
                let registered = epoch.is_some() && image.brokers.get(&id).map(|b| b.epoch) == epoch;
                registered
                    && !self.dying.contains_key(node)
                    && image.is_active(id)
                    && image.topics.by_name("t").is_none_or(|topic| {
                        topic.partitions.iter().all(|p| !p.replicas.contains(&id) || p.isr.contains(&id))
                    })
            })
            .collect();
        for broker in well {
            self.nemesis.unwell.remove(&broker);
        }
    }

    fn calm_down(&mut self) {
        self.calm = true;
        self.cx.tell(|| "== all faults end".to_owned());
        self.cx.network.calm();
        for broker in self.brokers.values_mut() {
            broker.disk.clear_fault();
            broker.disk.set_capacity(u64::MAX);
        }
        self.dying.clear();
        let brokers: Vec<Node> = self.brokers.keys().copied().collect();
        for node in brokers.into_iter().chain(FIRST_CONTROLLER..FIRST_CONTROLLER + CONTROLLERS) {
            if self.nodes.is_paused(node) {
                self.cx.after(1, Event::Resume { node });
            } else if !self.nodes.is_up(node) {
                self.cx.after(1, Event::Start { node });
            }
        }
        for producer in self.producers.values_mut() {
            producer.stop();
        }
    }

    /// Whether everything is as it should be when nothing goes wrong; what is not, if not.
    fn is_well(&self) -> Result<(), String> {
        if self.quorum.leader().is_none() {
            return Err("no controller leads".to_owned());
        }
        let image = self.quorum.committed();
        if let Some(broker) = self.brokers.keys().find(|node| !image.is_active(i32::from(**node).into())) {
            return Err(format!("broker {broker} is not active"));
        }
        let topic = image.topics.by_name("t").ok_or("no topic")?;
        for (index, partition) in (0..).zip(&topic.partitions) {
            if partition.leader.is_none()
                || partition.isr.len() < partition.replicas.len()
                || partition.is_reassigning()
            {
                return Err(format!("t-{index} is {partition:?}"));
            }
            let mut ends = BTreeSet::new();
            for replica in &partition.replicas {
                let broker = self.brokers.get(&(replica.0 as Node));
                let state = broker.and_then(|broker| broker.process.as_ref()?.replica_state(index));
                let state = state.ok_or_else(|| format!("broker {replica} has no t-{index}"))?;
                if state.high_watermark < state.log_end || state.epoch != partition.leader_epoch.0 {
                    return Err(format!("{state:?}"));
                }
                ends.insert(state.log_end);
            }
            if ends.len() > 1 {
                return Err(format!("the logs of t-{index} end at {ends:?}"));
            }
            let end = ends.first().copied().unwrap_or(0);
            if let Some(late) = self.consumers.values().find(|c| c.partition == index && c.position < end) {
                return Err(format!("consumer {} is at {} of {end}", late.node, late.position));
            }
        }
        match self.producers.values().find(|producer| !producer.is_done()) {
            Some(producer) => Err(format!("producer {} waits: {producer:?}", producer.node)),
            None => Ok(()),
        }
    }
}
