//! Control records: transaction markers and the marks of the metadata log.
//!
//! A control batch holds one record; its key is an `i16` version and an `i16` type.

use bytes::Bytes;

use crate::buf::{Cursor, ReadError};
use crate::record_batch::{BatchBuilder, BatchError, BatchView};
use crate::{ProducerEpoch, ProducerId, Timestamp};

/// What a control record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlRecord {
    /// The producer's open transaction in this partition ended; `coordinator_epoch` fences markers of old coordinators.
    Abort {
        coordinator_epoch: i32,
    },
    Commit {
        coordinator_epoch: i32,
    },
    /// The value is a `LeaderChangeMessage`.
    LeaderChange(Bytes),
    SnapshotHeader(Bytes),
    SnapshotFooter(Bytes),
    KraftVersion(Bytes),
    KraftVoters(Bytes),
    /// A type that a later Kafka may write; readers skip it.
    Unknown {
        kind: i16,
    },
}

impl ControlRecord {
    /// From a record's key and value.
    pub fn parse(key: &[u8], value: &[u8]) -> Result<Self, ReadError> {
        let mut cursor = Cursor::new(key);
        // Later versions may add fields behind the type.
        cursor.i16()?;
        let kind = cursor.i16()?;
        let epoch = || {
            let mut cursor = Cursor::new(value);
            cursor.i16()?;
            cursor.i32()
        };
        let message = || Bytes::copy_from_slice(value);
        Ok(match kind {
            0 => Self::Abort { coordinator_epoch: epoch()? },
            1 => Self::Commit { coordinator_epoch: epoch()? },
            2 => Self::LeaderChange(message()),
            3 => Self::SnapshotHeader(message()),
            4 => Self::SnapshotFooter(message()),
            5 => Self::KraftVersion(message()),
            6 => Self::KraftVoters(message()),
            kind => Self::Unknown { kind },
        })
    }

    /// The record of a control batch.
    pub fn of_batch(batch: &BatchView<'_>) -> Result<Self, BatchError> {
        let invalid = |reason| BatchError::InvalidRecord { index: 0, reason };
        let mut records = batch.records()?;
        let record = records.next_record()?.ok_or_else(|| invalid("a control batch holds one record"))?;
        let key = record.key.ok_or_else(|| invalid("a control record has a key"))?;
        Self::parse(key, record.value.unwrap_or_default()).map_err(|_| invalid("it is no control record"))
    }

    fn kind(&self) -> i16 {
        match self {
            Self::Abort { .. } => 0,
            Self::Commit { .. } => 1,
            Self::LeaderChange(_) => 2,
            Self::SnapshotHeader(_) => 3,
            Self::SnapshotFooter(_) => 4,
            Self::KraftVersion(_) => 5,
            Self::KraftVoters(_) => 6,
            Self::Unknown { kind } => *kind,
        }
    }

    /// The record's key.
    pub fn key(&self) -> [u8; 4] {
        let [high, low] = self.kind().to_be_bytes();
        [0, 0, high, low]
    }

    /// The record's value.
    pub fn value(&self) -> Bytes {
        match self {
            Self::Abort { coordinator_epoch } | Self::Commit { coordinator_epoch } => {
                let [a, b, c, d] = coordinator_epoch.to_be_bytes();
                Bytes::copy_from_slice(&[0, 0, a, b, c, d])
            }
            Self::LeaderChange(bytes)
            | Self::SnapshotHeader(bytes)
            | Self::SnapshotFooter(bytes)
            | Self::KraftVersion(bytes)
            | Self::KraftVoters(bytes) => bytes.clone(),
            Self::Unknown { .. } => Bytes::new(),
        }
    }
}

/// The batch that ends a producer's transaction in one partition.
pub fn end_txn_marker(
    producer_id: ProducerId,
    producer_epoch: ProducerEpoch,
    coordinator_epoch: i32,
    commit: bool,
    timestamp: Timestamp,
) -> Bytes {
    let record =
        if commit { ControlRecord::Commit { coordinator_epoch } } else { ControlRecord::Abort { coordinator_epoch } };
    let mut batch = BatchBuilder::new().producer(producer_id, producer_epoch, -1).transactional(true).control(true);
    batch.push(timestamp, Some(&record.key()), Some(&record.value()), &[]);
    batch.build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn markers_survive() {
        for commit in [false, true] {
            let bytes = end_txn_marker(ProducerId(7), ProducerEpoch(3), 11, commit, Timestamp(1000));
            let batch = BatchView::parse(&bytes).unwrap();
            assert!(batch.crc_is_valid() && batch.is_control() && batch.is_transactional());
            assert_eq!((batch.base_sequence, batch.record_count, batch.size()), (-1, 1, bytes.len()));
            let expected = if commit {
                ControlRecord::Commit { coordinator_epoch: 11 }
            } else {
                ControlRecord::Abort { coordinator_epoch: 11 }
            };
            assert_eq!(ControlRecord::of_batch(&batch).unwrap(), expected);
        }
    }
}
