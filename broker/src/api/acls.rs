//! DescribeAcls, CreateAcls, DeleteAcls: v1-3. Without an authorizer the answer is SECURITY_DISABLED, which is what
//! tools probe for.

use ottla_protocol::messages::create_acls_response::AclCreationResult;
use ottla_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use ottla_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::{ApiSpec, House, Reply, RequestContext};

const DISABLED: i16 = ErrorCode::SecurityDisabled as i16;
/// Kafka's sentences; who asks gets another one than who changes something.
const NO_AUTHORIZER_TO_ASK: StrBytes = StrBytes::from_static_str("No Authorizer is configured on the broker");
const NO_AUTHORIZER: StrBytes = StrBytes::from_static_str("No Authorizer is configured.");

/// Handler of DescribeAcls, CreateAcls, DeleteAcls.
pub struct Acls {}

impl Acls {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(29), ApiSpec::of(30), ApiSpec::of(31)];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_acls(&self, cx: &RequestContext, _request: DescribeAclsRequest) -> Reply {
        let refused = DescribeAclsResponse::default().with_error_code(DISABLED);
        cx.reply(&refused.with_error_message(Some(NO_AUTHORIZER_TO_ASK)))
    }

    pub async fn create_acls(&self, cx: &RequestContext, request: CreateAclsRequest) -> Reply {
        let refused = AclCreationResult::default().with_error_code(DISABLED).with_error_message(Some(NO_AUTHORIZER));
        cx.reply(&CreateAclsResponse::default().with_results(vec![refused; request.creations.len()]))
    }

    pub async fn delete_acls(&self, cx: &RequestContext, request: DeleteAclsRequest) -> Reply {
        let refused =
            DeleteAclsFilterResult::default().with_error_code(DISABLED).with_error_message(Some(NO_AUTHORIZER));
        cx.reply(&DeleteAclsResponse::default().with_filter_results(vec![refused; request.filters.len()]))
    }
}
