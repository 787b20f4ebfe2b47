//! Whoever may be elected without loss holds everything that the leader has committed: every live member of the ISR that
//! the controller has committed has a log that reaches the leader's high watermark.

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct InSyncReplicasHoldAllCommitted;

impl Invariant for InSyncReplicasHoldAllCommitted {
    fn name(&self) -> &'static str {
        "in-sync replicas hold all that is committed"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Replica(leader) = seen else { return Ok(()) };
        let Some(image) = view.partitions.get(&leader.partition) else { return Ok(()) };
        if !leader.leads || image.leader_epoch.0 != leader.epoch {
            return Ok(());
        }
        for member in &image.isr {
            let Some(broker) = view.brokers.get(&(member.0 as u16)) else { continue };
            // A process that is not registered yet may be one whose former life is still in the ISR.
            if broker.process.as_ref().is_none_or(|process| process.epoch().is_none()) {
                continue;
            }
            let end = broker.log(leader.partition).map_or(0, |log| log.offsets().log_end.0);
            if end < leader.high_watermark {
                return Err(format!("broker {member} is in sync and ends at {end}; its leader is at {leader:?}"));
            }
        }
        Ok(())
    }
}
