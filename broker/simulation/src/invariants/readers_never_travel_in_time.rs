//! No reader is shown a record that is not committed, or another than the one that is.

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct ReadersNeverTravelInTime;

impl Invariant for ReadersNeverTravelInTime {
    fn name(&self) -> &'static str {
        "readers never travel in time"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let (Observation::Read { partition, offset, value } | Observation::ReadCommitted { partition, offset, value }) =
            seen
        else {
            return Ok(());
        };
        match view.ledger.at(*partition, *offset) {
            Some(committed) if committed == *value || committed == super::ledger::UNSEEN => Ok(()),
            committed => Err(format!("{value:x} was read at {offset} of t-{partition}, committed is {committed:x?}")),
        }
    }
}
