//! OffsetCommit v2-10, OffsetFetch v1-10, TxnOffsetCommit v0-5, OffsetDelete v0.

use ottla_protocol::messages::{OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, TxnOffsetCommitRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of OffsetCommit, OffsetFetch, TxnOffsetCommit, OffsetDelete.
pub struct Offsets {}

impl Offsets {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn offset_commit(&self, _cx: &RequestContext, _request: OffsetCommitRequest) -> Reply {
        Reply::Close
    }

    pub async fn offset_fetch(&self, _cx: &RequestContext, _request: OffsetFetchRequest) -> Reply {
        Reply::Close
    }

    pub async fn txn_offset_commit(&self, _cx: &RequestContext, _request: TxnOffsetCommitRequest) -> Reply {
        Reply::Close
    }

    pub async fn offset_delete(&self, _cx: &RequestContext, _request: OffsetDeleteRequest) -> Reply {
        Reply::Close
    }
}
