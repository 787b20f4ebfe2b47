//! Kafka's wire protocol and record format, as pure functions over bytes.
//!
//! Invariant: this crate opens no socket and no file, reads no clock and draws no random number.

pub mod error_code;
pub mod ids;

pub use error_code::ErrorCode;
pub use ids::{BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
