//! A broker is unfenced no sooner than it has read its own registration: before that it may still act on what its former
//! life was.

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct UnfencedBrokersKnowOfTheirLife;

impl Invariant for UnfencedBrokersKnowOfTheirLife {
    fn name(&self) -> &'static str {
        "unfenced brokers know of their life"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Unfenced { broker, epoch } = seen else { return Ok(()) };
        let process = view.brokers.get(&(*broker as u16)).and_then(|broker| broker.process.as_ref());
        match process.filter(|process| process.epoch() == Some(*epoch)).map(|process| process.applied().offset.0) {
            Some(read) if read < *epoch => Err(format!("broker {broker} of epoch {epoch} has read up to {read}")),
            _ => Ok(()),
        }
    }
}
