//! ApiVersions: v0-4.

use ottla_protocol::messages::ApiVersionsRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of ApiVersions.
pub struct ApiVersions {}

impl ApiVersions {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: ApiVersionsRequest) -> Reply {
        Reply::Close
    }
}
