//! Partition logs on disk in Kafka's own file formats.
//!
//! Invariant: this crate opens no socket and knows no cluster; all disk access goes through [`disk`].

pub mod config;
pub mod disk;
mod errors;
mod log;
mod log_dirs;
mod producer_state;
mod segment;

pub use config::{CompressionType, LogConfig};
pub use errors::{AppendError, ReadError, RecordError};
pub use log::{AbortedTxn, AppendContext, AppendInfo, AppendOrigin, Log, LogOffsets, LogRead, TimestampOffset};
pub use log_dirs::{LogDirInfo, LogDirs, LogDirsOptions, OpenError};
pub use producer_state::ProducerSnapshotEntry;
pub use segment::FileRecords;
