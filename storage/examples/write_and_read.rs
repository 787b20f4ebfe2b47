//! Writes a log and reads its end back: `cargo run -p ottla-storage --example write_and_read -- /tmp/orders-0`.

use bytes::Bytes;
use ottla_protocol::record_batch::{BatchBuilder, batches};
use ottla_protocol::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_storage::{AppendContext, AppendOrigin, Log, LogOptions, Verification};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "/tmp/orders-0".to_owned());
    let now = Timestamp(1_700_000_000_000);
    let (log, recovery) = Log::open(dir.into(), LogOptions::new(TopicPartition::new("orders", 0), now))?;
    println!("{} records were there, damaged from: {:?}", log.offsets().log_end, recovery.cut);
    let cx = AppendContext {
        leader_epoch: LeaderEpoch(0),
        origin: AppendOrigin::Client,
        now,
        verification: Verification::NotNeeded,
        is_awaited: false,
    };
    for number in 0..1000 {
        let mut batch = BatchBuilder::new();
        batch.push(now, Some(b"key"), Some(format!("order {number}").as_bytes()), &[]);
        log.append_as_leader(batch.build(), &cx)?;
    }
    log.flush()?;
    let end = log.durable_end();
    let mut next = Offset(end.0 - 10);
    while next < end {
        for region in log.read(next, 300, end, true)?.records {
            // The last one may be cut off: the next read begins with it.
            for batch in batches(&Bytes::from(region.read_all()?)).map_while(Result::ok) {
                let mut records = batch.records()?;
                while let Some(record) = records.next_record()? {
                    let value = String::from_utf8_lossy(record.value.unwrap_or_default());
                    println!("{} {value}", batch.base_offset.0 + i64::from(record.offset_delta));
                }
                next = batch.next_offset();
            }
        }
    }
    Ok(log.close()?)
}
