//! Writes a log and reads it back: `cargo run -p ottla-storage --example write_and_read -- /tmp/orders-0`.

use bytes::Bytes;
use ottla_protocol::record_batch::{BatchBuilder, batches};
use ottla_protocol::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use ottla_storage::{AppendContext, AppendOrigin, Log, LogOptions, Verification};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "/tmp/orders-0".to_owned());
    let now = Timestamp(1_700_000_000_000);
    let (log, _) = Log::open(dir.into(), LogOptions::new(TopicPartition::new("orders", 0), now))?;
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
    for records in log.read(Offset(990), 64 * 1024, log.offsets().log_end, true)?.records {
        for batch in batches(&Bytes::from(records.read_all()?)) {
            println!("{:?}", batch?.header());
        }
    }
    Ok(log.close()?)
}
