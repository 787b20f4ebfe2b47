//! What a topic's configuration says to its logs.

use ottla_protocol::compression::Codec;
use ottla_protocol::record_batch::TimestampType;

/// `compression.type`: what the broker does with the codec that a producer chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CompressionType {
    /// Batches stay as they came.
    #[default]
    Producer,
    /// Batches of another codec are compressed again; `Codec::None` is Kafka's `uncompressed`.
    Codec { codec: Codec, level: Option<i32> },
}

/// `log.durability`: when a record counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Once it is on the disk: nothing that was acknowledged or read is lost to a power cut.
    #[default]
    Strict,
    /// Once it is with the operating system, as in Kafka: a power cut of all replicas at once may take it.
    Replicated,
    /// As `Replicated`, and nothing of the log is ever synced.
    Ephemeral,
}

/// A topic's configuration as far as a log heeds it. Names are Kafka's with `_` for `.`; `Default` is Kafka's default.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `cleanup.policy` names `compact`.
    pub compact: bool,
    /// `cleanup.policy` names `delete`.
    pub delete: bool,
    pub compression_type: CompressionType,
    pub delete_retention_ms: i64,
    pub durability: Durability,
    pub file_delete_delay_ms: i64,
    pub flush_messages: i64,
    pub flush_ms: i64,
    pub index_interval_bytes: i32,
    pub max_compaction_lag_ms: i64,
    pub max_message_bytes: i32,
    pub message_timestamp_type: TimestampType,
    pub message_timestamp_before_max_ms: i64,
    pub message_timestamp_after_max_ms: i64,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag_ms: i64,
    pub min_insync_replicas: i32,
    /// Takes the space of a whole segment when the first record is written to it.
    pub preallocate: bool,
    /// -1: unlimited.
    pub retention_bytes: i64,
    /// -1: unlimited.
    pub retention_ms: i64,
    pub segment_bytes: i32,
    pub segment_index_bytes: i32,
    pub segment_jitter_ms: i64,
    pub segment_ms: i64,
    /// `producer.id.expiration.ms` of the broker.
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            compact: false,
            delete: true,
            compression_type: CompressionType::Producer,
            delete_retention_ms: 86_400_000,
            durability: Durability::Strict,
            file_delete_delay_ms: 60_000,
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            index_interval_bytes: 4096,
            max_compaction_lag_ms: i64::MAX,
            max_message_bytes: 1_048_588,
            message_timestamp_type: TimestampType::CreateTime,
            message_timestamp_before_max_ms: i64::MAX,
            message_timestamp_after_max_ms: 3_600_000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            min_insync_replicas: 1,
            preallocate: false,
            retention_bytes: -1,
            retention_ms: 604_800_000,
            segment_bytes: 1_073_741_824,
            segment_index_bytes: 10_485_760,
            segment_jitter_ms: 0,
            segment_ms: 604_800_000,
            producer_id_expiration_ms: 86_400_000,
        }
    }
}

impl LogConfig {
    pub const fn is_compacted(&self) -> bool {
        self.compact
    }

    /// How long a segment is written to. What has to be compacted within a time must be out of the active segment by then.
    pub fn max_segment_ms(&self) -> i64 {
        if self.compact && self.max_compaction_lag_ms > 0 {
            self.segment_ms.min(self.max_compaction_lag_ms)
        } else {
            self.segment_ms
        }
    }

    /// Whether retention by time and bytes applies.
    pub const fn has_retention(&self) -> bool {
        self.delete
    }
}
