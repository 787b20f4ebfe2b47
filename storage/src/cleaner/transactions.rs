//! Which transaction a batch belongs to, while a cleaner walks along a log.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io;

use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::BatchView;
use ottla_protocol::{Offset, ProducerId};

use super::invalid;
use crate::segment::AbortedEntry;

/// Open transactions at the cleaner's place, and those of the aborted ones that are still to come.
#[derive(Debug, Default)]
pub struct Transactions {
    /// By first offset.
    to_come: VecDeque<AbortedEntry>,
    /// Aborted ones that have begun, with whether a batch of theirs was seen.
    aborted: HashMap<ProducerId, (AbortedEntry, bool)>,
    /// Producers of committed ones of which a batch was seen.
    committed: HashSet<ProducerId>,
    /// Aborted ones that left batches behind: the new segment's index names them.
    retained: Vec<AbortedEntry>,
    /// Up to here the aborted ones are known.
    known: HashSet<(ProducerId, Offset)>,
}

impl Transactions {
    /// Adds aborted transactions; those that were added before are left out.
    pub fn add(&mut self, aborted: Vec<AbortedEntry>) {
        for entry in aborted {
            if self.known.insert((entry.producer_id, entry.first_offset)) {
                self.to_come.push_back(entry);
            }
        }
        self.to_come.make_contiguous().sort_by_key(|entry| entry.first_offset);
    }

    fn begin_up_to(&mut self, offset: Offset) {
        while self.to_come.front().is_some_and(|next| next.first_offset <= offset) {
            if let Some(entry) = self.to_come.pop_front() {
                self.aborted.entry(entry.producer_id).or_insert((entry, false));
            }
        }
    }

    /// A batch of records; true if it was aborted.
    pub fn on_batch(&mut self, batch: &BatchView<'_>) -> bool {
        self.begin_up_to(batch.last_offset());
        if !batch.is_transactional() {
            return false;
        }
        if let Some((_, was_seen)) = self.aborted.get_mut(&batch.producer_id) {
            *was_seen = true;
            return true;
        }
        self.committed.insert(batch.producer_id);
        false
    }

    /// A control batch; true if nothing is left of the transaction that it ends.
    pub fn on_marker(&mut self, batch: &BatchView<'_>) -> io::Result<bool> {
        self.begin_up_to(batch.last_offset());
        if batch.record_count == 0 {
            // Cleaned before: only its header stayed.
            return Ok(true);
        }
        Ok(match ControlRecord::of_batch(batch).map_err(invalid)? {
            ControlRecord::Abort { .. } => match self.aborted.remove(&batch.producer_id) {
                Some((entry, true)) => {
                    self.retained.push(entry);
                    false
                }
                _ => true,
            },
            ControlRecord::Commit { .. } => !self.committed.remove(&batch.producer_id),
            _ => false,
        })
    }

    /// The aborted transactions whose markers went by and stay, since this was last asked.
    pub fn take_retained(&mut self) -> Vec<AbortedEntry> {
        std::mem::take(&mut self.retained)
    }
}
