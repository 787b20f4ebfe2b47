//! Partition logs on disk in Kafka's own file formats.
//!
//! [`Log`] is the log of one partition in a folder of its own. [`LogDirs`] has all logs of a node in one or more log directories,
//! with the journal that makes `strict` logs durable, Kafka's checkpoint files, a lock, a cleaner, and what is done about full and
//! failing disks. `examples/write_and_read.rs` has the one, `examples/several_logs.rs` the other.
//!
//! What is left to whoever uses them:
//! - **Durable** is what lies before [`Log::durable_end`]. In [`LogDirs`] the journal moves it, soon after each append to a `strict` log,
//!   and tells a [`DurabilityListener`]. A [`Log`] of its own has no journal: [`Log::flush`] moves it.
//! - **The high watermark** is yours: [`Log::set_high_watermark`], on a single node to [`Log::durable_end`]. Retention, compaction
//!   and readers of committed records go no further.
//! - **From time to time** call [`LogDirs::flush_due`] (every few seconds), [`LogDirs::checkpoint_all`] and [`LogDirs::maintenance`] (every minute);
//!   for a [`Log`] of its own [`Log::roll_if_old`] and [`Log::apply_retention`].
//! - **Reading on**: [`Log::read`] gives whole batches and perhaps the begin of one more. The next read begins behind the last whole one. The
//!   first batch may begin before the offset that was asked for.
//! - **The end**: [`LogDirs::shutdown`] and then the last reference; [`Log::close`].
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
mod reserve;
mod retention;
mod segment;
mod validate;

pub use config::{CompressionType, Durability, LogConfig};
pub use durable::DurabilityListener;
pub use errors::{AppendError, ReadError, RecordError};
pub use journal::JournalOptions;
pub use log::{
    AbortedTxn, AppendContext, AppendInfo, Cut, Log, LogOffsets, LogOptions, LogRead, RecoveryReport, TimestampOffset,
};
pub use log_dirs::{LogDirInfo, LogDirs, LogDirsOptions, MoveError, MoveStep, MovingLog, OpenError};
pub use producer_state::{ProducerSnapshotEntry, Verification, VerificationGuard};
pub use segment::{DirHealth, FileRecords, OpenFiles};
pub use validate::AppendOrigin;
