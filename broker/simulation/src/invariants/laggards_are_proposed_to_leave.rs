//! A leader that looks for followers which lag finds every member of the in-sync set that it has not heard of for too long
//! and that lacks records.

use std::collections::BTreeMap;

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;
use crate::plan::LAG_MAX_MS;

/// When a follower was heard last, and at which offset.
type Heard = BTreeMap<i32, (i64, i64)>;

#[derive(Debug, Default)]
pub struct LaggardsAreProposedToLeave {
    /// By leader, partition and epoch: when the leader looked first, and whom it has heard.
    heard: BTreeMap<(Node, i32, i32), (i64, Heard)>,
}

impl Invariant for LaggardsAreProposedToLeave {
    fn name(&self) -> &'static str {
        "laggards are proposed to leave"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::FollowerHeard { broker, partition, replica, leader_epoch, offset, .. } => {
                let leadership = self.heard.entry((*broker, *partition, *leader_epoch));
                leadership.or_insert((i64::MAX, BTreeMap::new())).1.insert(*replica, (i64::MAX, *offset));
                Ok(())
            }
            Observation::LagChecked { broker, partition, now, epoch, log_end, has_proposal } => {
                let (first, heard) = self.heard.entry((*broker, *partition, *epoch)).or_insert((*now, BTreeMap::new()));
                // What was since it looked last is as of now, which errs on the follower's side.
                *first = (*first).min(*now);
                for (at, _) in heard.values_mut() {
                    *at = (*at).min(*now);
                }
                let leader = view.brokers.get(broker).and_then(|machine| machine.leader(*partition));
                let Some(leader) = leader.filter(|_| !has_proposal) else { return Ok(()) };
                for member in leader.isr().committed().iter().filter(|member| member.0 != i32::from(*broker)) {
                    let (at, offset) = heard.get(&member.0).copied().unwrap_or((*first, -1));
                    if now - at > 2 * LAG_MAX_MS && offset < *log_end {
                        return Err(format!(
                            "broker {broker} heard of {member} {} ms ago at {offset}, t-{partition} ends at {log_end}",
                            now - at
                        ));
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
