//! CreateTopics v2-7, DeleteTopics v1-6, CreatePartitions v0-3.

use ottla_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of CreateTopics, DeleteTopics, CreatePartitions.
pub struct Topics {}

impl Topics {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn create_topics(&self, _cx: &RequestContext, _request: CreateTopicsRequest) -> Reply {
        Reply::Close
    }

    pub async fn delete_topics(&self, _cx: &RequestContext, _request: DeleteTopicsRequest) -> Reply {
        Reply::Close
    }

    pub async fn create_partitions(&self, _cx: &RequestContext, _request: CreatePartitionsRequest) -> Reply {
        Reply::Close
    }
}
