//! Raft's messages between controllers. What carries them is the host's affair.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use openraft::OptionalSend;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::v2::RaftNetworkV2;
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::raft::{TransferLeaderRequest, TransferLeaderResponse};
use ottla_metadata::Endpoint;
use ottla_protocol::BrokerId;
use parking_lot::Mutex;
use serde::Deserialize;

use super::types::{Batch, Snapshot, TypeConfig, Vote, VoterNode};
use crate::controller::broker_id;
use crate::message::{self, Answer, Directed, Message, RaftMessage};

/// Another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// `None` where only an address is known.
    pub id: Option<BrokerId>,
    /// A controller listener of it.
    pub endpoint: Option<Endpoint>,
}

/// Messages that must not wait for each other travel on connections of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Heartbeats, votes, entries.
    Raft,
    /// Requests to the active controller.
    Control,
    /// Heartbeats of brokers: they wait for no long request.
    Heartbeat,
    /// Observers that wait for news.
    Observe,
    /// Snapshots.
    Bulk,
}

/// The answer to come.
pub type Carried = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// Carries one message to another controller and brings its answer back.
pub trait Transport: Send + Sync + 'static {
    /// Sends `message`; the answer is what `Controller::receive` gave at the destination.
    fn call(&self, to: Destination, lane: Lane, message: Bytes) -> Carried;

    /// Whether somebody listens at an address, without waiting for an answer.
    fn probe(&self, _address: Endpoint) -> Probing {
        Box::pin(async { Probe::Unknown })
    }
}

/// What a look at an address showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The machine answers and nobody listens: the process has ended.
    Refused,
    /// Somebody listens; a frozen process does, too.
    Listens,
    /// No sign of the machine.
    Unknown,
}

/// The outcome of a probe, to come.
pub type Probing = Pin<Box<dyn Future<Output = Probe> + Send>>;

/// The transport of a quorum of one: there is nobody to talk to.
#[derive(Debug, Clone, Copy)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn call(&self, _: Destination, _: Lane, _: Bytes) -> Carried {
        Box::pin(async { Err(io::Error::new(io::ErrorKind::NotConnected, "no other controllers")) })
    }
}

/// Makes the connections openraft asks for.
#[derive(Clone)]
pub(crate) struct Network {
    pub transport: Arc<dyn Transport>,
    /// This node's id, and the id of its directory.
    pub own: (u64, Arc<str>),
    pub addresses: AddressBook,
}

/// Members that are reached elsewhere than when raft first asked for a connection to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct AddressBook {
    moved: Arc<Mutex<BTreeMap<u64, VoterNode>>>,
}

impl AddressBook {
    pub(crate) fn set(&self, id: u64, node: VoterNode) {
        self.moved.lock().insert(id, node);
    }

    /// Where the member is now, if it is still the one with this directory.
    fn endpoint(&self, id: u64, directory: &str) -> Option<Endpoint> {
        let moved = self.moved.lock();
        message::endpoint(moved.get(&id).filter(|node| node.directory_id == directory)?)
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &VoterNode) -> Peer {
        let to = Destination { id: Some(broker_id(target)), endpoint: message::endpoint(node) };
        self.addresses.set(target, node.clone());
        Peer {
            id: target,
            addresses: self.addresses.clone(),
            transport: Arc::clone(&self.transport),
            to,
            to_directory: node.directory_id.as_str().into(),
            own: self.own.clone(),
        }
    }
}

/// Another controller.
pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    id: u64,
    to: Destination,
    addresses: AddressBook,
    to_directory: Arc<str>,
    own: (u64, Arc<str>),
}

impl Peer {
    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        lane: Lane,
        message: RaftMessage,
        option: &RPCOption,
    ) -> io::Result<T> {
        let message = Message::Raft(Directed {
            from: self.own.0,
            from_directory: self.own.1.to_string(),
            to_directory: self.to_directory.to_string(),
            message,
        });
        let mut to = self.to.clone();
        if let Some(moved) = self.addresses.endpoint(self.id, &self.to_directory) {
            to.endpoint = Some(moved);
        }
        let call = self.transport.call(to, lane, message::write(&message)?);
        let bytes = tokio::time::timeout(option.hard_ttl(), call).await.map_err(io::Error::other)??;
        let answer: Answer<T> = message::read(&bytes)?;
        answer.map_err(io::Error::other)
    }
}

fn unreachable(error: io::Error) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&error))
}

impl RaftNetworkV2<TypeConfig> for Peer {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, RaftMessage::Append(rpc), &option).await.map_err(unreachable)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, RaftMessage::Vote(rpc), &option).await.map_err(unreachable)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, RaftMessage::PreVote(rpc), &option).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let message = RaftMessage::Snapshot { vote, meta: snapshot.meta, data: Batch(snapshot.snapshot) };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.call(Lane::Bulk, message, &option) => {
                answer.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, RaftMessage::TransferLeader(request), &option).await.map_err(unreachable)
    }
}
