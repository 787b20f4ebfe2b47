//! Topics that come into being because somebody asks for them: topics of clients, and the coordinators' own.

use std::sync::Arc;

use ottla_controller::{Controller, RequestOrigin};
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::messages::create_topics_request::CreatableTopic;

use super::topic_names;
use super::wire::topic_name;
use super::{House, RequestContext};
use crate::config::Settings;
use crate::coordinators::{Coordinators, Kind};
use crate::publisher::Publisher;
use crate::telemetry::Repeats;

/// How long a client that only asked for metadata is made to wait.
const TIMEOUT_MS: i32 = 30_000;

/// Creates topics on demand. Cheap to clone.
#[derive(Clone)]
pub struct AutoCreate {
    controller: Controller,
    publisher: Publisher,
    coordinators: Coordinators,
    settings: Arc<Settings>,
    /// Lines about topics that could not be created: clients ask for them again and again.
    repeats: Repeats,
}

impl AutoCreate {
    pub fn new(house: &House) -> Self {
        Self {
            controller: house.controller.clone(),
            publisher: house.publisher.clone(),
            coordinators: house.coordinators.clone(),
            settings: Arc::clone(&house.settings),
            repeats: Repeats::default(),
        }
    }

    /// `auto.create.topics.enable`
    pub fn is_enabled(&self) -> bool {
        self.settings.bool("auto.create.topics.enable")
    }

    /// Creates those of `names` that a topic may have. Returns once they can be used; what failed is simply not there.
    pub async fn create(&self, cx: &RequestContext, names: &[Arc<str>]) {
        let (of_coordinators, names): (Vec<&Arc<str>>, Vec<_>) =
            names.iter().partition(|name| Kind::of_topic(name).is_some());
        for kind in of_coordinators.into_iter().filter_map(|name| Kind::of_topic(name)) {
            if let Err(error) = self.coordinators.ensure_topic(kind).await {
                self.complain(|| tracing::warn!(?kind, ?error, "the topic of a coordinator could not be created"));
            }
        }
        let as_configured = |name: &Arc<str>| {
            CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(-1).with_replication_factor(-1)
        };
        let topics: Vec<CreatableTopic> =
            names.into_iter().filter(|name| topic_names::is_valid(name)).map(as_configured).collect();
        if topics.is_empty() {
            return;
        }
        let origin = RequestOrigin {
            client_id: Arc::clone(&cx.client_id),
            principal: cx.principal.to_string().into(),
            api_version: i16::MAX,
        };
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(TIMEOUT_MS);
        match self.controller.create_topics(origin, request).await {
            Ok(committed) => {
                for topic in committed.response.topics.iter().filter(|topic| topic.error_code != 0) {
                    // 36: another request was faster, which is as good.
                    if topic.error_code != ottla_protocol::ErrorCode::TopicAlreadyExists as i16 {
                        let reason = topic.error_message.as_deref().unwrap_or_default();
                        let (topic, code) = (topic.name.as_str(), topic.error_code);
                        self.complain(|| tracing::warn!(topic, code, reason, "not created"));
                    }
                }
                if let Err(error) = self.publisher.wait_applied(committed.offset).await {
                    tracing::debug!(?error, "topics were created while the broker goes down");
                }
            }
            Err(error) => self.complain(|| tracing::warn!(?error, "topics could not be created")),
        }
    }

    fn complain(&self, line: impl FnOnce()) {
        self.repeats.say(line, |left_out| tracing::warn!(left_out, "topics were not created within a second, too"));
    }
}
