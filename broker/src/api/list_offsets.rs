//! ListOffsets: v1-11.

use ottla_protocol::messages::ListOffsetsRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of ListOffsets.
pub struct ListOffsets {}

impl ListOffsets {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: ListOffsetsRequest) -> Reply {
        Reply::Close
    }
}
