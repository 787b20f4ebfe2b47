//! Makes the topics that coordinators keep their state in, the first time that one is needed.

use std::sync::Arc;

use ottla_controller::Controller;
use ottla_decisions::RequestOrigin;
use ottla_metadata::MetadataImage;
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::messages::{CreateTopicsRequest, TopicName};
use ottla_protocol::{ErrorCode, StrBytes};
use tokio::sync::Mutex;

use crate::config::Effective;
use crate::metadata_cache::MetadataCache;
use crate::publisher::Publisher;

/// Committed offsets and groups.
pub const GROUP_TOPIC: &str = "__consumer_offsets";
/// Transactional ids.
pub const TRANSACTION_TOPIC: &str = "__transaction_state";

const CREATE_TIMEOUT_MS: i32 = 30_000;

/// Creates internal topics on demand.
pub struct InternalTopics {
    controller: Controller,
    publisher: Publisher,
    metadata: MetadataCache,
    effective: Effective,
    creating: Mutex<()>,
}

/// What one internal topic is made of.
struct Plan {
    partitions: i32,
    replication_factor: i16,
    configs: Vec<(&'static str, String)>,
}

impl InternalTopics {
    pub fn new(controller: Controller, publisher: Publisher, metadata: MetadataCache, effective: Effective) -> Self {
        Self { controller, publisher, metadata, effective, creating: Mutex::new(()) }
    }

    /// Returns once the topic is known here, having created it if need be.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn ensure(&self, topic: &'static str) -> Result<(), ErrorCode> {
        if self.metadata.load().topics.by_name(topic).is_some() {
            return Ok(());
        }
        let _one_at_a_time = self.creating.lock().await;
        let image = self.metadata.load();
        if image.topics.by_name(topic).is_some() {
            return Ok(());
        }
        let request = request(topic, &self.plan(topic, &image));
        let committed = self.controller.create_topics(RequestOrigin::internal(), request).await?;
        let answer = committed.response.topics.iter().find(|answer| answer.name.0.as_str() == topic);
        let error = answer.map_or(0, |answer| answer.error_code);
        if error != 0 && error != ErrorCode::TopicAlreadyExists.code() {
            let message = answer.and_then(|answer| answer.error_message.as_ref()).map(StrBytes::as_str);
            tracing::warn!(topic, error, message, "internal topic cannot be created");
            return Err(ErrorCode::from_code(error).unwrap_or(ErrorCode::UnknownServerError));
        }
        self.publisher.wait_applied(committed.offset).await
    }

    fn plan(&self, topic: &str, image: &MetadataImage) -> Plan {
        let values = self.effective.at(image);
        let number = |key: &str| values.broker_text(key).and_then(|text| text.trim().parse::<i64>().ok()).unwrap_or(1);
        let small = |key: &str| i32::try_from(number(key)).unwrap_or(i32::MAX);
        let brokers = i64::try_from(image.active_brokers().count()).unwrap_or(i64::MAX).max(1);
        // What nobody asked for must not keep a small cluster from working; what somebody set is taken at its word.
        let at_most = |key: &str, most: i64| {
            let wanted = number(key);
            if self.effective.settings.is_asked_for(key) { wanted } else { wanted.min(most) }
        };
        let factor = |key: &str| i16::try_from(at_most(key, brokers)).unwrap_or(i16::MAX);
        if topic == GROUP_TOPIC {
            return Plan {
                partitions: small("offsets.topic.num.partitions"),
                replication_factor: factor("offsets.topic.replication.factor"),
                configs: vec![
                    ("cleanup.policy", "compact".into()),
                    ("segment.bytes", number("offsets.topic.segment.bytes").to_string()),
                    ("compression.type", "producer".into()),
                ],
            };
        }
        let replication_factor = factor("transaction.state.log.replication.factor");
        let min_isr = at_most("transaction.state.log.min.isr", i64::from(replication_factor));
        Plan {
            partitions: small("transaction.state.log.num.partitions"),
            replication_factor,
            configs: vec![
                ("unclean.leader.election.enable", "false".into()),
                ("compression.type", "uncompressed".into()),
                ("cleanup.policy", "compact".into()),
                ("min.insync.replicas", min_isr.to_string()),
                ("segment.bytes", number("transaction.state.log.segment.bytes").to_string()),
            ],
        }
    }
}

fn request(topic: &'static str, plan: &Plan) -> CreateTopicsRequest {
    let config = |(name, value): &(&'static str, String)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value.clone())))
    };
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(topic)))
        .with_num_partitions(plan.partitions)
        .with_replication_factor(plan.replication_factor)
        .with_configs(plan.configs.iter().map(config).collect());
    CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(CREATE_TIMEOUT_MS)
}

/// How many partitions an internal topic has, or will have.
pub fn partition_count(topic: &'static str, image: &MetadataImage, effective: &Effective) -> i32 {
    if let Some(topic) = image.topics.by_name(topic) {
        return i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    }
    let key =
        if topic == GROUP_TOPIC { "offsets.topic.num.partitions" } else { "transaction.state.log.num.partitions" };
    effective.at(image).broker_text(key).and_then(|text| text.trim().parse().ok()).unwrap_or(50)
}

/// The partitions of a topic that `local` leads, with their leader epochs.
pub fn led_here(image: &MetadataImage, topic: &str, local: ottla_protocol::BrokerId) -> Vec<(i32, i32)> {
    let Some(topic) = image.topics.by_name(topic) else { return Vec::new() };
    (0..)
        .zip(&topic.partitions)
        .filter(|(_, partition): &(i32, &Arc<_>)| partition.leader == Some(local))
        .map(|(index, partition)| (index, partition.leader_epoch.0))
        .collect()
}
