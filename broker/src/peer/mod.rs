//! Connections to the other nodes of the cluster.
//!
//! One [`Peers`] is a lane: per address it has one connection, on which requests follow each other without waiting for
//! answers. A node answers a connection in order, so what may wait long (a fetch) has a lane of its own and holds up
//! nobody else's heartbeat.
//!
//! Invariant: what a lane holds is bounded: requests in flight per connection, bytes of an answer, time until an answer.

mod link;
mod neighbours;
pub mod quorum;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ottla_metadata::Endpoint;
use ottla_protocol::{ErrorCode, RequestMessage, StrBytes, request, response};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::link::{Call, Link};
pub use self::neighbours::Neighbours;

/// What a lane's connections may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Longest wait for one answer, connecting included: `replica.socket.timeout.ms`, `controller.socket.timeout.ms`, ...
    pub request_timeout: Duration,
    /// `socket.connection.setup.timeout.ms`
    pub connect_timeout: Duration,
    /// First pause after a failed attempt; doubles up to `backoff_max`.
    pub backoff: Duration,
    pub backoff_max: Duration,
    /// Requests on one connection that wait for their answers; more wait for their turn.
    pub in_flight_max: usize,
    /// A longer answer is not read; memory grows with the bytes that came, never with what a length claims.
    pub response_bytes_max: usize,
}

/// Kafka's defaults.
impl Default for Limits {
    fn default() -> Self {
        Self {
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            backoff: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            in_flight_max: 64,
            response_bytes_max: 100 << 20,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// The request was not sent.
    #[error("{host}:{port} cannot be reached: {reason}")]
    Unreachable { host: Arc<str>, port: u16, kind: io::ErrorKind, reason: Arc<str> },
    /// The connection ended after the request was sent: it may have been carried out.
    #[error("{host}:{port} closed the connection")]
    Disconnected { host: Arc<str>, port: u16 },
    /// As with `Disconnected`, nobody knows.
    #[error("no answer from {host}:{port} in time")]
    TimedOut { host: Arc<str>, port: u16 },
    /// The request does not fit its version.
    #[error("{0}")]
    Unsendable(Arc<str>),
    /// What came back is no answer.
    #[error("{0}")]
    Malformed(Arc<str>),
    /// This node is going down.
    #[error("the node is shutting down")]
    Closed,
}

impl PeerError {
    /// Kafka's code for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::Closed => ErrorCode::NetworkException,
            Self::TimedOut { .. } => ErrorCode::RequestTimedOut,
            Self::Unsendable(_) | Self::Malformed(_) => ErrorCode::UnknownServerError,
        }
    }
}

/// Host and port.
type Address = (Arc<str>, u16);

/// A lane of connections. Cheap to clone; the connections end with the last clone.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    client_id: StrBytes,
    limits: Limits,
    next_correlation_id: AtomicI32,
    links: Mutex<HashMap<Address, mpsc::Sender<Call>>>,
}

impl Peers {
    /// A lane under the name that other nodes see as client id.
    pub fn new(client_id: &str, limits: Limits) -> Self {
        let inner = Inner {
            client_id: StrBytes::from_string(client_id.to_owned()),
            limits,
            next_correlation_id: AtomicI32::new(0),
            links: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Asks the node at `endpoint` and waits for its answer, no longer than the lane's request timeout.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call<R: RequestMessage>(
        &self,
        endpoint: &Endpoint,
        version: i16,
        request: &R,
    ) -> Result<R::Response, PeerError> {
        self.call_within(endpoint, version, request, self.inner.limits.request_timeout).await
    }

    /// As [`Peers::call`], with a limit of its own.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn call_within<R: RequestMessage>(
        &self,
        endpoint: &Endpoint,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, PeerError> {
        let correlation_id = self.inner.next_correlation_id.fetch_add(1, Ordering::Relaxed);
        let frame = request::encode(correlation_id, version, Some(self.inner.client_id.clone()), request)
            .map_err(|error| PeerError::Unsendable(error.to_string().into()))?;
        let (answer, answered) = oneshot::channel();
        let call = Call { correlation_id, frame, deadline: Instant::now() + timeout, answer };
        let (host, port) = (Arc::clone(&endpoint.host), endpoint.port);
        let exchange = async {
            self.link(endpoint).send(call).await.map_err(|_| PeerError::Closed)?;
            answered.await.map_err(|_| PeerError::Closed)?
        };
        let frame: Bytes =
            tokio::time::timeout(timeout, exchange).await.map_err(|_| PeerError::TimedOut { host, port })??;
        let (_, response) =
            response::decode::<R>(version, frame).map_err(|error| PeerError::Malformed(error.to_string().into()))?;
        Ok(response)
    }

    fn link(&self, endpoint: &Endpoint) -> mpsc::Sender<Call> {
        match self.inner.links.lock().entry((Arc::clone(&endpoint.host), endpoint.port)) {
            Entry::Occupied(link) => link.get().clone(),
            Entry::Vacant(vacant) => {
                let (calls, waiting) = mpsc::channel(self.inner.limits.in_flight_max);
                let link = Link::new(&endpoint.host, endpoint.port, self.inner.limits.clone(), waiting);
                tokio::spawn(link.run());
                vacant.insert(calls).clone()
            }
        }
    }
}

#[cfg(test)]
mod tests;
