//! At most one broker leads a partition in an epoch.

use std::collections::BTreeMap;

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct OneLeaderPerEpoch {
    leaders: BTreeMap<(i32, i32), Node>,
}

impl Invariant for OneLeaderPerEpoch {
    fn name(&self) -> &'static str {
        "one leader per epoch"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Leads { broker, partition, epoch, .. } = seen else { return Ok(()) };
        let first = *self.leaders.entry((*partition, *epoch)).or_insert(*broker);
        if first == *broker {
            return Ok(());
        }
        Err(format!("t-{partition} is led by {broker} at epoch {epoch}, as it was by {first}"))
    }
}
