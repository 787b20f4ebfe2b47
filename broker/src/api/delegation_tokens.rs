//! Create v1-3, Renew v1-2, Expire v1-2, Describe v1-3 of delegation tokens.

use ottla_protocol::messages::{
    CreateDelegationTokenRequest, DescribeDelegationTokenRequest, ExpireDelegationTokenRequest,
    RenewDelegationTokenRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of CreateDelegationToken, RenewDelegationToken, ExpireDelegationToken, DescribeDelegationToken.
pub struct DelegationTokens {}

impl DelegationTokens {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn create_delegation_token(&self, _cx: &RequestContext, _request: CreateDelegationTokenRequest) -> Reply {
        Reply::Close
    }

    pub async fn renew_delegation_token(&self, _cx: &RequestContext, _request: RenewDelegationTokenRequest) -> Reply {
        Reply::Close
    }

    pub async fn expire_delegation_token(&self, _cx: &RequestContext, _request: ExpireDelegationTokenRequest) -> Reply {
        Reply::Close
    }

    pub async fn describe_delegation_token(
        &self,
        _cx: &RequestContext,
        _request: DescribeDelegationTokenRequest,
    ) -> Reply {
        Reply::Close
    }
}
