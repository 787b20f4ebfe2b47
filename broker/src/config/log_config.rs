//! A topic's configuration in the types of its logs.

use std::sync::Arc;

use ottla_protocol::compression::Codec;
use ottla_protocol::record_batch::TimestampType;
use ottla_storage::{CompressionType, Durability, LogConfig};

use super::effective::At;

/// What holds for the logs of a topic as of one image. Values were checked when they were set; whatever still cannot be
/// read falls back to the default.
pub fn log_config(at: &At<'_>, topic: &str) -> Arc<LogConfig> {
    let defaults = LogConfig::default();
    let text = |key: &str| at.topic_text(topic, key);
    let i64 = |key: &str, default: i64| text(key).and_then(|value| value.trim().parse().ok()).unwrap_or(default);
    let i32 = |key: &str, default: i32| text(key).and_then(|value| value.trim().parse().ok()).unwrap_or(default);
    let f64 = |key: &str, default: f64| text(key).and_then(|value| value.trim().parse().ok()).unwrap_or(default);
    let policies = text("cleanup.policy").unwrap_or_else(|| "delete".to_owned());
    let has_policy = |policy: &str| policies.split(',').any(|one| one.trim() == policy);
    Arc::new(LogConfig {
        compact: has_policy("compact"),
        delete: has_policy("delete"),
        compression_type: compression_type(&text),
        delete_retention_ms: i64("delete.retention.ms", defaults.delete_retention_ms),
        file_delete_delay_ms: i64("file.delete.delay.ms", defaults.file_delete_delay_ms),
        durability: match text("log.durability").as_deref() {
            Some("replicated") => Durability::Replicated,
            Some("ephemeral") => Durability::Ephemeral,
            _ => Durability::Strict,
        },
        flush_messages: i64("flush.messages", defaults.flush_messages),
        flush_ms: i64("flush.ms", defaults.flush_ms),
        index_interval_bytes: i32("index.interval.bytes", defaults.index_interval_bytes),
        max_compaction_lag_ms: i64("max.compaction.lag.ms", defaults.max_compaction_lag_ms),
        max_message_bytes: i32("max.message.bytes", defaults.max_message_bytes),
        message_timestamp_type: match text("message.timestamp.type").as_deref() {
            Some("LogAppendTime") => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        message_timestamp_before_max_ms: i64(
            "message.timestamp.before.max.ms",
            defaults.message_timestamp_before_max_ms,
        ),
        message_timestamp_after_max_ms: i64("message.timestamp.after.max.ms", defaults.message_timestamp_after_max_ms),
        min_cleanable_dirty_ratio: f64("min.cleanable.dirty.ratio", defaults.min_cleanable_dirty_ratio),
        min_compaction_lag_ms: i64("min.compaction.lag.ms", defaults.min_compaction_lag_ms),
        min_insync_replicas: i32("min.insync.replicas", defaults.min_insync_replicas),
        preallocate: text("preallocate").as_deref() == Some("true"),
        retention_bytes: i64("retention.bytes", defaults.retention_bytes),
        retention_ms: i64("retention.ms", defaults.retention_ms),
        segment_bytes: i32("segment.bytes", defaults.segment_bytes),
        segment_index_bytes: i32("segment.index.bytes", defaults.segment_index_bytes),
        segment_jitter_ms: i64("segment.jitter.ms", defaults.segment_jitter_ms),
        segment_ms: i64("segment.ms", defaults.segment_ms),
        producer_id_expiration_ms: at
            .broker_text("producer.id.expiration.ms")
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(defaults.producer_id_expiration_ms),
    })
}

fn compression_type(text: &impl Fn(&str) -> Option<String>) -> CompressionType {
    let level = |key: &str| text(key).and_then(|value| value.trim().parse().ok());
    let with = |codec, level| CompressionType::Codec { codec, level };
    match text("compression.type").as_deref() {
        Some("gzip") => with(Codec::Gzip, level("compression.gzip.level")),
        Some("snappy") => with(Codec::Snappy, None),
        Some("lz4") => with(Codec::Lz4, level("compression.lz4.level")),
        Some("zstd") => with(Codec::Zstd, level("compression.zstd.level")),
        Some("uncompressed") => with(Codec::None, None),
        _ => CompressionType::Producer,
    }
}
