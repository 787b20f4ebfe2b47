//! ApiVersions: v0-4. What this broker speaks and which features the cluster has agreed on.
//!
//! v3 is flexible and names the client's software, v3 answers carry features, v4 may carry features whose lowest level
//! is 0 (KAFKA-17492: older clients cannot read those). The answer's header is always that of version 0, and a version
//! that is too new is answered in version 0 with the range to choose from.

use std::sync::Arc;

use ottla_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use ottla_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::{ApiSpec, ApiTable, House, Reply, RequestContext};
use crate::features;
use crate::metadata_cache::MetadataCache;

/// Handler of ApiVersions.
pub struct ApiVersions {
    metadata: MetadataCache,
    broker: Arc<ApiTable>,
    controller: Arc<ApiTable>,
}

impl ApiVersions {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(18)];

    pub fn new(house: &House) -> Self {
        Self {
            metadata: house.metadata.clone(),
            broker: Arc::new(ApiTable::of_broker()),
            controller: Arc::new(ApiTable::of_controller()),
        }
    }

    pub async fn handle(&self, cx: &RequestContext, request: ApiVersionsRequest) -> Reply {
        if cx.version >= 3
            && !(is_software(&request.client_software_name) && is_software(&request.client_software_version))
        {
            return cx.reply(&ApiVersionsResponse::default().with_error_code(ErrorCode::InvalidRequest.code()));
        }
        let table = if cx.listener.is_controller { &self.controller } else { &self.broker };
        let mut response = ApiVersionsResponse::default().with_api_keys(table.iter().map(api_version).collect());
        if cx.version >= 3 {
            let image = self.metadata.load();
            response.supported_features = features::supported()
                .iter()
                .filter(|range| range.min > 0 || cx.version >= 4)
                .map(|range| {
                    SupportedFeatureKey::default()
                        .with_name(StrBytes::from_string(range.name.to_string()))
                        .with_min_version(range.min)
                        .with_max_version(range.max)
                })
                .collect();
            response.finalized_features = image
                .features
                .iter()
                .filter(|(_, level)| *level > 0)
                .map(|(name, level)| {
                    FinalizedFeatureKey::default()
                        .with_name(StrBytes::from_string(name.to_string()))
                        .with_min_version_level(level)
                        .with_max_version_level(level)
                })
                .collect();
            response.finalized_features_epoch = image.offset.0;
        }
        cx.reply(&response)
    }

    /// The answer to a version that is not known: version 0, error 35, and the range of ApiVersions itself.
    pub fn unsupported(&self, cx: &RequestContext) -> Reply {
        let own = Self::APIS.iter().map(api_version).collect();
        let response =
            ApiVersionsResponse::default().with_error_code(ErrorCode::UnsupportedVersion.code()).with_api_keys(own);
        Reply::Now(cx.respond_with_version(0, &response))
    }
}

fn api_version(spec: &ApiSpec) -> ApiVersion {
    ApiVersion::default().with_api_key(spec.key).with_min_version(spec.min).with_max_version(spec.max)
}

/// Letters and digits, with dots and dashes between them (KIP-511).
fn is_software(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_software() {
        for name in ["librdkafka", "apache-kafka-java", "1.9.0", "a"] {
            assert!(is_software(name), "{name}");
        }
        for name in ["", "-a", "a-", "a b", "a\n", "ä"] {
            assert!(!is_software(name), "{name}");
        }
    }
}
