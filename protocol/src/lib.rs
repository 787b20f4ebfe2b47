//! Kafka's wire protocol and record format, as pure functions over bytes.
//!
//! Invariant: this crate opens no socket and no file, reads no clock and draws no random number.
//!
//! Where to begin: a connection reads with [`frame`] and [`request`] and answers with [`response`] (fetches with
//! [`fetch_response`]); a log works on [`record_batch`]; coordinators store [`records`]. What a broker may advertise is
//! in [`versions`].

pub mod buf;
pub mod compression;
pub mod control_record;
pub mod error_code;
pub mod fetch_response;
pub mod frame;
pub mod ids;
pub mod messages;
pub mod record_batch;
pub mod records;
pub mod request;
pub mod response;
mod scatter;
pub mod share_fetch_response;
pub mod skeleton;
pub mod topic_names;
pub mod versions;
mod wire;

pub use error_code::ErrorCode;
pub use ids::{BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};
/// The wire traits and the string type of every message.
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, Request as RequestMessage, StrBytes};
