//! A broker that shuts down is let go no sooner than every other has read that it leads nothing any more.

use std::collections::BTreeSet;

use ottla_decisions::{ControllerRequest, ControllerResponse};
use ottla_protocol::BrokerId;

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct WhoLeavesIsFollowedByNobody {
    /// Controllers in an office and lives of brokers whose shutdown they began. The next controller knows nothing of it.
    begun: BTreeSet<(Node, i32, i64)>,
}

impl Invariant for WhoLeavesIsFollowedByNobody {
    fn name(&self) -> &'static str {
        "who leaves is followed by nobody"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Decided(decided) = seen else { return Ok(()) };
        let (ControllerRequest::BrokerHeartbeat(asked), ControllerResponse::BrokerHeartbeat(answer)) =
            (&*decided.request, &*decided.response)
        else {
            return Ok(());
        };
        if !asked.want_shut_down || answer.error_code != 0 {
            return Ok(());
        }
        let key = (decided.controller, decided.term, asked.broker_epoch);
        if !answer.should_shut_down {
            if decided.records > 0 {
                self.begun.insert(key);
            }
            return Ok(());
        }
        // One that is fenced was let go before: the answer was lost, and others may have come since.
        let was_let_go = decided.image.brokers.get(&BrokerId(asked.broker_id.0)).is_none_or(|leaver| leaver.fenced);
        if was_let_go || !self.begun.contains(&key) {
            return Ok(());
        }
        for other in decided.image.active_brokers().filter(|other| other.id.0 != asked.broker_id.0) {
            let process = view.brokers.get(&(other.id.0 as u16)).and_then(|broker| broker.process.as_ref());
            let Some(process) = process.filter(|process| process.epoch() == Some(other.epoch)) else { continue };
            let leader = |index| process.applied().topics.partition("t", index)?.leader;
            let leaver = BrokerId(asked.broker_id.0);
            if let Some(index) = (0..view.plan.partitions).find(|index| leader(*index) == Some(leaver)) {
                return Err(format!("broker {leaver} may go, and {} believes that it leads t-{index}", other.id));
            }
        }
        Ok(())
    }
}
