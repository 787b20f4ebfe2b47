//! Whoever may be elected without loss, in sync or eligible (KIP-966), holds everything that was ever committed: not only
//! what the present leader knows of.

use ottla_metadata::PartitionImage;

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct EligibleReplicasHoldAllCommitted;

impl Invariant for EligibleReplicasHoldAllCommitted {
    fn name(&self) -> &'static str {
        "eligible replicas hold all that is committed"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Replica(state) => {
                let Some(image) = view.partitions.get(&state.partition) else { return Ok(()) };
                check(state.partition, i32::from(state.broker), image, view)
            }
            Observation::Partition { index, image, .. } => {
                let members = image.isr.iter().chain(&image.eligible_leader_replicas);
                members.into_iter().try_for_each(|member| check(*index, member.0, image, view))
            }
            _ => Ok(()),
        }
    }
}

fn check(partition: i32, replica: i32, image: &PartitionImage, view: &View<'_>) -> Result<(), String> {
    let id = replica.into();
    if !image.isr.contains(&id) && !image.eligible_leader_replicas.contains(&id) {
        return Ok(());
    }
    let Some(broker) = view.brokers.get(&(replica as u16)) else { return Ok(()) };
    // A process that is not registered yet may be one whose former life is still in there.
    if broker.process.as_ref().is_none_or(|process| process.epoch().is_none()) {
        return Ok(());
    }
    let end = broker.log(partition).map_or(0, |log| log.offsets().log_end.0);
    let committed = view.ledger.values(partition).len() as i64;
    if end < committed {
        return Err(format!("broker {replica} ends t-{partition} at {end}, {committed} were committed: {image:?}"));
    }
    Ok(())
}
