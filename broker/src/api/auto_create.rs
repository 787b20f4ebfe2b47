//! Topics that come into being because somebody asks for them: topics of clients, and the coordinators' own.

use std::sync::Arc;

use ottla_controller::{Controller, RequestOrigin};
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};

use super::topic_names;
use super::wire::{text, topic_name};
use super::{House, RequestContext};
use crate::config::Settings;
use crate::publisher::Publisher;

/// How long a client that only asked for metadata is made to wait.
const TIMEOUT_MS: i32 = 30_000;

/// Creates topics on demand. Cheap to clone.
#[derive(Clone)]
pub struct AutoCreate {
    controller: Controller,
    publisher: Publisher,
    settings: Arc<Settings>,
}

impl AutoCreate {
    pub fn new(house: &House) -> Self {
        Self {
            controller: house.controller.clone(),
            publisher: house.publisher.clone(),
            settings: Arc::clone(&house.settings),
        }
    }

    /// `auto.create.topics.enable`
    pub fn is_enabled(&self) -> bool {
        self.settings.bool("auto.create.topics.enable")
    }

    /// Creates those of `names` that a topic may have. Returns once they can be used; what failed is simply not there.
    pub async fn create(&self, cx: &RequestContext, names: &[Arc<str>]) {
        let origin = RequestOrigin {
            client_id: Arc::clone(&cx.client_id),
            principal: cx.principal.to_string().into(),
            api_version: i16::MAX,
        };
        self.create_as(origin, names).await;
    }

    /// As [`AutoCreate::create`], for the broker itself.
    pub async fn create_internal(&self, name: &str) {
        self.create_as(RequestOrigin::internal(), &[Arc::from(name)]).await;
    }

    async fn create_as(&self, origin: RequestOrigin, names: &[Arc<str>]) {
        let topics: Vec<CreatableTopic> =
            names.iter().filter(|name| topic_names::is_valid(name)).map(|name| self.describe(name)).collect();
        if topics.is_empty() {
            return;
        }
        let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(TIMEOUT_MS);
        match self.controller.create_topics(origin, request).await {
            Ok(committed) => {
                for topic in committed.response.topics.iter().filter(|topic| topic.error_code != 0) {
                    // 36: another request was faster, which is as good.
                    if topic.error_code != ottla_protocol::ErrorCode::TopicAlreadyExists as i16 {
                        let reason = topic.error_message.as_deref().unwrap_or_default();
                        tracing::warn!(topic = topic.name.as_str(), code = topic.error_code, reason, "not created");
                    }
                }
                if let Err(error) = self.publisher.wait_applied(committed.offset).await {
                    tracing::debug!(?error, "topics were created while the broker goes down");
                }
            }
            Err(error) => tracing::warn!(?error, "topics could not be created"),
        }
    }

    fn describe(&self, name: &str) -> CreatableTopic {
        let settings = &self.settings;
        let topic = CreatableTopic::default().with_name(topic_name(name));
        let config = |name: &str, value: String| {
            CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(&value)))
        };
        let sized = |partitions: &str, replication: &str| {
            let replication = i16::try_from(settings.i32(replication)).unwrap_or(-1);
            topic.clone().with_num_partitions(settings.i32(partitions)).with_replication_factor(replication)
        };
        match name {
            "__consumer_offsets" => sized("offsets.topic.num.partitions", "offsets.topic.replication.factor")
                .with_configs(vec![
                    config("cleanup.policy", "compact".to_owned()),
                    config("compression.type", "producer".to_owned()),
                    config("segment.bytes", settings.i32("offsets.topic.segment.bytes").to_string()),
                ]),
            "__transaction_state" => {
                sized("transaction.state.log.num.partitions", "transaction.state.log.replication.factor").with_configs(
                    vec![
                        config("unclean.leader.election.enable", "false".to_owned()),
                        config("compression.type", "uncompressed".to_owned()),
                        config("cleanup.policy", "compact".to_owned()),
                        config("min.insync.replicas", settings.i32("transaction.state.log.min.isr").to_string()),
                        config("segment.bytes", settings.i32("transaction.state.log.segment.bytes").to_string()),
                    ],
                )
            }
            "__share_group_state" => sized(
                "share.coordinator.state.topic.num.partitions",
                "share.coordinator.state.topic.replication.factor",
            )
            .with_configs(vec![
                config("cleanup.policy", "delete".to_owned()),
                config("compression.type", "producer".to_owned()),
                config("segment.bytes", settings.i32("share.coordinator.state.topic.segment.bytes").to_string()),
                config("min.insync.replicas", settings.i32("share.coordinator.state.topic.min.isr").to_string()),
                config("retention.ms", "-1".to_owned()),
            ]),
            _ => topic.with_num_partitions(-1).with_replication_factor(-1),
        }
    }
}
