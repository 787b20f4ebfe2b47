//! Leader epochs and partition epochs of committed images only grow; a new leader has a new epoch, and so has who stays when
//! a replica is taken away, which is then fenced by it.

use std::collections::BTreeMap;

use ottla_metadata::PartitionImage;

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct PartitionEpochsOnlyGrow {
    before: BTreeMap<i32, PartitionImage>,
}

impl Invariant for PartitionEpochsOnlyGrow {
    fn name(&self) -> &'static str {
        "partition epochs only grow"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Partition { index, image, .. } = seen else { return Ok(()) };
        let Some(before) = self.before.insert(*index, image.clone()) else { return Ok(()) };
        if *image == before {
            return Ok(());
        }
        let grows = image.partition_epoch > before.partition_epoch && image.leader_epoch >= before.leader_epoch;
        let led_anew = image.leader == before.leader || image.leader_epoch > before.leader_epoch;
        let kept = before.replicas.iter().all(|replica| image.replicas.contains(replica));
        let led_anew = led_anew && (kept || image.leader_epoch > before.leader_epoch);
        if grows && led_anew { Ok(()) } else { Err(format!("t-{index} was {before:?} and is {image:?}")) }
    }
}
