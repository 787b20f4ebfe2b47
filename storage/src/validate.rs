//! What a batch must be before it is appended (Kafka's rules), and what the topic's configuration makes of it.
//!
//! A batch that passes stays as the client sent it, save where the topic asks for other timestamps or another codec.

use bytes::{Bytes, BytesMut};
use ottla_protocol::compression::{Codec, CompressionError};
use ottla_protocol::record_batch::{
    BatchBuilder, BatchError, BatchHeader, BatchView, TimestampType, batches, stamp_timestamps,
};
use ottla_protocol::{ErrorCode, Timestamp, TopicPartition};

use crate::config::{CompressionType, LogConfig};
use crate::errors::{AppendError, RecordError};

/// Who appends, and with it which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: every rule holds.
    Client,
    /// A coordinator of this broker: group and transaction records, transaction markers.
    Coordinator,
    /// The metadata log: control batches and epochs come from the leader itself.
    RaftLeader,
}

/// The records of a batch that is compressed anew (another `compression.type`), beside `max.message.bytes`: as much as one record may
/// take.
const REBUILT_BYTES_MAX: usize = 64 << 20;

/// Errors of single records that an answer names.
const RECORD_ERRORS_MAX: usize = 100;
/// And those of them that its message repeats.
const RECORD_ERRORS_SHOWN: usize = 3;

/// A sound batch, not yet stamped with offset and epoch.
#[derive(Debug, Clone)]
pub struct CheckedBatch {
    pub header: BatchHeader,
    pub bytes: Bytes,
}

/// Checks what a leader was asked to append.
pub fn for_leader(
    records: &Bytes,
    origin: AppendOrigin,
    config: &LogConfig,
    now: Timestamp,
    partition: &TopicPartition,
) -> Result<Vec<CheckedBatch>, AppendError> {
    let mut checked = Vec::with_capacity(1);
    for batch in batches(records) {
        let batch = batch.map_err(|error| corrupt(&error))?;
        if origin == AppendOrigin::Client && !checked.is_empty() {
            // Before any of them is decompressed once more.
            let message = "Compressed outer record has more than one batch";
            return Err(AppendError::invalid(ErrorCode::InvalidRecord, message));
        }
        if origin != AppendOrigin::RaftLeader {
            check_size(batch.size(), config)?;
        }
        let bytes = records.slice_ref(batch.bytes());
        checked.push(match origin {
            AppendOrigin::Client => from_client(&batch, bytes, config, now, partition)?,
            // Built by this broker a moment ago.
            AppendOrigin::Coordinator | AppendOrigin::RaftLeader => CheckedBatch { header: *batch.header(), bytes },
        });
    }
    if checked.is_empty() {
        return Err(AppendError::invalid(ErrorCode::InvalidRecord, "Record batch has no batches at all"));
    }
    // Last, and of what will be written: producers split a batch that is too large a message, and give up one that is too
    // large a list; and a topic's codec may have made it small enough.
    let size: usize = checked.iter().map(|batch| batch.bytes.len()).sum();
    if size as u64 > config.segment_bytes.unsigned_abs().into() && origin != AppendOrigin::RaftLeader {
        return Err(AppendError::invalid(
            ErrorCode::RecordListTooLarge,
            format!(
                "Message batch size is {size} bytes in append, which exceeds the maximum configured segment size of {}",
                config.segment_bytes
            ),
        ));
    }
    Ok(checked)
}

/// Checks what a follower fetched: only that it arrived whole. A cut-off last batch is left out.
pub fn for_follower(records: &Bytes) -> Result<Vec<CheckedBatch>, AppendError> {
    let mut checked = Vec::new();
    for batch in batches(records) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(BatchError::Incomplete { .. }) => break,
            Err(error) => return Err(corrupt(&error)),
        };
        batch.check_crc().map_err(|error| corrupt(&error))?;
        checked.push(CheckedBatch { header: *batch.header(), bytes: records.slice_ref(batch.bytes()) });
    }
    Ok(checked)
}

fn from_client(
    batch: &BatchView<'_>,
    bytes: Bytes,
    config: &LogConfig,
    now: Timestamp,
    partition: &TopicPartition,
) -> Result<CheckedBatch, AppendError> {
    batch.check_crc().map_err(|error| corrupt(&error))?;
    check_header(batch)?;
    let codec = batch.codec().map_err(|error| corrupt(&error))?;
    let (max_timestamp, is_counted) = check_records(batch, config, now, partition)?;
    let kind = config.message_timestamp_type;
    let max_timestamp = match kind {
        TimestampType::CreateTime => max_timestamp,
        TimestampType::LogAppendTime => now,
    };
    let rebuilt_as = match config.compression_type {
        CompressionType::Codec { codec: wanted, level } if wanted != codec || !is_counted => Some((wanted, level)),
        _ if !is_counted => Some((codec, None)),
        _ => None,
    };
    let bytes = match rebuilt_as {
        Some((wanted, level)) => {
            let mut builder = BatchBuilder::new()
                .base_timestamp(batch.base_timestamp)
                .producer(batch.producer_id, batch.producer_epoch, batch.base_sequence)
                .transactional(batch.is_transactional())
                .compression(wanted, level);
            if kind == TimestampType::LogAppendTime {
                builder = builder.log_append_time(now);
            }
            let mut records = batch.records().map_err(|error| corrupt(&error))?;
            let mut delta = 0;
            // It is in memory as a whole before it is compressed, and what is not to be compressed has no other size.
            let bytes_max = REBUILT_BYTES_MAX.saturating_add(config.max_message_bytes.unsigned_abs() as usize);
            while let Some(record) = records.next_record().map_err(|error| corrupt(&error))? {
                let headers = record.headers().map(|header| (header.key, header.value));
                let timestamp = batch.timestamp_of(record.timestamp_delta);
                builder.push_at(delta, timestamp, record.key, record.value, headers);
                delta += 1;
                if wanted == Codec::None {
                    check_size(builder.size(), config)?;
                } else if builder.size() > bytes_max {
                    return Err(AppendError::invalid(
                        ErrorCode::MessageTooLarge,
                        format!(
                            "The records take more than {bytes_max} bytes, which is too much to compress them anew."
                        ),
                    ));
                }
            }
            let bytes = builder.build();
            check_size(bytes.len(), config)?;
            bytes
        }
        None if kind == batch.timestamp_type() && max_timestamp == batch.max_timestamp => bytes,
        None => {
            let mut copy = BytesMut::from(&bytes[..]);
            stamp_timestamps(&mut copy, kind, max_timestamp).map_err(|error| corrupt(&error))?;
            copy.freeze()
        }
    };
    let header = BatchHeader::read(&bytes).map_err(|error| corrupt(&error))?;
    Ok(CheckedBatch { header, bytes })
}

fn check_header(batch: &BatchView<'_>) -> Result<(), AppendError> {
    let invalid = |message: String| Err(AppendError::invalid(ErrorCode::InvalidRecord, message));
    if batch.base_offset.0 != 0 {
        return invalid(format!("The baseOffset of the record batch should be 0, but it is {}", batch.base_offset));
    }
    if batch.last_offset_delta < 0 {
        return invalid(format!("Batch has an invalid offset range: [0, {}]", batch.last_offset_delta));
    }
    if batch.record_count <= 0 {
        return invalid(format!("Invalid reported count for record batch: {}", batch.record_count));
    }
    if batch.record_count - 1 != batch.last_offset_delta {
        return invalid(format!(
            "Inconsistent batch offset range [0, {}] and count of records {}",
            batch.last_offset_delta, batch.record_count
        ));
    }
    if batch.is_control() {
        return invalid("Clients are not allowed to write control records".to_owned());
    }
    if batch.has_producer_id() && batch.base_sequence < 0 {
        return invalid(format!(
            "Invalid sequence number {} in record batch with producerId {}",
            batch.base_sequence, batch.producer_id
        ));
    }
    Ok(())
}

/// Reads every record; the largest timestamp among them, and whether they are numbered one by one. Old clients number those
/// of a compressed batch alike, and Kafka numbers them anew rather than refuse them.
fn check_records(
    batch: &BatchView<'_>,
    config: &LogConfig,
    now: Timestamp,
    partition: &TopicPartition,
) -> Result<(Timestamp, bool), AppendError> {
    let corrupt_record = |error: &BatchError| match error {
        BatchError::Compression(_) => corrupt(error),
        _ => AppendError::invalid(ErrorCode::InvalidRecord, error.to_string()),
    };
    let earliest = now.0.saturating_sub(config.message_timestamp_before_max_ms);
    let latest = now.0.saturating_add(config.message_timestamp_after_max_ms);
    let judge_time = config.message_timestamp_type == TimestampType::CreateTime;
    if let Some(plain) = plain_records(batch, config, (earliest, latest)) {
        return Ok(plain);
    }
    let mut max_timestamp = Timestamp(-1);
    let mut errors: Vec<RecordError> = Vec::new();
    let mut code = ErrorCode::InvalidRecord;
    let mut index = 0;
    let mut is_counted = true;
    let mut records = batch.records().map_err(|error| corrupt_record(&error))?;
    while let Some(record) = records.next_record().map_err(|error| corrupt_record(&error))? {
        is_counted &= record.offset_delta == index;
        let timestamp = batch.timestamp_of(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        if config.compact && record.key.is_none() {
            errors.push(RecordError {
                batch_index: index,
                message: format!("Compacted topic cannot accept message without key in topic partition {partition}"),
            });
        } else if judge_time && timestamp.0 != -1 {
            // Also a batch that another leader has stamped, as whoever copies logs as they are sends it: it is judged by
            // that time, and is one of CreateTime from now on.
            if timestamp.0 < earliest || timestamp.0 > latest {
                code = ErrorCode::InvalidTimestamp;
                errors.push(RecordError {
                    batch_index: index,
                    message: format!(
                        "Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be within [{earliest}, {latest}]"
                    ),
                });
            }
        } else if batch.timestamp_type() == TimestampType::LogAppendTime {
            code = ErrorCode::InvalidTimestamp;
            errors.push(RecordError {
                batch_index: index,
                message: "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime."
                    .to_owned(),
            });
        }
        if errors.len() >= RECORD_ERRORS_MAX {
            break;
        }
        index += 1;
    }
    if errors.is_empty() {
        return Ok((max_timestamp, is_counted));
    }
    let message = if code == ErrorCode::InvalidTimestamp {
        "One or more records have been rejected due to invalid timestamp".to_owned()
    } else {
        let shown: Vec<String> = errors
            .iter()
            .take(RECORD_ERRORS_SHOWN)
            .map(|error| format!("RecordError(batchIndex={}, message='{}')", error.batch_index, error.message))
            .collect();
        format!(
            "One or more records have been rejected due to {} record errors in total, and only showing the first three \
             errors at most: [{}]",
            errors.len(),
            shown.join(", ")
        )
    };
    Err(AppendError::Invalid { code, message, record_errors: errors })
}

/// What [`check_records`] finds where a quick look is enough to see that nothing is to be refused.
fn plain_records(
    batch: &BatchView<'_>,
    config: &LogConfig,
    (earliest, latest): (i64, i64),
) -> Option<(Timestamp, bool)> {
    if batch.timestamp_type() == TimestampType::LogAppendTime {
        return None;
    }
    let scan = batch.scan_plain().filter(|scan| !(config.compact && scan.has_null_key))?;
    let first = batch.base_timestamp.0.checked_add(scan.timestamp_deltas.0)?;
    let last = batch.base_timestamp.0.checked_add(scan.timestamp_deltas.1)?;
    let judge_time = config.message_timestamp_type == TimestampType::CreateTime;
    if judge_time && (first < earliest || last > latest) {
        return None;
    }
    Some((Timestamp(last.max(-1)), scan.is_counted))
}

fn check_size(size: usize, config: &LogConfig) -> Result<(), AppendError> {
    if size as u64 > config.max_message_bytes.unsigned_abs().into() {
        return Err(AppendError::invalid(
            ErrorCode::MessageTooLarge,
            format!(
                "The record batch size is {size} bytes which exceeds the maximum configured value of {}.",
                config.max_message_bytes
            ),
        ));
    }
    Ok(())
}

fn corrupt(error: &BatchError) -> AppendError {
    let code = match error {
        BatchError::UnsupportedMagic(_) | BatchError::InvalidRecordCount(_) => ErrorCode::InvalidRecord,
        BatchError::UnknownCodec(_) => ErrorCode::UnsupportedCompressionType,
        // A corrupt batch is sent again, this one would only come back: producers split it or give it up.
        BatchError::Compression(CompressionError::TooLarge { .. }) => ErrorCode::MessageTooLarge,
        _ => ErrorCode::CorruptMessage,
    };
    AppendError::invalid(code, error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ottla_protocol::compression::{Codec, compress};
    use ottla_protocol::{ProducerEpoch, ProducerId};

    use super::*;

    fn one_record(value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1), Some(&b"k"[..]), Some(value), &[]);
        builder.build()
    }

    fn check(records: &Bytes, config: &LogConfig) -> Result<Vec<CheckedBatch>, AppendError> {
        for_leader(records, AppendOrigin::Client, config, Timestamp(1000), &TopicPartition::new("t", 2))
    }

    #[test]
    fn a_batch_that_is_too_large_for_a_message_and_for_a_segment_is_one_that_producers_split() {
        let config = LogConfig { max_message_bytes: 500, segment_bytes: 600, ..LogConfig::default() };
        let code = check(&one_record(&[0; 1000]), &config).unwrap_err().error_code();
        assert_eq!(code, ErrorCode::MessageTooLarge);
        let config = LogConfig { max_message_bytes: 5000, ..config };
        let code = check(&one_record(&[0; 1000]), &config).unwrap_err().error_code();
        assert_eq!(code, ErrorCode::RecordListTooLarge);
    }

    #[test]
    fn a_batch_that_another_leader_stamped_is_judged_by_its_time() {
        let mut builder = BatchBuilder::new().log_append_time(Timestamp(900));
        builder.push(Timestamp(1), Some(&b"k"[..]), None, &[]);
        let stamped = builder.build();
        let config = LogConfig::default();
        let checked = check(&stamped, &config).unwrap();
        let header = checked[0].header;
        assert_eq!((header.timestamp_type(), header.max_timestamp), (TimestampType::CreateTime, Timestamp(900)));
        // Where the leader stamps them itself there is nothing that a producer may have stamped.
        let config = LogConfig { message_timestamp_type: TimestampType::LogAppendTime, ..config };
        let error = check(&stamped, &config).unwrap_err();
        assert_eq!((error.error_code(), error.record_errors().len()), (ErrorCode::InvalidTimestamp, 1));
        assert!(check(&one_record(b"v"), &config).is_ok());
    }

    #[test]
    fn a_record_without_a_key_is_named_with_its_partition() {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(900), Some(&b"k"[..]), None, &[]);
        builder.push(Timestamp(900), None, Some(&b"v"[..]), &[]);
        let error = check(&builder.build(), &LogConfig { compact: true, ..LogConfig::default() }).unwrap_err();
        let told = "Compacted topic cannot accept message without key in topic partition t-2";
        assert_eq!(error.record_errors(), [RecordError { batch_index: 1, message: told.to_owned() }]);
        assert_eq!(
            error.to_string(),
            format!(
                "One or more records have been rejected due to 1 record errors in total, and only showing the first \
                 three errors at most: [RecordError(batchIndex=1, message='{told}')]"
            )
        );
    }

    #[test]
    fn of_many_batches_only_the_first_is_looked_into() {
        let mut broken = one_record(b"v").to_vec();
        *broken.last_mut().unwrap() ^= 1;
        let error = check(&[&one_record(b"v")[..], &broken].concat().into(), &LogConfig::default()).unwrap_err();
        assert_eq!(error.to_string(), "Compressed outer record has more than one batch");
    }

    /// As Sarama sent compressed batches for years: each record the first.
    #[test]
    fn records_that_are_numbered_alike_are_numbered_anew() {
        let mut builder = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(1), 5);
        builder.push(Timestamp(900), Some(b"a"), Some(b"first"), &[]);
        builder.push(Timestamp(900), Some(b"b"), Some(b"second"), &[("h", Some(b"v"))]);
        let mut plain = builder.build().to_vec();
        let second = 61 + 1 + usize::from(plain[61] >> 1);
        assert_eq!(std::mem::replace(&mut plain[second + 3], 0), 2, "the delta, zigzag");
        for codec in [Codec::None, Codec::Gzip, Codec::Zstd] {
            let mut bytes = plain.clone();
            if codec != Codec::None {
                let records = compress(codec, None, &bytes.split_off(61)).unwrap();
                bytes.extend(records);
                bytes[22] |= codec as u8;
            }
            let length = i32::try_from(bytes.len() - 12).unwrap();
            bytes[8..12].copy_from_slice(&length.to_be_bytes());
            let crc = BatchView::parse(&bytes).unwrap().computed_crc();
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
            let checked = check(&bytes.into(), &LogConfig::default()).unwrap();
            let batch = BatchView::parse(&checked[0].bytes).unwrap();
            batch.check_crc().unwrap();
            assert_eq!((batch.codec().unwrap(), batch.record_count, batch.last_offset_delta), (codec, 2, 1));
            assert_eq!((batch.producer_id, batch.base_sequence), (ProducerId(7), 5));
            let mut records = batch.records().unwrap();
            for (delta, key) in [(0, b"a"), (1, b"b")] {
                let record = records.next_record().unwrap().unwrap();
                assert_eq!((record.offset_delta, record.key), (delta, Some(&key[..])));
                assert_eq!(record.headers().count(), usize::try_from(delta).unwrap());
            }
        }
    }

    /// 96 MiB in some hundred kilobytes: in memory as a whole it would cost every request of its kind as much.
    #[test]
    fn what_expands_too_far_is_not_compressed_anew() {
        // Below a thousandfold: that is refused as it comes.
        let mut value = vec![0; 32 << 20];
        let mut noise = 1_u32;
        for byte in &mut value[..100_000] {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *byte = (noise >> 24) as u8;
        }
        let mut builder = BatchBuilder::new().compression(Codec::Zstd, None);
        (0..3).for_each(|_| builder.push(Timestamp(900), None, Some(&value), &[]));
        let bomb = builder.build();
        assert!(bomb.len() < 1 << 20);
        let compressed_as = |codec| LogConfig {
            compression_type: CompressionType::Codec { codec, level: None },
            ..LogConfig::default()
        };
        for codec in [Codec::Gzip, Codec::None] {
            let error = check(&bomb, &compressed_as(codec)).unwrap_err();
            assert_eq!(error.error_code(), ErrorCode::MessageTooLarge, "{codec:?}: {error}");
        }
        assert!(check(&bomb, &compressed_as(Codec::Zstd)).is_ok());
    }

    #[test]
    fn a_segment_has_to_hold_what_is_written_and_not_what_came() {
        let compression_type = CompressionType::Codec { codec: Codec::Gzip, level: None };
        let config =
            LogConfig { max_message_bytes: 5000, segment_bytes: 600, compression_type, ..LogConfig::default() };
        let checked = check(&one_record(&[0; 1000]), &config).unwrap();
        assert!(checked[0].bytes.len() < 600);
    }
}
