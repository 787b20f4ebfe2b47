//! `.snapshot`: the producers' state up to (not including) the offset in the file's name.
//!
//! ```text
//! i16 version 1 | u32 CRC-32C of all that follows | i32 count | count x
//!   i64 producer id, i16 epoch, i32 last sequence, i64 last offset, i32 offset delta, i64 timestamp,
//!   i32 coordinator epoch, i64 first offset of the open transaction (-1: none)
//! | i32 count | count x
//!   i64 producer id, i32 last sequence, i64 last offset, i32 offset delta, i64 timestamp
//! ```
//!
//! The second list holds the batches before each producer's last one. Kafka's format has no room for them and Kafka reads
//! past them; without them a retry that arrives after a restart would not be recognized, though its producer had a right
//! to five requests in flight.

use ottla_protocol::buf::{Cursor, ReadError};
use ottla_protocol::{Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::producer_state::{BatchMetadata, ProducerSnapshotEntry};

const VERSION: i16 = 1;
const ENTRY_SIZE: usize = 46;
const OLDER_SIZE: usize = 32;
const CRC_END: usize = 6;

/// What a file says: the producers, and the batches before the last one of each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerSnapshot {
    pub entries: Vec<ProducerSnapshotEntry>,
    pub older: Vec<(ProducerId, BatchMetadata)>,
}

/// The file's bytes.
pub fn encode(snapshot: &ProducerSnapshot) -> Vec<u8> {
    let ProducerSnapshot { entries, older } = snapshot;
    let mut bytes = Vec::with_capacity(CRC_END + 8 + entries.len() * ENTRY_SIZE + older.len() * OLDER_SIZE);
    bytes.extend_from_slice(&VERSION.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&i32::try_from(entries.len()).unwrap_or(i32::MAX).to_be_bytes());
    for entry in entries {
        bytes.extend_from_slice(&entry.producer_id.0.to_be_bytes());
        bytes.extend_from_slice(&entry.producer_epoch.0.to_be_bytes());
        bytes.extend_from_slice(&entry.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&entry.last_offset.0.to_be_bytes());
        bytes.extend_from_slice(&entry.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&entry.last_timestamp.0.to_be_bytes());
        bytes.extend_from_slice(&entry.coordinator_epoch.to_be_bytes());
        bytes.extend_from_slice(&entry.current_txn_first_offset.map_or(-1, |first| first.0).to_be_bytes());
    }
    bytes.extend_from_slice(&i32::try_from(older.len()).unwrap_or(i32::MAX).to_be_bytes());
    for (producer_id, batch) in older {
        bytes.extend_from_slice(&producer_id.0.to_be_bytes());
        bytes.extend_from_slice(&batch.last_sequence.to_be_bytes());
        bytes.extend_from_slice(&batch.last_offset.0.to_be_bytes());
        bytes.extend_from_slice(&batch.offset_delta.to_be_bytes());
        bytes.extend_from_slice(&batch.timestamp.0.to_be_bytes());
    }
    let crc = crc(&bytes[CRC_END..]);
    bytes[2..CRC_END].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// What a file says; `None` if it is damaged or of another version. One that Kafka wrote has no second list.
pub fn decode(bytes: &[u8]) -> Option<ProducerSnapshot> {
    let mut cursor = Cursor::new(bytes);
    if cursor.i16().ok()? != VERSION || cursor.u32().ok()? != crc(bytes.get(CRC_END..)?) {
        return None;
    }
    let count = usize::try_from(cursor.i32().ok()?).ok()?;
    if cursor.remaining() < count.checked_mul(ENTRY_SIZE)? {
        return None;
    }
    let entries = (0..count).map(|_| entry(&mut cursor).ok()).collect::<Option<_>>()?;
    if cursor.remaining() == 0 {
        return Some(ProducerSnapshot { entries, older: Vec::new() });
    }
    let count = usize::try_from(cursor.i32().ok()?).ok()?;
    if cursor.remaining() != count.checked_mul(OLDER_SIZE)? {
        return None;
    }
    let older = (0..count).map(|_| older(&mut cursor).ok()).collect::<Option<_>>()?;
    Some(ProducerSnapshot { entries, older })
}

/// Whether a file is sound and has only what Kafka writes.
pub fn is_kafkas(bytes: &[u8]) -> bool {
    decode(bytes).is_some_and(|snapshot| bytes.len() == CRC_END + 4 + snapshot.entries.len() * ENTRY_SIZE)
}

fn older(cursor: &mut Cursor<'_>) -> Result<(ProducerId, BatchMetadata), ReadError> {
    let producer_id = ProducerId(cursor.i64()?);
    let batch = BatchMetadata {
        last_sequence: cursor.i32()?,
        last_offset: Offset(cursor.i64()?),
        offset_delta: cursor.i32()?,
        timestamp: Timestamp(cursor.i64()?),
    };
    Ok((producer_id, batch))
}

fn entry(cursor: &mut Cursor<'_>) -> Result<ProducerSnapshotEntry, ReadError> {
    Ok(ProducerSnapshotEntry {
        producer_id: ProducerId(cursor.i64()?),
        producer_epoch: ProducerEpoch(cursor.i16()?),
        last_sequence: cursor.i32()?,
        last_offset: Offset(cursor.i64()?),
        offset_delta: cursor.i32()?,
        last_timestamp: Timestamp(cursor.i64()?),
        coordinator_epoch: cursor.i32()?,
        current_txn_first_offset: Some(cursor.i64()?).filter(|&first| first >= 0).map(Offset),
    })
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_snapshot_survives_and_every_flipped_bit_is_noticed() {
        let entries: Vec<_> = (0..3)
            .map(|at| ProducerSnapshotEntry {
                producer_id: ProducerId(at),
                producer_epoch: ProducerEpoch(2),
                last_sequence: 7,
                last_offset: Offset(99),
                offset_delta: 3,
                last_timestamp: Timestamp(123_456),
                coordinator_epoch: -1,
                current_txn_first_offset: (at == 1).then_some(Offset(90)),
            })
            .collect();
        let batch = |sequence| BatchMetadata {
            last_sequence: sequence,
            last_offset: Offset(50),
            offset_delta: 0,
            timestamp: Timestamp(9),
        };
        let older = vec![(ProducerId(0), batch(5)), (ProducerId(0), batch(6))];
        let snapshot = ProducerSnapshot { entries, older };
        let bytes = encode(&snapshot);
        assert_eq!(decode(&bytes).unwrap(), snapshot);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None);
        }
    }

    #[test]
    fn a_snapshot_that_kafka_wrote_has_no_older_batches() {
        let bytes = encode(&ProducerSnapshot::default());
        let mut kafkas = bytes[..bytes.len() - 4].to_vec();
        let crc = crc(&kafkas[CRC_END..]);
        kafkas[2..CRC_END].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(decode(&kafkas), Some(ProducerSnapshot::default()));
        assert!(is_kafkas(&kafkas) && !is_kafkas(&bytes));
    }
}
