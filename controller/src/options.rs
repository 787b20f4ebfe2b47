//! What a controller is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_decisions::ControllerDefaults;
use ottla_metadata::Endpoint;
use ottla_protocol::BrokerId;
use uuid::Uuid;

use crate::quorum::VoterInfo;

/// What a controller is started with.
#[derive(Debug, Clone)]
pub struct ControllerOptions {
    /// `node.id`
    pub node_id: BrokerId,
    /// The id of the directory the metadata log lives in (`meta.properties`).
    pub directory_id: Uuid,
    /// `metadata.log.dir`, or else the first of `log.dirs`. The log is in `__cluster_metadata-0` below it.
    pub log_dir: PathBuf,
    /// The voters that a new quorum is founded with, this node among them; empty for a node that joins one, or that looks
    /// first whether there is one.
    pub voters: Vec<VoterInfo>,
    /// What this node does about its own membership; `None` where the voters are those of the configuration.
    pub joining: Option<Joining>,
    /// Where a node that is no voter finds the controllers.
    pub bootstrap: Vec<Endpoint>,
    /// Longest wait for the active controller's answer.
    pub request_timeout: Duration,
    /// How long a broker's machine may not answer after its connections closed before it is fenced.
    pub disconnect_grace: Duration,
    /// The same for the machine of the quorum's leader, before votes are asked for; an election decides in any case.
    pub leader_grace: Duration,
    /// `controller.quorum.fetch.max.bytes`
    pub fetch_bytes_max: u32,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout: Duration,
    /// How long the quorum's leader may be silent before the voters elect another.
    pub leader_silence_max: Duration,
    /// How long a leader that went silent may take to report as a broker to the next one, at least.
    pub leader_session_grace: Duration,
    /// `leader.imbalance.check.interval.seconds`; `None` when `auto.leader.rebalance.enable` is off.
    pub leader_balance_interval: Option<Duration>,
    pub defaults: Arc<ControllerDefaults>,
}

/// How a controller becomes part of a quorum whose voters change while it runs.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Where other members reach this node.
    pub endpoints: Vec<Endpoint>,
    pub auto_join: AutoJoin,
    /// How long the founder of a new quorum listens for members of an old one that know its id by another directory.
    pub listen_before_founding: Duration,
}

/// Whether a controller makes itself a voter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoJoin {
    /// It waits for `kafka-metadata-quorum add-controller`.
    Never,
    /// `controller.quorum.auto.join.enable`
    Always,
    /// While there are fewer voters than this.
    Below(usize),
}
