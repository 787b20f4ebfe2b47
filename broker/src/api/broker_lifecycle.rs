//! AlterPartition v2-3, BrokerRegistration v0-4, BrokerHeartbeat v0-2, UnregisterBroker v0, AllocateProducerIds v0.

use ottla_protocol::messages::{
    AllocateProducerIdsRequest, AlterPartitionRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest,
    UnregisterBrokerRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of AlterPartition, BrokerRegistration, BrokerHeartbeat, UnregisterBroker, AllocateProducerIds.
pub struct BrokerLifecycle {}

impl BrokerLifecycle {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn alter_partition(&self, _cx: &RequestContext, _request: AlterPartitionRequest) -> Reply {
        Reply::Close
    }

    pub async fn broker_registration(&self, _cx: &RequestContext, _request: BrokerRegistrationRequest) -> Reply {
        Reply::Close
    }

    pub async fn broker_heartbeat(&self, _cx: &RequestContext, _request: BrokerHeartbeatRequest) -> Reply {
        Reply::Close
    }

    pub async fn unregister_broker(&self, _cx: &RequestContext, _request: UnregisterBrokerRequest) -> Reply {
        Reply::Close
    }

    pub async fn allocate_producer_ids(&self, _cx: &RequestContext, _request: AllocateProducerIdsRequest) -> Reply {
        Reply::Close
    }
}
