//! FindCoordinator: v0-6. v1 key types, v4 batches of keys, v6 share coordinators (not built: none is available).

use ottla_protocol::messages::find_coordinator_response::Coordinator;
use ottla_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::wire::address_of;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::{Coordinators, Kind};
use crate::metadata_cache::MetadataCache;

/// Key type of share coordinators (KIP-932).
const SHARE: i8 = 2;

/// Handler of FindCoordinator.
#[derive(Clone)]
pub struct FindCoordinator {
    coordinators: Coordinators,
    metadata: MetadataCache,
}

/// Where a client reaches a coordinator.
struct Node {
    id: i32,
    host: String,
    port: u16,
}

impl FindCoordinator {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(10)];

    pub fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone(), metadata: house.metadata.clone() }
    }

    pub async fn handle(&self, cx: &RequestContext, request: FindCoordinatorRequest) -> Reply {
        let (handler, cx) = (self.clone(), cx.clone());
        // A topic may have to be made and loaded first.
        Reply::Later(Box::pin(async move {
            let response =
                if cx.version < 4 { handler.one(&cx, &request).await } else { handler.many(&cx, request).await };
            cx.respond(&response)
        }))
    }

    async fn one(&self, cx: &RequestContext, request: &FindCoordinatorRequest) -> FindCoordinatorResponse {
        let response = FindCoordinatorResponse::default();
        match self.find(cx, request.key_type, &request.key).await {
            Ok(node) => response
                .with_error_message(Some(StrBytes::from_static_str(ErrorCode::None.message())))
                .with_node_id(BrokerId(node.id))
                .with_host(StrBytes::from_string(node.host))
                .with_port(i32::from(node.port)),
            Err(error) => response
                .with_error_code(error.code())
                .with_error_message(Some(StrBytes::from_static_str(error.message())))
                .with_node_id(BrokerId(-1))
                .with_port(-1),
        }
    }

    async fn many(&self, cx: &RequestContext, request: FindCoordinatorRequest) -> FindCoordinatorResponse {
        let mut coordinators = Vec::with_capacity(request.coordinator_keys.len());
        for key in request.coordinator_keys {
            let found = self.find(cx, request.key_type, &key).await;
            let coordinator = Coordinator::default().with_key(key);
            coordinators.push(match found {
                Ok(node) => coordinator
                    .with_node_id(BrokerId(node.id))
                    .with_host(StrBytes::from_string(node.host))
                    .with_port(i32::from(node.port)),
                Err(error) => coordinator.with_error_code(error.code()).with_node_id(BrokerId(-1)).with_port(-1),
            });
        }
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    }

    async fn find(&self, cx: &RequestContext, key_type: i8, key: &str) -> Result<Node, ErrorCode> {
        if key_type == SHARE && cx.version >= 6 {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        let kind = Kind::from_key_type(key_type).ok_or(ErrorCode::InvalidRequest)?;
        let broker = self.coordinators.find(kind, key).await?;
        let image = self.metadata.load();
        let registration = image.brokers.get(&broker).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let (host, port) = address_of(cx, &image, registration).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        Ok(Node { id: broker.0, host: host.to_owned(), port })
    }
}
