//! UpdateFeatures: v0-2. v1 upgrade types and validate-only, v2 answers success with no results (KIP-1022).

use ottla_controller::Controller;
use ottla_protocol::StrBytes;
use ottla_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};

use super::topics::origin;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::publisher::Publisher;

/// Handler of UpdateFeatures.
pub struct Features {
    controller: Controller,
    publisher: Publisher,
}

impl Features {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(57)];

    pub fn new(house: &House) -> Self {
        Self { controller: house.controller.clone(), publisher: house.publisher.clone() }
    }

    pub async fn handle(&self, cx: &RequestContext, request: UpdateFeaturesRequest) -> Reply {
        match self.controller.update_features(origin(cx), request).await {
            Ok(committed) => cx.reply(&self.publisher.in_force(committed).await),
            Err(code) => cx.reply(
                &UpdateFeaturesResponse::default()
                    .with_error_code(code.code())
                    .with_error_message(Some(StrBytes::from_static_str(code.message()))),
            ),
        }
    }
}
