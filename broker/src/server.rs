//! Builds the house bottom-up and takes it down top-down.

use std::sync::Arc;

use ottla_metadata::Endpoint;

use crate::api::{Api, House};
use crate::config::{ListenerSettings, Settings};
use crate::node::{Node, StartError};

/// A running broker.
pub struct Server {
    pub house: House,
    pub api: Arc<Api>,
    node: Node,
}

impl Server {
    /// Starts everything in the order in which one part needs the other.
    ///
    /// # Errors
    /// When the data cannot be used, or the broker is refused by the cluster.
    pub async fn start(settings: Arc<Settings>) -> Result<Self, StartError> {
        // Listeners are to be bound first: what is advertised for port 0 is known only then.
        let of = |is_controller: bool| {
            settings.listeners.iter().filter(move |listener| listener.is_controller == is_controller).map(endpoint)
        };
        let (broker, controller) = (of(false).collect(), of(true).collect());
        let node = Node::start(Arc::clone(&settings), broker, controller).await?;
        let house = House {
            settings,
            metadata: node.metadata.clone(),
            cluster_id: Arc::clone(&node.cluster_id),
            controller: node.controller.clone(),
            publisher: node.publisher.clone(),
            partitions: node.partitions.clone(),
            log_dirs: Arc::clone(&node.log_dirs),
            transaction_gate: None,
        };
        let api = Arc::new(Api::new(&house));
        Ok(Self { house, api, node })
    }

    /// Ends in the opposite order: listeners, coordinators, replicas, registration, controller, log directories.
    pub async fn shutdown(self) {
        let Self { house, api, node } = self;
        drop((house, api));
        node.shutdown().await;
    }
}

fn endpoint(listener: &ListenerSettings) -> Endpoint {
    Endpoint {
        name: listener.name.as_str().into(),
        host: listener.advertised_host.as_str().into(),
        port: listener.advertised_port,
        security_protocol: 0,
    }
}
