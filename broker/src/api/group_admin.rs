//! DescribeGroups v0-6, ListGroups v0-5, DeleteGroups v0-2.

use ottla_protocol::messages::{DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeGroups, ListGroups, DeleteGroups.
pub struct GroupAdmin {}

impl GroupAdmin {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_groups(&self, _cx: &RequestContext, _request: DescribeGroupsRequest) -> Reply {
        Reply::Close
    }

    pub async fn list_groups(&self, _cx: &RequestContext, _request: ListGroupsRequest) -> Reply {
        Reply::Close
    }

    pub async fn delete_groups(&self, _cx: &RequestContext, _request: DeleteGroupsRequest) -> Reply {
        Reply::Close
    }
}
