//! What a producer sends: batches, their records in any codec, control records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ottla_protocol::compression::Budget;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::{BatchView, HEADER_SIZE, LOG_OVERHEAD, batches};

const BUDGET: Budget = Budget { bytes_max: 1 << 20, ratio_max: 100 };

fuzz_target!(|bytes: &[u8]| {
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
});

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
