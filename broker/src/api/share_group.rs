//! ShareGroupHeartbeat and -Describe v1, share group offsets (KIP-932).

use ottla_protocol::messages::{
    AlterShareGroupOffsetsRequest, DeleteShareGroupOffsetsRequest, DescribeShareGroupOffsetsRequest,
    ShareGroupDescribeRequest, ShareGroupHeartbeatRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of ShareGroupHeartbeat, ShareGroupDescribe, DescribeShareGroupOffsets, AlterShareGroupOffsets, DeleteShareGroupOffsets.
pub struct ShareGroup {}

impl ShareGroup {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn share_group_heartbeat(&self, _cx: &RequestContext, _request: ShareGroupHeartbeatRequest) -> Reply {
        Reply::Close
    }

    pub async fn share_group_describe(&self, _cx: &RequestContext, _request: ShareGroupDescribeRequest) -> Reply {
        Reply::Close
    }

    pub async fn describe_share_group_offsets(
        &self,
        _cx: &RequestContext,
        _request: DescribeShareGroupOffsetsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn alter_share_group_offsets(
        &self,
        _cx: &RequestContext,
        _request: AlterShareGroupOffsetsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn delete_share_group_offsets(
        &self,
        _cx: &RequestContext,
        _request: DeleteShareGroupOffsetsRequest,
    ) -> Reply {
        Reply::Close
    }
}
