//! UnregisterBroker: v0. AlterPartition, BrokerRegistration, BrokerHeartbeat and AllocateProducerIds are spoken between
//! brokers and controllers only; on a node that is both they are calls, so they are not offered on the wire.

use ottla_controller::Controller;
use ottla_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use super::topics::origin;
use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::publisher::Publisher;

/// Handler of UnregisterBroker.
pub struct BrokerLifecycle {
    controller: Controller,
    publisher: Publisher,
}

impl BrokerLifecycle {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(64)];

    pub fn new(house: &House) -> Self {
        Self { controller: house.controller.clone(), publisher: house.publisher.clone() }
    }

    pub async fn unregister_broker(&self, cx: &RequestContext, request: UnregisterBrokerRequest) -> Reply {
        let unregistered = async {
            let committed = self.controller.unregister_broker(origin(cx), request).await?;
            Ok(self.publisher.in_force(committed).await)
        };
        cx.reply(&unregistered.await.unwrap_or_else(|code: ottla_protocol::ErrorCode| {
            UnregisterBrokerResponse::default()
                .with_error_code(code as i16)
                .with_error_message(Some(text(code.message())))
        }))
    }
}
