//! The quorum's own messages, on controller listeners: raft, forwarded requests, observers. Not advertised. A controller
//! without such a listener takes them on those of clients, which is how `--join` needs no configuration.

use std::collections::HashMap;
use std::sync::Arc;

use ottla_controller::Controller;
use ottla_protocol::messages::{QuorumMessageRequest, QuorumMessageResponse};
use ottla_protocol::{BrokerId, ErrorCode};
use parking_lot::Mutex;

use super::wire::text;
use super::{ApiSpec, ConnectionId, Reply, RequestContext};
use crate::telemetry::Repeats;

/// Handler of the messages that other nodes of the cluster send.
#[derive(Clone)]
pub struct QuorumMessages {
    controller: Controller,
    cluster_id: Arc<str>,
    node_id: BrokerId,
    /// Which nodes are connected, and by what.
    contacts: Arc<Mutex<HashMap<ConnectionId, BrokerId>>>,
    /// What was refused last, so that it is said once.
    refused: Arc<Mutex<String>>,
    /// Who was not let in at all, which a node that is set up wrong asks for again and again.
    strangers: Repeats,
    /// Taken on any listener.
    anywhere: bool,
}

impl QuorumMessages {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(20_000)];

    /// `anywhere`: this controller has no listener of its own for them.
    pub fn new(controller: Controller, cluster_id: Arc<str>, node_id: BrokerId, anywhere: bool) -> Self {
        Self {
            controller,
            cluster_id,
            node_id,
            contacts: Arc::default(),
            refused: Arc::default(),
            strangers: Repeats::default(),
            anywhere,
        }
    }

    pub fn handle(&self, cx: &RequestContext, request: QuorumMessageRequest) -> Reply {
        if !cx.listener.is_controller && !self.anywhere {
            return Reply::Close;
        }
        if let Err((code, message)) = self.check(cx, &request) {
            return cx.reply(
                &QuorumMessageResponse::default().with_error_code(code as i16).with_error_message(Some(text(&message))),
            );
        }
        self.contacts.lock().insert(cx.connection, BrokerId(request.from_id.0));
        let (controller, cx, refused) = (self.controller.clone(), cx.clone(), Arc::clone(&self.refused));
        Reply::Later(Box::pin(async move {
            let response = match controller.receive(&request.payload).await {
                Ok(payload) => QuorumMessageResponse::default().with_payload(payload),
                Err(error) => {
                    let (message, mut code) = (error.to_string(), ErrorCode::UnknownServerError);
                    if error.kind() == std::io::ErrorKind::PermissionDenied {
                        code = ErrorCode::InvalidRequest;
                        let mut refused = refused.lock();
                        if *refused != message {
                            tracing::warn!(peer = %cx.peer, ?message, "a message to the quorum is refused");
                            refused.clone_from(&message);
                        }
                    }
                    QuorumMessageResponse::default()
                        .with_error_code(code as i16)
                        .with_error_message(Some(text(&message)))
                }
            };
            cx.respond(&response)
        }))
    }

    /// A node's last connection is gone: most likely the node is.
    pub fn closed(&self, connection: ConnectionId) {
        let mut contacts = self.contacts.lock();
        let Some(node) = contacts.remove(&connection) else { return };
        if contacts.values().any(|other| *other == node) {
            return;
        }
        drop(contacts);
        let (contacts, controller) = (Arc::clone(&self.contacts), self.controller.clone());
        tokio::spawn(async move {
            let is_back = move || contacts.lock().values().any(|other| *other == node);
            controller.node_lost(node, is_back).await;
        });
    }

    /// Who must not be let in is told why, and what to change.
    fn check(&self, cx: &RequestContext, request: &QuorumMessageRequest) -> Result<(), (ErrorCode, String)> {
        let refused = |code, message: String| {
            let line = || tracing::warn!(peer = %cx.peer, ?message, "a message to the quorum is refused");
            self.strangers.say(line, |left_out| {
                tracing::warn!(left_out, "messages to the quorum were refused within a second, too");
            });
            Err((code, message))
        };
        let (from, to, here) = (request.from_id.0, request.to_id.0, self.node_id);
        if *request.cluster_id != *self.cluster_id {
            let message = format!(
                "node {here} belongs to cluster {}, node {from} to cluster {}: point it to the controllers of its own \
                 cluster, or start it with CLUSTER_ID={} and an empty log directory",
                self.cluster_id,
                request.cluster_id.as_str(),
                self.cluster_id,
            );
            return refused(ErrorCode::InconsistentClusterId, message);
        }
        // Who looks which of its bootstrap servers is itself is no stranger.
        if from == here.0 && !(to < 0 && self.controller.is_own(&request.payload)) {
            let message = format!(
                "another process of the cluster already uses node.id {here}: give one of the two another node.id"
            );
            return refused(ErrorCode::InvalidRequest, message);
        }
        if to >= 0 && to != here.0 {
            let message = format!(
                "this is node {here}, not node {to}: correct the address of node {to} in controller.quorum.voters, or \
                 the node.id of this node"
            );
            return refused(ErrorCode::InvalidRequest, message);
        }
        Ok(())
    }
}
