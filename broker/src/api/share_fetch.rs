//! ShareFetch and ShareAcknowledge v1-2 (KIP-932).

use ottla_protocol::messages::{ShareAcknowledgeRequest, ShareFetchRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of ShareFetch, ShareAcknowledge.
pub struct ShareFetch {}

impl ShareFetch {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn share_fetch(&self, _cx: &RequestContext, _request: ShareFetchRequest) -> Reply {
        Reply::Close
    }

    pub async fn share_acknowledge(&self, _cx: &RequestContext, _request: ShareAcknowledgeRequest) -> Reply {
        Reply::Close
    }
}
