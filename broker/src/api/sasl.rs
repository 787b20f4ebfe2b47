//! SaslHandshake v0-1, SaslAuthenticate v0-2.

use ottla_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of SaslHandshake, SaslAuthenticate.
pub struct Sasl {}

impl Sasl {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn sasl_handshake(&self, _cx: &RequestContext, _request: SaslHandshakeRequest) -> Reply {
        Reply::Close
    }

    pub async fn sasl_authenticate(&self, _cx: &RequestContext, _request: SaslAuthenticateRequest) -> Reply {
        Reply::Close
    }
}
