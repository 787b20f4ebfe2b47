//! The partitions that live on this broker.
//!
//! ```text
//!   registry    who is here: Partitions
//!   assignment  makes what is here equal to what the metadata says
//!   partition   one replica: append, offsets, waiting for the high watermark
//!   follower    a follower appends and cuts what its leader says
//!   fetcher     one task per source broker: asks the leaders there
//!   read        reading from it: fetches, offsets by timestamp, ends of epochs
//!   log_dir_moves  moves replicas to other log directories of this broker
//!   isr_proposals  asks the controller for changes of in-sync sets
//!   dir_reports  tells the controller which log directories replicas are in
//!   failed_dirs  tells those who wait at replicas whose log directory has failed
//!   throttle    the rate of replicas that are being moved
//!   waiters     who is told when a partition moves: fetches that wait, and fetch sessions
//! ```
//!
//! Invariant: only `assignment` adds, removes or re-roles a partition, and only the publisher calls it.

mod assignment;
mod dir_reports;
mod errors;
pub mod failed_dirs;
mod fetcher;
mod follower;
mod isr_change;
pub mod isr_proposals;
mod leaders;
mod log_dir_moves;
mod partition;
mod read;
mod registry;
#[cfg(test)]
pub(crate) mod tests;
mod throttle;
mod waiters;

pub use assignment::{Assignment, Changes, TopicConfigs};
pub use dir_reports::DirReports;
pub use errors::{AppendError, ReadError};
pub use fetcher::{FetchOptions, Fetchers, Leaders};
pub use follower::{FetchPosition, Fetched, FollowError};
pub use isr_change::{IsrChange, IsrProposals};
pub use leaders::PeerLeaders;
pub use log_dir_moves::LogDirMoves;
pub use ottla_replication::LogOffsetSnapshot;
pub use partition::{LeaderAppend, Partition, PartitionState};
pub use read::{Epochs, FollowerRead, Isolation, OffsetFound, OffsetQuery, ReadAnswer, ReadAt};
pub use registry::Partitions;
pub use throttle::{Throttle, Throttled};
pub use waiters::{FetchWait, Watch, Watched};
