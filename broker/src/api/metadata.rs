//! Metadata v0-13, DescribeCluster v0-2, DescribeTopicPartitions v0.

use ottla_protocol::messages::{DescribeClusterRequest, DescribeTopicPartitionsRequest, MetadataRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of Metadata, DescribeCluster, DescribeTopicPartitions.
pub struct Metadata {}

impl Metadata {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn metadata(&self, _cx: &RequestContext, _request: MetadataRequest) -> Reply {
        Reply::Close
    }

    pub async fn describe_cluster(&self, _cx: &RequestContext, _request: DescribeClusterRequest) -> Reply {
        Reply::Close
    }

    pub async fn describe_topic_partitions(
        &self,
        _cx: &RequestContext,
        _request: DescribeTopicPartitionsRequest,
    ) -> Reply {
        Reply::Close
    }
}
