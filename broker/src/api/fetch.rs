//! Fetch: v4-18.

use ottla_protocol::messages::FetchRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of Fetch.
pub struct Fetch {}

impl Fetch {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: FetchRequest) -> Reply {
        Reply::Close
    }
}
