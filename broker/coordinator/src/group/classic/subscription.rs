//! The part of the consumer embedded protocol that the coordinator reads: what a member subscribes to and owns.
//!
//! Version i16, topics, user data; v1 owned partitions; v2 generation; v3 rack.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use ottla_protocol::buf::Cursor;

/// A member's metadata in a group of type "consumer".
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    pub(crate) version: i16,
    pub(crate) topics: Vec<Arc<str>>,
    pub(crate) owned: BTreeMap<Arc<str>, BTreeSet<i32>>,
    pub(crate) rack_id: Option<Arc<str>>,
}

/// Version and topics: what every version begins with.
fn parse_beginning(cursor: &mut Cursor<'_>) -> Option<(i16, Vec<Arc<str>>)> {
    let version = cursor.i16().ok()?;
    let mut topics = Vec::new();
    for _ in 0..count(cursor)? {
        topics.push(Arc::from(cursor.string().ok()??));
    }
    let user_data = cursor.i32().ok()?;
    if user_data > 0 {
        cursor.take(usize::try_from(user_data).ok()?).ok()?;
    }
    Some((version, topics))
}

/// Only the topics; `None` if there are none to be read. What later versions add may be missing: there are clients that name
/// a version without writing all that belongs to it.
pub(crate) fn parse_topics(bytes: &Bytes) -> Option<Vec<Arc<str>>> {
    parse_beginning(&mut Cursor::new(bytes)).map(|(_, topics)| topics)
}

/// `None` if the bytes are not a consumer subscription.
pub(crate) fn parse_subscription(bytes: &Bytes) -> Option<Subscription> {
    let mut cursor = Cursor::new(bytes);
    let (version, topics) = parse_beginning(&mut cursor)?;
    let mut subscription = Subscription { version, topics, ..Subscription::default() };
    if version >= 1 {
        for _ in 0..count(&mut cursor)? {
            let topic: Arc<str> = Arc::from(cursor.string().ok()??);
            let mut partitions = BTreeSet::new();
            for _ in 0..count(&mut cursor)? {
                partitions.insert(cursor.i32().ok()?);
            }
            subscription.owned.entry(topic).or_default().extend(partitions);
        }
    }
    if version >= 2 {
        cursor.i32().ok()?;
    }
    if version >= 3 {
        subscription.rack_id = cursor.string().ok()?.map(Arc::from);
    }
    Some(subscription)
}

/// Topics and partitions of an assignment; `None` if it is none, or carries data of an assignor's own.
pub(crate) fn parse_assignment(bytes: &Bytes) -> Option<BTreeMap<Arc<str>, BTreeSet<i32>>> {
    let mut cursor = Cursor::new(bytes);
    cursor.i16().ok()?;
    let mut topics: BTreeMap<Arc<str>, BTreeSet<i32>> = BTreeMap::new();
    for _ in 0..count(&mut cursor)? {
        let topic: Arc<str> = Arc::from(cursor.string().ok()??);
        let mut partitions = BTreeSet::new();
        for _ in 0..count(&mut cursor)? {
            partitions.insert(cursor.i32().ok()?);
        }
        topics.entry(topic).or_default().extend(partitions);
    }
    (cursor.i32().ok()? <= 0).then_some(topics)
}

/// A count that the rest of the bytes can hold.
fn count(cursor: &mut Cursor<'_>) -> Option<usize> {
    let count = usize::try_from(cursor.i32().ok()?).ok()?;
    (count <= cursor.remaining()).then_some(count)
}

/// The assignment that a classic member inside a consumer group is given, in the version of its subscription.
pub(crate) fn write_assignment(version: i16, partitions: &BTreeMap<Arc<str>, Vec<i32>>) -> Bytes {
    let length = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let mut out = BytesMut::new();
    out.put_i16(version.clamp(0, 3));
    out.put_i32(length(partitions.len()));
    for (topic, partitions) in partitions {
        out.put_i16(i16::try_from(topic.len()).unwrap_or(i16::MAX));
        out.put_slice(topic.as_bytes());
        out.put_i32(length(partitions.len()));
        for partition in partitions {
            out.put_i32(*partition);
        }
    }
    // No user data.
    out.put_i32(-1);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_without_what_later_versions_add() {
        // Version 1, one topic, no user data, and nothing of the owned partitions.
        let bytes = Bytes::from_static(b"\0\x01\0\0\0\x01\0\x06orders\xff\xff\xff\xff");
        assert_eq!(parse_topics(&bytes), Some(vec![Arc::from("orders")]));
        assert_eq!(parse_subscription(&bytes), None);
        assert_eq!(parse_topics(&Bytes::from_static(b"opaque")), None);
    }
}
