//! FindCoordinator: v0-6.

use ottla_protocol::messages::FindCoordinatorRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of FindCoordinator.
pub struct FindCoordinator {}

impl FindCoordinator {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: FindCoordinatorRequest) -> Reply {
        Reply::Close
    }
}
