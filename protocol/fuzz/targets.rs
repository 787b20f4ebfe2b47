//! What every fuzz target asserts; also run over mutated fixtures by `tests/mutations.rs`, where no sanitizer is at hand.

use bytes::Bytes;
use ottla_protocol::compression::Budget;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::frame::{Prefix, check};
use ottla_protocol::record_batch::{BatchView, HEADER_SIZE, LOG_OVERHEAD, batches};
use ottla_protocol::records::group::{GroupRecordKey, GroupRecordValue};
use ottla_protocol::records::share::{ShareRecordKey, ShareRecordValue};
use ottla_protocol::records::transaction::{TransactionRecordKey, TransactionRecordValue};
use ottla_protocol::request::decode;

const BUDGET: Budget = Budget { bytes_max: 1 << 20, ratio_max: 100 };

/// A frame as a connection reads it: prefix, header, body.
pub fn request(bytes: &[u8]) {
    let Some((prefix, body)) = bytes.split_first_chunk::<4>() else { return };
    if let Prefix::Length(length) = check(*prefix, 100 << 20) {
        assert!(length <= 100 << 20);
    }
    // The body is decoded whatever the prefix says, or hardly any input would get there.
    if let Ok(request) = decode(Bytes::copy_from_slice(body)) {
        assert_eq!(request.size, body.len());
    }
}

/// What a producer sends: batches, their records in any codec, control records.
pub fn record_batch(bytes: &[u8]) {
    let mut size = 0;
    for batch in batches(bytes).flatten() {
        size += batch.size();
        read(&batch);
    }
    assert!(size <= bytes.len());
    // Once more with a length and a magic that are right, so that the payload is reached.
    if bytes.len() >= HEADER_SIZE {
        let mut bytes = bytes.to_vec();
        let length = (bytes.len() - LOG_OVERHEAD) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        if let Ok(batch) = BatchView::parse(&bytes) {
            read(&batch);
        }
    }
}

fn read(batch: &BatchView<'_>) {
    let _ = (batch.crc_is_valid(), batch.next_offset(), batch.last_sequence(), batch.delete_horizon());
    let _ = ControlRecord::of_batch(batch);
    let Ok(mut records) = batch.records_within(&BUDGET) else { return };
    let mut count = 0;
    while let Ok(Some(record)) = records.next_record() {
        count += 1;
        assert!(record.headers().count() <= record.size);
    }
    assert!(count <= batch.record_count);
}

macro_rules! read {
    ($key:ty, $value:ty, $key_bytes:expr, $value_bytes:expr) => {
        if let Ok(key) = <$key>::decode($key_bytes) {
            let again = <$key>::decode(&key.encode().expect("what was read can be written"));
            assert_eq!(again.as_ref(), Ok(&key));
            if let Ok(value) = <$value>::decode(&key, $value_bytes) {
                let _ = value.encode();
            }
        }
    };
}

/// Keys and values of the internal topics, as a coordinator reads them when it loads.
pub fn records(bytes: &[u8]) {
    let Some((split, bytes)) = bytes.split_first() else { return };
    let (key, value) = bytes.split_at((*split as usize).min(bytes.len()));
    read!(GroupRecordKey, GroupRecordValue, key, value);
    read!(TransactionRecordKey, TransactionRecordValue, key, value);
    read!(ShareRecordKey, ShareRecordValue, key, value);
}
