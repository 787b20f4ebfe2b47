//! Partition logs on disk in Kafka's own file formats.
//!
//! Invariant: this crate opens no socket and knows no cluster; all disk access goes through [`disk`].

mod checkpoint;
mod cleaner;
pub mod config;
pub mod disk;
mod durable;
mod errors;
mod journal;
mod leader_epoch;
mod log;
mod log_dirs;
mod partition_metadata;
mod producer_snapshot;
mod producer_state;
mod retention;
mod segment;
mod validate;

pub use config::{CompressionType, Durability, LogConfig};
pub use durable::DurabilityListener;
pub use errors::{AppendError, ReadError, RecordError};
pub use journal::JournalOptions;
pub use log::{
    AbortedTxn, AppendContext, AppendInfo, AppendOrigin, Cut, Log, LogOffsets, LogOptions, LogRead, RecoveryReport,
    TimestampOffset,
};
pub use log_dirs::{LogDirInfo, LogDirs, LogDirsOptions, MoveError, MoveStep, MovingLog, OpenError};
pub use producer_state::{ProducerSnapshotEntry, Verification, VerificationGuard};
pub use segment::{DirHealth, FileRecords, OpenFiles};
