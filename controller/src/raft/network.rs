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
use serde::{Deserialize, Serialize};

use super::types::{Raft, Snapshot, SnapshotMeta, TypeConfig, Vote, VoterNode};

/// Carries one message to another controller and brings its answer back.
pub trait Transport: Send + Sync + 'static {
    /// Sends `message` to `target`; the answer is what its `Controller::receive_raft` gave.
    fn call(
        &self,
        target: u64,
        node: VoterNode,
        message: Bytes,
    ) -> Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;
}

/// The transport of a quorum of one: there is nobody to talk to.
#[derive(Debug, Clone, Copy)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn call(&self, _: u64, _: VoterNode, _: Bytes) -> Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>> {
        Box::pin(async { Err(io::Error::new(io::ErrorKind::NotConnected, "no other controllers")) })
    }
}

#[derive(Serialize, Deserialize)]
enum Message {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Snapshot { vote: Vote, meta: SnapshotMeta, data: super::types::Batch },
    TransferLeader(TransferLeaderRequest<TypeConfig>),
}

/// One answer type per message; a refusal is text.
type Answer<T> = Result<T, String>;

fn to_bytes(value: &impl Serialize) -> io::Result<Bytes> {
    Ok(serde_json::to_vec(value).map_err(io::Error::other)?.into())
}

/// Handles a message of another controller; the bytes are the answer to send back.
pub(crate) async fn receive(raft: &Raft, message: &[u8]) -> io::Result<Bytes> {
    match serde_json::from_slice(message).map_err(io::Error::other)? {
        Message::Append(request) => to_bytes(&raft.append_entries(request).await.map_err(|e| e.to_string())),
        Message::Vote(request) => to_bytes(&raft.vote(request).await.map_err(|e| e.to_string())),
        Message::PreVote(request) => to_bytes(&raft.pre_vote(request).await.map_err(|e| e.to_string())),
        Message::Snapshot { vote, meta, data } => {
            let snapshot = Snapshot { meta, snapshot: data.0 };
            to_bytes(&raft.install_full_snapshot(vote, snapshot).await.map_err(|e| e.to_string()))
        }
        Message::TransferLeader(request) => {
            to_bytes(&raft.handle_transfer_leader(request).await.map_err(|e| e.to_string()))
        }
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
        Peer { transport: Arc::clone(&self.transport), target, node: node.clone() }
    }
}

/// Another controller.
pub(crate) struct Peer {
    transport: Arc<dyn Transport>,
    target: u64,
    node: VoterNode,
}

impl Peer {
    async fn call<T: for<'de> Deserialize<'de>>(&self, message: &Message, option: &RPCOption) -> io::Result<T> {
        let call = self.transport.call(self.target, self.node.clone(), to_bytes(message)?);
        let bytes = tokio::time::timeout(option.hard_ttl(), call).await.map_err(io::Error::other)??;
        let answer: Answer<T> = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
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
        self.call(&Message::Append(rpc), &option).await.map_err(unreachable)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&Message::Vote(rpc), &option).await.map_err(unreachable)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&Message::PreVote(rpc), &option).await.map_err(unreachable)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let message = Message::Snapshot { vote, meta: snapshot.meta, data: super::types::Batch(snapshot.snapshot) };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            answer = self.call(&message, &option) => answer.map_err(|e| StreamingError::Unreachable(Unreachable::new(&e))),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.call(&Message::TransferLeader(request), &option).await.map_err(unreachable)
    }
}
