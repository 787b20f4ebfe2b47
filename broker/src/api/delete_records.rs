//! DeleteRecords: v0-2.

use ottla_protocol::messages::DeleteRecordsRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DeleteRecords.
pub struct DeleteRecords {}

impl DeleteRecords {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: DeleteRecordsRequest) -> Reply {
        Reply::Close
    }
}
