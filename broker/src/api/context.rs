//! What a handler knows about its request, and how it answers.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
pub use ottla_protocol::response::Chunk;
use ottla_protocol::{Encodable, HeaderVersion};

use crate::quotas::Client;
use crate::security::Principal;

/// Records of a partition lent by storage; only the connection's writer reads them.
pub type Records = ottla_storage::FileRecords;

/// A future that owns what it needs.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Numbers the connections of this process, for logs and for sessions that are tied to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// The listener a request came in on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerInfo {
    pub name: Arc<str>,
    pub advertised_host: Arc<str>,
    pub advertised_port: u16,
    /// Nothing is advertised: in the context of a request host and port are those that its client came by.
    pub follows_client: bool,
    /// True for a listener named in `controller.listener.names`.
    pub is_controller: bool,
}

/// Everything about a request but its body. Cheap to clone (a `Reply::Later` keeps a clone).
#[derive(Debug, Clone)]
pub struct RequestContext {
    pub api_key: i16,
    pub version: i16,
    pub correlation_id: i32,
    /// Empty if the client gave none. Untrusted: never write it to a log other than by `{:?}`.
    pub client_id: Arc<str>,
    pub connection: ConnectionId,
    pub listener: Arc<ListenerInfo>,
    pub peer: SocketAddr,
    pub principal: Principal,
    /// Bytes of the frame without its length prefix.
    pub request_size: usize,
}

/// How a handler answers. Stage one (until the handler returns) runs in the order of the connection, `Later` waits apart.
pub enum Reply {
    Now(Response),
    Later(BoxFuture<'static, Response>),
    /// Nothing is written (acks=0); the connection is muted this long.
    None {
        throttle_ms: i32,
    },
    /// The connection is closed without an answer.
    Close,
}

/// An encoded response frame, length prefix included. Without chunks it closes the connection.
#[derive(Debug, Default)]
pub struct Response {
    pub chunks: Vec<Chunk<Records>>,
    /// The connection is muted this long after the response was written (KIP-219).
    pub throttle_ms: i32,
}

impl Response {
    /// A response of one piece, length prefix included.
    pub fn from_frame(frame: Bytes) -> Self {
        Self { chunks: vec![Chunk::Bytes(frame)], throttle_ms: 0 }
    }

    /// Closes the connection instead of answering.
    pub fn close() -> Self {
        Self::default()
    }
}

impl RequestContext {
    /// Who asks, for the quotas.
    pub fn client(&self) -> Client {
        Client { user: Arc::clone(&self.principal.name), client_id: Arc::clone(&self.client_id) }
    }

    /// Encodes `response` for the version that the client asked with.
    pub fn respond<R: Encodable + HeaderVersion>(&self, response: &R) -> Response {
        self.respond_with_version(self.version, response)
    }

    /// `respond` at another version than that of the request.
    pub fn respond_with_version<R: Encodable + HeaderVersion>(&self, version: i16, response: &R) -> Response {
        match ottla_protocol::response::encode(self.correlation_id, version, response) {
            Ok(frame) => Response::from_frame(frame),
            Err(error) => {
                tracing::error!(%error, "an answer could not be encoded, the connection is closed");
                Response::close()
            }
        }
    }

    /// Answers at once.
    pub fn reply<R: Encodable + HeaderVersion>(&self, response: &R) -> Reply {
        Reply::Now(self.respond(response))
    }
}
