//! A reassignment is done no sooner than everything it adds is in sync.

use std::collections::BTreeMap;

use ottla_metadata::PartitionImage;

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct AFinishedReassignmentIsInSync {
    before: BTreeMap<i32, PartitionImage>,
}

impl Invariant for AFinishedReassignmentIsInSync {
    fn name(&self) -> &'static str {
        "a finished reassignment is in sync"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Partition { index, image, .. } = seen else { return Ok(()) };
        let Some(before) = self.before.insert(*index, image.clone()) else { return Ok(()) };
        // One that was taken back is to stay no longer, and one that is still being added is not there yet.
        let arrived = before.adding_replicas.iter().filter(|replica| {
            image.replicas.contains(replica)
                && !image.adding_replicas.contains(replica)
                && !image.removing_replicas.contains(replica)
        });
        match arrived.into_iter().find(|replica| !image.isr.contains(replica)) {
            Some(replica) => Err(format!("{replica} is not in sync: t-{index} was {before:?} and is {image:?}")),
            None => Ok(()),
        }
    }
}
