//! A voter: raft, its log, and the driver that decides while this node leads.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, SnapshotPolicy};
use ottla_decisions::{ControllerRequest, ControllerResponse, RequestOrigin};
use ottla_metadata::MetadataImage;
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::clocks::Clocks;
use crate::controller::{Committed, StartError, broker_id, node_id, voter_info, voter_node, wall_clock};
use crate::driver::{Driver, Submission};
use crate::elections::Elections;
use crate::join::{Joiner, KnownAs};
use crate::message::{
    self, Answer, AssignedId, Attach, Attached, Directed, Message, Pull, Pulled, RaftMessage, Submitted,
    VoterChangeKind, VoterChanged, WireQuorum, WireVoterChange,
};
use crate::observers::Observers;
use crate::options::ControllerOptions;
use crate::quorum::{QuorumInfo, ReplicaState, VoterError, VoterInfo};
use crate::raft::log_store::LogStore;
use crate::raft::network::{AddressBook, Network, Transport};
use crate::raft::snapshot::SnapshotDir;
use crate::raft::state_machine::ImageMachine;
use crate::raft::types::{Raft, Snapshot, VoterNode};
use crate::raft::vote::VoteFile;
use crate::voters::{Members, Voters, is_nil};

/// The folder of the metadata log.
const METADATA_DIR: &str = "__cluster_metadata-0";
/// A segment of the raft log is closed once it is this long.
const SEGMENT_BYTES: u64 = 4 << 20;
/// Requests that wait for the next round.
const REQUEST_QUEUE_MAX: usize = 4096;
/// How long a quorum of one may take to lead: only a failing disk takes longer.
const ACTIVATION_TIMEOUT: Duration = Duration::from_secs(10);
/// How long another voter may take to take over; then it is left to an election.
const RESIGN_TIMEOUT: Duration = Duration::from_millis(500);
/// How long raft may take to tell who its members are.
const MEMBERS_TIMEOUT: Duration = Duration::from_millis(500);
/// News may come between a look and the wait for it.
const NEWS_MAX: Duration = Duration::from_millis(100);
/// Brokers that are about to be fenced.
const LOST_QUEUE_MAX: usize = 1024;

/// One voter of the quorum.
pub(crate) struct Member {
    requests: mpsc::Sender<Submission>,
    images: watch::Receiver<Arc<MetadataImage>>,
    active: watch::Receiver<Option<u64>>,
    raft: Raft,
    log: LogStore,
    observers: Observers,
    lost_brokers: mpsc::Sender<(BrokerId, i64)>,
    clocks: Clocks,
    pub(crate) elections: Elections,
    voters: Voters,
    /// Of the directory that holds the log, as text.
    directory: Arc<str>,
    id: u64,
    known_as: KnownAs,
    driver: Mutex<Option<JoinHandle<()>>>,
    joiner: Mutex<Option<JoinHandle<()>>>,
    watch: Mutex<Option<JoinHandle<()>>>,
}

/// Whether the metadata log in a log directory is that of an Apache Kafka node, which nobody else can read.
pub fn is_of_apache_kafka(log_dir: &Path) -> bool {
    VoteFile::new(&log_dir.join(METADATA_DIR)).is_of_apache_kafka()
}

impl Member {
    pub(crate) async fn start(
        options: &ControllerOptions,
        transport: Arc<dyn Transport>,
    ) -> Result<(Self, watch::Receiver<Arc<MetadataImage>>), StartError> {
        let dir = options.log_dir.join(METADATA_DIR);
        std::fs::create_dir_all(&dir)?;
        crate::disk::sync_dir(&options.log_dir)?;
        let (log, recovery) = LogStore::open(&dir, &options.log_dir, SEGMENT_BYTES)?;
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
        let (machine, images) = ImageMachine::open(SnapshotDir::new(&dir, log.space()))?;
        let bytes_since_snapshot = Arc::clone(&machine.bytes_since_snapshot);
        let config = raft_config(options)?;
        let id = node_id(options.node_id);
        let directory: Arc<str> = ottla_protocol::ids::encode_uuid(options.directory_id).into();
        let addresses = AddressBook::default();
        let network = Network {
            transport: Arc::clone(&transport),
            own: (id, Arc::clone(&directory)),
            addresses: addresses.clone(),
        };
        let raft = Raft::new(id, config, network, log.clone(), machine).await.map_err(StartError::raft)?;
        let (requests, submissions) = mpsc::channel(REQUEST_QUEUE_MAX);
        let (active_sender, active) = watch::channel(None);
        let (lost_brokers, lost) = mpsc::channel(LOST_QUEUE_MAX);
        let elections = Elections::new(raft.clone(), active.clone(), Arc::clone(&directory), options);
        let (watching, of_watch) = (elections.clone(), Arc::clone(&transport));
        let watch = async move { watching.watch_leader(&of_watch).await };
        let voters = Voters::new(raft.clone(), images.clone(), addresses);
        let driver = Driver {
            entries: Arc::clone(&voters.entries),
            raft: raft.clone(),
            images: images.clone(),
            requests: submissions,
            lost,
            defaults: Arc::clone(&options.defaults),
            bytes_since_snapshot,
            snapshot_bytes: options.snapshot_bytes,
            balance_interval: options.leader_balance_interval,
            active: active_sender,
            heard: elections.heard(),
            leader_session_grace: options.leader_session_grace,
            voters_change: options.joining.is_some(),
        };
        let driver = Mutex::new(Some(tokio::spawn(driver.run())));
        let member = Self {
            requests,
            images: images.clone(),
            active,
            observers: Observers::new(log.clone(), images.clone()),
            log,
            lost_brokers,
            clocks: Clocks::default(),
            elections,
            voters,
            directory,
            id,
            known_as: KnownAs::default(),
            driver,
            joiner: Mutex::default(),
            watch: Mutex::new(Some(tokio::spawn(watch))),
            raft,
        };
        member.begin(options, is_new).await?;
        if let Some(joining) = options.joining.clone() {
            let members = member.voters.members().await.map_err(|error| StartError::Raft(error.message))?;
            let votes = members.voter_directory(id) == Some(&*member.directory);
            member.voters.raft.runtime_config().elect(votes);
            let own = VoterInfo {
                id: options.node_id,
                directory_id: options.directory_id,
                endpoints: joining.endpoints.clone(),
            };
            let joiner = Joiner::new(
                member.voters.clone(),
                transport,
                id,
                voter_node(&own),
                joining,
                options.bootstrap.clone(),
                member.log.is_pristine(),
                Arc::clone(&member.known_as),
                member.active.clone(),
            );
            *member.joiner.lock() = Some(tokio::spawn(joiner.run()));
        }
        Ok((member, images))
    }

    /// A new quorum is founded; a quorum of one need not wait to see whether somebody else leads.
    async fn begin(&self, options: &ControllerOptions, is_new: bool) -> Result<(), StartError> {
        if is_new && !options.voters.is_empty() {
            let members: BTreeMap<u64, VoterNode> =
                options.voters.iter().map(|voter| (node_id(voter.id), voter_node(voter))).collect();
            // Every voter writes the same first entry; another may have been quicker and sent it already.
            if let Err(error) = self.raft.initialize(members).await {
                match error.api_error() {
                    Some(already) => tracing::debug!(%already, "the quorum has been founded"),
                    None => return Err(StartError::raft(error)),
                }
            }
        }
        // Asked of raft itself: its metrics are still empty at this moment.
        let members = self.voters.members().await.map_err(|error| StartError::Raft(error.message))?;
        // On its way through the log a node with a new disk meets its old self as the only voter.
        let is_old_self =
            members.voter_directory(self.id).is_some_and(|known| !is_nil(known) && *known != *self.directory);
        if members.voters != [self.id].into() || (is_old_self && !options.bootstrap.is_empty()) {
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
                self.raft.runtime_config().tick(members.nodes.len() > 1);
                Ok(())
            }
            _ => Err(StartError::Raft("the only voter did not become the leader".to_owned())),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.borrow().is_some() && !self.lacks_space()
    }

    /// Raft stands still: what it says of itself and of others was true before, and somebody else may lead by now.
    pub(crate) fn lacks_space(&self) -> bool {
        self.log.lacks_space()
    }

    pub(crate) async fn is_alone(&self) -> bool {
        // Raft does not answer while it waits for its disk.
        let members = tokio::time::timeout(MEMBERS_TIMEOUT, self.voters.members()).await;
        members.is_ok_and(|members| {
            members.is_ok_and(|members| members.voters == [self.id].into() && members.nodes.len() == 1)
        })
    }

    pub(crate) fn is_own(&self, message: &[u8]) -> bool {
        let attach = message::read(message);
        matches!(attach, Ok(Message::Attach(Attach { id, node })) if id == self.id && node.directory_id == *self.directory)
    }

    /// Changes when this node becomes the active controller or no longer is.
    pub(crate) fn active(&self) -> watch::Receiver<Option<u64>> {
        self.active.clone()
    }

    /// Who leads, as far as this voter knows, and where it is.
    pub(crate) fn leader(&self) -> Option<(u64, VoterNode)> {
        if self.lacks_space() {
            return None;
        }
        let metrics = self.raft.metrics().borrow_watched().clone();
        let leader = metrics.current_leader?;
        Some((leader, metrics.membership_config.membership().get_node(&leader)?.clone()))
    }

    /// Returns when raft has news of its leader or term, and now and then without: who waits looks again.
    pub(crate) async fn news(&self) {
        let mut metrics = self.raft.server_metrics();
        // What is known already is no news: a clone of the receiver has seen nothing yet.
        metrics.borrow_and_update();
        let _ = tokio::time::timeout(NEWS_MAX, metrics.changed()).await;
    }

    /// Has the driver decide; `NotController` when this node does not lead.
    pub(crate) async fn submit(
        &self,
        origin: RequestOrigin,
        request: ControllerRequest,
    ) -> Result<Committed<ControllerResponse>, ErrorCode> {
        let (answer, answered) = oneshot::channel();
        let submission = Submission { origin, request, answer };
        self.requests.send(submission).await.map_err(|_| ErrorCode::UnknownServerError)?;
        answered.await.map_err(|_| ErrorCode::NotController)?
    }

    /// Handles a message of another node; the bytes are the answer to send back.
    pub(crate) async fn receive(&self, bytes: &[u8]) -> io::Result<Bytes> {
        match message::read(bytes)? {
            Message::Raft(directed) => self.receive_raft(directed).await,
            Message::Submit(submit) => message::write(&text(self.forwarded(submit).await)),
            Message::Pull(pull) => message::write(&text(self.pull(pull).await)),
            Message::Quorum => message::write(&self.quorum_if_active()),
            Message::Attach(attach) => message::write(&self.attach(attach).await),
            Message::ChangeVoters(change) => {
                let changed: VoterChanged =
                    self.change_voters(change).await.map_err(|error| (error.code.code(), error.message));
                message::write::<Answer<VoterChanged>>(&Ok(changed))
            }
            Message::HearsNothingOf(leader) => message::write::<Answer<bool>>(&Ok(self.elections.agrees(leader))),
            Message::AssignNodeId(token) => {
                let id = if self.is_active() { Ok(self.voters.assign_node_id(token)) } else { Err(self.leader()) };
                message::write::<Answer<AssignedId>>(&Ok(id))
            }
        }
    }

    async fn receive_raft(&self, directed: Directed) -> io::Result<Bytes> {
        self.check_directories(&directed)?;
        let raft = &self.raft;
        if matches!(directed.message, RaftMessage::Append(_) | RaftMessage::Snapshot { .. }) {
            self.elections.note_heard(directed.from);
        }
        match directed.message {
            RaftMessage::Append(request) => message::write(&text(raft.append_entries(request).await)),
            RaftMessage::Vote(mut request) => {
                // The lease protects a leader that lives. Of a dead one it would only delay the next.
                request.leadership_transfer |= self.elections.is_leaderless();
                message::write(&text(raft.vote(request).await))
            }
            RaftMessage::PreVote(request) => message::write(&text(raft.pre_vote(request).await)),
            RaftMessage::Snapshot { vote, meta, data } => {
                let snapshot = Snapshot { meta, snapshot: data.0 };
                message::write(&text(raft.install_full_snapshot(vote, snapshot).await))
            }
            RaftMessage::TransferLeader(request) => message::write(&text(raft.handle_transfer_leader(request).await)),
        }
    }

    /// A node whose disk was lost is not who it was: it neither hears of what its old self is told nor speaks for it.
    fn check_directories(&self, directed: &Directed) -> io::Result<()> {
        if !is_nil(&directed.to_directory) && *directed.to_directory != *self.directory {
            *self.known_as.lock() = Some(directed.to_directory.clone());
            let message = replaced_disk(self.id, &directed.to_directory, &self.directory);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        // Who alone votes is led by nobody: another voter would be in its own log first.
        let own = membership.get_node(&self.id).map(|own| own.directory_id.as_str());
        if membership.voter_ids().eq([self.id]) && own.is_some_and(|own| is_nil(own) || *own == *self.directory) {
            let message = format!("node {} does not vote in this quorum", directed.from);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        let known = membership.get_node(&directed.from);
        match known.filter(|known| !is_nil(&known.directory_id) && known.directory_id != directed.from_directory) {
            Some(known) => {
                let message = replaced_disk(directed.from, &known.directory_id, &directed.from_directory);
                Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
            }
            None => Ok(()),
        }
    }

    async fn attach(&self, attach: Attach) -> Answer<Attached> {
        if attach.id == self.id {
            return match attach.node.directory_id == *self.directory {
                true => Ok(Attached::Yourself),
                false => Err(format!("node.id {} is in use: give one of the two another node.id", self.id)),
            };
        }
        if !self.is_active() {
            let leader = self.leader().filter(|(id, _)| *id != self.id);
            return Ok(Attached::NotLeader { leader, is_new: self.log.is_pristine() });
        }
        self.voters.attach(attach).await.map_err(|error| error.message)
    }

    /// `NotController` where another voter has to be asked.
    pub(crate) async fn change_voters(&self, change: WireVoterChange) -> Result<(), VoterError> {
        let not_here = || VoterError::new(ErrorCode::NotController, "this node does not lead the quorum");
        if !self.is_active() {
            return Err(not_here());
        }
        match change.kind {
            VoterChangeKind::Add => {
                let timeout = Duration::from_millis(change.timeout_ms.into());
                let below = usize::try_from(change.below).ok().filter(|&below| below > 0);
                self.voters.add(change.id, change.node, timeout, change.wait_until_committed, below).await
            }
            // Who leads hands over first; the next leader then takes its vote.
            VoterChangeKind::Remove
                if change.id == self.id
                    && change.node.directory_id == *self.directory
                    && self.voters.members().await?.voters.len() > 1 =>
            {
                self.resign().await;
                Err(not_here())
            }
            VoterChangeKind::Remove => self.voters.remove(change.id, &change.node.directory_id).await,
            VoterChangeKind::Update => self.voters.update(change.id, change.node).await,
        }
    }

    async fn forwarded(&self, submit: message::Submit) -> io::Result<Submitted> {
        if !self.is_active() {
            return Ok(Submitted::refused(ErrorCode::NotController));
        }
        let sent = submit.sent();
        let (origin, request) = submit.open()?;
        let api_version = origin.api_version;
        let beats = match &request {
            ControllerRequest::BrokerHeartbeat(beat) => Some((BrokerId(beat.broker_id.0), wall_clock())),
            _ => None,
        };
        match self.submit(origin, request).await {
            Ok(Committed { response, offset }) => {
                // Whoever is refused is not the broker that it says it is.
                let is_taken =
                    matches!(&response, ControllerResponse::BrokerHeartbeat(answer) if answer.error_code == 0);
                if let Some((broker, now)) = beats.filter(|_| is_taken) {
                    self.clocks.heard(broker, sent, now);
                }
                Submitted::committed(&response, offset, api_version)
            }
            Err(code) => Ok(Submitted::refused(code)),
        }
    }

    fn quorum_if_active(&self) -> Answer<WireQuorum> {
        if !self.is_active() {
            return Err("not the leader".to_owned());
        }
        Ok(WireQuorum::new(&self.quorum(), self.voters()))
    }

    fn voters(&self) -> Vec<(u64, VoterNode)> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let ids = metrics.membership_config.voter_ids();
        ids.filter_map(|id| Some((id, membership.get_node(&id)?.clone()))).collect()
    }

    /// What an observer does not have yet; waits for it if there is nothing.
    async fn pull(&self, pull: Pull) -> io::Result<Pulled> {
        let began = self.leader().map(|(id, _)| id);
        self.observers.note(&pull);
        let mut images = self.images.clone();
        let committed = |image: &Arc<MetadataImage>| u64::try_from(image.offset.0 + 1).unwrap_or(0);
        let news = async {
            let _ = images.wait_for(|image| committed(image) > pull.next).await;
        };
        let other_leader = async {
            while self.leader().map(|(id, _)| id) == began {
                self.news().await;
            }
        };
        tokio::select! {
            () = news => {}
            () = other_leader => {}
            () = tokio::time::sleep(Duration::from_millis(pull.wait_ms.into())) => {}
        }
        let image = self.images.borrow().clone();
        let high_watermark = committed(&image);
        let data = self.observers.read(&pull, &image, high_watermark).await?;
        let metrics = self.raft.metrics().borrow_watched().clone();
        Ok(Pulled {
            leader: metrics.current_leader.filter(|_| !self.lacks_space()),
            term: metrics.current_term,
            high_watermark,
            voters: self.voters(),
            data,
        })
    }

    /// A broker is known to be gone: it is fenced now and not when its session ends.
    pub(crate) async fn broker_lost(&self, broker: BrokerId, epoch: i64) {
        let _ = self.lost_brokers.send((broker, epoch)).await;
    }

    /// The quorum as this node sees it.
    pub(crate) fn quorum(&self) -> QuorumInfo {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let wall_clock = wall_clock();
        let voters: Vec<VoterInfo> = self.voters().iter().map(|(id, node)| voter_info(*id, node)).collect();
        let progress = |voter: &VoterInfo| {
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
        };
        let replicas = voters.iter().map(progress).collect();
        let committed = metrics.local_committed.as_ref();
        let members = Members::of(&metrics);
        let learners = members.learners().map(|(id, node)| progress(&voter_info(id, node)));
        let pulling = self.observers.seen().into_iter().filter(|(id, _)| !members.nodes.contains_key(id));
        let observers: Vec<ReplicaState> = learners.chain(pulling.map(|(_, state)| state)).collect();
        QuorumInfo {
            leader: metrics.current_leader.map(broker_id),
            leader_epoch: metrics.current_term as i32,
            high_watermark: Offset(committed.map_or(0, |id| id.index as i64 + 1)),
            voters,
            replicas,
            observers,
        }
    }

    /// Hands leadership to the voter that has the most of the log, and waits a moment for it.
    pub(crate) async fn resign(&self) {
        if !self.is_active() {
            return;
        }
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().filter(|id| *id != metrics.id).collect();
        let matched = |id: &u64| metrics.replication.as_ref().and_then(|all| all.get(id)?.as_ref().map(|id| id.index));
        let Some(next) = voters.into_iter().filter(|id| matched(id).is_some()).max_by_key(matched) else { return };
        if let Err(error) = self.raft.trigger().transfer_leader(next).await {
            tracing::warn!(%error, "leadership of the quorum could not be handed over");
            return;
        }
        let mut active = self.active();
        let _ = tokio::time::timeout(RESIGN_TIMEOUT, active.wait_for(Option::is_none)).await;
    }

    /// Returns once raft, or the task that decides, has ended by itself: why.
    pub(crate) async fn failed(&self) -> String {
        let decides = async {
            let mut active = self.active();
            while active.changed().await.is_ok() {}
        };
        let raft = async {
            let mut metrics = self.raft.metrics();
            loop {
                if let Err(error) = &metrics.borrow_watched().running_state {
                    return error.to_string();
                }
                if metrics.changed().await.is_err() {
                    return "raft has ended".to_owned();
                }
            }
        };
        tokio::select! {
            biased;
            error = raft => format!("the metadata log can no longer be kept: {error}"),
            () = decides => "the task that decides on metadata has ended".to_owned(),
        }
    }

    /// Stops deciding, then raft, and closes the log.
    pub(crate) async fn shutdown(&self) {
        let driver = self.driver.lock().take();
        let others = [self.joiner.lock().take(), self.watch.lock().take()];
        for task in others.into_iter().flatten() {
            task.abort();
            let _ = task.await;
        }
        self.log.stop_waiting();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not stop cleanly");
        }
        if let Some(driver) = driver {
            driver.abort();
            let _ = driver.await;
        }
        self.log.settle_witness();
    }
}

/// What there is to say of a node whose directory is another than the quorum knows.
pub(crate) fn replaced_disk(id: u64, lost: &str, directory: &str) -> String {
    format!(
        "node {id} has directory id {directory}, and the quorum knows it by {lost}: its disk was lost or replaced, and with it \
         what it had voted for. It does not vote as its old self: remove that one (kafka-metadata-quorum remove-controller \
         --controller-id {id} --controller-directory-id {lost}) and add this one (kafka-metadata-quorum add-controller)"
    )
}

fn text<T, E: std::fmt::Display>(result: Result<T, E>) -> Answer<T> {
    result.map_err(|error| error.to_string())
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
