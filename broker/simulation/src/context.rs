//! What every node may use: the clock, the dice, the network, and the ear of the observers.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::rc::Rc;

use ottla_decisions::IdSource;
use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use uuid::Uuid;

use crate::history::History;
use crate::message::{Message, Node};
use crate::network::Network;
use crate::observation::Observation;
use crate::plan::Plan;

/// Something that will happen.
#[derive(Debug)]
pub enum Event {
    Deliver {
        from: Node,
        to: Node,
        message: Message,
    },
    Tick {
        node: Node,
        life: u64,
    },
    /// A controller's proposal is on a majority of disks, or never will be.
    Proposed {
        controller: Node,
        proposal: u64,
    },
    QuorumTick,
    /// A machine is switched on again.
    Start {
        node: Node,
    },
    /// A paused process goes on.
    Resume {
        node: Node,
    },
    /// A fault of the network or of a disk is over.
    Mend {
        node: Node,
    },
    Nemesis,
    Calm,
}

#[derive(Debug)]
struct Due {
    at: i64,
    order: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    // The earliest is the greatest: the heap gives out its greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// What is common to all.
#[derive(Debug)]
pub struct Context {
    pub now: i64,
    pub rng: StdRng,
    pub plan: Rc<Plan>,
    pub network: Network,
    pub history: History,
    pub observed: Vec<Observation>,
    /// Brokers that were fenced for their silence before the calm.
    pub fenced: u64,
    queue: BinaryHeap<Due>,
    scheduled: u64,
    ids: u64,
}

impl Context {
    pub fn new(plan: Rc<Plan>, rng: StdRng, tells: bool) -> Self {
        let network = Network {
            loss: plan.message_loss,
            duplication: plan.message_duplication,
            delay_max: plan.delay_max,
            stragglers: plan.stragglers,
            ..Network::default()
        };
        Self {
            now: 0,
            rng,
            plan,
            network,
            history: History::new(tells),
            observed: Vec::new(),
            fenced: 0,
            queue: BinaryHeap::new(),
            scheduled: 0,
            ids: 0,
        }
    }

    pub fn at(&mut self, at: i64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Due { at, order: self.scheduled, event });
    }

    pub fn after(&mut self, ms: i64, event: Event) {
        self.at(self.now + ms, event);
    }

    /// The next event; time moves to it.
    pub fn next(&mut self) -> Option<Event> {
        let due = self.queue.pop()?;
        self.now = self.now.max(due.at);
        Some(due.event)
    }

    pub fn send(&mut self, from: Node, to: Node, message: Message) {
        // A coordinator writes a marker over one connection, until it is answered: none comes when the next transaction has begun.
        let is_marker = matches!(&message, Message::Produce(request) if request.is_marker);
        let [first, second] = self.network.deliveries(from, to, self.now, !is_marker, &mut self.rng);
        let second = second.filter(|_| !is_marker);
        if let Some(at) = second {
            self.at(at, Event::Deliver { from, to, message: message.clone() });
        }
        if let Some(at) = first {
            self.at(at, Event::Deliver { from, to, message });
        }
    }

    /// A number that no other request has.
    pub fn id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }

    pub fn tell(&mut self, line: impl FnOnce() -> String) {
        self.history.tell(self.now, line);
    }

    pub fn observe(&mut self, observation: Observation) {
        self.observed.push(observation);
    }
}

impl IdSource for Context {
    fn uuid(&mut self) -> Uuid {
        let (high, low) = (self.rng.next_u64(), self.rng.next_u64());
        // Small ids are reserved.
        Uuid::from_u64_pair(high | 1 << 40, low)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.rng.random_range(0..bound)
    }
}
