//! Consumer groups (KIP-848): the coordinator assigns, members reconcile by heartbeats.
//!
//! ```text
//!   group epoch  ──(target assignment computed)──►  assignment epoch  ──(member by member)──►  member epochs
//! ```

mod assign;
mod classic_member;
mod describe;
mod draft;
mod error;
mod heartbeat;
mod leave;
mod member;
mod migrate;
mod reconcile;
mod state;
mod subscription;
mod timers;

pub(crate) use state::ConsumerGroup;
pub(crate) use timers::ConsumerChecks;
