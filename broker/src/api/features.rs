//! UpdateFeatures: v0-2.

use ottla_protocol::messages::UpdateFeaturesRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of UpdateFeatures.
pub struct Features {}

impl Features {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: UpdateFeaturesRequest) -> Reply {
        Reply::Close
    }
}
