//! Random producers, a log that fails, coordinators that move, markers that are lost and doubled: whatever happens, the
//! invariants below hold. A seed reproduces everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::test_world::{Step, World};
use super::{Markers, TransactionAction, TransactionRecord, TransactionRequest, TransactionResponse, TransactionState};
use crate::shard::Producer;

const IDS: [&str; 3] = ["payments", "orders", "audit"];
const STEPS: usize = 400;

/// A partition of the data plane, as far as transactions go.
#[derive(Default)]
struct Partition {
    epochs: BTreeMap<ProducerId, ProducerEpoch>,
    open: BTreeSet<ProducerId>,
}

struct Simulation {
    world: World,
    rng: StdRng,
    /// Who each client believes to be.
    clients: BTreeMap<&'static str, Producer>,
    in_flight: Vec<Markers>,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// Every state an id ever had in the log, in order.
    history: BTreeMap<Arc<str>, Vec<TransactionRecord>>,
    /// What clients were told: (id, producer at the end, commit).
    promised: Vec<(Arc<str>, bool)>,
    client_version: i16,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let client_version = if rng.random_bool(0.5) { 2 } else { 0 };
        let mut world = World::new(client_version.max(1));
        world.config.timeout_ms_max = 60_000;
        Self {
            world,
            rng,
            clients: BTreeMap::new(),
            in_flight: Vec::new(),
            partitions: BTreeMap::new(),
            history: BTreeMap::new(),
            promised: Vec::new(),
            client_version,
        }
    }

    fn absorb(&mut self, step: Step) -> Vec<Result<TransactionResponse, ErrorCode>> {
        for record in step.records {
            self.epochs_never_go_back(&record);
            self.only_lawful_transitions(&record);
            self.history.entry(Arc::clone(&record.transactional_id)).or_default().push(record);
        }
        for action in step.actions {
            if let TransactionAction::SendMarkers(markers) = action {
                self.in_flight.push(markers);
            }
        }
        step.answers
    }

    fn run(mut self) {
        for _ in 0..STEPS {
            let id = IDS[self.rng.random_range(0..IDS.len())];
            match self.rng.random_range(0..100) {
                0..15 => self.init(id),
                15..45 => self.write(id),
                45..65 => self.end(id),
                65..85 => self.deliver_markers(),
                85..90 => {
                    let now = Timestamp(self.world.now.0 + self.rng.random_range(1..30_000));
                    let step = self.world.advance(now);
                    self.absorb(step);
                }
                90..94 => self.move_coordinator(),
                94..97 => self.world.log_is_down = !self.world.log_is_down,
                97..99 => self.world.ids.out_of_ids = !self.world.ids.out_of_ids,
                _ => self.use_up_epochs(id),
            }
        }
        self.calm_down();
        self.no_hanging_transaction();
        self.every_prepared_transaction_completes_exactly_once();
        self.promises_are_kept();
    }

    fn init(&mut self, id: &'static str) {
        let expected = self.clients.get(id).copied().filter(|_| self.rng.random_bool(0.5));
        let request = TransactionRequest::InitProducerId { transactional_id: id.into(), timeout_ms: 20_000, expected };
        let step = self.world.ask(request);
        if let Some(Ok(TransactionResponse::Producer(producer))) = self.absorb(step).pop() {
            // Answers get lost.
            if self.rng.random_bool(0.9) {
                self.clients.insert(id, producer);
            }
        }
    }

    fn write(&mut self, id: &'static str) {
        let Some(&producer) = self.clients.get(id) else { return };
        let partition = TopicPartition::new("t", self.rng.random_range(0..4));
        let request = TransactionRequest::AddPartitions {
            transactional_id: id.into(),
            producer,
            partitions: vec![partition.clone()],
            client_version: self.client_version,
        };
        let step = self.world.ask(request);
        let answers = self.absorb(step);
        // The write itself may come or not; late ones of a fenced producer are refused by the partition.
        if matches!(answers[..], [Ok(_)]) && self.rng.random_bool(0.9) {
            let at = self.partitions.entry(partition).or_default();
            let epoch = at.epochs.entry(producer.id).or_insert(producer.epoch);
            if *epoch <= producer.epoch {
                *epoch = producer.epoch;
                at.open.insert(producer.id);
            }
        }
    }

    fn end(&mut self, id: &'static str) {
        let Some(&producer) = self.clients.get(id) else { return };
        let commit = self.rng.random_bool(0.7);
        let request = TransactionRequest::EndTxn {
            transactional_id: id.into(),
            producer,
            commit,
            client_version: self.client_version,
        };
        let step = self.world.ask(request);
        if let Some(Ok(TransactionResponse::Producer(next))) = self.absorb(step).pop() {
            self.promised.push((id.into(), commit));
            if self.rng.random_bool(0.9) {
                self.clients.insert(id, next);
            }
        }
    }

    fn deliver_markers(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..self.in_flight.len());
        let markers = self.in_flight[index].clone();
        for partition in markers.partitions.iter() {
            let at = self.partitions.entry(partition.clone()).or_default();
            let epoch = at.epochs.entry(markers.producer.id).or_insert(markers.producer.epoch);
            if *epoch <= markers.producer.epoch {
                *epoch = markers.producer.epoch;
                at.open.remove(&markers.producer.id);
            }
        }
        let step = self.world.ask(TransactionRequest::MarkersWritten {
            transactional_id: Arc::clone(&markers.transactional_id),
            producer: markers.producer,
        });
        let said = matches!(self.absorb(step)[..], [Ok(_)]);
        // Sometimes they come twice.
        if said && self.rng.random_bool(0.8) {
            self.in_flight.remove(index);
        }
    }

    fn move_coordinator(&mut self) {
        // Markers on their way belong to the old coordinator: its host stops sending them.
        self.in_flight.clear();
        let step = self.world.reload();
        self.absorb(step);
    }

    /// Puts an idle id near the end of its epochs, as 32,000 transactions would.
    fn use_up_epochs(&mut self, id: &'static str) {
        let Some(current) = self.world.state(id).filter(|t| t.state.is_idle()) else { return };
        if self.world.log_is_down || current.producer.epoch.0 > i16::MAX - 10 {
            return;
        }
        let mut worn = super::Transaction::clone(&current);
        worn.producer.epoch = ProducerEpoch(i16::MAX - 3);
        worn.last_producer_epoch = ProducerEpoch(-1);
        let record = TransactionRecord {
            transactional_id: id.into(),
            transaction: Some(Arc::new(worn.clone())),
            value_version: 1,
        };
        self.world.log.push(<super::TransactionShard as crate::shard::Shard>::encode(&record));
        ottla_state_machine::StateMachine::replay(&mut self.world.hard, &record);
        self.history.entry(id.into()).or_default().push(record);
        self.clients.insert(id, worn.producer);
    }

    fn calm_down(&mut self) {
        self.world.log_is_down = false;
        self.world.ids.out_of_ids = false;
        for _ in 0..20 {
            let now = Timestamp(self.world.now.0 + 30_000);
            let step = self.world.advance(now);
            self.absorb(step);
            while !self.in_flight.is_empty() {
                self.deliver_markers();
            }
        }
    }

    /// Invariant: the epoch of a producer id never gets smaller, and an id that was left is never come back to.
    fn epochs_never_go_back(&self, record: &TransactionRecord) {
        let (Some(history), Some(next)) = (self.history.get(&record.transactional_id), &record.transaction) else {
            return;
        };
        for before in history.iter().filter_map(|record| record.transaction.as_deref()) {
            if before.producer.id == next.producer.id {
                assert!(before.producer.epoch <= next.producer.epoch, "{before:?} then {next:?}");
            } else {
                assert!(before.producer.id < next.producer.id, "{before:?} then {next:?}");
            }
        }
    }

    /// Invariant: states follow each other as the module's picture says.
    fn only_lawful_transitions(&self, record: &TransactionRecord) {
        use TransactionState as T;
        let Some(next) = &record.transaction else { return };
        let before = self.history.get(&record.transactional_id).and_then(|history| history.last());
        let Some(before) = before.and_then(|record| record.transaction.as_deref()) else {
            return assert_eq!(next.state, T::Empty);
        };
        let lawful = match next.state {
            T::Empty => before.state.is_idle(),
            T::Ongoing => before.state == T::Ongoing || before.state.is_idle(),
            T::PrepareCommit => before.state == T::Ongoing,
            T::PrepareAbort => before.state == T::Ongoing || (before.state.is_idle() && self.client_version == 2),
            T::CompleteCommit => before.state == T::PrepareCommit,
            T::CompleteAbort => before.state == T::PrepareAbort,
            T::Dead | T::PrepareEpochFence => false,
        };
        assert!(lawful, "{before:?} then {next:?}");
    }

    /// Invariant: once everything works again, no transaction is open, neither here nor on a partition.
    fn no_hanging_transaction(&self) {
        for (id, transaction) in self.world.hard.iter() {
            assert!(transaction.state.is_idle(), "{id}: {transaction:?}");
        }
        for (partition, at) in &self.partitions {
            assert!(at.open.is_empty(), "{partition} still has open transactions of {:?}", at.open);
        }
    }

    /// Invariant: a Prepare record is followed by its own Complete record, and by exactly one.
    fn every_prepared_transaction_completes_exactly_once(&self) {
        for (id, history) in &self.history {
            let states: Vec<_> =
                history.iter().filter_map(|record| record.transaction.as_ref().map(|t| t.state)).collect();
            for (index, state) in states.iter().enumerate() {
                let follows = states.get(index + 1);
                match state {
                    TransactionState::PrepareCommit => {
                        assert_eq!(follows, Some(&TransactionState::CompleteCommit), "{id}")
                    }
                    TransactionState::PrepareAbort => {
                        assert_eq!(follows, Some(&TransactionState::CompleteAbort), "{id}")
                    }
                    _ => {}
                }
            }
        }
    }

    /// Invariant: an end that a client was told of is in the log.
    fn promises_are_kept(&self) {
        for id in IDS {
            let ended = |commit| {
                let wanted = if commit { TransactionState::CompleteCommit } else { TransactionState::CompleteAbort };
                let states = self.history.get(id).into_iter().flatten().filter_map(|r| r.transaction.as_ref());
                states.filter(|t| t.state == wanted).count()
            };
            let told = |commit| self.promised.iter().any(|(of, how)| &**of == id && *how == commit);
            assert!(!told(true) || ended(true) > 0, "{id}");
            assert!(!told(false) || ended(false) > 0, "{id}");
        }
    }
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let seeds = match std::env::var("OTTLA_SEED") {
        Ok(seed) => {
            let seed: u64 = seed.parse().unwrap();
            seed..seed + 1
        }
        Err(_) => 0..400,
    };
    for seed in seeds {
        println!("seed {seed}");
        Simulation::new(seed).run();
    }
}
