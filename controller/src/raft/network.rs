//! Raft's messages between controllers. What carries them is the host's affair.

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
use serde::Deserialize;

use super::types::{Batch, Snapshot, TypeConfig, Vote, VoterNode};
use crate::controller::broker_id;
use crate::message::{self, Answer, Message};

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
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &VoterNode) -> Peer {
        let to = Destination { id: Some(broker_id(target)), endpoint: message::endpoint(node) };
        Peer { transport: Arc::clone(&self.transport), to }
    }
}

/// Another controller.
pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    to: Destination,
}

impl Peer {
    async fn call<T: for<'de> Deserialize<'de>>(
        &self,
        lane: Lane,
        message: &Message,
        option: &RPCOption,
    ) -> io::Result<T> {
        let call = self.transport.call(self.to.clone(), lane, message::write(message)?);
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
        self.call(Lane::Raft, &Message::Append(rpc), &option).await.map_err(unreachable)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, &Message::Vote(rpc), &option).await.map_err(unreachable)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, &Message::PreVote(rpc), &option).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let message = Message::Snapshot { vote, meta: snapshot.meta, data: Batch(snapshot.snapshot) };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.call(Lane::Bulk, &message, &option) => {
                answer.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(Lane::Raft, &Message::TransferLeader(request), &option).await.map_err(unreachable)
    }
}
