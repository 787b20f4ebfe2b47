//! What the active controller remembers of its brokers' heartbeats, and of its clients' changes. Lost with its office: the next
//! controller gives every broker a whole session from when it took over.

use std::collections::BTreeMap;

use ottla_metadata::MetadataImage;
use ottla_protocol::{BrokerId, Offset, Timestamp};

use crate::mutations::Mutations;

/// What the active controller knows beyond the log.
#[derive(Debug, Clone, Default)]
pub struct SoftState {
    brokers: BTreeMap<BrokerId, Heartbeat>,
    pub(crate) mutations: Mutations,
}

#[derive(Debug, Clone)]
struct Heartbeat {
    broker_epoch: i64,
    /// When it was last heard of, or when this controller took office.
    last_contact: Timestamp,
    /// It has spoken to this controller.
    heard: bool,
    /// How far the broker had read the metadata log.
    metadata_offset: Offset,
    /// While shutting down: what every other broker must have read before this one may go.
    shutdown_offset: Option<Offset>,
}

impl SoftState {
    /// Takes office: every broker in the image is heard of as of now.
    pub fn activate(image: &MetadataImage, now: Timestamp) -> Self {
        let mut soft = Self::default();
        for broker in image.brokers.values() {
            soft.touch(broker.id, broker.epoch, now, None);
        }
        // A node that holds both roles takes office before its broker comes back: that must not count as a second one.
        soft.brokers.values_mut().for_each(|known| known.heard = false);
        soft
    }

    /// A broker was last heard of before this controller took office.
    pub fn backdate(&mut self, broker: BrokerId, contact: Timestamp) {
        if let Some(known) = self.brokers.get_mut(&broker).filter(|known| !known.heard) {
            known.last_contact = known.last_contact.min(contact);
        }
    }

    /// A broker was heard of.
    pub(crate) fn touch(
        &mut self,
        broker: BrokerId,
        broker_epoch: i64,
        now: Timestamp,
        metadata_offset: Option<Offset>,
    ) {
        let known = self.brokers.entry(broker).or_insert(Heartbeat {
            broker_epoch,
            last_contact: now,
            heard: true,
            metadata_offset: Offset(-1),
            shutdown_offset: None,
        });
        if known.broker_epoch != broker_epoch {
            known.broker_epoch = broker_epoch;
            known.metadata_offset = Offset(-1);
            known.shutdown_offset = None;
        }
        known.last_contact = now;
        known.heard = true;
        if let Some(offset) = metadata_offset {
            known.metadata_offset = offset;
        }
    }

    pub(crate) fn remove(&mut self, broker: BrokerId) {
        self.brokers.remove(&broker);
    }

    /// Whether this life of the broker spoke to this controller within the session timeout.
    pub(crate) fn has_valid_session(&self, broker: BrokerId, epoch: i64, now: Timestamp, timeout_ms: i64) -> bool {
        self.brokers.get(&broker).is_some_and(|known| {
            known.heard && known.broker_epoch == epoch && now.0 - known.last_contact.0 < timeout_ms
        })
    }

    /// The broker waits for the others to read up to `offset`.
    pub(crate) fn set_shutdown_offset(&mut self, broker: BrokerId, offset: Offset) {
        if let Some(known) = self.brokers.get_mut(&broker) {
            known.shutdown_offset = Some(known.shutdown_offset.unwrap_or(offset).max(offset));
        }
    }

    pub(crate) fn shutdown_offset(&self, broker: BrokerId) -> Option<Offset> {
        self.brokers.get(&broker)?.shutdown_offset
    }

    /// How far the slowest active broker has read; `None` when there is no active broker.
    pub(crate) fn lowest_active_offset(&self, image: &MetadataImage) -> Option<Offset> {
        let offset = |id: BrokerId| self.brokers.get(&id).map_or(Offset(-1), |known| known.metadata_offset);
        image.active_brokers().map(|broker| offset(broker.id)).min()
    }

    /// The unfenced broker whose session ran out longest ago.
    pub(crate) fn expired(&self, image: &MetadataImage, now: Timestamp, timeout_ms: i64) -> Option<BrokerId> {
        let unfenced = image.brokers.values().filter(|broker| !broker.fenced);
        let contact = |id: BrokerId| self.brokers.get(&id).map_or(Timestamp(i64::MIN / 2), |known| known.last_contact);
        unfenced
            .map(|broker| (contact(broker.id), broker.id))
            .filter(|(contact, _)| now.0 - contact.0 >= timeout_ms)
            .min()
            .map(|(_, id)| id)
    }

    /// When the next session of an unfenced broker runs out.
    pub fn next_deadline(&self, image: &MetadataImage, timeout_ms: i64) -> Option<Timestamp> {
        let unfenced = image.brokers.values().filter(|broker| !broker.fenced);
        unfenced
            .filter_map(|broker| self.brokers.get(&broker.id))
            .map(|k| Timestamp(k.last_contact.0 + timeout_ms))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_silent_before_the_office_began_has_less_of_a_session_left() {
        let (id, epoch, timeout) = (BrokerId(1), 5, 1_600);
        let mut soft = SoftState::default();
        soft.touch(id, epoch, Timestamp(10_000), None);
        soft.brokers.values_mut().for_each(|known| known.heard = false);
        soft.backdate(id, Timestamp(9_000));
        soft.backdate(id, Timestamp(9_500));
        assert_eq!(soft.brokers[&id].last_contact, Timestamp(9_000), "the longer silence");
        // Once it has spoken nothing before that counts.
        soft.touch(id, epoch, Timestamp(10_100), None);
        soft.backdate(id, Timestamp(9_000));
        assert_eq!(soft.brokers[&id].last_contact, Timestamp(10_100));
        assert!(soft.has_valid_session(id, epoch, Timestamp(11_000), timeout));
        soft.backdate(BrokerId(2), Timestamp(0));
    }
}
