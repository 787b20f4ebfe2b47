//! The quorum's members, as the leader changes them: who is sent the log (a learner of raft, an observer in Kafka's words)
//! and who votes. A voter is its node id and its directory id: a node that comes back with another directory has lost what
//! it voted on, and is a new member that has to be added after the old one was removed.
//!
//! Every change is one of openraft's, through a joint membership where voters change; one at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, RaftMetrics};
use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, ids};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::message::{Attach, Attached};
use crate::quorum::VoterError;
use crate::raft::network::AddressBook;
use crate::raft::types::{Raft, TypeConfig, VoterNode};

/// The feature whose level 1 says that voters may change.
pub(crate) const KRAFT_VERSION: &str = "kraft.version";
/// Members in all: more would be a mistake, and each costs the leader a stream.
const MEMBERS_MAX: usize = 64;
/// A change that takes longer has lost its majority.
const CHANGE_MAX: Duration = Duration::from_secs(20);
/// How long a new voter may take to have the log.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// A new voter that is less than this behind counts as caught up: entries are written while it reads.
const LAG_MAX: u64 = 100;
/// A learner that has not answered for this long is sent nothing any more; it asks again when it is back.
const LEARNER_SILENT_MAX: Duration = Duration::from_secs(300);
/// The same for one that is registered as no broker: it was taken out of the cluster, and another may have its address.
const STRANGER_SILENT_MAX: Duration = Duration::from_secs(15);
/// A voter that answered this lately is there.
const ALIVE_MAX: Duration = Duration::from_secs(3);
/// Tokens of nodes that were given an id and have not come yet.
const ASSIGNED_MAX: usize = 1_000;

/// The members at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    pub voters: BTreeSet<u64>,
    /// Voters and learners.
    pub nodes: BTreeMap<u64, VoterNode>,
    /// Between two sets of voters.
    pub is_joint: bool,
}

impl Members {
    pub(crate) fn of(metrics: &RaftMetrics<TypeConfig>) -> Self {
        let membership = metrics.membership_config.membership();
        Self {
            voters: membership.voter_ids().collect(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.clone())).collect(),
            is_joint: membership.get_joint_config().len() > 1,
        }
    }

    /// The directory of a voter of this id.
    pub(crate) fn voter_directory(&self, id: u64) -> Option<&str> {
        self.voters.contains(&id).then(|| self.nodes.get(&id).map(|node| node.directory_id.as_str()))?
    }

    pub(crate) fn learners(&self) -> impl Iterator<Item = (u64, &VoterNode)> {
        self.nodes.iter().filter(|(id, _)| !self.voters.contains(id)).map(|(id, node)| (*id, node))
    }

    /// As Kafka writes a set of voters.
    fn shown(&self) -> String {
        let key = |id: &u64| shown(*id, self.nodes.get(id).map_or("", |node| node.directory_id.as_str()));
        format!("[{}]", self.voters.iter().map(key).collect::<Vec<_>>().join(", "))
    }
}

/// As Kafka writes a voter.
fn shown(id: u64, directory: &str) -> String {
    let directory = if is_nil(directory) { "<undefined>" } else { directory };
    format!("ReplicaKey(id={id}, directoryId={directory})")
}

/// The directory of a voter that the configuration names: nobody knows it.
pub(crate) fn is_nil(directory: &str) -> bool {
    ids::decode_uuid(directory).is_none_or(|id| id.is_nil())
}

/// Changes the members while this node leads. Clones share it.
#[derive(Clone)]
pub(crate) struct Voters {
    pub raft: Raft,
    pub images: watch::Receiver<Arc<MetadataImage>>,
    pub addresses: AddressBook,
    /// Held by whoever writes an entry: what is decided knows at which offset it will lie.
    pub entries: Arc<tokio::sync::Mutex<()>>,
    changing: Arc<tokio::sync::Mutex<()>>,
    assigned: Arc<Mutex<Vec<(Uuid, u64)>>>,
}

impl Voters {
    pub(crate) fn new(raft: Raft, images: watch::Receiver<Arc<MetadataImage>>, addresses: AddressBook) -> Self {
        Self { raft, images, addresses, entries: Arc::default(), changing: Arc::default(), assigned: Arc::default() }
    }

    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// Asked of raft itself: its metrics come a moment later.
    pub(crate) async fn members(&self) -> Result<Members, VoterError> {
        let members = self.raft.with_raft_state(|state| {
            let effective = state.membership_state.effective();
            Members {
                voters: effective.voter_ids().collect(),
                nodes: effective.nodes().map(|(id, node)| (*id, node.clone())).collect(),
                is_joint: effective.membership().get_joint_config().len() > 1,
            }
        });
        members.await.map_err(|error| VoterError::new(ErrorCode::UnknownServerError, error.to_string()))
    }

    fn can_change(&self) -> bool {
        self.images.borrow().features.level(KRAFT_VERSION) > 0
    }

    fn check_can_change(&self, verb: &str) -> Result<(), VoterError> {
        if self.can_change() {
            return Ok(());
        }
        let message = format!("Cluster doesn't support {verb} voter because the kraft.version feature is 0");
        Err(VoterError::new(ErrorCode::UnsupportedVersion, message))
    }

    /// One change of openraft's; it is carried to its end even if nobody waits for it any more.
    async fn change(&self, change: ChangeMembers<u64, VoterNode>) -> Result<(), VoterError> {
        // A quorum of one has its ticks off: it had nobody to send heartbeats to.
        self.raft.runtime_config().tick(true);
        let (raft, entries) = (self.raft.clone(), Arc::clone(&self.entries));
        let changed = tokio::spawn(async move {
            let _no_entry_between = entries.lock().await;
            raft.change_membership(change, true).await
        });
        match tokio::time::timeout(CHANGE_MAX, changed).await {
            Ok(Ok(Ok(_))) => {
                if self.members().await.is_ok_and(|members| members.nodes.len() < 2) {
                    self.raft.runtime_config().tick(false);
                }
                Ok(())
            }
            Ok(Ok(Err(error))) => {
                let code = match error.api_error() {
                    Some(openraft::errors::ClientWriteError::ChangeMembershipError(_)) => ErrorCode::RequestTimedOut,
                    Some(_) => ErrorCode::NotController,
                    None => ErrorCode::UnknownServerError,
                };
                Err(VoterError::new(code, error.to_string()))
            }
            Ok(Err(error)) => Err(VoterError::new(ErrorCode::UnknownServerError, error.to_string())),
            Err(_) => {
                let message = "Request timed out waiting for voters to commit the latest voter change";
                Err(VoterError::new(ErrorCode::RequestTimedOut, message))
            }
        }
    }

    async fn set_node(&self, id: u64, node: VoterNode) -> Result<(), VoterError> {
        self.change(ChangeMembers::SetNodes([(id, node.clone())].into())).await?;
        self.addresses.set(id, node);
        Ok(())
    }

    /// A controller that is no voter wants the log.
    pub(crate) async fn attach(&self, Attach { id, node }: Attach) -> Result<Attached, VoterError> {
        if !self.can_change() {
            return Ok(Attached::Static);
        }
        let _one_at_a_time = self.changing.lock().await;
        let members = self.members().await?;
        let known = members.nodes.get(&id);
        if let Some(known) = known.filter(|known| known.directory_id == node.directory_id) {
            if known.endpoints != node.endpoints && !node.endpoints.is_empty() {
                self.set_node(id, node).await?;
            }
            return Ok(Attached::Member);
        }
        if let Some(directory) = members.voter_directory(id) {
            let metrics = self.metrics();
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&id)?.as_ref().map(|at| at.elapsed()));
            if heard.is_some_and(|heard| heard < ALIVE_MAX) {
                let message = format!(
                    "node.id {id} is in use by a voter that is alive (directory id {directory}): give this node another \
                     node.id"
                );
                return Err(VoterError::new(ErrorCode::DuplicateVoter, message));
            }
            return Ok(Attached::KnownAs(directory.to_owned()));
        }
        if known.is_some() {
            self.change(ChangeMembers::RemoveNodes([id].into())).await?;
        }
        if members.nodes.len() >= MEMBERS_MAX {
            return Err(VoterError::new(ErrorCode::PolicyViolation, format!("the quorum has {MEMBERS_MAX} members")));
        }
        tracing::info!(node = id, directory = node.directory_id, "a controller joins the quorum as an observer");
        self.change(ChangeMembers::AddNodes([(id, node)].into())).await?;
        Ok(Attached::Member)
    }

    /// AddRaftVoter. The order of the checks, and what they say, is Kafka's.
    pub(crate) async fn add(
        &self,
        id: u64,
        node: VoterNode,
        timeout: Duration,
        wait_until_committed: bool,
        below: Option<usize>,
    ) -> Result<(), VoterError> {
        let deadline = Instant::now() + timeout.min(CATCH_UP_MAX);
        let _one_at_a_time = self.turn(deadline).await?;
        self.check_can_change("adding")?;
        let members = self.members().await?;
        if below.is_some_and(|below| members.voters.len() >= below) {
            // Others were quicker; this one reads along, as it sees by itself.
            return Ok(());
        }
        let key = shown(id, &node.directory_id);
        if members.voters.contains(&id) {
            let message = format!("The voter id for {key} is already part of the set of voters {}.", members.shown());
            return Err(VoterError::new(ErrorCode::DuplicateVoter, message));
        }
        let known = members.nodes.get(&id).filter(|known| known.directory_id == node.directory_id);
        let is_new = known.is_none();
        match known {
            Some(known) if known.endpoints == node.endpoints => {}
            Some(_) => self.set_node(id, node).await?,
            None => {
                if members.nodes.contains_key(&id) {
                    self.change(ChangeMembers::RemoveNodes([id].into())).await?;
                }
                self.change(ChangeMembers::AddNodes([(id, node)].into())).await?;
            }
        }
        if !self.has_caught_up(id, deadline).await {
            if is_new {
                let _ = self.change(ChangeMembers::RemoveNodes([id].into())).await;
            }
            let message = format!("Aborted add voter operation for {key} since it is lagging behind");
            return Err(VoterError::new(ErrorCode::RequestTimedOut, message));
        }
        tracing::info!(node = id, "the quorum has a new voter: {key}");
        if wait_until_committed {
            return self.change(ChangeMembers::AddVoterIds([id].into())).await;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let _one_at_a_time = this.changing.lock().await;
            if let Err(error) = this.change(ChangeMembers::AddVoterIds([id].into())).await {
                tracing::warn!(node = id, error = error.message, "the new voter was not added");
            }
        });
        Ok(())
    }

    async fn turn(&self, deadline: Instant) -> Result<tokio::sync::MutexGuard<'_, ()>, VoterError> {
        tokio::time::timeout_at(deadline, self.changing.lock()).await.map_err(|_| {
            let message = "Request timed out waiting for leader to handle previous voter change request";
            VoterError::new(ErrorCode::RequestTimedOut, message)
        })
    }

    /// Waits until a learner has what the leader has, or nearly.
    async fn has_caught_up(&self, id: u64, deadline: Instant) -> bool {
        let mut metrics = self.raft.metrics();
        loop {
            let now = metrics.borrow_and_update().clone();
            let matched = now.replication.as_ref().and_then(|all| all.get(&id)?.as_ref()).map(|matched| matched.index);
            if let (Some(matched), Some(last)) = (matched, now.last_log_index)
                && matched.saturating_add(LAG_MAX) >= last
            {
                return true;
            }
            if now.replication.is_none() {
                return false;
            }
            match tokio::time::timeout_at(deadline, metrics.changed()).await {
                Ok(Ok(())) => {}
                _ => return false,
            }
        }
    }

    /// RemoveRaftVoter. Who loses its vote goes on reading the log, if it is there.
    pub(crate) async fn remove(&self, id: u64, directory: &str) -> Result<(), VoterError> {
        let _one_at_a_time = self.turn(Instant::now() + CHANGE_MAX).await?;
        self.check_can_change("removing")?;
        let members = self.members().await?;
        let key = shown(id, directory);
        if members.voter_directory(id) != Some(directory) || members.voters.len() < 2 {
            let message = format!("Cannot remove voter {key} from the set of voters {}", members.shown());
            return Err(VoterError::new(ErrorCode::VoterNotFound, message));
        }
        self.change(ChangeMembers::RemoveVoters([id].into())).await?;
        tracing::info!(node = id, "the quorum has a voter less: {key}");
        Ok(())
    }

    /// UpdateRaftVoter.
    pub(crate) async fn update(&self, id: u64, node: VoterNode) -> Result<(), VoterError> {
        let _one_at_a_time = self.turn(Instant::now() + CHANGE_MAX).await?;
        let members = self.members().await?;
        match members.nodes.get(&id) {
            Some(known) if known.directory_id != node.directory_id || !members.voters.contains(&id) => {
                let message = format!("{} is no voter", shown(id, &node.directory_id));
                Err(VoterError::new(ErrorCode::VoterNotFound, message))
            }
            Some(known) if *known == node => Ok(()),
            Some(_) => self.set_node(id, node).await,
            None => Err(VoterError::new(ErrorCode::VoterNotFound, "no such voter")),
        }
    }

    /// A number that no node of the cluster has or was promised.
    pub(crate) fn assign_node_id(&self, token: Uuid) -> u64 {
        let mut assigned = self.assigned.lock();
        if let Some((_, id)) = assigned.iter().find(|(other, _)| *other == token) {
            return *id;
        }
        let brokers = self.images.borrow().brokers.keys().map(|id| u64::try_from(id.0).unwrap_or(0)).max();
        let members = Members::of(&self.metrics()).nodes.keys().copied().max();
        let promised = assigned.iter().map(|(_, id)| *id).max();
        let id = [brokers, members, promised].into_iter().flatten().max().unwrap_or(0) + 1;
        if assigned.len() >= ASSIGNED_MAX {
            assigned.remove(0);
        }
        assigned.push((token, id));
        id
    }

    /// What a leader before this one left half done is finished, and learners that are gone are sent nothing any more.
    pub(crate) async fn tidy(&self, first_missed: &mut BTreeMap<u64, Instant>) {
        let metrics = self.metrics();
        if !metrics.state.is_leader() {
            first_missed.clear();
            return;
        }
        let Ok(_one_at_a_time) = self.changing.try_lock() else { return };
        let members = Members::of(&metrics);
        if members.is_joint {
            tracing::info!("an interrupted change of the quorum's voters is completed");
            let _ = self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await;
            return;
        }
        first_missed.retain(|id, _| members.nodes.contains_key(id));
        let images = self.images.borrow().clone();
        let is_registered = |id| images.brokers.keys().any(|broker| u64::try_from(broker.0) == Ok(id));
        let mut gone = BTreeSet::new();
        for (id, _) in members.learners() {
            let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(&id)?.as_ref().map(|at| at.elapsed()));
            let silent = heard.unwrap_or_else(|| first_missed.entry(id).or_insert_with(Instant::now).elapsed());
            if silent >= if is_registered(id) { LEARNER_SILENT_MAX } else { STRANGER_SILENT_MAX } {
                gone.insert(id);
            }
        }
        if !gone.is_empty() {
            tracing::info!(nodes = ?gone, "observers of the quorum that are silent are forgotten");
            let _ = self.change(ChangeMembers::RemoveNodes(gone)).await;
        }
    }
}
