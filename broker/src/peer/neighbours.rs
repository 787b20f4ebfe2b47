//! The other brokers of the cluster, found by their ids: where each is reached stands in the metadata.

use std::sync::Arc;
use std::time::Duration;

use ottla_metadata::Endpoint;
use ottla_protocol::{BrokerId, ErrorCode, RequestMessage};

use super::{Limits, Peers};
use crate::metadata_cache::MetadataCache;

/// A lane to brokers by id. Cheap to clone.
#[derive(Clone)]
pub struct Neighbours {
    metadata: MetadataCache,
    /// The listener that brokers reach each other on.
    listener: Arc<str>,
    lane: Peers,
}

impl Neighbours {
    /// `listener` is the name of the one that brokers reach each other on; `purpose` becomes part of the client id that other
    /// brokers see.
    pub fn new(
        node_id: BrokerId,
        listener: &str,
        metadata: MetadataCache,
        purpose: &str,
        request_timeout: Duration,
    ) -> Self {
        let client_id = format!("broker-{}-{purpose}", node_id.0);
        let lane = Peers::new(&client_id, Limits { request_timeout, ..Limits::default() });
        Self { metadata, listener: listener.into(), lane }
    }

    /// Where a broker is reached.
    ///
    /// # Errors
    /// `BrokerNotAvailable` when it is not registered, `ListenerNotFound` when it has no such listener.
    pub fn endpoint(&self, broker: BrokerId) -> Result<Endpoint, ErrorCode> {
        let image = self.metadata.load();
        let registration = image.brokers.get(&broker).ok_or(ErrorCode::BrokerNotAvailable)?;
        registration.listener(&self.listener).cloned().ok_or(ErrorCode::ListenerNotFound)
    }

    /// Asks a broker and waits for its answer.
    ///
    /// # Errors
    /// As [`Neighbours::endpoint`], or the code for why no answer came.
    pub async fn ask<R: RequestMessage>(
        &self,
        broker: BrokerId,
        version: i16,
        request: &R,
    ) -> Result<R::Response, ErrorCode> {
        let endpoint = self.endpoint(broker)?;
        self.lane.call(&endpoint, version, request).await.map_err(|error| {
            tracing::debug!(broker = broker.0, %error, "no answer");
            error.code()
        })
    }
}
