//! Produce: v3-13 (v0-2 are advertised for old librdkafka, never decoded).

use ottla_protocol::messages::ProduceRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of Produce.
pub struct Produce {}

impl Produce {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: ProduceRequest) -> Reply {
        Reply::Close
    }
}
