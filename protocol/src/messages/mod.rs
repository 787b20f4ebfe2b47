//! Every request and response of Kafka 4.3 as a struct.
//!
//! Most come from the `kafka-protocol` crate; what it lacks or knows only in older versions is generated from our own
//! tables and takes the place of the crate's type under the same name, so that users need not know the difference.

pub use kafka_protocol::messages::*;
