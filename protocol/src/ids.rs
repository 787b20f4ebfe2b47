//! The identifiers of Kafka's protocol as types, so that two integers cannot be swapped.

use std::fmt;
use std::sync::Arc;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

id! {
    /// A record's position in a partition; also the end of a range (exclusive).
    Offset(i64)
}
id! {
    /// Counts the leaders of one partition; -1 means unknown.
    LeaderEpoch(i32)
}
id! {
    /// `node.id` of a broker.
    BrokerId(i32)
}
id! {
    /// Identifies one producer instance; -1 means none.
    ProducerId(i64)
}
id! {
    /// Fences older instances of one producer id.
    ProducerEpoch(i16)
}
id! {
    /// Milliseconds since 1970 UTC, as records and configs use them.
    Timestamp(i64)
}

impl Offset {
    /// Before any record was written.
    pub const ZERO: Self = Self(0);

    /// The offset `count` records later.
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl LeaderEpoch {
    /// The client did not say which epoch it knows.
    pub const UNKNOWN: Self = Self(-1);
}

impl ProducerId {
    /// The batch was not written by an idempotent producer.
    pub const NONE: Self = Self(-1);
}

/// A topic's identity over its whole life; a topic created again under the same name gets another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub uuid::Uuid);

impl TopicId {
    /// The zero id: the request named the topic, or there is none.
    pub const ZERO: Self = Self(uuid::Uuid::nil());

    /// True for the zero id.
    pub const fn is_zero(self) -> bool {
        self.0.is_nil()
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_uuid(self.0))
    }
}

/// A topic name and a partition index. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: i32,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Kafka's text form of a UUID: 22 characters of unpadded base64url.
pub fn encode_uuid(id: uuid::Uuid) -> String {
    let bytes = id.as_bytes();
    let mut text = String::with_capacity(22);
    for chunk in bytes.chunks(3) {
        let word = (u32::from(chunk[0]) << 16)
            | (u32::from(chunk.get(1).copied().unwrap_or(0)) << 8)
            | u32::from(chunk.get(2).copied().unwrap_or(0));
        for position in 0..=chunk.len() {
            let index = (word >> (18 - 6 * position)) & 63;
            text.push(char::from(BASE64URL[index as usize]));
        }
    }
    text
}

/// Reads Kafka's text form of a UUID (padding allowed); `None` if it is not one.
pub fn decode_uuid(text: &str) -> Option<uuid::Uuid> {
    let text = text.trim_end_matches('=');
    if text.len() != 22 {
        return None;
    }
    let mut bits: u128 = 0;
    let mut last = 0;
    for (position, byte) in text.bytes().enumerate() {
        let value = BASE64URL.iter().position(|&c| c == byte)? as u128;
        if position < 21 {
            bits = (bits << 6) | value;
        } else {
            last = value;
        }
    }
    // 21 characters carry 126 bits; the last one carries 2 bits and 4 of padding.
    Some(uuid::Uuid::from_u128((bits << 2) | (last >> 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_read_as_kafka_writes_them() {
        let id = decode_uuid("5L6g3nShT-eMCtK--X86sw").unwrap_or_default();
        assert_eq!(encode_uuid(id), "5L6g3nShT-eMCtK--X86sw");
        assert_eq!(encode_uuid(uuid::Uuid::nil()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(decode_uuid("short"), None);
        assert_eq!(decode_uuid("!!!!!!!!!!!!!!!!!!!!!!"), None);
        for seed in 0..1000_u128 {
            let id = uuid::Uuid::from_u128(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
            assert_eq!(decode_uuid(&encode_uuid(id)), Some(id));
        }
    }
}
