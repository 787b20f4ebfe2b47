//! No fetch counts as progress that was made under another epoch than the leader's (KIP-320).

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct LeadersAndFollowersAreOfOneEpoch;

impl Invariant for LeadersAndFollowersAreOfOneEpoch {
    fn name(&self) -> &'static str {
        "leaders and followers are of one epoch"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::FollowerHeard { leader_epoch, follower_epoch, .. } if leader_epoch != follower_epoch => {
                Err(format!("{seen:?}"))
            }
            _ => Ok(()),
        }
    }
}
