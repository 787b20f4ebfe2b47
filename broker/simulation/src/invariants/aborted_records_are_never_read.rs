//! A reader of committed records is never shown one of a transaction that is open or was aborted.

use std::collections::BTreeSet;

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct AbortedRecordsAreNeverRead {
    aborted: BTreeSet<u64>,
    shown: BTreeSet<u64>,
}

impl Invariant for AbortedRecordsAreNeverRead {
    fn name(&self) -> &'static str {
        "aborted records are never read"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Aborts { values } => {
                if let Some(value) = values.iter().find(|value| self.shown.contains(value)) {
                    return Err(format!("{value:x} was shown before its transaction was aborted"));
                }
                self.aborted.extend(values);
            }
            Observation::ReadCommitted { partition, offset, value } => {
                self.shown.insert(*value);
                if self.aborted.contains(value) {
                    return Err(format!("{value:x} at {offset} of t-{partition} was aborted"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
