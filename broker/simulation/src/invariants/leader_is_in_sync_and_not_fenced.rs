//! A committed image names no leader that is fenced or outside of the ISR, no member of ISR or ELR that is no replica, and nobody
//! who is both in sync and merely eligible (KIP-966).

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct LeaderIsInSyncAndNotFenced;

impl Invariant for LeaderIsInSyncAndNotFenced {
    fn name(&self) -> &'static str {
        "the leader is in sync and not fenced"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Partition { index, image, fenced } = seen else { return Ok(()) };
        let tell = |what: &str| Err(format!("t-{index}: {what}: {image:?}"));
        if let Some(leader) = image.leader {
            if fenced.contains(&leader.0) {
                return tell("the leader is fenced");
            }
            if !image.isr.contains(&leader) {
                return tell("the leader is not in the ISR");
            }
        }
        if image.isr.iter().any(|member| fenced.contains(&member.0) && view.plan.elr) {
            return tell("a member of the ISR is fenced");
        }
        if !image.isr.iter().all(|member| image.replicas.contains(member)) {
            return tell("a member of the ISR is no replica");
        }
        if image.eligible_leader_replicas.iter().any(|eligible| image.isr.contains(eligible)) {
            return tell("a member of the ISR is in the ELR");
        }
        if !image.eligible_leader_replicas.iter().all(|eligible| image.replicas.contains(eligible)) {
            return tell("a member of the ELR is no replica");
        }
        if !image.eligible_leader_replicas.is_empty() && image.isr.len() >= view.plan.min_insync_replicas {
            return tell("enough are in sync and the ELR is not empty");
        }
        Ok(())
    }
}
