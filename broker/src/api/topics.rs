//! CreateTopics: v2-7. DeleteTopics: v1-6 (v6 by id). CreatePartitions: v0-3.
//!
//! The controller decides; the answer waits until what was decided is in force on this broker.

use std::collections::HashSet;

use ottla_controller::{Committed, Controller, RequestOrigin};
use ottla_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use ottla_protocol::messages::create_topics_response::CreatableTopicResult;
use ottla_protocol::messages::delete_topics_response::DeletableTopicResult;
use ottla_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, TopicName,
};
use ottla_protocol::{ErrorCode, Offset};

use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::publisher::Publisher;

/// The controller's own log, which is no topic.
const METADATA_TOPIC: &str = "__cluster_metadata";

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

    pub async fn create_topics(&self, cx: &RequestContext, mut request: CreateTopicsRequest) -> Reply {
        let refuse = |name: TopicName, code: ErrorCode, message: &str| {
            CreatableTopicResult::default()
                .with_name(name)
                .with_error_code(code as i16)
                .with_error_message(Some(text(message)))
        };
        let repeated = take_repeated(&mut request.topics, |topic| topic.name.clone());
        let mut refused: Vec<CreatableTopicResult> =
            repeated.into_iter().map(|name| refuse(name, ErrorCode::InvalidRequest, "Duplicate topic name.")).collect();
        request.topics.retain(|topic| {
            let is_metadata = topic.name.as_str() == METADATA_TOPIC;
            if is_metadata {
                let message = "Creation of internal topic __cluster_metadata is prohibited.";
                refused.push(refuse(topic.name.clone(), ErrorCode::InvalidRequest, message));
            }
            !is_metadata
        });
        let names: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut response = match self.controller.create_topics(origin(cx), request).await {
            Ok(committed) => match self.in_force(committed).await {
                Ok(response) => response,
                Err(code) => all_failed(names, |name| refuse(name, code, code.message())),
            },
            Err(code) => all_failed(names, |name| refuse(name, code, code.message())),
        };
        response.topics.append(&mut refused);
        return cx.reply(&response);

        fn all_failed(
            names: Vec<TopicName>,
            refuse: impl Fn(TopicName) -> CreatableTopicResult,
        ) -> CreateTopicsResponse {
            CreateTopicsResponse::default().with_topics(names.into_iter().map(refuse).collect())
        }
    }

    pub async fn delete_topics(&self, cx: &RequestContext, request: DeleteTopicsRequest) -> Reply {
        let asked = request.clone();
        let deleted = match self.controller.delete_topics(origin(cx), request).await {
            Ok(committed) => self.in_force(committed).await,
            Err(code) => Err(code),
        };
        let response = deleted.unwrap_or_else(|code| {
            let failed = |name: Option<TopicName>, id| {
                DeletableTopicResult::default()
                    .with_name(name)
                    .with_topic_id(id)
                    .with_error_code(code as i16)
                    .with_error_message(Some(text(code.message())))
            };
            let by_state = asked.topics.into_iter().map(|topic| failed(topic.name, topic.topic_id));
            let by_name = asked.topic_names.into_iter().map(|name| failed(Some(name), uuid::Uuid::nil()));
            DeleteTopicsResponse::default().with_responses(by_state.chain(by_name).collect())
        });
        cx.reply(&response)
    }

    pub async fn create_partitions(&self, cx: &RequestContext, mut request: CreatePartitionsRequest) -> Reply {
        let refuse = |name: TopicName, code: ErrorCode, message: &str| {
            CreatePartitionsTopicResult::default()
                .with_name(name)
                .with_error_code(code as i16)
                .with_error_message(Some(text(message)))
        };
        let repeated = take_repeated(&mut request.topics, |topic| topic.name.clone());
        let names: Vec<TopicName> = request.topics.iter().map(|topic| topic.name.clone()).collect();
        let created = match self.controller.create_partitions(origin(cx), request).await {
            Ok(committed) => self.in_force(committed).await,
            Err(code) => Err(code),
        };
        let mut response = created.unwrap_or_else(|code| {
            let results = names.into_iter().map(|name| refuse(name, code, code.message()));
            CreatePartitionsResponse::default().with_results(results.collect())
        });
        let repeated =
            repeated.into_iter().map(|name| refuse(name, ErrorCode::InvalidRequest, "Duplicate topic name."));
        response.results.extend(repeated);
        cx.reply(&response)
    }

    /// Every request that follows the answer finds it true.
    async fn in_force<R>(&self, committed: Committed<R>) -> Result<R, ErrorCode> {
        if committed.offset > Offset(-1) {
            self.publisher.wait_applied(committed.offset).await?;
        }
        Ok(committed.response)
    }
}

/// Who asks, for the controller.
pub(super) fn origin(cx: &RequestContext) -> RequestOrigin {
    RequestOrigin {
        client_id: std::sync::Arc::clone(&cx.client_id),
        principal: cx.principal.to_string().into(),
        api_version: cx.version,
    }
}

/// Takes out every topic that is named more than once, and says which: nobody can tell which of them was meant.
fn take_repeated<T>(topics: &mut Vec<T>, name: impl Fn(&T) -> TopicName) -> Vec<TopicName> {
    let mut seen = HashSet::new();
    let repeated: HashSet<TopicName> = topics.iter().map(&name).filter(|name| !seen.insert(name.clone())).collect();
    topics.retain(|topic| !repeated.contains(&name(topic)));
    repeated.into_iter().collect()
}
