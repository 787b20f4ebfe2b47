//! A leader proposes nobody for the in-sync set whom its own metadata shows fenced or leaving (KIP-841).

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct NobodyIsProposedInVain;

impl Invariant for NobodyIsProposedInVain {
    fn name(&self) -> &'static str {
        "nobody is proposed in vain"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Proposes { broker, partition, isr } = seen else { return Ok(()) };
        let Some(machine) = view.brokers.get(broker) else { return Ok(()) };
        let (Some(leader), Some(process)) = (machine.leader(*partition), &machine.process) else { return Ok(()) };
        let image = process.applied();
        let newcomers = isr.iter().filter(|member| !leader.isr().committed().contains(&(**member).into()));
        match newcomers.into_iter().find(|member| !image.is_active((**member).into())) {
            Some(newcomer) => Err(format!("broker {broker} proposes {newcomer} for t-{partition}: {isr:?}")),
            None => Ok(()),
        }
    }
}
