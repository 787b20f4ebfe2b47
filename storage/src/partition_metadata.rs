//! `partition.metadata`: the id of the topic that a partition's directory belongs to.

use ottla_protocol::TopicId;
use ottla_protocol::ids::{decode_uuid, encode_uuid};

/// The file's name.
pub const FILE: &str = "partition.metadata";

/// The file's text.
pub fn encode(id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", encode_uuid(id.0))
}

/// The id in the file; `None` if it is damaged.
pub fn decode(bytes: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines();
    if lines.next()?.split_once(':')?.1.trim() != "0" {
        return None;
    }
    let id = lines.next()?.strip_prefix("topic_id:")?.trim();
    decode_uuid(id).map(TopicId).filter(|id| !id.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let id = TopicId(uuid::Uuid::from_u128(0x1234_5678_9abc_def0_1234_5678_9abc_def0));
        assert_eq!(decode(encode(id).as_bytes()), Some(id));
        assert_eq!(decode(b"version: 1\ntopic_id: x"), None);
        assert_eq!(decode(b""), None);
    }
}
