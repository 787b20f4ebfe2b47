//! Who can reach whom, and what happens to messages on their way.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;

use crate::message::Node;

/// How late a message may come at most that has been forgotten in some buffer.
const STRAGGLES_MS: i64 = 700;

/// The network's state.
#[derive(Debug, Default)]
pub struct Network {
    /// One-way cuts.
    pub cuts: BTreeSet<(Node, Node)>,
    /// What a slow node adds to everything it sends.
    pub slow: BTreeMap<Node, i64>,
    /// When the last message of a connection arrives: a connection keeps the order.
    pub last: BTreeMap<(Node, Node), i64>,
    pub loss: f64,
    pub duplication: f64,
    pub delay_max: i64,
    pub stragglers: f64,
}

impl Network {
    pub fn reaches(&self, from: Node, to: Node) -> bool {
        !self.cuts.contains(&(from, to))
    }

    pub fn cut(&mut self, from: Node, to: Node) {
        self.cuts.insert((from, to));
    }

    pub fn slow_down(&mut self, node: Node, by: i64) {
        self.slow.insert(node, by);
    }

    pub fn heal(&mut self) {
        self.cuts.clear();
        self.slow.clear();
    }

    /// Everything is well from now on.
    pub fn calm(&mut self) {
        self.heal();
        self.loss = 0.0;
        self.duplication = 0.0;
        self.stragglers = 0.0;
        self.delay_max = 3;
    }

    /// When the copies of a message arrive: none, one or two.
    pub fn deliveries(
        &mut self,
        from: Node,
        to: Node,
        now: i64,
        may_straggle: bool,
        rng: &mut StdRng,
    ) -> [Option<i64>; 2] {
        if !self.reaches(from, to) || (self.loss > 0.0 && rng.random_bool(self.loss)) {
            return [None, None];
        }
        let slow = self.slow.get(&from).copied().unwrap_or(0);
        let at = now + slow + rng.random_range(1..=self.delay_max);
        // Brokers' and clients' connections keep the order; what is sent again on another connection does not.
        let last = self.last.entry((from, to)).or_insert(0);
        let at = if rng.random_bool(0.95) { at.max(*last) } else { at };
        *last = at.max(*last);
        // Sent before its connection was lost, and found in a buffer long after.
        let late = may_straggle && self.stragglers > 0.0 && rng.random_bool(self.stragglers);
        let at = if late { at + rng.random_range(0..STRAGGLES_MS) } else { at };
        let again = self.duplication > 0.0 && rng.random_bool(self.duplication);
        [Some(at), again.then(|| at + rng.random_range(0..=self.delay_max * 10))]
    }
}
