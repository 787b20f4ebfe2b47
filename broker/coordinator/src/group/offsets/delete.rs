//! OffsetDelete: v0, and what goes with a deleted topic or group.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_protocol::messages as m;
use ottla_protocol::{ErrorCode, Timestamp, TopicId, TopicPartition};

use crate::group::classic::ClassicState;
use crate::group::records::{CommittedOffset, GroupRecord};
use crate::group::request::GroupResponse;
use crate::group::shard::{GroupShard, Out};
use crate::group::state::{Group, GroupState};
use crate::group::text::arc;
use crate::shard::{Effect, Token};

/// What one decision forgets at most, in bytes of its records: it is appended as one batch, and the log takes none that is
/// larger than `max.message.bytes`.
pub(super) const FORGET_BYTES_MAX: usize = 256 * 1024;
/// Bytes of a tombstone besides the names in it, generously.
const TOMBSTONE_OVERHEAD_BYTES: usize = 64;

/// What is left of `room` after a tombstone with these names.
pub(super) const fn room_after(room: usize, group: &str, topic: &str) -> usize {
    room.saturating_sub(group.len() + topic.len() + TOMBSTONE_OVERHEAD_BYTES)
}

pub(crate) fn tombstone(group: &Arc<str>, partition: TopicPartition) -> GroupRecord {
    GroupRecord::OffsetCommit { group: Arc::clone(group), partition, producer: None, value: None }
}

impl GroupShard {
    pub(crate) fn offset_delete(
        &mut self,
        hard: &GroupState,
        token: Token,
        request: &m::OffsetDeleteRequest,
        now: Timestamp,
        out: &mut Out,
    ) {
        let id = arc(&request.group_id);
        if let Err(error) = self.validate_offset_delete(hard, &id, now) {
            let answer = m::OffsetDeleteResponse::default().with_error_code(error.code());
            out.effects.push(Effect::Reply(token, GroupResponse::OffsetDelete(answer)));
            return;
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let name = arc(&topic.name);
            let error = if self.is_subscribed(hard, &id, &name, now) {
                ErrorCode::GroupSubscribedToTopic
            } else {
                ErrorCode::None
            };
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                let partition = TopicPartition::new(Arc::clone(&name), asked.partition_index);
                let exists =
                    hard.offsets().get(&id, &partition).is_some() || hard.offsets().is_pending(&id, &partition);
                if exists && !error.is_error() {
                    out.records.push(tombstone(&id, partition));
                }
                partitions.push(
                    m::offset_delete_response::OffsetDeleteResponsePartition::default()
                        .with_partition_index(asked.partition_index)
                        .with_error_code(error.code()),
                );
            }
            topics.push(
                m::offset_delete_response::OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions),
            );
        }
        let answer = m::OffsetDeleteResponse::default().with_topics(topics);
        out.effects.push(Effect::Reply(token, GroupResponse::OffsetDelete(answer)));
    }

    /// Only groups whose subscriptions can be read may lose offsets while they have members.
    fn validate_offset_delete(&mut self, hard: &GroupState, id: &Arc<str>, now: Timestamp) -> Result<(), ErrorCode> {
        match hard.group(id) {
            None => Err(ErrorCode::GroupIdNotFound),
            Some(Group::Consumer(_)) => Ok(()),
            Some(Group::Classic(_)) => {
                let group = self.take_classic(hard, id, now);
                let refused = group.state != ClassicState::Empty && !group.uses_consumer_protocol();
                self.put_classic(group);
                if refused { Err(ErrorCode::NonEmptyGroup) } else { Ok(()) }
            }
        }
    }

    pub(crate) fn is_subscribed(&mut self, hard: &GroupState, id: &Arc<str>, topic: &str, now: Timestamp) -> bool {
        match hard.group(id) {
            None => false,
            Some(Group::Consumer(group)) => group.is_subscribed_to(topic),
            Some(Group::Classic(_)) => {
                let group = self.take_classic(hard, id, now);
                let subscribed = group.is_subscribed_to(topic);
                self.put_classic(group);
                subscribed
            }
        }
    }

    /// Offsets of topics that are gone, pending ones included, or as many as fit into one append. A topic made again under
    /// the name keeps its own.
    pub(crate) fn topics_deleted(
        &mut self,
        hard: &GroupState,
        token: Token,
        topics: &[(TopicId, Arc<str>)],
        now: Timestamp,
        out: &mut Out,
    ) {
        let mut ids: BTreeMap<&str, Vec<TopicId>> = BTreeMap::new();
        for (id, name) in topics {
            ids.entry(&**name).or_default().push(*id);
        }
        let of_topic = |partition: &TopicPartition, offset: &CommittedOffset| {
            let stored = offset.topic_id;
            ids.get(&*partition.topic).is_some_and(|ids| stored.is_zero() || ids.contains(&stored))
        };
        let gone = offsets_where(hard, of_topic);
        let mut by_group: BTreeMap<&Arc<str>, Vec<TopicPartition>> = BTreeMap::new();
        let (mut room, mut left) = (FORGET_BYTES_MAX, false);
        for (group, partition) in gone {
            if room == 0 {
                left = true;
                break;
            }
            room = room_after(room, group, &partition.topic);
            by_group.entry(group).or_default().push(partition.clone());
            out.records.push(tombstone(group, partition.clone()));
        }
        for (group, partitions) in by_group {
            self.explain.note_lost_offsets(group, now, &partitions, "their topic was deleted");
        }
        out.effects.push(Effect::Reply(token, GroupResponse::TopicsDeleted { left }));
    }
}

/// Offsets of topics that are not there, or that were made anew under their name: they were deleted while nobody
/// coordinated these groups.
pub(super) fn orphaned<'a>(
    hard: &'a GroupState,
    image: &MetadataImage,
) -> BTreeSet<(&'a Arc<str>, &'a TopicPartition)> {
    offsets_where(hard, |partition, offset| match image.topics.by_name(&partition.topic) {
        Some(topic) => !offset.topic_id.is_zero() && offset.topic_id != topic.id,
        None => true,
    })
}

/// Groups and partitions of the offsets, committed or pending, that are such.
fn offsets_where(
    hard: &GroupState,
    is_such: impl Fn(&TopicPartition, &CommittedOffset) -> bool,
) -> BTreeSet<(&Arc<str>, &TopicPartition)> {
    let mut found = BTreeSet::new();
    for group in hard.offsets().groups() {
        let offsets = hard.offsets().of_group(group);
        found.extend(offsets.filter(|(partition, offset)| is_such(partition, offset)).map(|(p, _)| (group, p)));
    }
    let pending = hard.offsets().pending().filter(|(_, partition, offset)| is_such(partition, offset));
    found.extend(pending.map(|(group, partition, _)| (group, partition)));
    found
}

/// Tombstones for everything that a group has committed, or may yet by an open transaction.
pub(crate) fn delete_all(hard: &GroupState, group: &Arc<str>, out: &mut Out) {
    let committed = hard.offsets().of_group(group).map(|(partition, _)| partition);
    let pending = hard.offsets().pending_of_group(group);
    let partitions: BTreeSet<&TopicPartition> = committed.chain(pending).collect();
    out.records.extend(partitions.into_iter().map(|partition| tombstone(group, partition.clone())));
}
