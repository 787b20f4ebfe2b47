//! openraft's side: the types of the group, where its log, vote and snapshots live, and how its messages leave.
//!
//! One folder, `__cluster_metadata-0`:
//! ```text
//!   00000000000000000042.raftlog       entries from index 42 on            log/
//!   quorum-state                       the vote: term, for whom, granted   vote.rs
//!   00000000000000000041-0000000003.checkpoint   the image at index 41     snapshot.rs
//! ```

pub(crate) mod flusher;
pub(crate) mod log_store;
pub(crate) mod network;
pub(crate) mod segment;
pub(crate) mod segment_log;
pub(crate) mod snapshot;
pub(crate) mod state_machine;
#[cfg(test)]
mod tests;
pub(crate) mod types;
pub(crate) mod vote;
pub(crate) mod witness;
