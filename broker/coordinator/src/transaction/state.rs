//! What is known about every transactional id.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use ottla_protocol::{ProducerEpoch, ProducerId, Timestamp, TopicPartition};
use ottla_state_machine::StateMachine;

use super::record::TransactionRecord;
use crate::shard::Producer;

/// Where a transactional id stands. The numbers are those of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum TransactionState {
    /// Has a producer, and no transaction yet.
    Empty = 0,
    Ongoing = 1,
    /// Decided; markers are being written.
    PrepareCommit = 2,
    /// Decided; markers are being written.
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
    /// Being forgotten. Never in the log.
    Dead = 6,
    /// Being fenced. Never in the log.
    PrepareEpochFence = 7,
}

impl TransactionState {
    const ALL: [Self; 8] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
        Self::Dead,
        Self::PrepareEpochFence,
    ];

    pub fn from_id(id: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i8 == id)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// As DescribeTransactions and ListTransactions say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
            Self::Dead => "Dead",
            Self::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    /// Decided, but not every partition has its marker.
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Nothing is open: the id may expire.
    pub const fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }
}

/// One transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub producer: Producer,
    /// The id before the last record; tells a retry that crossed a change of ids.
    pub previous_producer_id: ProducerId,
    /// Where the producer moves once the prepared transaction is complete; -1 stays.
    pub next_producer_id: ProducerId,
    /// The epoch before the last bump; tells a retried InitProducerId. Not in the log, so unknown (-1) after a load.
    pub last_producer_epoch: ProducerEpoch,
    pub timeout_ms: i32,
    pub state: TransactionState,
    /// Sorted, without duplicates; shared, since every record carries the whole set.
    pub partitions: Arc<Vec<TopicPartition>>,
    /// When the transaction began; -1 before the first.
    pub start: Timestamp,
    pub last_update: Timestamp,
    /// The transaction version that the client last showed: 2 bumps epochs.
    pub client_version: i16,
}

/// No producer epoch.
pub(super) const NO_EPOCH: ProducerEpoch = ProducerEpoch(-1);

impl Transaction {
    /// The last usable epoch is reached. One more is kept back, so that a producer can always be fenced.
    pub const fn is_epoch_exhausted(epoch: ProducerEpoch) -> bool {
        epoch.0 >= i16::MAX - 1
    }

    pub fn contains(&self, partition: &TopicPartition) -> bool {
        self.partitions.binary_search(partition).is_ok()
    }

    /// Two-phase-commit transactions wait for their decision for ever.
    pub const fn has_timeout(&self) -> bool {
        self.timeout_ms != i32::MAX
    }

    fn deadline(&self) -> Option<Timestamp> {
        let running = self.state == TransactionState::Ongoing && self.has_timeout();
        running.then(|| Timestamp(self.start.0.saturating_add(i64::from(self.timeout_ms))))
    }
}

/// All transactional ids of a partition, and the order in which time touches them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transactions {
    by_id: OrdMap<Arc<str>, Arc<Transaction>>,
    /// Ongoing transactions by the time they run out.
    deadlines: OrdSet<(Timestamp, Arc<str>)>,
    /// Idle ids by their last use.
    idle: OrdSet<(Timestamp, Arc<str>)>,
}

impl Transactions {
    pub fn get(&self, transactional_id: &str) -> Option<&Arc<Transaction>> {
        self.by_id.get(transactional_id)
    }

    /// All of them, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Transaction>)> {
        self.by_id.iter()
    }

    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The first ongoing transaction to run out of time.
    pub(super) fn first_deadline(&self) -> Option<Timestamp> {
        self.deadlines.get_min().map(|(at, _)| *at)
    }

    /// Ongoing transactions whose time is up.
    pub(super) fn timed_out(&self, now: Timestamp) -> impl Iterator<Item = &Arc<str>> {
        self.deadlines.iter().take_while(move |(at, _)| *at < now).map(|(_, id)| id)
    }

    /// The last use of the id that is idle for longest.
    pub(super) fn first_idle(&self) -> Option<Timestamp> {
        self.idle.get_min().map(|(at, _)| *at)
    }

    /// Ids that are idle since `before` or longer.
    pub(super) fn idle_since(&self, before: Timestamp) -> impl Iterator<Item = &Arc<str>> {
        self.idle.iter().take_while(move |(at, _)| *at <= before).map(|(_, id)| id)
    }

    fn remove(&mut self, id: &Arc<str>) {
        let Some(former) = self.by_id.remove(id) else { return };
        if let Some(deadline) = former.deadline() {
            self.deadlines.remove(&(deadline, Arc::clone(id)));
        }
        if former.state.is_idle() {
            self.idle.remove(&(former.last_update, Arc::clone(id)));
        }
    }
}

impl StateMachine for Transactions {
    type Record = TransactionRecord;

    fn replay(&mut self, record: &TransactionRecord) {
        let id = &record.transactional_id;
        self.remove(id);
        let Some(transaction) = &record.transaction else { return };
        if let Some(deadline) = transaction.deadline() {
            self.deadlines.insert((deadline, Arc::clone(id)));
        }
        if transaction.state.is_idle() {
            self.idle.insert((transaction.last_update, Arc::clone(id)));
        }
        self.by_id.insert(Arc::clone(id), Arc::clone(transaction));
    }
}
