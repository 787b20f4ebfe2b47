//! What the leader of a partition knows about its followers, and what a follower must cut: as pure state.
//!
//! Invariant: this crate opens no socket and no file and reads no clock; it knows offsets and broker ids, never records.
//! Begin with [`LogOffsetSnapshot`] (the offsets everybody speaks of), then [`Leader`], then [`follower`].

pub mod follower;
pub mod isr;
pub mod leader;
pub mod offsets;
pub mod preferred;
pub mod progress;

pub use isr::{Isr, IsrProposal};
pub use leader::{FollowerFetch, Leader, LeaderStart, NotEnoughReplicas, Progressed, RefusedFetch};
pub use offsets::LogOffsetSnapshot;
pub use progress::FollowerProgress;
