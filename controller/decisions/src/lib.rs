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

mod acls;
mod alter_partition;
mod brokers;
mod config_rules;
mod configs;
mod elections;
mod error;
mod features;
mod growth;
mod heartbeats;
mod mutations;
mod partition_change;
mod placement;
mod producer_ids;
mod quotas;
mod reassignment;
mod request;
mod scram;
mod state;
mod topics;

pub use error::ApiError;
pub use heartbeats::SoftState;
pub use request::{CodecError, ControllerRequest, ControllerResponse, Decision, Encoded, RequestOrigin};
pub use state::{Context, ControllerDefaults, ControllerState, IdSource, InternalTopicGrowth};

fn topic_name(name: &str) -> ottla_protocol::messages::TopicName {
    ottla_protocol::StrBytes::from_string(name.to_owned()).into()
}
