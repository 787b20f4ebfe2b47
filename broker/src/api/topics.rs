//! CreateTopics: v2-7. DeleteTopics: v1-6 (v6 by id). CreatePartitions: v0-3.
//!
//! The controller decides, and counts against the client's quota of changes (KIP-599); the answer waits until what was decided
//! is in force on this broker.

use ottla_controller::{Controller, RequestOrigin};
use ottla_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::messages::create_topics_response::CreatableTopicResult;
use ottla_protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, TopicName,
};
use ottla_protocol::{Encodable, HeaderVersion};

use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::publisher::Publisher;

/// Handler of CreateTopics, DeleteTopics and CreatePartitions.
pub struct Topics {
    controller: Controller,
    publisher: Publisher,
}

impl Topics {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(19), ApiSpec::of(20), ApiSpec::of(37)];

    pub fn new(house: &House) -> Self {
        Self { controller: house.controller.clone(), publisher: house.publisher.clone() }
    }

    pub async fn create_topics(&self, cx: &RequestContext, request: CreateTopicsRequest) -> Reply {
        let names: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let response = match self.controller.create_topics(origin(cx), request).await {
            Ok(committed) => self.publisher.in_force(committed).await,
            Err(code) => {
                let failed = names.into_iter().map(|name| {
                    CreatableTopicResult::default()
                        .with_name(name)
                        .with_error_code(code as i16)
                        .with_error_message(Some(text(code.message())))
                });
                CreateTopicsResponse::default().with_topics(failed.collect())
            }
        };
        slowed(cx, &response, response.throttle_time_ms)
    }

    pub async fn delete_topics(&self, cx: &RequestContext, request: DeleteTopicsRequest) -> Reply {
        let by_state = request.topics.iter().map(|topic| (topic.name.clone(), topic.topic_id));
        let by_name = request.topic_names.iter().map(|name| (Some(name.clone()), uuid::Uuid::nil()));
        let asked: Vec<(Option<TopicName>, uuid::Uuid)> = by_state.chain(by_name).collect();
        let response = match self.controller.delete_topics(origin(cx), request).await {
            Ok(committed) => self.publisher.in_force(committed).await,
            Err(code) => {
                let failed = asked.into_iter().map(|(name, id)| {
                    DeletableTopicResult::default()
                        .with_name(name)
                        .with_topic_id(id)
                        .with_error_code(code as i16)
                        .with_error_message(Some(text(code.message())))
                });
                DeleteTopicsResponse::default().with_responses(failed.collect())
            }
        };
        slowed(cx, &response, response.throttle_time_ms)
    }

    pub async fn create_partitions(&self, cx: &RequestContext, request: CreatePartitionsRequest) -> Reply {
        let names: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let response = match self.controller.create_partitions(origin(cx), request).await {
            Ok(committed) => self.publisher.in_force(committed).await,
            Err(code) => {
                let failed = names.into_iter().map(|name| {
                    CreatePartitionsTopicResult::default()
                        .with_name(name)
                        .with_error_code(code as i16)
                        .with_error_message(Some(text(code.message())))
                });
                CreatePartitionsResponse::default().with_results(failed.collect())
            }
        };
        slowed(cx, &response, response.throttle_time_ms)
    }
}

/// The answer, and the client waits as long as the controller says in it.
fn slowed(cx: &RequestContext, response: &(impl Encodable + HeaderVersion), throttle_ms: i32) -> Reply {
    let mut response = cx.respond(response);
    response.throttle(cx, throttle_ms);
    Reply::Now(response)
}

/// Who asks, for the controller.
pub(super) fn origin(cx: &RequestContext) -> RequestOrigin {
    RequestOrigin {
        client_id: std::sync::Arc::clone(&cx.client_id),
        principal: cx.principal.to_string().into(),
        api_version: cx.version,
    }
}
