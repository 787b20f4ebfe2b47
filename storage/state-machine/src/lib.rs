//! The one contract of every coordinator and of the controller: requests decide, records change state.
//!
//! Invariant: nothing here reads a clock, a file or a random number; the same records always give the same state.
//! Begin with [`StateMachine`] and [`Outcome`], then [`Timeline`]; [`Purgatory`] is where answers wait for an offset.

mod outcome;
mod purgatory;
mod timeline;

pub use outcome::{Outcome, StateMachine};
pub use purgatory::Purgatory;
pub use timeline::Timeline;
