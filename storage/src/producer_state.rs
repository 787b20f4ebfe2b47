//! What a log remembers of its producers: sequences for deduplication, epochs for fencing, open transactions.
//!
//! Per producer the last [`WINDOW`] batches are kept, because that many requests may be in flight at once. A transaction
//! is *open* from its first batch to its marker, and *undecided for readers* until the marker is committed by the high
//! watermark; the last stable offset is the first offset of the oldest such transaction.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::LazyLock;

use ottla_protocol::record_batch::{BatchHeader, sequence_after};
use ottla_protocol::{ErrorCode, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::errors::AppendError;
use crate::producer_snapshot::ProducerSnapshot;
use crate::segment::AbortedEntry;
use crate::validate::AppendOrigin;

/// Batches per producer that a retry is recognized for.
pub const WINDOW: usize = 5;

/// What a log remembers of one producer, as snapshots store it and DescribeProducers tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerSnapshotEntry {
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    /// Of the last record; -1 if nothing but markers was seen.
    pub last_sequence: i32,
    /// -1 if nothing but markers was seen.
    pub last_offset: Offset,
    /// Last offset less first offset of the last batch.
    pub offset_delta: i32,
    pub last_timestamp: Timestamp,
    /// -1 before the first marker.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub current_txn_first_offset: Option<Offset>,
}

/// A batch that was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMetadata {
    pub last_sequence: i32,
    pub last_offset: Offset,
    pub offset_delta: i32,
    pub timestamp: Timestamp,
}

impl BatchMetadata {
    pub const fn first_offset(&self) -> Offset {
        Offset(self.last_offset.0 - self.offset_delta as i64)
    }

    const fn first_sequence(&self) -> i32 {
        match self.last_sequence - self.offset_delta {
            first if first >= 0 => first,
            // Wrapped: 0 follows 2^31-1.
            first => first.wrapping_add(i32::MAX).wrapping_add(1),
        }
    }
}

/// What an end-of-transaction marker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    pub commit: bool,
    pub coordinator_epoch: i32,
}

/// Names one verification of a producer's transaction: only the answer to the very question that was begun with it lets a
/// batch in. A yes that comes after the transaction's end is of no use to the next transaction (KIP-890).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationGuard(u64);

/// What speaks for a transactional batch that is the first of its transaction here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// The coordinator was not asked: only what continues an open transaction is taken.
    Missing,
    /// The coordinator has said that the transaction is open; it was asked with this guard.
    Guard(VerificationGuard),
    /// Whoever appends answers for it.
    NotNeeded,
    /// The same, and a marker among it ends a transaction of this version. From 2 on (KIP-890) its epoch is above that of
    /// the data, so that a late one can be told from one that is due.
    Ends { transaction_version: i16 },
}

/// From this version on each transaction has an epoch of its own.
const EPOCH_BUMPS: i16 = 2;

/// A transaction that the coordinator is being asked about. It ends with the first batch or with a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unverified {
    guard: VerificationGuard,
    epoch: ProducerEpoch,
    /// A higher sequence must not get in before it while it is tried again: every later try would be out of order.
    lowest_sequence: i32,
    /// Transaction version 2: markers have an epoch of their own.
    adds_partitions: bool,
    since: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    last_timestamp: Timestamp,
    txn_first_offset: Option<Offset>,
    batches: VecDeque<BatchMetadata>,
}

impl Producer {
    const fn new(epoch: ProducerEpoch) -> Self {
        Self {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: Timestamp(-1),
            txn_first_offset: None,
            batches: VecDeque::new(),
        }
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// All producers of a log.
#[derive(Debug, Clone, Default)]
pub struct ProducerState {
    /// Made for the first producer: most logs that rest know none.
    known: Option<Box<Known>>,
    guards: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Known {
    producers: HashMap<ProducerId, Producer>,
    /// First offset to producer of every open transaction.
    open: BTreeMap<Offset, ProducerId>,
    /// First offset to marker offset of transactions whose marker the high watermark has not passed.
    uncommitted: BTreeMap<Offset, Offset>,
    unverified: HashMap<ProducerId, Unverified>,
}

impl Known {
    fn is_empty(&self) -> bool {
        self.producers.is_empty() && self.open.is_empty() && self.uncommitted.is_empty() && self.unverified.is_empty()
    }
}

static NOBODY: LazyLock<Known> = LazyLock::new(Known::default);

impl PartialEq for ProducerState {
    fn eq(&self, other: &Self) -> bool {
        self.known() == other.known() && self.guards == other.guards
    }
}

impl Eq for ProducerState {}

impl ProducerState {
    fn known(&self) -> &Known {
        self.known.as_deref().unwrap_or_else(|| &NOBODY)
    }

    pub fn is_empty(&self) -> bool {
        self.known().producers.is_empty()
    }

    pub fn last_id(&self) -> Option<ProducerId> {
        self.known().producers.keys().max().copied()
    }

    /// Checks a batch of records against what is known; an exact repetition of a recent batch is returned as such.
    pub fn check(
        &self,
        header: &BatchHeader,
        origin: AppendOrigin,
        verification: Verification,
    ) -> Result<Option<BatchMetadata>, AppendError> {
        if !header.has_producer_id() || header.is_control() {
            return Ok(None);
        }
        let known = self.known().producers.get(&header.producer_id);
        if let Some(producer) = known {
            if header.producer_epoch < producer.epoch {
                return Err(AppendError::invalid(
                    ErrorCode::InvalidProducerEpoch,
                    format!(
                        "Epoch of producer {} is {}, which is smaller than the last seen epoch {}",
                        header.producer_id, header.producer_epoch, producer.epoch
                    ),
                ));
            }
            if origin == AppendOrigin::Client
                && let Some(duplicate) = duplicate_of(producer, header)
            {
                return Ok(Some(duplicate));
            }
        }
        let is_open =
            known.is_some_and(|known| known.txn_first_offset.is_some() && known.epoch == header.producer_epoch);
        let unverified = self.known().unverified.get(&header.producer_id);
        if origin == AppendOrigin::Client && header.is_transactional() && !is_open {
            let verified = match verification {
                Verification::NotNeeded | Verification::Ends { .. } => true,
                Verification::Guard(guard) => unverified.is_some_and(|unverified| unverified.guard == guard),
                Verification::Missing => false,
            };
            if !verified {
                return Err(AppendError::invalid(
                    ErrorCode::InvalidTxnState,
                    format!("Record was not part of an ongoing transaction of producer {}", header.producer_id),
                ));
            }
        }
        if origin == AppendOrigin::Client {
            if let Some(unverified) = unverified {
                unverified.check_sequence(known, header)?;
            }
            if let Some(producer) = known {
                check_sequence(producer, header)?;
            }
        }
        if known.is_some_and(|known| known.txn_first_offset.is_some()) && !header.is_transactional() {
            return Err(AppendError::invalid(
                ErrorCode::InvalidTxnState,
                format!("Expected transactional write from producer {}", header.producer_id),
            ));
        }
        Ok(None)
    }

    /// Checks a marker before it is appended by the leader.
    pub fn check_marker(
        &self,
        header: &BatchHeader,
        marker: Marker,
        verification: Verification,
    ) -> Result<(), AppendError> {
        let Some(producer) = self.known().producers.get(&header.producer_id) else { return Ok(()) };
        let has_own_epoch =
            matches!(verification, Verification::Ends { transaction_version } if transaction_version >= EPOCH_BUMPS);
        // With the epoch of an open transaction: it ended the one before, and comes (again) too late. Nothing lies beyond
        // the highest epoch, so there it may end what it finds.
        let is_late = has_own_epoch
            && header.producer_epoch == producer.epoch
            && producer.txn_first_offset.is_some()
            && header.producer_epoch.0 != i16::MAX;
        if header.producer_epoch < producer.epoch || is_late {
            return Err(AppendError::invalid(
                ErrorCode::InvalidProducerEpoch,
                format!(
                    "Marker's epoch {} of producer {} is too old, the last seen epoch is {}",
                    header.producer_epoch, header.producer_id, producer.epoch
                ),
            ));
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(AppendError::invalid(
                ErrorCode::TransactionCoordinatorFenced,
                format!(
                    "Invalid coordinator epoch {} for producer {}, the last seen one is {}",
                    marker.coordinator_epoch, header.producer_id, producer.coordinator_epoch
                ),
            ));
        }
        Ok(())
    }

    /// Takes note of an appended batch (offsets already assigned).
    pub fn apply_batch(&mut self, header: &BatchHeader) {
        if !header.has_producer_id() || header.is_control() {
            return;
        }
        let known = self.known.get_or_insert_default();
        let producer =
            known.producers.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch));
        producer.enter_epoch(header.producer_epoch);
        if header.base_sequence >= 0 {
            if producer.batches.len() == WINDOW {
                producer.batches.pop_front();
            }
            producer.batches.push_back(BatchMetadata {
                last_sequence: header.last_sequence(),
                last_offset: header.last_offset(),
                offset_delta: header.last_offset_delta,
                timestamp: header.max_timestamp,
            });
        }
        producer.last_timestamp = header.max_timestamp;
        if header.is_transactional() {
            known.unverified.remove(&header.producer_id);
        }
        if header.is_transactional() && producer.txn_first_offset.is_none() {
            producer.txn_first_offset = Some(header.base_offset);
            known.open.insert(header.base_offset, header.producer_id);
        }
    }

    /// Takes note of an appended marker; the aborted transaction that it ends, if any.
    pub fn apply_marker(&mut self, header: &BatchHeader, marker: Marker) -> Option<AbortedEntry> {
        let known = self.known.get_or_insert_default();
        let producer =
            known.producers.entry(header.producer_id).or_insert_with(|| Producer::new(header.producer_epoch));
        producer.enter_epoch(header.producer_epoch);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp = header.max_timestamp;
        // In version 2 a marker with the epoch of the question ends the transaction before: the question is of the next.
        let is_of_next =
            |unverified: &Unverified| unverified.adds_partitions && unverified.epoch == header.producer_epoch;
        if !known.unverified.get(&header.producer_id).is_some_and(is_of_next) {
            known.unverified.remove(&header.producer_id);
        }
        let first_offset = producer.txn_first_offset.take()?;
        let last_offset = header.base_offset;
        known.open.remove(&first_offset);
        let oldest_open = known.open.keys().next().copied();
        known.uncommitted.insert(first_offset, last_offset);
        (!marker.commit).then(|| AbortedEntry {
            producer_id: header.producer_id,
            first_offset,
            last_offset,
            last_stable_offset: oldest_open.unwrap_or(last_offset.plus(1)),
        })
    }

    /// First offset of the oldest transaction that is open or not committed.
    pub fn first_unstable(&self) -> Option<Offset> {
        let open = self.known().open.keys().next().copied();
        let uncommitted = self.known().uncommitted.keys().next().copied();
        match (open, uncommitted) {
            (Some(open), Some(uncommitted)) => Some(open.min(uncommitted)),
            (one, other) => one.or(other),
        }
    }

    pub fn has_uncommitted(&self) -> bool {
        !self.known().uncommitted.is_empty()
    }

    /// The high watermark has moved: transactions whose marker lies before it are decided.
    pub fn on_high_watermark(&mut self, high_watermark: Offset) {
        if let Some(known) = &mut self.known {
            known.uncommitted.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// The log begins at `start` now: nobody waits for transactions before it.
    pub fn on_log_start(&mut self, start: Offset) {
        if let Some(known) = &mut self.known {
            known.uncommitted.retain(|_, marker| *marker >= start);
        }
    }

    /// Whether the producer has an open transaction under this epoch.
    pub fn has_open_transaction(&self, id: ProducerId, epoch: ProducerEpoch) -> bool {
        let known = self.known().producers.get(&id);
        known.is_some_and(|producer| producer.txn_first_offset.is_some() && producer.epoch == epoch)
    }

    /// Before the coordinator is asked about a transaction that has written nothing here yet; `None` when it has, and
    /// nobody needs to be asked. The same guard is given to all who ask before the first batch or a marker.
    pub fn start_verification(
        &mut self,
        (id, epoch): (ProducerId, ProducerEpoch),
        sequence: i32,
        adds_partitions: bool,
        now: Timestamp,
    ) -> Option<VerificationGuard> {
        if self.has_open_transaction(id, epoch) {
            return None;
        }
        let guards = &mut self.guards;
        let unverified = self.known.get_or_insert_default().unverified.entry(id).or_insert_with(|| {
            *guards += 1;
            let guard = VerificationGuard(*guards);
            Unverified { guard, epoch, lowest_sequence: sequence, adds_partitions, since: now }
        });
        if epoch == unverified.epoch {
            unverified.lowest_sequence = unverified.lowest_sequence.min(sequence);
        } else if epoch > unverified.epoch {
            unverified.epoch = epoch;
            unverified.lowest_sequence = sequence;
        }
        Some(unverified.guard)
    }

    /// Whether a transactional batch of the producer would be taken now, having been admitted with this guard (`None`:
    /// because its transaction was open here).
    pub fn is_verified(&self, id: ProducerId, epoch: ProducerEpoch, guard: Option<VerificationGuard>) -> bool {
        let current = self.known().unverified.get(&id).map(|unverified| unverified.guard);
        self.has_open_transaction(id, epoch) || (guard.is_some() && guard == current)
    }

    /// Forgets producers that were silent for `expiration_ms` and have no open transaction.
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        let Some(known) = &mut self.known else { return };
        known.unverified.retain(|_, unverified| now.0.saturating_sub(unverified.since.0) < expiration_ms);
        known.producers.retain(|_, producer| {
            producer.txn_first_offset.is_some() || now.0.saturating_sub(producer.last_timestamp.0) < expiration_ms
        });
        if known.is_empty() {
            self.known = None;
        }
    }

    /// The last offset that a producer's deduplication or fencing depends on: compaction keeps the batch there.
    pub fn last_batch_offsets(&self) -> HashMap<ProducerId, (ProducerEpoch, Option<Offset>)> {
        let producers = &self.known().producers;
        producers
            .iter()
            .map(|(id, producer)| (*id, (producer.epoch, producer.batches.back().map(|batch| batch.last_offset))))
            .collect()
    }

    /// What a snapshot stores.
    pub fn snapshot(&self) -> ProducerSnapshot {
        let entries = self.entries();
        let of_producer = |entry: &ProducerSnapshotEntry| {
            let batches = self.known().producers.get(&entry.producer_id).map(|producer| &producer.batches);
            let before_last = batches.map_or(0, |batches| batches.len().saturating_sub(1));
            let older = batches.into_iter().flatten().take(before_last);
            older.map(|batch| (entry.producer_id, *batch)).collect::<Vec<_>>()
        };
        let older = entries.iter().flat_map(of_producer).collect();
        ProducerSnapshot { entries, older }
    }

    /// What DescribeProducers tells, by producer id.
    pub fn entries(&self) -> Vec<ProducerSnapshotEntry> {
        let producers = &self.known().producers;
        let mut entries: Vec<_> = producers
            .iter()
            .map(|(&producer_id, producer)| {
                let last = producer.batches.back();
                ProducerSnapshotEntry {
                    producer_id,
                    producer_epoch: producer.epoch,
                    last_sequence: last.map_or(-1, |batch| batch.last_sequence),
                    last_offset: last.map_or(Offset(-1), |batch| batch.last_offset),
                    offset_delta: last.map_or(0, |batch| batch.offset_delta),
                    last_timestamp: producer.last_timestamp,
                    coordinator_epoch: producer.coordinator_epoch,
                    current_txn_first_offset: producer.txn_first_offset,
                }
            })
            .collect();
        entries.sort_by_key(|entry| entry.producer_id);
        entries
    }

    /// From a snapshot; producers that have expired since are left out.
    pub fn from_snapshot(snapshot: &ProducerSnapshot, now: Timestamp, expiration_ms: i64) -> Self {
        let mut known = Known::default();
        let mut older: HashMap<ProducerId, VecDeque<BatchMetadata>> = HashMap::new();
        for (producer, batch) in &snapshot.older {
            older.entry(*producer).or_default().push_back(*batch);
        }
        for entry in &snapshot.entries {
            let mut producer = Producer::new(entry.producer_epoch);
            producer.coordinator_epoch = entry.coordinator_epoch;
            producer.last_timestamp = entry.last_timestamp;
            producer.txn_first_offset = entry.current_txn_first_offset;
            if entry.last_offset.0 >= 0 {
                producer.batches = older.remove(&entry.producer_id).unwrap_or_default();
                while producer.batches.len() >= WINDOW {
                    producer.batches.pop_front();
                }
                producer.batches.push_back(BatchMetadata {
                    last_sequence: entry.last_sequence,
                    last_offset: entry.last_offset,
                    offset_delta: entry.offset_delta,
                    timestamp: entry.last_timestamp,
                });
            }
            if let Some(first) = entry.current_txn_first_offset {
                known.open.insert(first, entry.producer_id);
            }
            known.producers.insert(entry.producer_id, producer);
        }
        let mut state = Self { known: Some(Box::new(known)), guards: 0 };
        state.expire(now, expiration_ms);
        state
    }
}

impl Unverified {
    fn check_sequence(&self, known: Option<&Producer>, header: &BatchHeader) -> Result<(), AppendError> {
        let out_of_order = |expected: i32| {
            AppendError::invalid(
                ErrorCode::OutOfOrderSequenceNumber,
                format!(
                    "Out of order sequence number for producer {}: {} (incoming seq. number), {expected} (earliest seen sequence)",
                    header.producer_id, header.base_sequence
                ),
            )
        };
        // A producer of version 2 begins to count with each transaction.
        if self.adds_partitions && header.base_sequence != 0 && known.is_none_or(|known| known.batches.is_empty()) {
            return Err(out_of_order(0));
        }
        if header.base_sequence > self.lowest_sequence { Err(out_of_order(self.lowest_sequence)) } else { Ok(()) }
    }
}

fn duplicate_of(producer: &Producer, header: &BatchHeader) -> Option<BatchMetadata> {
    if producer.epoch != header.producer_epoch {
        return None;
    }
    let same = |batch: &&BatchMetadata| {
        batch.first_sequence() == header.base_sequence && batch.last_sequence == header.last_sequence()
    };
    producer.batches.iter().find(same).copied()
}

fn check_sequence(producer: &Producer, header: &BatchHeader) -> Result<(), AppendError> {
    let out_of_order = |last: i32| {
        AppendError::invalid(
            ErrorCode::OutOfOrderSequenceNumber,
            format!(
                "Out of order sequence number for producer {}: {} (incoming seq. number), {last} (current end sequence number)",
                header.producer_id, header.base_sequence
            ),
        )
    };
    if header.producer_epoch != producer.epoch {
        // A new epoch begins to count anew.
        return if header.base_sequence == 0 { Ok(()) } else { Err(out_of_order(-1)) };
    }
    let last = producer.batches.back().map_or(-1, |batch| batch.last_sequence);
    let expected = if last < 0 { 0 } else { sequence_after(last, 1) };
    if header.base_sequence == expected { Ok(()) } else { Err(out_of_order(last)) }
}

#[cfg(test)]
mod tests;
