//! Group and transaction coordinators as pure state machines.
//!
//! Invariant: this crate opens no socket or file, reads no clock and draws no random number; time, ids, settings and
//! metadata are arguments. Begin with [`shard`], the contract between a coordinator and its host.

pub mod group;
pub mod pattern;
pub mod shard;
pub mod transaction;
