//! The door of a node that is still starting: the quorum's messages pass, so that there can be a quorum to start with;
//! everything else waits until the node knows its cluster.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;

use super::quorum_messages::QuorumMessages;
use super::{Api, BoxFuture, ConnectionId, Reply, RequestBody, RequestContext, Service};

/// Serves controller listeners, and every listener of a controller that has none.
pub struct Gate {
    messages: QuorumMessages,
    api: watch::Receiver<Option<Arc<Api>>>,
    /// The same, once it is there: requests of clients pass here, too, on a node without a controller listener.
    opened: OnceLock<Arc<Api>>,
}

impl Gate {
    pub const fn new(messages: QuorumMessages, api: watch::Receiver<Option<Arc<Api>>>) -> Self {
        Self { messages, api, opened: OnceLock::new() }
    }
}

impl Service for Gate {
    fn call<'a>(&'a self, cx: &'a RequestContext, body: RequestBody) -> BoxFuture<'a, Reply> {
        if let RequestBody::QuorumMessage(request) = body {
            let reply = self.messages.handle(cx, request);
            return Box::pin(async move { reply });
        }
        if let Some(api) = self.opened.get() {
            return api.call(cx, body);
        }
        let mut api = self.api.clone();
        Box::pin(async move {
            let api = match api.wait_for(Option::is_some).await {
                Ok(api) => api.clone(),
                Err(_) => None,
            };
            match api {
                Some(api) => self.opened.get_or_init(|| api).call(cx, body).await,
                None => Reply::Close,
            }
        })
    }

    fn peer_closed(&self, connection: ConnectionId) {
        self.messages.closed(connection);
    }

    fn unsupported_api_versions(&self, cx: &RequestContext) -> Reply {
        match &*self.api.borrow() {
            Some(api) => api.unsupported_api_versions(cx),
            None => Reply::Close,
        }
    }
}
