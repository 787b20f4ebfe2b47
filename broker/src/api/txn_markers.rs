//! WriteTxnMarkers: v1-2.

use ottla_protocol::messages::WriteTxnMarkersRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of WriteTxnMarkers.
pub struct TxnMarkers {}

impl TxnMarkers {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: WriteTxnMarkersRequest) -> Reply {
        Reply::Close
    }
}
