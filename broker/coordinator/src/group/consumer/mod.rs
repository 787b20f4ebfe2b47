//! Consumer groups (KIP-848): the coordinator assigns, members reconcile by heartbeats.
//!
//! ```text
//!   group epoch  ──(target assignment computed)──►  assignment epoch  ──(member by member)──►  member epochs
//! ```

mod pending;
mod state;

pub(crate) use state::ConsumerGroup;
