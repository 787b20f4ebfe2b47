//! The controller role: the cluster's metadata as one openraft group.
//!
//! Invariant: this crate opens no socket; raft's messages leave through a transport that the host hands in. Begin with
//! [`Controller`].

mod controller;
mod disk;
mod driver;
mod lost;
mod member;
mod message;
mod observer;
mod options;
mod quorum;
mod raft;
mod typed;

pub use controller::{Committed, Controller, StartError};
pub use options::ControllerOptions;
pub use ottla_decisions::{ControllerDefaults, ControllerRequest, ControllerResponse, RequestOrigin};
pub use quorum::{QuorumInfo, ReplicaState, VoterInfo};
pub use raft::network::{Carried, Destination, Lane, NoTransport, Probe, Probing, Transport};
pub use raft::types::{VoterEndpoint, VoterNode};
