//! The controller role: the cluster's metadata as one openraft group.
//!
//! Invariant: this crate opens no socket; raft's messages leave through a transport that the host hands in. Begin with
//! [`Controller`].

mod audit;
mod clocks;
mod controller;
mod disk;
mod driver;
mod elections;
mod join;
mod long;
mod lost;
mod member;
mod message;
mod observer;
mod observers;
mod options;
mod quorum;
mod raft;
mod typed;
mod voters;

pub use controller::{Assigned, Committed, Controller, StartError, assignment_request, read_assignment};
pub use member::is_of_apache_kafka;
pub use options::{AutoJoin, ControllerOptions, Joining};
pub use ottla_decisions::{
    ControllerDefaults, ControllerRequest, ControllerResponse, InternalTopicGrowth, RequestOrigin,
};
pub use quorum::{QuorumInfo, ReplicaState, VoterChange, VoterError, VoterInfo};
pub use raft::network::{Carried, Destination, Lane, NoTransport, Probe, Probing, Transport};
pub use raft::types::{VoterEndpoint, VoterNode};
