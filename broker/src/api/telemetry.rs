//! GetTelemetrySubscriptions, PushTelemetry: v0 (KIP-714).

use ottla_protocol::messages::{GetTelemetrySubscriptionsRequest, PushTelemetryRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of GetTelemetrySubscriptions, PushTelemetry.
pub struct Telemetry {}

impl Telemetry {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn get_telemetry_subscriptions(
        &self,
        _cx: &RequestContext,
        _request: GetTelemetrySubscriptionsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn push_telemetry(&self, _cx: &RequestContext, _request: PushTelemetryRequest) -> Reply {
        Reply::Close
    }
}
