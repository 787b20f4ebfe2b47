//! Records of `__transaction_state`, in Kafka's own schema: one per transactional id, the newest counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::records::RecordError;
use ottla_protocol::records::transaction::{
    TransactionLogKey, TransactionLogValue, TransactionRecordKey, TransactionRecordValue,
    transaction_log::PartitionsSchema,
};
use ottla_protocol::{ProducerEpoch, ProducerId, StrBytes, Timestamp, TopicPartition};

use super::state::{NO_EPOCH, Transaction, TransactionState};
use crate::shard::{BadRecord, Producer, Stored};

/// The whole state of one transactional id after a change; `None` forgets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionRecord {
    pub transactional_id: Arc<str>,
    pub transaction: Option<Arc<Transaction>>,
    /// Version of the stored value: 0, or 1 once `transaction.version` is finalized at 1 or more.
    pub value_version: i16,
}

fn bad(error: impl std::fmt::Display) -> BadRecord {
    BadRecord(error.to_string())
}

impl TransactionRecord {
    pub(super) fn encode(&self) -> Result<Stored, RecordError> {
        let id = StrBytes::from_string(self.transactional_id.to_string());
        let key = TransactionRecordKey::TransactionLog(TransactionLogKey::default().with_transactional_id(id));
        let value = match &self.transaction {
            Some(transaction) => Some(
                TransactionRecordValue::TransactionLog(stored_value(transaction, self.value_version))
                    .encode_version(self.value_version)?,
            ),
            None => None,
        };
        Ok(Stored::Data { key: key.encode()?, value, producer: None })
    }

    pub(super) fn decode(stored: &Stored) -> Result<Option<Self>, BadRecord> {
        let Stored::Data { key, value, .. } = stored else { return Ok(None) };
        let key = match TransactionRecordKey::decode(key) {
            Ok(key) => key,
            Err(RecordError::UnknownType(_)) => return Ok(None),
            Err(error) => return Err(bad(error)),
        };
        let TransactionRecordKey::TransactionLog(log_key) = &key;
        let transactional_id: Arc<str> = log_key.transactional_id.as_str().into();
        let transaction = match value {
            None => None,
            Some(value) => {
                let TransactionRecordValue::TransactionLog(value) =
                    TransactionRecordValue::decode(&key, value).map_err(bad)?;
                Some(Arc::new(transaction_of(value)?))
            }
        };
        Ok(Some(Self { transactional_id, transaction, value_version: 1 }))
    }
}

fn stored_value(transaction: &Transaction, version: i16) -> TransactionLogValue {
    let partitions = (transaction.state != TransactionState::Empty).then(|| {
        let mut by_topic: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
        for partition in transaction.partitions.iter() {
            by_topic.entry(&partition.topic).or_default().push(partition.partition);
        }
        let schema = |(topic, partitions): (&Arc<str>, Vec<i32>)| {
            PartitionsSchema::default()
                .with_topic(StrBytes::from_string(topic.to_string()))
                .with_partition_ids(partitions)
        };
        by_topic.into_iter().map(schema).collect()
    });
    let value = TransactionLogValue::default()
        .with_producer_id(transaction.producer.id.0)
        .with_producer_epoch(transaction.producer.epoch.0)
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_status(transaction.state as i8)
        .with_transaction_partitions(partitions)
        .with_transaction_last_update_timestamp_ms(transaction.last_update.0)
        .with_transaction_start_timestamp_ms(transaction.start.0);
    if version < 1 {
        return value;
    }
    value
        .with_previous_producer_id(transaction.previous_producer_id.0)
        .with_next_producer_id(transaction.next_producer_id.0)
        .with_client_transaction_version(transaction.client_version)
}

fn transaction_of(value: TransactionLogValue) -> Result<Transaction, BadRecord> {
    let state = TransactionState::from_id(value.transaction_status)
        .ok_or_else(|| BadRecord(format!("transaction state {}", value.transaction_status)))?;
    let mut partitions: Vec<TopicPartition> = Vec::new();
    for schema in value.transaction_partitions.unwrap_or_default() {
        let topic: Arc<str> = schema.topic.as_str().into();
        partitions.extend(schema.partition_ids.iter().map(|index| TopicPartition::new(Arc::clone(&topic), *index)));
    }
    partitions.sort_unstable();
    partitions.dedup();
    Ok(Transaction {
        producer: Producer { id: ProducerId(value.producer_id), epoch: ProducerEpoch(value.producer_epoch) },
        previous_producer_id: ProducerId(value.previous_producer_id),
        next_producer_id: ProducerId(value.next_producer_id),
        last_producer_epoch: NO_EPOCH,
        timeout_ms: value.transaction_timeout_ms,
        state,
        partitions: Arc::new(partitions),
        start: Timestamp(value.transaction_start_timestamp_ms),
        last_update: Timestamp(value.transaction_last_update_timestamp_ms),
        client_version: value.client_transaction_version,
    })
}
