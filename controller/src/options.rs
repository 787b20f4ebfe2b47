//! What a controller is started with.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ottla_decisions::ControllerDefaults;
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
    /// The voters, this node among them.
    pub voters: Vec<VoterInfo>,
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub snapshot_bytes: u64,
    /// `controller.quorum.election.timeout.ms`
    pub election_timeout: Duration,
    /// `leader.imbalance.check.interval.seconds`; `None` when `auto.leader.rebalance.enable` is off.
    pub leader_balance_interval: Option<Duration>,
    pub defaults: Arc<ControllerDefaults>,
}
