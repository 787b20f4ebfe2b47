//! DescribeClientQuotas, AlterClientQuotas: v0-1.

use ottla_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeClientQuotas, AlterClientQuotas.
pub struct ClientQuotas {}

impl ClientQuotas {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_client_quotas(&self, _cx: &RequestContext, _request: DescribeClientQuotasRequest) -> Reply {
        Reply::Close
    }

    pub async fn alter_client_quotas(&self, _cx: &RequestContext, _request: AlterClientQuotasRequest) -> Reply {
        Reply::Close
    }
}
