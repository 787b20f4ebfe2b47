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
use ottla_protocol::{ErrorCode, Offset, TopicId};

use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext, Response};
use crate::config::Effective;
use crate::metadata_cache::MetadataCache;
use crate::publisher::Publisher;
use crate::quotas::{Mutations, Quotas};

/// The controller's own log, which is no topic.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Handler of CreateTopics, DeleteTopics and CreatePartitions.
pub struct Topics {
    controller: Controller,
    publisher: Publisher,
    metadata: MetadataCache,
    config: Effective,
    quotas: Quotas,
}

/// Versions from which a change over the quota is refused; older clients are only slowed down (KIP-599).
const STRICT_CREATE: i16 = 6;
const STRICT_DELETE: i16 = 5;
const STRICT_CREATE_PARTITIONS: i16 = 3;

impl Topics {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(19), ApiSpec::of(20), ApiSpec::of(37)];

    pub fn new(house: &House) -> Self {
        Self {
            controller: house.controller.clone(),
            publisher: house.publisher.clone(),
            metadata: house.metadata.clone(),
            config: house.effective.clone(),
            quotas: house.quotas.clone(),
        }
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
        let mut quota = self.quotas.mutations(&cx.client(), cx.version >= STRICT_CREATE);
        let image = self.metadata.load();
        let validate_only = request.validate_only;
        request.topics.retain(|topic| {
            let changes_nothing = validate_only || image.topics.by_name(&topic.name).is_some();
            let count = match (topic.assignments.len(), topic.num_partitions) {
                (0, -1) => self.config.i64("num.partitions"),
                (0, count) => i64::from(count),
                (count, _) => i64::try_from(count).unwrap_or(i64::MAX),
            };
            let allowed = changes_nothing || quota.allow(usize::try_from(count).unwrap_or(0));
            if !allowed {
                let code = ErrorCode::ThrottlingQuotaExceeded;
                refused.push(refuse(topic.name.clone(), code, code.message()));
            }
            allowed
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
        return slowed(cx, cx.respond(&response), &quota);

        fn all_failed(
            names: Vec<TopicName>,
            refuse: impl Fn(TopicName) -> CreatableTopicResult,
        ) -> CreateTopicsResponse {
            CreateTopicsResponse::default().with_topics(names.into_iter().map(refuse).collect())
        }
    }

    pub async fn delete_topics(&self, cx: &RequestContext, mut request: DeleteTopicsRequest) -> Reply {
        let mut quota = self.quotas.mutations(&cx.client(), cx.version >= STRICT_DELETE);
        let image = self.metadata.load();
        let mut over_quota = Vec::new();
        let mut allow = |name: Option<&TopicName>, id: uuid::Uuid| {
            let topic = match name {
                Some(name) => image.topics.by_name(name),
                None => image.topics.by_id(TopicId(id)),
            };
            let allowed = topic.is_none_or(|topic| quota.allow(topic.partitions.len()));
            if !allowed {
                over_quota.push((name.cloned(), id));
            }
            allowed
        };
        request.topics.retain(|topic| allow(topic.name.as_ref(), topic.topic_id));
        request.topic_names.retain(|name| allow(Some(name), uuid::Uuid::nil()));
        let asked = request.clone();
        let deleted = match self.controller.delete_topics(origin(cx), request).await {
            Ok(committed) => self.in_force(committed).await,
            Err(code) => Err(code),
        };
        let failed = |name: Option<TopicName>, id, code: ErrorCode| {
            DeletableTopicResult::default()
                .with_name(name)
                .with_topic_id(id)
                .with_error_code(code as i16)
                .with_error_message(Some(text(code.message())))
        };
        let mut response = deleted.unwrap_or_else(|code| {
            let by_state = asked.topics.into_iter().map(|topic| failed(topic.name, topic.topic_id, code));
            let by_name = asked.topic_names.into_iter().map(|name| failed(Some(name), uuid::Uuid::nil(), code));
            DeleteTopicsResponse::default().with_responses(by_state.chain(by_name).collect())
        });
        let over_quota = over_quota.into_iter().map(|(name, id)| failed(name, id, ErrorCode::ThrottlingQuotaExceeded));
        response.responses.extend(over_quota);
        slowed(cx, cx.respond(&response), &quota)
    }

    pub async fn create_partitions(&self, cx: &RequestContext, mut request: CreatePartitionsRequest) -> Reply {
        let refuse = |name: TopicName, code: ErrorCode, message: &str| {
            CreatePartitionsTopicResult::default()
                .with_name(name)
                .with_error_code(code as i16)
                .with_error_message(Some(text(message)))
        };
        let repeated = take_repeated(&mut request.topics, |topic| topic.name.clone());
        let mut quota = self.quotas.mutations(&cx.client(), cx.version >= STRICT_CREATE_PARTITIONS);
        let image = self.metadata.load();
        let mut over_quota = Vec::new();
        let validate_only = request.validate_only;
        request.topics.retain(|topic| {
            let now = image.topics.by_name(&topic.name).map_or(0, |topic| topic.partitions.len());
            let count = usize::try_from(topic.count).unwrap_or(0).saturating_sub(now);
            let allowed = validate_only || now == 0 || quota.allow(count);
            if !allowed {
                let code = ErrorCode::ThrottlingQuotaExceeded;
                over_quota.push(refuse(topic.name.clone(), code, code.message()));
            }
            allowed
        });
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
        response.results.append(&mut over_quota);
        slowed(cx, cx.respond(&response), &quota)
    }

    /// Every request that follows the answer finds it true.
    async fn in_force<R>(&self, committed: Committed<R>) -> Result<R, ErrorCode> {
        if committed.offset > Offset(-1) {
            self.publisher.wait_applied(committed.offset).await?;
        }
        Ok(committed.response)
    }
}

/// The answer with the time that the quota asks the client to wait.
fn slowed(cx: &RequestContext, mut response: Response, quota: &Mutations) -> Reply {
    response.throttle(cx, quota.throttle_ms());
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

/// Takes out every topic that is named more than once, and says which: nobody can tell which of them was meant.
fn take_repeated<T>(topics: &mut Vec<T>, name: impl Fn(&T) -> TopicName) -> Vec<TopicName> {
    let mut seen = HashSet::new();
    let repeated: HashSet<TopicName> = topics.iter().map(&name).filter(|name| !seen.insert(name.clone())).collect();
    topics.retain(|topic| !repeated.contains(&name(topic)));
    repeated.into_iter().collect()
}
