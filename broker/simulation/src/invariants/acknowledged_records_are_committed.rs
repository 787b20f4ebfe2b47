//! What a producer with acks=all was told to be safe is committed, at the offset it was told, from that moment on.

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct AcknowledgedRecordsAreCommitted;

impl Invariant for AcknowledgedRecordsAreCommitted {
    fn name(&self) -> &'static str {
        "acknowledged records are committed"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Acknowledged { producer, partition, first_offset, values, acks: -1 } = seen else {
            return Ok(());
        };
        for (offset, value) in (*first_offset..).zip(values) {
            let committed = view.ledger.at(*partition, offset);
            if committed != Some(*value) && committed != Some(super::ledger::UNSEEN) {
                return Err(format!(
                    "{producer} was told that {value:x} is at {offset} of t-{partition}: {committed:x?}"
                ));
            }
        }
        Ok(())
    }
}
