//! Makes the topics that the configuration declares (`create.topics`).
//!
//! A broker that is alone is not told ready before they exist; one of several makes them as soon as enough brokers are there.

use std::time::{Duration, Instant};

use ottla_controller::RequestOrigin;
use ottla_protocol::messages::CreateTopicsRequest;
use ottla_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use ottla_protocol::{ErrorCode, StrBytes};
use tracing::{error, info, warn};

use crate::api::House;
use crate::api::wire::{text, topic_name};
use crate::config::container::is_alone;
use crate::config::declared_topics::DeclaredTopic;

const TIMEOUT_MS: i32 = 10_000;
/// How long the other brokers of a cluster may take to come.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);

/// Makes the declared topics. Returns once they can be used, or why that cannot be was logged.
pub async fn create(house: House) {
    let mut missing: Vec<DeclaredTopic> = house.settings.declared_topics.clone();
    let since = Instant::now();
    while !missing.is_empty() {
        let failures = create_all(&house, &missing).await;
        let may_change = failures.iter().any(|(_, code, _)| *code == ErrorCode::InvalidReplicationFactor as i16);
        if !failures.is_empty() && (is_alone(&house.settings.explicit) || !may_change || since.elapsed() > PATIENCE) {
            for (topic, code, reason) in &failures {
                error!(topic = &*topic.name, code, reason, "a declared topic could not be created");
            }
            return;
        }
        missing = failures.into_iter().map(|(topic, _, _)| topic).collect();
        if !missing.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn create_all(house: &House, declared: &[DeclaredTopic]) -> Vec<(DeclaredTopic, i16, String)> {
    let topics = declared.iter().map(|topic| {
        let configs = topic
            .configs
            .iter()
            .map(|(key, value)| CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value))));
        CreatableTopic::default()
            .with_name(topic_name(&topic.name))
            .with_num_partitions(topic.partitions)
            .with_replication_factor(topic.replicas)
            .with_configs(configs.collect())
    });
    let request = CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(TIMEOUT_MS);
    let committed = match house.controller.create_topics(RequestOrigin::internal(), request).await {
        Ok(committed) => committed,
        Err(reason) => {
            warn!(?reason, "the controller did not create the declared topics");
            let code = ErrorCode::InvalidReplicationFactor as i16;
            return declared.iter().map(|topic| (topic.clone(), code, format!("{reason:?}"))).collect();
        }
    };
    if let Err(reason) = house.publisher.wait_applied(committed.offset).await {
        warn!(?reason, "declared topics were created while the broker goes down");
    }
    let mut failures = Vec::new();
    for (topic, result) in declared.iter().zip(&committed.response.topics) {
        if result.error_code == 0 {
            info!(topic = &*topic.name, partitions = result.num_partitions, "declared topic created");
        } else if result.error_code != ErrorCode::TopicAlreadyExists as i16 {
            let reason = result.error_message.as_ref().map(StrBytes::to_string).unwrap_or_default();
            failures.push((topic.clone(), result.error_code, reason));
        }
    }
    failures
}
