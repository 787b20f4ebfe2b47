//! The partitions of a session.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ottla_protocol::{Offset, TopicId};

use super::{Asked, Known, Look, PartitionKey, Told, TopicKey};
use crate::replica::Watched;

/// One of them.
#[derive(Debug)]
pub(super) struct Cached {
    asked: Asked,
    high_watermark: Offset,
    log_start: Offset,
    /// Its place in the order in which partitions are read.
    place: u64,
    /// It says when it moves.
    watched: Option<Arc<Watched>>,
}

impl Cached {
    fn as_asked(&self) -> Asked {
        let told = (self.high_watermark.0 >= 0)
            .then_some(Known { high_watermark: self.high_watermark, log_start: self.log_start });
        Asked { known: told.or(self.asked.known), ..self.asked.clone() }
    }

    fn look(&self, slot: usize) -> Look {
        Look { asked: self.as_asked(), slot, watched: self.watched.clone(), has_moved: false, is_settled: false }
    }

    /// Remembers what is told in any case.
    pub(super) const fn note(&mut self, told: Told) {
        self.high_watermark = told.high_watermark;
        self.log_start = told.log_start;
    }

    /// Remembers what is about to be told; true if it has to be.
    pub(super) fn must_tell(&mut self, told: Told) -> bool {
        let moved = self.high_watermark != told.high_watermark || self.log_start != told.log_start;
        self.log_start = told.log_start;
        // After an error the partition is told again even if nothing else changed.
        self.high_watermark = if told.is_error { Offset(-1) } else { told.high_watermark };
        moved || told.has_records || told.is_remarkable
    }
}

/// The partitions of a session. Those that are not at rest have an order in which they are read; whoever got records goes to
/// the end, so that nobody starves behind a partition that always has more.
#[derive(Debug, Default)]
pub(super) struct PartitionList {
    slots: HashMap<PartitionKey, usize>,
    cached: Vec<Option<Cached>>,
    /// Slots that were given back.
    free: Vec<usize>,
    /// Slots of partitions that are to be read, by place.
    unsettled: BTreeMap<u64, usize>,
    next_place: u64,
}

impl PartitionList {
    pub(super) fn ask(&mut self, asked: Asked) {
        if let Some(&slot) = self.slots.get(&asked.key) {
            let Some(cached) = &mut self.cached[slot] else { return };
            let name = cached.asked.name.take().or_else(|| asked.name.clone());
            cached.asked = Asked { name, ..asked };
            self.unsettled.insert(cached.place, slot);
            return;
        }
        let key = asked.key.clone();
        let place = self.next_place();
        let cached = Cached { asked, high_watermark: Offset(-1), log_start: Offset(-1), place, watched: None };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.cached[slot] = Some(cached);
                slot
            }
            None => {
                self.cached.push(Some(cached));
                self.cached.len() - 1
            }
        };
        self.slots.insert(key, slot);
        self.unsettled.insert(place, slot);
    }

    pub(super) fn forget(&mut self, key: &PartitionKey) {
        let Some(slot) = self.slots.remove(key) else { return };
        if let Some(cached) = self.cached[slot].take() {
            self.unsettled.remove(&cached.place);
        }
        self.free.push(slot);
    }

    pub(super) fn get_mut(&mut self, key: &PartitionKey) -> Option<&mut Cached> {
        self.cached[*self.slots.get(key)?].as_mut()
    }

    pub(super) fn move_to_end(&mut self, key: &PartitionKey) {
        let place = self.next_place();
        let Some(&slot) = self.slots.get(key) else { return };
        let Some(cached) = &mut self.cached[slot] else { return };
        if self.unsettled.remove(&cached.place).is_some() {
            self.unsettled.insert(place, slot);
        }
        cached.place = place;
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// These have moved. A slot may have been given to another partition since, which is then looked at for nothing.
    pub(super) fn unsettle(&mut self, slots: impl IntoIterator<Item = usize>) {
        for slot in slots {
            if let Some(Some(cached)) = self.cached.get(slot) {
                self.unsettled.insert(cached.place, slot);
            }
        }
    }

    /// Everything is to be read, and nothing is watched any more.
    pub(super) fn unsettle_all(&mut self) {
        for (slot, cached) in self.cached.iter_mut().enumerate() {
            if let Some(cached) = cached {
                cached.watched = None;
                self.unsettled.insert(cached.place, slot);
            }
        }
    }

    /// What is to be read, in order. `name_of` finds the names of topics that were unknown before.
    pub(super) fn looks(&mut self, name_of: impl Fn(TopicId) -> Option<Arc<str>>) -> Vec<Look> {
        let mut looks = Vec::with_capacity(self.unsettled.len());
        for &slot in self.unsettled.values() {
            let Some(cached) = &mut self.cached[slot] else { continue };
            if let (None, TopicKey::Id(id)) = (&cached.asked.name, &cached.asked.key.topic) {
                cached.asked.name = name_of(*id);
            }
            looks.push(cached.look(slot));
        }
        looks
    }

    /// One that moved while a request waits.
    pub(super) fn look_again(&mut self, slot: usize) -> Option<Look> {
        self.unsettle([slot]);
        self.cached.get(slot)?.as_ref().map(|cached| cached.look(slot))
    }

    /// A partition was read; who watches it since, and whether it is at rest now.
    pub(super) fn looked(&mut self, key: &PartitionKey, watched: Option<Arc<Watched>>, is_settled: bool) {
        let Some(cached) = self.get_mut(key) else { return };
        // Of one that is no more nothing is kept.
        cached.watched = watched.filter(|watched| !watched.is_over());
        let place = cached.place;
        if is_settled {
            self.unsettled.remove(&place);
        }
    }

    /// Everything, in the order in which it was first named.
    pub(super) fn into_asked(mut self) -> impl Iterator<Item = Asked> {
        let order = std::mem::take(&mut self.unsettled);
        order.into_values().filter_map(move |slot| self.cached[slot].take()).map(|cached| cached.asked)
    }

    fn next_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place - 1
    }
}
