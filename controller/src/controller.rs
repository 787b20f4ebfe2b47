//! The handle that the rest of a node holds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, SnapshotPolicy};
use ottla_metadata::{Endpoint, MetadataImage};
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::driver::{Driver, Submission};
use crate::options::ControllerOptions;
use crate::quorum::{QuorumInfo, ReplicaState, VoterInfo};
use crate::raft::log_store::LogStore;
use crate::raft::network::{self, Network, Transport};
use crate::raft::snapshot::SnapshotDir;
use crate::raft::state_machine::ImageMachine;
use crate::raft::types::{Raft, VoterEndpoint, VoterNode};
use ottla_decisions::{ControllerRequest, ControllerResponse, RequestOrigin};

/// The folder of the metadata log.
const METADATA_DIR: &str = "__cluster_metadata-0";
/// A segment of the raft log is closed once it is this long.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Requests that wait for the next round.
const REQUEST_QUEUE_MAX: usize = 4096;
/// How long a quorum of one may take to lead: only a failing disk takes longer.
const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("metadata log: {0}")]
    Io(#[from] std::io::Error),
    #[error("raft: {0}")]
    Raft(String),
}

impl StartError {
    fn raft(error: impl std::fmt::Display) -> Self {
        Self::Raft(error.to_string())
    }
}

/// An answer whose records are committed and replayed on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed<R> {
    pub response: R,
    /// The image that first shows what was decided: wait for it before telling a client.
    pub offset: Offset,
}

/// The controller of this node. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    requests: mpsc::Sender<Submission>,
    images: watch::Receiver<Arc<MetadataImage>>,
    active: watch::Receiver<Option<u64>>,
    raft: Raft,
    driver: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Controller {
    /// Opens the log, recovers, and on a single voter returns as the active controller, within milliseconds.
    ///
    /// # Errors
    /// When the log cannot be opened or is damaged, or raft refuses to start.
    pub async fn start(options: ControllerOptions, transport: Arc<dyn Transport>) -> Result<Self, StartError> {
        let dir = options.log_dir.join(METADATA_DIR);
        std::fs::create_dir_all(&dir)?;
        crate::disk::sync_dir(&options.log_dir)?;
        let (log, recovery) = LogStore::open(&dir, SEGMENT_BYTES)?;
        if recovery.cut > 0 {
            tracing::warn!(bytes = recovery.cut, "cut a torn tail off the metadata log");
        }
        let is_new = log.is_pristine();
        if options.voters.len() == 1 && log.has_only_a_vote() {
            // An empty quorum would have every partition's log moved aside.
            return Err(
                crate::disk::damaged(&dir, "the metadata log is lost: there is a quorum-state but no entry").into()
            );
        }
        let (machine, images) = ImageMachine::open(SnapshotDir::new(&dir))?;
        let bytes_since_snapshot = Arc::clone(&machine.bytes_since_snapshot);
        let config = raft_config(&options)?;
        let id = node_id(options.node_id);
        let raft = Raft::new(id, config, Network { transport }, log, machine).await.map_err(StartError::raft)?;
        let (requests, submissions) = mpsc::channel(REQUEST_QUEUE_MAX);
        let (active_sender, active) = watch::channel(None);
        let driver = Driver {
            raft: raft.clone(),
            images: images.clone(),
            requests: submissions,
            defaults: Arc::clone(&options.defaults),
            bytes_since_snapshot,
            snapshot_bytes: options.snapshot_bytes,
            balance_interval: options.leader_balance_interval,
            active: active_sender,
        };
        let driver = Arc::new(Mutex::new(Some(tokio::spawn(driver.run()))));
        let controller = Self { requests, images, active, raft, driver };
        controller.begin(&options, is_new).await?;
        Ok(controller)
    }

    /// A new quorum is founded; a quorum of one need not wait to see whether somebody else leads.
    async fn begin(&self, options: &ControllerOptions, is_new: bool) -> Result<(), StartError> {
        if is_new {
            let members: BTreeMap<u64, VoterNode> =
                options.voters.iter().map(|voter| (node_id(voter.id), voter_node(voter))).collect();
            self.raft.initialize(members).await.map_err(StartError::raft)?;
        }
        // Asked of raft itself: its metrics are still empty at this moment.
        let voters =
            self.raft.with_raft_state(|state| state.membership_state.effective().voter_ids().collect::<Vec<_>>());
        let voters = voters.await.map_err(StartError::raft)?;
        if voters != [node_id(options.node_id)] {
            return Ok(());
        }
        if !is_new {
            self.raft.trigger().elect(false).await.map_err(StartError::raft)?;
        }
        let mut active = self.active.clone();
        let activated = tokio::time::timeout(ACTIVATION_TIMEOUT, active.wait_for(Option::is_some)).await;
        match activated {
            Ok(Ok(_)) => {
                // Nobody else can lead or wait for a heartbeat: without ticks an idle node sleeps.
                self.raft.runtime_config().tick(false);
                Ok(())
            }
            _ => Err(StartError::Raft("the only voter did not become the leader".to_owned())),
        }
    }

    /// Committed images, in order.
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.images.clone()
    }

    /// Whether this node is the active controller.
    pub fn is_active(&self) -> bool {
        self.active.borrow().is_some()
    }

    /// Asks the active controller; answers once what it decided is committed and replayed here.
    ///
    /// # Errors
    /// `NotController` when another node leads or leadership was lost on the way (retry), `UnknownServerError` when the
    /// controller has stopped.
    pub async fn submit(
        &self,
        origin: RequestOrigin,
        request: ControllerRequest,
    ) -> Result<Committed<ControllerResponse>, ErrorCode> {
        let (answer, answered) = oneshot::channel();
        let submission = Submission { origin, request, answer };
        self.requests.send(submission).await.map_err(|_| ErrorCode::UnknownServerError)?;
        answered.await.map_err(|_| ErrorCode::NotController)?
    }

    /// Handles a raft message of another controller; the bytes are the answer to send back.
    ///
    /// # Errors
    /// When the bytes are not such a message.
    pub async fn receive_raft(&self, message: &[u8]) -> std::io::Result<bytes::Bytes> {
        network::receive(&self.raft, message).await
    }

    /// The quorum as this node sees it.
    pub fn quorum(&self) -> QuorumInfo {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let wall_clock = wall_clock();
        let voters: Vec<VoterInfo> = metrics
            .membership_config
            .voter_ids()
            .filter_map(|id| Some(voter_info(id, metrics.membership_config.membership().get_node(&id)?)))
            .collect();
        let replicas = voters
            .iter()
            .map(|voter| {
                let id = node_id(voter.id);
                let is_self = id == metrics.id;
                let matched = metrics.replication.as_ref().and_then(|all| all.get(&id)?.as_ref());
                let last = if is_self { metrics.last_log_index } else { matched.map(|matched| matched.index) };
                let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&id)?.as_ref());
                let heard = heard.map(|at| Timestamp(wall_clock.0 - at.elapsed().as_millis() as i64));
                let heard = if is_self { wall_clock } else { heard.unwrap_or(Timestamp(-1)) };
                let caught_up = is_self || last == metrics.last_log_index;
                ReplicaState {
                    id: voter.id,
                    directory_id: voter.directory_id,
                    log_end_offset: Offset(last.map_or(0, |index| index as i64 + 1)),
                    last_fetch: heard,
                    last_caught_up: if caught_up { heard } else { Timestamp(-1) },
                }
            })
            .collect();
        let committed = metrics.local_committed.as_ref();
        QuorumInfo {
            leader: metrics.current_leader.map(broker_id),
            leader_epoch: metrics.current_term as i32,
            high_watermark: Offset(committed.map_or(0, |id| id.index as i64 + 1)),
            voters,
            replicas,
        }
    }

    /// Stops deciding, then raft, and closes the log.
    pub async fn shutdown(&self) {
        let driver = self.driver.lock().take();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        if let Some(driver) = driver {
            driver.abort();
            let _ = driver.await;
        }
    }

    pub(crate) async fn call<Q, R>(&self, origin: RequestOrigin, request: Q) -> Result<Committed<R>, ErrorCode>
    where
        ControllerRequest: From<Q>,
        R: TryFrom<ControllerResponse>,
    {
        let Committed { response, offset } = self.submit(origin, request.into()).await?;
        let response = R::try_from(response).map_err(|_| ErrorCode::UnknownServerError)?;
        Ok(Committed { response, offset })
    }
}

fn node_id(id: BrokerId) -> u64 {
    // node.id is checked to be at least 0 where it is read.
    u64::try_from(id.0).unwrap_or(0)
}

fn broker_id(id: u64) -> BrokerId {
    BrokerId(i32::try_from(id).unwrap_or(-1))
}

fn voter_node(voter: &VoterInfo) -> VoterNode {
    let endpoint = |endpoint: &Endpoint| VoterEndpoint {
        name: endpoint.name.to_string(),
        host: endpoint.host.to_string(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    };
    VoterNode {
        directory_id: ottla_protocol::ids::encode_uuid(voter.directory_id),
        endpoints: voter.endpoints.iter().map(endpoint).collect(),
    }
}

fn voter_info(id: u64, node: &VoterNode) -> VoterInfo {
    let endpoint = |endpoint: &VoterEndpoint| Endpoint {
        name: endpoint.name.as_str().into(),
        host: endpoint.host.as_str().into(),
        port: endpoint.port,
        security_protocol: endpoint.security_protocol,
    };
    VoterInfo {
        id: broker_id(id),
        directory_id: ottla_protocol::ids::decode_uuid(&node.directory_id).unwrap_or_default(),
        endpoints: node.endpoints.iter().map(endpoint).collect(),
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as i64)
}

fn raft_config(options: &ControllerOptions) -> Result<Arc<openraft::Config>, StartError> {
    let election = options.election_timeout.as_millis() as u64;
    let config = openraft::Config {
        cluster_name: options.defaults.cluster_id.to_string(),
        election_timeout_min: election / 2,
        election_timeout_max: election,
        heartbeat_interval: (election / 7).max(1),
        // The driver asks for snapshots by bytes; a follower that lags keeps this many entries to catch up from.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 1000,
        enable_pre_vote: Some(true),
        // A voter whose log went back has lost what it acknowledged: it must not be taken back silently.
        allow_log_reversion: Some(false),
        enable_leader_restore: Some(false),
        ..openraft::Config::default()
    };
    Ok(Arc::new(config.validate().map_err(StartError::raft)?))
}
