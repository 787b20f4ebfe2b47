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
    /// The voters that a new quorum is founded with, this node among them; empty for a node that joins one.
    pub voters: Vec<VoterInfo>,
    /// Where a node that is no voter finds the controllers.
    pub bootstrap: Vec<Endpoint>,
    /// Longest wait for the active controller's answer.
    pub request_timeout: Duration,
    /// How long a broker's machine may not answer after its connections closed before it is fenced.
    pub disconnect_grace: Duration,
    /// `controller.quorum.fetch.max.bytes`
    pub fetch_bytes_max: u32,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`; `None` when `auto.leader.rebalance.enable` is off.
    pub leader_balance_interval: Option<Duration>,
    pub defaults: Arc<ControllerDefaults>,
}
