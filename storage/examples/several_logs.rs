//! The logs of a node: appended to, durable within a moment, compacted, and found again.
//! `cargo run -p ottla-storage --example several_logs -- /tmp/logs`

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{BrokerId, LeaderEpoch, Timestamp, TopicId, TopicPartition};
use ottla_storage::{AppendContext, AppendOrigin, LogConfig, LogDirs, LogDirsOptions, Verification};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "/tmp/logs".to_owned());
    // Compacted below, and not in a thread meanwhile.
    let options = LogDirsOptions { cleaner_threads: 0, ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw") };
    let dirs = LogDirs::open(&[dir.into()], options)?;
    println!("{} logs were there", dirs.logs().len());
    let now = Timestamp(1_700_000_000_000);
    let cx = AppendContext {
        leader_epoch: LeaderEpoch(0),
        origin: AppendOrigin::Client,
        now,
        verification: Verification::NotNeeded,
        // Whoever waits for the record hears of it below, and not before.
        is_awaited: true,
    };
    let config = Arc::new(LogConfig { compact: true, delete: false, segment_bytes: 64 << 10, ..LogConfig::default() });
    for partition in 0..3 {
        let id = TopicPartition::new("stock", partition);
        let log = dirs.create_log(&id, TopicId(uuid::Uuid::from_u128(1)), Arc::clone(&config))?;
        for number in 0..2_000 {
            let mut batch = BatchBuilder::new();
            let key = format!("item {}", number % 100);
            batch.push(now, Some(key.as_bytes()), Some(b"some"), &[]);
            log.append_as_leader(batch.build(), &cx)?;
        }
        // A broker is told by a `DurabilityListener`.
        while log.durable_end() < log.offsets().log_end {
            std::thread::sleep(Duration::from_millis(1));
        }
        log.set_high_watermark(log.durable_end());
        log.roll_if_old(Timestamp(i64::MAX))?;
        println!("{id}: {} records, {} bytes", log.offsets().log_end, log.size());
    }
    while dirs.clean_one(now) {}
    for log in dirs.logs() {
        println!("{}: {} bytes are left", log.topic_partition(), log.size());
    }
    dirs.shutdown(-1);
    Ok(())
}
