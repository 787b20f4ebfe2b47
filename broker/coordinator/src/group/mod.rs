//! The group coordinator: classic groups, consumer groups (KIP-848) and committed offsets on one partition of
//! `__consumer_offsets`.
//!
//! [`GroupState`] is the hard half: what the records say. [`GroupShard`] is the soft half: timers, members that wait for
//! an answer, and the live side of classic groups (of which the log only knows each finished generation). Begin with
//! `shard.rs` (the one match), then `classic/` or `consumer/`.
//!
//! Invariant: hard state changes by replay only, and replaying the log gives the state that was served.

mod admin;
mod assignor;
mod classic;
mod codec;
mod config;
mod consumer;
mod explain;
mod offsets;
mod records;
mod request;
mod shard;
mod state;
mod text;
mod timers;

pub use config::{GroupConfig, MigrationPolicy};
pub use explain::RebalanceReason;
pub use records::{
    ClassicGroupRecord, ClassicMemberMetadata, ClassicMemberRecord, CommittedOffset, ConsumerGroupMetadata,
    ConsumerMember, CurrentAssignment, GroupRecord, MemberState, Partitions, ResolvedRegex, TargetMetadata,
};
pub use request::{Client, GroupAction, GroupRequest, GroupResponse};
pub use shard::GroupShard;
pub use state::GroupState;
