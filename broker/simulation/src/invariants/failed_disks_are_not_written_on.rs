//! After a write, a sync or a rename has failed nothing on that disk is trusted: the broker, which has no other, ends.

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct FailedDisksAreNotWrittenOn;

impl Invariant for FailedDisksAreNotWrittenOn {
    fn name(&self) -> &'static str {
        "failed disks are not written on"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::OutlivesItsDisk { broker } => Err(format!("broker {broker} goes on")),
            _ => Ok(()),
        }
    }
}
