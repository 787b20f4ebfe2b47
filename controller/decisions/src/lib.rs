//! The decisions of the active controller: a request and the image give records and an answer.
//!
//! ```text
//!   ControllerRequest ──► ControllerState::decide(&self) ──► records, answer
//!                                    ▲                          │
//!                                    └──────── replay ◄─────────┘ once committed
//! ```
//!
//! Invariant: nothing here opens a file or socket, reads a clock or draws a random number; requests never change the
//! image, only replayed records do. Begin with [`ControllerState`]; each kind of decision has its own file.
#![allow(clippy::todo)]

mod request;
mod state;

pub use request::{ControllerRequest, ControllerResponse, Decision, RequestOrigin};
pub use state::{ControllerDefaults, ControllerState, IdSource, SoftState};
