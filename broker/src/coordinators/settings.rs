//! The settings that the coordinators' decisions are made with, from the broker's configuration.

use std::sync::Arc;
use std::time::Duration;

use ottla_coordinator::group::{GroupConfig, MigrationPolicy};
use ottla_coordinator::transaction::TransactionConfig;
use ottla_metadata::MetadataImage;
use ottla_protocol::compression::Codec;

use crate::config::Effective;

struct Values<'a>(crate::config::effective::At<'a>);

impl Values<'_> {
    fn i64(&self, key: &str) -> i64 {
        self.0.broker_text(key).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn i32(&self, key: &str) -> i32 {
        i32::try_from(self.i64(key)).unwrap_or(i32::MAX)
    }

    fn usize(&self, key: &str) -> usize {
        usize::try_from(self.i64(key)).unwrap_or(0)
    }

    fn list(&self, key: &str) -> Vec<Arc<str>> {
        let text = self.0.broker_text(key).unwrap_or_default();
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Arc::from).collect()
    }
}

/// Settings of the group coordinator.
pub fn group_config(effective: &Effective, image: &MetadataImage) -> GroupConfig {
    let values = Values(effective.at(image));
    let defaults = GroupConfig::default();
    let policy = values.0.broker_text("group.consumer.migration.policy").unwrap_or_default().to_ascii_lowercase();
    let assignors: Vec<Arc<str>> = values
        .list("group.consumer.assignors")
        .iter()
        // Kafka's own assignors may be given by their class.
        .map(|name| match name.rsplit('.').next() {
            Some("UniformAssignor") => Arc::from("uniform"),
            Some("RangeAssignor") => Arc::from("range"),
            _ => Arc::clone(name),
        })
        .collect();
    GroupConfig {
        classic_session_timeout_ms_min: values.i32("group.min.session.timeout.ms"),
        classic_session_timeout_ms_max: values.i32("group.max.session.timeout.ms"),
        classic_initial_rebalance_delay_ms: values.i32("group.initial.rebalance.delay.ms"),
        classic_members_max: values.usize("group.max.size"),
        offset_metadata_bytes_max: values.usize("offset.metadata.max.bytes"),
        offsets_retention_ms: values.i64("offsets.retention.minutes").saturating_mul(60_000),
        offsets_retention_check_interval_ms: values.i64("offsets.retention.check.interval.ms"),
        consumer_session_timeout_ms: values.i32("group.consumer.session.timeout.ms"),
        consumer_session_timeout_ms_min: values.i32("group.consumer.min.session.timeout.ms"),
        consumer_session_timeout_ms_max: values.i32("group.consumer.max.session.timeout.ms"),
        consumer_heartbeat_interval_ms: values.i32("group.consumer.heartbeat.interval.ms"),
        consumer_heartbeat_interval_ms_min: values.i32("group.consumer.min.heartbeat.interval.ms"),
        consumer_heartbeat_interval_ms_max: values.i32("group.consumer.max.heartbeat.interval.ms"),
        consumer_members_max: values.usize("group.consumer.max.size"),
        consumer_assignors: if assignors.is_empty() { defaults.consumer_assignors.clone() } else { assignors },
        consumer_migration_policy: match policy.as_str() {
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            "disabled" => MigrationPolicy::Disabled,
            _ => MigrationPolicy::Bidirectional,
        },
        consumer_assignment_interval_ms: values.i64("group.consumer.assignment.interval.ms"),
        consumer_regex_refresh_interval_ms: values.i64("group.consumer.regex.refresh.interval.ms"),
        ..defaults
    }
}

/// What records of groups are written in.
pub fn offsets_codec(effective: &Effective, image: &MetadataImage) -> Codec {
    let id = Values(effective.at(image)).i64("offsets.topic.compression.codec");
    i16::try_from(id).ok().and_then(Codec::from_id).unwrap_or_default()
}

/// How often, and for how long, a transaction's coordinator is asked again while it still completes the transaction
/// before: the client would have to ask again otherwise, after a longer pause.
pub fn add_partitions_retry(effective: &Effective, image: &MetadataImage) -> (Duration, Duration) {
    let values = Values(effective.at(image));
    let millis = |key: &str| Duration::from_millis(values.i64(key).max(1).unsigned_abs());
    (millis("add.partitions.to.txn.retry.backoff.ms"), millis("add.partitions.to.txn.retry.backoff.max.ms"))
}

/// Settings of the transaction coordinator.
pub fn transaction_config(effective: &Effective, image: &MetadataImage) -> TransactionConfig {
    let values = Values(effective.at(image));
    TransactionConfig {
        timeout_ms_max: values.i32("transaction.max.timeout.ms"),
        abort_interval_ms: values.i64("transaction.abort.timed.out.transaction.cleanup.interval.ms"),
        id_expiration_ms: values.i64("transactional.id.expiration.ms"),
        expiry_interval_ms: values.i64("transaction.remove.expired.transaction.cleanup.interval.ms"),
    }
}
