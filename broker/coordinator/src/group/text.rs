//! From the wire's strings to ours and back.

use std::sync::Arc;

use ottla_protocol::StrBytes;
use ottla_protocol::messages::{GroupId, TopicName};

/// A record's string has an `i16` length. Kafka refuses longer ones at the door; none of them ever gets further than this.
const STRING_BYTES_MAX: usize = i16::MAX as usize;

pub(crate) fn arc(text: &StrBytes) -> Arc<str> {
    let text = text.as_str();
    Arc::from(&text[..text.floor_char_boundary(STRING_BYTES_MAX)])
}

pub(crate) fn arc_option(text: Option<&StrBytes>) -> Option<Arc<str>> {
    text.map(arc)
}

pub(crate) fn wire(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub(crate) fn wire_option(text: Option<&Arc<str>>) -> Option<StrBytes> {
    text.map(|text| wire(text))
}

pub(crate) fn group_id(text: &str) -> GroupId {
    GroupId::from(wire(text))
}

pub(crate) fn topic_name(text: &str) -> TopicName {
    TopicName::from(wire(text))
}
