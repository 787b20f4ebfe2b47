//! What a group is subscribed to: names, regular expressions, and the hash that shows when the topics changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::{Offset, Timestamp, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::state::ConsumerGroup;
use crate::group::records::{ConsumerMember, GroupRecord, ResolvedRegex};
use crate::group::shard::Cx;
use crate::pattern;

/// Expressions are looked at again at most this often.
const REGEX_REFRESH_INTERVAL_MS_MIN: i64 = 10_000;

impl ConsumerGroup {
    /// Whether a member wants this topic, by name or by expression.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.names().contains_key(topic) || self.regexes.values().any(|resolved| resolved.topics.contains(topic))
    }

    fn subscribed_topics(&self) -> BTreeSet<&Arc<str>> {
        self.names().keys().chain(self.regexes.values().flat_map(|resolved| &resolved.topics)).collect()
    }

    /// The topics of one member that exist. An expression that is not resolved yet stands for none.
    pub(crate) fn topics_of(&self, member: &ConsumerMember, image: &MetadataImage) -> BTreeSet<TopicId> {
        let resolved = member.subscribed_topic_regex.as_ref().and_then(|regex| self.regexes.get(regex));
        let names = member.subscribed_topic_names.iter().chain(resolved.iter().flat_map(|resolved| &resolved.topics));
        names.filter_map(|name| image.topics.by_name(name)).map(|topic| topic.id).collect()
    }

    /// Changes whenever a subscribed topic comes, goes, is made anew, grows, or moves to other racks. 0 for no topics.
    pub(crate) fn metadata_hash(&self, image: &MetadataImage) -> i64 {
        let mut hash = Hash::new();
        let mut any = false;
        for name in self.subscribed_topics() {
            let Some(topic) = image.topics.by_name(name) else { continue };
            any = true;
            hash.add(topic.id.0.as_bytes());
            hash.add(name.as_bytes());
            for partition in &topic.partitions {
                let racks: BTreeSet<&str> =
                    partition.replicas.iter().filter_map(|broker| image.brokers.get(broker)?.rack.as_deref()).collect();
                hash.add(&[0xfe]);
                for rack in racks {
                    hash.add(rack.as_bytes());
                }
            }
        }
        if any { hash.finish() } else { 0 }
    }

    fn subscribers(&self, regex: &str) -> usize {
        self.members.values().filter(|member| member.subscribed_topic_regex.as_deref() == Some(regex)).count()
    }
}

/// 64-bit FNV-1a with a length before each part. It only has to differ when the topics do.
struct Hash(u64);

impl Hash {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_be_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    const fn finish(&self) -> i64 {
        self.0.cast_signed()
    }
}

/// When the expressions of a group were last looked at, and in which metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegexCheck {
    pub(crate) at: Timestamp,
    pub(crate) image: Offset,
}

impl Draft {
    /// Forgets expressions that no member uses any more, resolves new ones, and looks at the old ones again when topics
    /// may have come or gone. True if the topics that the group's expressions stand for changed.
    pub(crate) fn refresh_regexes(&mut self, check: &mut Option<RegexCheck>, cx: &Cx<'_>) -> Result<bool, GroupError> {
        let known: Vec<Arc<str>> = self.group.regexes.keys().cloned().collect();
        let mut changed = false;
        for regex in known {
            if self.group.subscribers(&regex) == 0 {
                changed = true;
                self.push(GroupRecord::Regex { group: Arc::clone(&self.id), regex, value: None });
            }
        }
        let wanted: BTreeSet<Arc<str>> =
            self.group.members.values().filter_map(|member| member.subscribed_topic_regex.clone()).collect();
        if wanted.is_empty() {
            return Ok(changed);
        }
        let is_new_metadata = check
            .is_none_or(|last| last.image != cx.image.offset && cx.now.0 - last.at.0 > REGEX_REFRESH_INTERVAL_MS_MIN);
        if is_new_metadata {
            *check = Some(RegexCheck { at: cx.now, image: cx.image.offset });
        }
        for regex in wanted {
            let old = self.group.regexes.get(&regex).cloned();
            let is_old = old
                .as_ref()
                .is_none_or(|old| cx.now.0 - old.timestamp.0 > cx.config.consumer_regex_refresh_interval_ms);
            if !is_old && !is_new_metadata {
                continue;
            }
            let matcher = pattern::whole(&regex)?;
            let names = cx.image.topics.iter().map(|topic| &topic.name);
            let topics: BTreeSet<Arc<str>> = names.filter(|name| matcher.is_match(name)).cloned().collect();
            let is_same = old.is_some_and(|old| old.topics == topics);
            if is_same && !is_old {
                continue;
            }
            changed |= !is_same;
            let value = Some(Arc::new(ResolvedRegex { topics, version: cx.image.offset.0, timestamp: cx.now }));
            self.push(GroupRecord::Regex { group: Arc::clone(&self.id), regex, value });
        }
        Ok(changed)
    }
}
