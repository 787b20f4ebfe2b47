//! The handle that the rest of a node holds: one door to the active controller, wherever it is.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ottla_decisions::{ControllerRequest, ControllerResponse, RequestOrigin};
use ottla_metadata::{Endpoint, MetadataImage};
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use crate::lost;
use crate::member::Member;
use crate::message::{
    self, Answer, AssignedId, Message, Submit, Submitted, VoterChangeKind, VoterChanged, WireQuorum, WireVoterChange,
};
use crate::observer::Observer;
use crate::options::ControllerOptions;
use crate::quorum::{QuorumInfo, VoterChange, VoterError, VoterInfo};
use crate::raft::network::{Destination, Lane, Transport};
use crate::raft::types::{VoterEndpoint, VoterNode};

/// Pause before the active controller is looked for again.
const RETRY: Duration = Duration::from_millis(20);
/// Longest wait for the answer of one node before the leader is looked up again.
const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("metadata log: {0}")]
    Io(#[from] std::io::Error),
    #[error("raft: {0}")]
    Raft(String),
}

impl StartError {
    pub(crate) fn raft(error: impl std::fmt::Display) -> Self {
        Self::Raft(error.to_string())
    }
}

/// An answer whose records are committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed<R> {
    pub response: R,
    /// The image that first shows what was decided: wait for it before telling a client.
    pub offset: Offset,
}

/// The controllers as this node reaches them: by being one, or by asking. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    inner: Arc<Inner>,
}

struct Inner {
    node_id: BrokerId,
    images: watch::Receiver<Arc<MetadataImage>>,
    role: Role,
    transport: Arc<dyn Transport>,
    request_timeout: Duration,
    disconnect_grace: Duration,
    leader_grace: Duration,
}

enum Role {
    Member(Box<Member>),
    Observer(Observer),
}

impl Controller {
    /// Opens the log, recovers, and on a single voter returns as the active controller, within milliseconds.
    ///
    /// # Errors
    /// When the log cannot be opened or is damaged, or raft refuses to start.
    pub async fn start(options: ControllerOptions, transport: Arc<dyn Transport>) -> Result<Self, StartError> {
        let (member, images) = Member::start(&options, Arc::clone(&transport)).await?;
        Ok(Self::new(&options, images, Role::Member(Box::new(member)), transport))
    }

    /// A node without the controller role: pulls the metadata from the controllers at `options.bootstrap`.
    pub fn observe(options: &ControllerOptions, transport: Arc<dyn Transport>) -> Self {
        let (observer, images) = Observer::start(options, Arc::clone(&transport));
        Self::new(options, images, Role::Observer(observer), transport)
    }

    fn new(
        options: &ControllerOptions,
        images: watch::Receiver<Arc<MetadataImage>>,
        role: Role,
        transport: Arc<dyn Transport>,
    ) -> Self {
        let inner = Inner {
            node_id: options.node_id,
            images,
            role,
            transport,
            request_timeout: options.request_timeout,
            disconnect_grace: options.disconnect_grace,
            leader_grace: options.leader_grace,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Committed images, in order.
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.inner.images.clone()
    }

    /// Whether this node is the active controller.
    pub fn is_active(&self) -> bool {
        matches!(&self.inner.role, Role::Member(member) if member.is_active())
    }

    /// Asks the active controller, here or on another node, and answers once what it decided is committed. A controller
    /// that is lost on the way is asked again when there is a next one, so a request may be decided on twice, as in
    /// Kafka.
    ///
    /// # Errors
    /// `RequestTimedOut` when there was no active controller for the whole request timeout, `UnknownServerError` when
    /// the controller has stopped or the request cannot be sent.
    pub async fn submit(
        &self,
        origin: RequestOrigin,
        request: ControllerRequest,
    ) -> Result<Committed<ControllerResponse>, ErrorCode> {
        self.submit_within(origin, request, self.inner.request_timeout).await
    }

    /// As `submit`, with a limit of its own.
    ///
    /// # Errors
    /// As `submit`.
    pub async fn submit_within(
        &self,
        origin: RequestOrigin,
        request: ControllerRequest,
        timeout: Duration,
    ) -> Result<Committed<ControllerResponse>, ErrorCode> {
        let deadline = Instant::now() + timeout;
        let mut forwarded: Option<Bytes> = None;
        loop {
            if let Role::Member(member) = &self.inner.role
                && member.is_active()
            {
                match member.submit(origin.clone(), request.clone()).await {
                    Err(ErrorCode::NotController) => {}
                    decided => return decided,
                }
            } else if let Some(leader) = self.other_leader() {
                let message = match &forwarded {
                    Some(message) => message.clone(),
                    None => forwarded.insert(self.forward(&origin, &request)?).clone(),
                };
                let lane = match &request {
                    ControllerRequest::BrokerHeartbeat(_) => Lane::Heartbeat,
                    _ => Lane::Control,
                };
                let id = leader.id;
                let asked = tokio::select! {
                    answer = self.ask::<Submitted>(leader, lane, message, deadline) => answer,
                    // Who is asked does not lead any more, and may be frozen.
                    () = self.other_leader_than(id) => Err(io::ErrorKind::Interrupted.into()),
                };
                match asked {
                    Ok(answer) => match answer.open() {
                        Ok(Ok((response, offset))) => return Ok(Committed { response, offset }),
                        Ok(Err(ErrorCode::NotController)) => {}
                        Ok(Err(code)) => return Err(code),
                        Err(error) => {
                            tracing::error!(%error, "the active controller's answer cannot be read");
                            return Err(ErrorCode::UnknownServerError);
                        }
                    },
                    Err(error) => tracing::debug!(%error, "the active controller did not answer"),
                }
            }
            if Instant::now() >= deadline {
                return Err(ErrorCode::RequestTimedOut);
            }
            self.wait_for_leader(deadline).await;
        }
    }

    fn forward(&self, origin: &RequestOrigin, request: &ControllerRequest) -> Result<Bytes, ErrorCode> {
        let message =
            Submit::new(origin, request, wall_clock()).and_then(|submit| message::write(&Message::Submit(submit)));
        message.map_err(|error| {
            tracing::error!(%error, "a request cannot be forwarded");
            ErrorCode::UnknownServerError
        })
    }

    /// The leader, where that is another node.
    fn other_leader(&self) -> Option<Destination> {
        let (leader, node) = match &self.inner.role {
            Role::Member(member) => member.leader()?,
            Role::Observer(observer) => {
                let heard = observer.heard();
                let heard = heard.borrow();
                let leader = heard.leader?;
                heard.voters.iter().find(|(id, _)| *id == leader)?.clone()
            }
        };
        let id = broker_id(leader);
        (id != self.inner.node_id).then(|| Destination { id: Some(id), endpoint: message::endpoint(&node) })
    }

    /// Who leads the quorum, as far as this node knows.
    pub fn leader(&self) -> Option<BrokerId> {
        match &self.inner.role {
            Role::Member(member) => member.leader().map(|(id, _)| broker_id(id)),
            Role::Observer(observer) => observer.heard().borrow().leader.map(broker_id),
        }
    }

    /// Returns when there is a leader, and it is another one.
    async fn other_leader_than(&self, id: Option<BrokerId>) {
        while self.leader().is_none_or(|leader| Some(leader) == id) {
            match &self.inner.role {
                Role::Member(member) => member.news().await,
                Role::Observer(observer) => {
                    if observer.heard().changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    async fn wait_for_leader(&self, deadline: Instant) {
        let news = async {
            match &self.inner.role {
                Role::Member(member) if member.lacks_space() => std::future::pending().await,
                Role::Member(member) => {
                    let mut active = member.active();
                    tokio::select! {
                        _ = active.wait_for(Option::is_some) => {}
                        () = member.news() => {}
                    }
                }
                Role::Observer(observer) => {
                    let _ = observer.heard().changed().await;
                }
            }
        };
        // A pause in any case: who is said to lead may not know it yet, or not be reachable.
        tokio::select! {
            () = news => {}
            () = tokio::time::sleep_until(deadline.min(Instant::now() + RETRY)) => {}
        }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        to: Destination,
        lane: Lane,
        message: Bytes,
        deadline: Instant,
    ) -> io::Result<T> {
        let deadline = deadline.min(Instant::now() + ATTEMPT_MAX);
        let call = self.inner.transport.call(to, lane, message);
        let bytes = tokio::time::timeout_at(deadline, call).await.map_err(io::Error::other)??;
        message::read::<Answer<T>>(&bytes)?.map_err(io::Error::other)
    }

    /// Another node has no connection to this one any more. Where that shows that it is gone, its partitions get new leaders
    /// and, if it led the quorum, the quorum elects another. `is_back` tells of a new connection.
    pub async fn node_lost(&self, node: BrokerId, is_back: impl Fn() -> bool + Sync) {
        let Role::Member(member) = &self.inner.role else { return };
        let transport = self.inner.transport.as_ref();
        let mut is_gone = false;
        if let Some((leader, voter)) = member.leader()
            && broker_id(leader) == node
            && node != self.inner.node_id
            && let Some(address) = message::endpoint(&voter)
        {
            is_gone = lost::is_gone(transport, address, self.inner.leader_grace, &is_back).await;
            if !is_gone {
                return;
            }
            // Where it was a broker too, the next leader fences it.
            member.elections.leader_lost(leader).await;
        }
        let image = self.inner.images.borrow().clone();
        if member.is_active()
            && let Some((epoch, address)) = lost::address_of(&image, node)
            && (is_gone || lost::is_gone(transport, address, self.inner.disconnect_grace, &is_back).await)
        {
            member.broker_lost(node, epoch).await;
        }
    }

    /// Handles a message of another node; the bytes are the answer to send back.
    ///
    /// # Errors
    /// When the bytes are not such a message, or this node is no controller.
    pub async fn receive(&self, message: &[u8]) -> io::Result<Bytes> {
        match &self.inner.role {
            Role::Member(member) => member.receive(message).await,
            Role::Observer(_) => Err(io::Error::other("this node is not a controller")),
        }
    }

    /// The quorum as its leader sees it.
    ///
    /// # Errors
    /// `RequestTimedOut` when no leader answered within the request timeout.
    pub async fn quorum(&self) -> Result<QuorumInfo, ErrorCode> {
        let deadline = Instant::now() + self.inner.request_timeout;
        loop {
            if let Role::Member(member) = &self.inner.role
                && member.is_active()
            {
                return Ok(member.quorum());
            }
            if let Some(leader) = self.other_leader() {
                let asked = message::write(&Message::Quorum);
                let message = asked.map_err(|_| ErrorCode::UnknownServerError)?;
                match self.ask::<WireQuorum>(leader, Lane::Control, message, deadline).await {
                    Ok(quorum) => return Ok(quorum.open()),
                    Err(error) => tracing::debug!(%error, "the leader of the quorum did not answer"),
                }
            }
            if Instant::now() >= deadline {
                return Err(ErrorCode::RequestTimedOut);
            }
            self.wait_for_leader(deadline).await;
        }
    }

    /// Changes the quorum's voters, here or at whoever leads it.
    ///
    /// # Errors
    /// Kafka's error code, and what to say with it.
    pub async fn change_voters(&self, change: VoterChange) -> Result<(), VoterError> {
        let timed_out = || VoterError::new(ErrorCode::RequestTimedOut, ErrorCode::RequestTimedOut.message());
        let patience = match &change {
            VoterChange::Add { timeout_ms, .. } => Duration::from_millis((*timeout_ms).into()),
            VoterChange::Remove { .. } | VoterChange::Update { .. } => self.inner.request_timeout,
        };
        let deadline = Instant::now() + patience;
        let change = WireVoterChange::from(change);
        let message = message::write(&Message::ChangeVoters(change.clone()));
        let message = message.map_err(|error| VoterError::new(ErrorCode::UnknownServerError, error.to_string()))?;
        loop {
            let done = if let Role::Member(member) = &self.inner.role
                && member.is_active()
            {
                Some(member.change_voters(change.clone()).await)
            } else if let Some(leader) = self.other_leader() {
                let call = self.inner.transport.call(leader, Lane::Control, message.clone());
                match tokio::time::timeout_at(deadline, call).await.map_err(io::Error::other).and_then(|done| done) {
                    Ok(bytes) => match message::read::<Answer<VoterChanged>>(&bytes).map_err(|error| error.to_string())
                    {
                        Ok(Ok(Ok(()))) => Some(Ok(())),
                        Ok(Ok(Err((code, message)))) => {
                            let code = ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError);
                            Some(Err(VoterError { code, message }))
                        }
                        Ok(Err(message)) | Err(message) => {
                            return Err(VoterError::new(ErrorCode::UnknownServerError, message));
                        }
                    },
                    Err(error) => {
                        tracing::debug!(%error, "the leader of the quorum did not answer");
                        None
                    }
                }
            } else {
                None
            };
            match done {
                Some(Err(VoterError { code: ErrorCode::NotController, .. })) | None => {}
                Some(done) => return done,
            }
            if Instant::now() >= deadline {
                return Err(timed_out());
            }
            self.wait_for_leader(deadline).await;
        }
    }

    /// Whether this is the only member of its quorum: nobody else has to be reached for it to serve.
    pub async fn is_alone(&self) -> bool {
        match &self.inner.role {
            Role::Member(member) => member.is_alone().await,
            Role::Observer(_) => false,
        }
    }

    /// Whether a message was sent by this very node: it looks which of the addresses it was given are its own.
    pub fn is_own(&self, message: &[u8]) -> bool {
        matches!(&self.inner.role, Role::Member(member) if member.is_own(message))
    }

    /// The quorum as this node itself sees it; nothing on an observer.
    pub fn local_quorum(&self) -> Option<QuorumInfo> {
        match &self.inner.role {
            Role::Member(member) => Some(member.quorum()),
            Role::Observer(_) => None,
        }
    }

    /// Waits until this node has read all that was committed when it was called: only then may it judge by its image
    /// what should not be on its disk. Waits as long as there is no leader.
    pub async fn caught_up(&self) {
        let quorum = loop {
            match self.quorum().await {
                Ok(quorum) => break quorum,
                Err(_) => tracing::warn!("no active controller yet: waiting for a majority of the quorum's voters"),
            }
        };
        let mut images = self.images();
        let _ = images.wait_for(|image| image.offset.0 + 1 >= quorum.high_watermark.0).await;
    }

    /// Has another voter lead, so that nobody waits for an election when this node goes.
    pub async fn resign(&self) {
        if let Role::Member(member) = &self.inner.role {
            member.resign().await;
        }
    }

    /// Returns once this node's part in the quorum has ended by itself: why. It would know of no change of the cluster any
    /// more, and the process had better end.
    pub async fn failed(&self) -> String {
        match &self.inner.role {
            Role::Member(member) => member.failed().await,
            Role::Observer(observer) => observer.failed().await,
        }
    }

    /// Stops deciding, then raft, and closes the log.
    pub async fn shutdown(&self) {
        match &self.inner.role {
            Role::Member(member) => member.shutdown().await,
            Role::Observer(observer) => observer.shutdown().await,
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

/// What a controller answers a node that has no id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assigned {
    Id(i32),
    /// Another one gives ids out: this one, if it is known.
    Ask(Option<Endpoint>),
}

/// The message by which a new node asks for a node id. Asked again with the same token the answer is the same.
///
/// # Errors
/// Never, as far as is known: when the message cannot be written.
pub fn assignment_request(token: Uuid) -> io::Result<Bytes> {
    message::write(&Message::AssignNodeId(token))
}

/// Reads the answer to it.
///
/// # Errors
/// When the bytes are no such answer, or no id could be given.
pub fn read_assignment(bytes: &[u8]) -> io::Result<Assigned> {
    match message::read::<Answer<AssignedId>>(bytes)?.map_err(io::Error::other)? {
        Ok(id) => Ok(Assigned::Id(i32::try_from(id).map_err(io::Error::other)?)),
        Err(leader) => Ok(Assigned::Ask(leader.and_then(|(_, node)| message::endpoint(&node)))),
    }
}

impl From<VoterChange> for WireVoterChange {
    fn from(change: VoterChange) -> Self {
        let (kind, voter, timeout_ms, wait_until_committed) = match change {
            VoterChange::Add { voter, timeout_ms, wait_until_committed } => {
                (VoterChangeKind::Add, voter, timeout_ms, wait_until_committed)
            }
            VoterChange::Remove { id, directory_id } => {
                (VoterChangeKind::Remove, VoterInfo { id, directory_id, endpoints: Vec::new() }, 0, true)
            }
            VoterChange::Update { voter } => (VoterChangeKind::Update, voter, 0, true),
        };
        Self { kind, id: node_id(voter.id), node: voter_node(&voter), timeout_ms, wait_until_committed, below: 0 }
    }
}

pub(crate) fn node_id(id: BrokerId) -> u64 {
    // node.id is checked to be at least 0 where it is read.
    u64::try_from(id.0).unwrap_or(0)
}

pub(crate) fn broker_id(id: u64) -> BrokerId {
    BrokerId(i32::try_from(id).unwrap_or(-1))
}

pub(crate) fn voter_node(voter: &VoterInfo) -> VoterNode {
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

pub(crate) fn voter_info(id: u64, node: &VoterNode) -> VoterInfo {
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

pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as i64)
}
