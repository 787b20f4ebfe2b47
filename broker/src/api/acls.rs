//! DescribeAcls, CreateAcls, DeleteAcls: v1-3.

use ottla_protocol::messages::{CreateAclsRequest, DeleteAclsRequest, DescribeAclsRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeAcls, CreateAcls, DeleteAcls.
pub struct Acls {}

impl Acls {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_acls(&self, _cx: &RequestContext, _request: DescribeAclsRequest) -> Reply {
        Reply::Close
    }

    pub async fn create_acls(&self, _cx: &RequestContext, _request: CreateAclsRequest) -> Reply {
        Reply::Close
    }

    pub async fn delete_acls(&self, _cx: &RequestContext, _request: DeleteAclsRequest) -> Reply {
        Reply::Close
    }
}
