//! Producers: idempotent ones with acks=all and five requests in flight, plain ones with acks=1, transactional ones.

use std::collections::VecDeque;

use bytes::Bytes;
use ottla_protocol::control_record::end_txn_marker;
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};

use super::{build, push_values};
use crate::context::{Context, Event};
use crate::message::{Message, Node, ProduceRequest};
use crate::observation::Observation;
use crate::plan::{REQUEST_TIMEOUT_MS, TICK_MS};

const IN_FLIGHT_MAX: usize = 5;
const BACKOFF_MS: i64 = 30;
/// The kind of producer, as each value tells it.
const PLAIN: u64 = 1;
const IDEMPOTENT: u64 = 2;
const TRANSACTIONAL: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// acks=all with sequence numbers.
    Idempotent,
    /// acks=1, no sequence numbers.
    Plain,
    /// One transaction after the other, each under an epoch of its own (KIP-890).
    Transactional,
}

/// Whether a value was written by a producer whose records may appear only once and in order.
pub fn is_exactly_once(value: u64) -> bool {
    value != super::MARKER && (value >> 40) != PLAIN
}

/// Whether a value was written in a transaction.
pub fn is_transactional(value: u64) -> bool {
    (value >> 40) == TRANSACTIONAL
}

/// A client that writes to one partition.
#[derive(Debug)]
pub struct Producer {
    pub node: Node,
    pub partition: i32,
    kind: Kind,
    epoch: i16,
    next_sequence: i32,
    written: u64,
    in_flight: VecDeque<Batch>,
    transaction: Transaction,
    stopped: bool,
    /// Something was acknowledged, so that the partition knows the producer. Before that any sequence number is taken for
    /// a first one, and a second batch could overtake the first.
    known: bool,
}

#[derive(Debug)]
struct Batch {
    values: Vec<u64>,
    records: Bytes,
    is_marker: bool,
    /// Every attempt's request: whichever is answered well settles it.
    ids: Vec<u64>,
    next_attempt: i64,
    /// The last attempt was answered, and not well.
    refused: bool,
    /// Acknowledged; it leaves with those before it, for a partition remembers no more than five batches of a producer.
    done: bool,
}

#[derive(Debug, PartialEq)]
enum Transaction {
    None,
    Open { values: Vec<u64>, left: usize },
    Ending { abort: bool },
}

impl Producer {
    pub fn new(node: Node, partition: i32, kind: Kind) -> Self {
        Self {
            node,
            partition,
            kind,
            epoch: 0,
            next_sequence: 0,
            written: 0,
            in_flight: VecDeque::new(),
            transaction: Transaction::None,
            stopped: false,
            known: false,
        }
    }

    /// Nothing new is written from now on; what is open is brought to its end.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Everything that was sent is answered for.
    pub fn is_done(&self) -> bool {
        self.stopped && self.in_flight.is_empty() && self.transaction == Transaction::None
    }

    pub fn on_tick(&mut self, leader: Option<Node>, cx: &mut Context) {
        cx.after(TICK_MS, Event::Tick { node: self.node, life: 0 });
        match self.kind {
            Kind::Idempotent | Kind::Plain => {
                if !self.stopped && self.in_flight.len() < IN_FLIGHT_MAX && cx.chance(0.25) {
                    self.write(cx);
                }
            }
            Kind::Transactional => self.go_on(cx),
        }
        self.send_due(leader, cx);
    }

    fn go_on(&mut self, cx: &mut Context) {
        match &mut self.transaction {
            Transaction::None => {
                if !self.stopped && cx.chance(0.2) {
                    self.next_sequence = 0;
                    self.transaction = Transaction::Open { values: Vec::new(), left: 1 + cx.below(4) };
                }
            }
            Transaction::Open { left, .. } if *left > 0 && !self.stopped => {
                if cx.chance(0.3) {
                    *left -= 1;
                    self.write(cx);
                }
            }
            Transaction::Open { values, .. } => {
                // An abort need not wait for what is still on its way; a commit must.
                let abort = cx.chance(0.4);
                if !abort && !self.in_flight.is_empty() {
                    return;
                }
                if abort {
                    cx.observe(Observation::Aborts { values: std::mem::take(values) });
                    self.in_flight.clear();
                }
                self.transaction = Transaction::Ending { abort };
                // The marker carries the next epoch: whatever comes late is then of an epoch that has passed.
                self.epoch += 1;
                let records = end_txn_marker(
                    ProducerId(i64::from(self.node)),
                    ProducerEpoch(self.epoch),
                    0,
                    !abort,
                    Timestamp(1_000_000_000),
                );
                let batch = Batch {
                    values: Vec::new(),
                    records,
                    is_marker: true,
                    ids: Vec::new(),
                    next_attempt: 0,
                    refused: false,
                    done: false,
                };
                self.in_flight.push_back(batch);
            }
            Transaction::Ending { .. } => {
                if self.in_flight.is_empty() {
                    self.transaction = Transaction::None;
                }
            }
        }
    }

    fn write(&mut self, cx: &mut Context) {
        let count = 1 + cx.below(3);
        let kind = match self.kind {
            Kind::Plain => PLAIN,
            Kind::Idempotent => IDEMPOTENT,
            Kind::Transactional => TRANSACTIONAL,
        };
        let values: Vec<u64> =
            (0..count as u64).map(|n| kind << 40 | u64::from(self.node) << 24 | (self.written + n)).collect();
        self.written += count as u64;
        let mut builder = BatchBuilder::new();
        if self.kind != Kind::Plain {
            let id = ProducerId(i64::from(self.node));
            builder = builder.producer(id, ProducerEpoch(self.epoch), self.next_sequence);
            self.next_sequence += count as i32;
        }
        if let Transaction::Open { values: of_transaction, .. } = &mut self.transaction {
            builder = builder.transactional(true);
            of_transaction.extend(&values);
        }
        push_values(&mut builder, &values, cx.plan.padding);
        let batch = Batch {
            values,
            records: build(builder),
            is_marker: false,
            ids: Vec::new(),
            next_attempt: 0,
            refused: false,
            done: false,
        };
        self.in_flight.push_back(batch);
    }

    fn send_due(&mut self, leader: Option<Node>, cx: &mut Context) {
        let Some(leader) = leader else { return };
        let acks = if self.kind == Kind::Plain { 1 } else { -1 };
        let ordered = self.kind != Kind::Plain;
        let many = if ordered && !self.known { 1 } else { IN_FLIGHT_MAX };
        for batch in self.in_flight.iter_mut().take(many).filter(|batch| !batch.done) {
            if cx.now < batch.next_attempt {
                // Sequence numbers must arrive in order: what is behind waits too.
                if ordered && batch.refused {
                    break;
                }
                continue;
            }
            batch.refused = false;
            let id = cx.id();
            batch.ids.push(id);
            batch.next_attempt = cx.now + REQUEST_TIMEOUT_MS;
            let (partition, is_marker, records) = (self.partition, batch.is_marker, batch.records.clone());
            cx.send(self.node, leader, Message::Produce(ProduceRequest { id, partition, acks, is_marker, records }));
        }
    }

    pub fn on_produced(&mut self, id: u64, answer: Result<i64, ErrorCode>, cx: &mut Context) {
        let Some(at) = self.in_flight.iter().position(|batch| batch.ids.contains(&id)) else { return };
        match answer {
            Ok(first_offset) => {
                self.known = true;
                let batch = &mut self.in_flight[at];
                batch.done = true;
                let acks = if self.kind == Kind::Plain { 1 } else { -1 };
                let (producer, partition, values) = (self.node, self.partition, batch.values.clone());
                cx.observe(Observation::Acknowledged { producer, partition, first_offset, values, acks });
                while self.in_flight.front().is_some_and(|batch| batch.done) {
                    self.in_flight.pop_front();
                }
            }
            Err(code) => {
                let (node, first) = (self.node, self.in_flight[at].values.first().copied());
                cx.tell(|| format!("producer {node} is refused {first:x?}: {code}"));
                self.in_flight[at].next_attempt = cx.now + BACKOFF_MS;
                self.in_flight[at].refused = true;
            }
        }
    }
}
