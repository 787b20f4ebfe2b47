//! What the journal says about one log.
//!
//! ```text
//!  kind       u8   1 append, 2 cut, 3 reset
//!  length     u32  of all that follows
//!  topic id   16 bytes
//!  partition  i32
//!  name       u8 length, then the topic's name
//!  append:    i64 log end before it, i64 log end after it, record batches with offsets and epochs
//!  cut:       i64 offset: what the log had from there on is gone
//!  reset:     nothing: what was said before is in the log's own files, or has gone with them
//! ```

use std::ops::Range;

use ottla_protocol::{Offset, TopicId, TopicPartition};
use uuid::Uuid;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// `bytes`: where the batches lie, counted from the start of the entries.
    Append {
        before: Offset,
        after: Offset,
        bytes: Range<usize>,
    },
    Cut(Offset),
    Reset,
}

/// An entry that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: TopicPartition,
    pub topic_id: TopicId,
    pub kind: Kind,
}

const APPEND: u8 = 1;
const CUT: u8 = 2;
const RESET: u8 = 3;
const PREFIX: usize = 5;

/// The beginning of an entry, up to where an append's batches follow.
pub fn head(id: &TopicPartition, topic_id: TopicId, kind: &HeadKind) -> Vec<u8> {
    let name = id.topic.as_bytes();
    let mut head = Vec::with_capacity(PREFIX + 21 + name.len() + 16);
    head.push(match kind {
        HeadKind::Append { .. } => APPEND,
        HeadKind::Cut(_) => CUT,
        HeadKind::Reset => RESET,
    });
    head.extend([0; 4]);
    head.extend(topic_id.0.as_bytes());
    head.extend(id.partition.to_be_bytes());
    // Topic names have at most 249 bytes.
    head.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    head.extend(&name[..name.len().min(usize::from(u8::MAX))]);
    let mut length = 0;
    match kind {
        HeadKind::Append { before, after, bytes } => {
            head.extend(before.0.to_be_bytes());
            head.extend(after.0.to_be_bytes());
            length = *bytes;
        }
        HeadKind::Cut(offset) => head.extend(offset.0.to_be_bytes()),
        HeadKind::Reset => {}
    }
    let length = u32::try_from(head.len() - PREFIX + length).unwrap_or(u32::MAX);
    head[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    head
}

/// As [`Kind`], with the number of bytes that will follow.
#[derive(Debug, Clone, Copy)]
pub enum HeadKind {
    Append { before: Offset, after: Offset, bytes: usize },
    Cut(Offset),
    Reset,
}

/// All entries of a sound frame; `None` if they cannot be understood.
pub fn parse(entries: &[u8]) -> Option<Vec<Entry>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < entries.len() {
        let kind = *entries.get(at)?;
        let length = u32::from_be_bytes(entries.get(at + 1..at + PREFIX)?.try_into().ok()?) as usize;
        let end = (at + PREFIX).checked_add(length)?;
        found.push(one(kind, entries.get(..end)?, at + PREFIX)?);
        at = end;
    }
    Some(found)
}

/// The entry whose body is `entries[at..]`.
fn one(kind: u8, entries: &[u8], mut at: usize) -> Option<Entry> {
    let mut take = |many: usize| {
        let bytes = entries.get(at..at.checked_add(many)?)?;
        at += many;
        Some(bytes)
    };
    let topic_id = TopicId(Uuid::from_slice(take(16)?).ok()?);
    let partition = i32::from_be_bytes(take(4)?.try_into().ok()?);
    let length = take(1)?[0];
    let name = std::str::from_utf8(take(usize::from(length))?).ok()?.to_owned();
    let mut offset = || Some(Offset(i64::from_be_bytes(take(8)?.try_into().ok()?)));
    let kind = match kind {
        APPEND => {
            let (before, after) = (offset()?, offset()?);
            Kind::Append { before, after, bytes: at..entries.len() }
        }
        CUT => Kind::Cut(offset()?),
        RESET => Kind::Reset,
        _ => return None,
    };
    Some(Entry { id: TopicPartition::new(name, partition), topic_id, kind })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let (id, topic_id) = (TopicPartition::new("orders", 7), TopicId(Uuid::from_u128(5)));
        let mut bytes = head(&id, topic_id, &HeadKind::Append { before: Offset(4), after: Offset(9), bytes: 3 });
        bytes.extend(b"abc");
        bytes.extend(head(&id, topic_id, &HeadKind::Cut(Offset(6))));
        bytes.extend(head(&id, topic_id, &HeadKind::Reset));
        let entries = parse(&bytes).unwrap();
        let Kind::Append { before, after, bytes: place } = &entries[0].kind else { panic!("{entries:?}") };
        assert_eq!((*before, *after, &bytes[place.clone()]), (Offset(4), Offset(9), &b"abc"[..]));
        assert_eq!((&entries[1].kind, &entries[2].kind), (&Kind::Cut(Offset(6)), &Kind::Reset));
        assert!(entries.iter().all(|entry| entry.id == id && entry.topic_id == topic_id));
        for cut in 0..bytes.len() {
            // A frame is checked as a whole, so this never happens; still nothing may panic.
            let _ = parse(&bytes[..cut]);
        }
    }
}
