//! A broker that does not run is fenced, once a controller has been in office for long enough to miss it.

use ottla_protocol::BrokerId;

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct SilenceEndsASession;

impl Invariant for SilenceEndsASession {
    fn name(&self) -> &'static str {
        "silence ends a session"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Silent { broker, for_ms } = seen else { return Ok(()) };
        let image = view.quorum.committed();
        match image.brokers.get(&BrokerId(i32::from(*broker))) {
            Some(registered) if !registered.fenced => {
                Err(format!("broker {broker} has been silent for {for_ms} ms: {registered:?}"))
            }
            _ => Ok(()),
        }
    }
}
