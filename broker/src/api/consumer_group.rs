//! ConsumerGroupHeartbeat v0-1, ConsumerGroupDescribe v0-1 (KIP-848).

use ottla_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of ConsumerGroupHeartbeat, ConsumerGroupDescribe.
pub struct ConsumerGroup {}

impl ConsumerGroup {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn consumer_group_heartbeat(
        &self,
        _cx: &RequestContext,
        _request: ConsumerGroupHeartbeatRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn consumer_group_describe(&self, _cx: &RequestContext, _request: ConsumerGroupDescribeRequest) -> Reply {
        Reply::Close
    }
}
