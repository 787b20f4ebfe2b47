//! A replica that is merely eligible is elected only where no member of the in-sync set can lead (KIP-966): it would take the
//! place of a whole in-sync set.

use std::collections::BTreeMap;

use ottla_metadata::PartitionImage;

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct EligibleReplicasComeSecond {
    before: BTreeMap<i32, PartitionImage>,
}

impl Invariant for EligibleReplicasComeSecond {
    fn name(&self) -> &'static str {
        "eligible replicas come second"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Partition { index, image, .. } = seen else { return Ok(()) };
        let Some(before) = self.before.insert(*index, image.clone()) else { return Ok(()) };
        let elected = image.leader.filter(|leader| Some(*leader) != before.leader);
        if elected.is_none_or(|leader| !before.eligible_leader_replicas.contains(&leader)) {
            return Ok(());
        }
        let committed = view.quorum.committed();
        let could_lead = |member: &&ottla_protocol::BrokerId| {
            committed.is_active(**member) && image.replicas.contains(member) && !image.isr.contains(member)
        };
        match before.isr.iter().find(could_lead) {
            Some(member) => Err(format!("{member} could lead: t-{index} was {before:?} and is {image:?}")),
            None => Ok(()),
        }
    }
}
