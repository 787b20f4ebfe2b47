//! OffsetForLeaderEpoch: v2-4.

use ottla_protocol::messages::OffsetForLeaderEpochRequest;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of OffsetForLeaderEpoch.
pub struct LeaderEpochs {}

impl LeaderEpochs {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn handle(&self, _cx: &RequestContext, _request: OffsetForLeaderEpochRequest) -> Reply {
        Reply::Close
    }
}
