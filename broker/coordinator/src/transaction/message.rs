//! What is asked of the transaction coordinator, and what it says.

use std::sync::Arc;

use ottla_protocol::{ErrorCode, ProducerId, Timestamp, TopicPartition};

use super::state::Transaction;
use crate::shard::Producer;

/// Settings of the coordinator, by Kafka's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionConfig {
    /// `transaction.max.timeout.ms`
    pub timeout_ms_max: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`
    pub abort_interval_ms: i64,
    /// `transactional.id.expiration.ms`
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    pub expiry_interval_ms: i64,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            timeout_ms_max: 900_000,
            abort_interval_ms: 10_000,
            id_expiration_ms: 604_800_000,
            expiry_interval_ms: 3_600_000,
        }
    }
}

/// A request. Every one names a transactional id of this partition, but for `List`.
#[derive(Debug, Clone, PartialEq)]
pub enum TransactionRequest {
    /// `expected` is the producer that the client believes to be (v3, KIP-360).
    InitProducerId {
        transactional_id: Arc<str>,
        timeout_ms: i32,
        expected: Option<Producer>,
    },
    /// `client_version` is 2 where the partition is added on behalf of a client of transaction version 2.
    AddPartitions {
        transactional_id: Arc<str>,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        client_version: i16,
    },
    /// Are these partitions in the producer's open transaction?
    VerifyPartitions {
        transactional_id: Arc<str>,
        producer: Producer,
        partitions: Vec<TopicPartition>,
    },
    EndTxn {
        transactional_id: Arc<str>,
        producer: Producer,
        commit: bool,
        client_version: i16,
    },
    /// Every partition of the prepared transaction has its marker. `producer` is the one of the markers.
    MarkersWritten {
        transactional_id: Arc<str>,
        producer: Producer,
    },
    Describe {
        transactional_id: Arc<str>,
    },
    List(TransactionFilter),
    /// Why its producers were fenced of late.
    Explain {
        transactional_id: Arc<str>,
    },
}

impl TransactionRequest {
    /// The id that the request is about.
    pub fn transactional_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::InitProducerId { transactional_id, .. }
            | Self::AddPartitions { transactional_id, .. }
            | Self::VerifyPartitions { transactional_id, .. }
            | Self::EndTxn { transactional_id, .. }
            | Self::MarkersWritten { transactional_id, .. }
            | Self::Describe { transactional_id }
            | Self::Explain { transactional_id } => Some(transactional_id),
            Self::List(_) => None,
        }
    }

    /// Whether a fresh producer id may be needed to decide this: for a new producer, or for one that ends a transaction with
    /// the last epoch of its id.
    pub const fn may_take_producer_id(&self) -> bool {
        match self {
            Self::InitProducerId { .. } => true,
            Self::EndTxn { producer, .. } => Transaction::is_epoch_exhausted(producer.epoch),
            _ => false,
        }
    }
}

/// What ListTransactions asks for; empty lists and `None` filter nothing.
#[derive(Debug, Clone, Default)]
pub struct TransactionFilter {
    pub producer_ids: Vec<i64>,
    pub states: Vec<super::TransactionState>,
    /// True when the request named states, even if none of them is known.
    pub by_state: bool,
    /// Only transactions that run for longer than this.
    pub duration_ms: Option<i64>,
    /// Must match the whole id.
    pub pattern: Option<regex::Regex>,
}

impl PartialEq for TransactionFilter {
    fn eq(&self, other: &Self) -> bool {
        let pattern = |filter: &Self| filter.pattern.as_ref().map(|pattern| pattern.as_str().to_owned());
        (&self.producer_ids, &self.states, self.by_state, self.duration_ms, pattern(self))
            == (&other.producer_ids, &other.states, other.by_state, other.duration_ms, pattern(other))
    }
}

/// A transaction in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub transactional_id: Arc<str>,
    pub producer_id: ProducerId,
    pub state: super::TransactionState,
}

/// An answer; errors for a whole request come as a refusal instead.
#[derive(Debug, Clone, PartialEq)]
pub enum TransactionResponse {
    /// InitProducerId: who the client is now. EndTxn of version 2: who it is for the next transaction.
    Producer(Producer),
    /// Nothing to tell but that it is done.
    Done,
    /// One answer per partition that was to be verified.
    Verified(Vec<(TopicPartition, ErrorCode)>),
    Described(Arc<Transaction>),
    Listed(Vec<Listing>),
    Explained(Vec<super::Fence>),
}

/// Markers to be written, as decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Markers {
    pub transactional_id: Arc<str>,
    pub producer: Producer,
    pub commit: bool,
    pub partitions: Arc<Vec<TopicPartition>>,
    /// The transaction version of the client: with 2 the marker's epoch is above that of the data.
    pub client_version: i16,
}

/// What the host is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionAction {
    /// Write the markers until all are written, then say `MarkersWritten`.
    SendMarkers(Markers),
    /// A transaction was aborted without its producer's asking: worth a line in the log.
    Fenced { transactional_id: Arc<str>, producer: Producer, reason: &'static str, started: Timestamp },
}

#[cfg(test)]
mod tests {
    use ottla_protocol::ProducerEpoch;

    use super::*;

    #[test]
    fn an_end_takes_an_id_with_the_last_epoch_only() {
        let end = |epoch| TransactionRequest::EndTxn {
            transactional_id: "t".into(),
            producer: Producer { id: ProducerId(1000), epoch: ProducerEpoch(epoch) },
            commit: true,
            client_version: 2,
        };
        assert!(!end(0).may_take_producer_id());
        assert!(end(i16::MAX - 1).may_take_producer_id());
        assert!(!TransactionRequest::Describe { transactional_id: "t".into() }.may_take_producer_id());
    }
}
