//! DescribeUserScramCredentials, AlterUserScramCredentials: v0.

use ottla_protocol::messages::{AlterUserScramCredentialsRequest, DescribeUserScramCredentialsRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeUserScramCredentials, AlterUserScramCredentials.
pub struct Credentials {}

impl Credentials {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn describe_user_scram_credentials(
        &self,
        _cx: &RequestContext,
        _request: DescribeUserScramCredentialsRequest,
    ) -> Reply {
        Reply::Close
    }

    pub async fn alter_user_scram_credentials(
        &self,
        _cx: &RequestContext,
        _request: AlterUserScramCredentialsRequest,
    ) -> Reply {
        Reply::Close
    }
}
