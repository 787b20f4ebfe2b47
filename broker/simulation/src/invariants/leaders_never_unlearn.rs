//! Within one leadership nothing that is older takes the place of what is known: neither the state of the partition, nor
//! the life under which a follower fetches.

use std::collections::BTreeMap;

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;

/// The life of each follower.
type Lives = BTreeMap<i32, i64>;

#[derive(Debug, Default)]
pub struct LeadersNeverUnlearn {
    /// By broker, life, partition and epoch: the partition epoch, and who follows.
    known: BTreeMap<(Node, u64, i32, i32), (i32, Lives)>,
}

impl Invariant for LeadersNeverUnlearn {
    fn name(&self) -> &'static str {
        "leaders never unlearn"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Replica(state) = seen else { return Ok(()) };
        let Some(leader) = view.brokers.get(&state.broker).and_then(|broker| broker.leader(state.partition)) else {
            return Ok(());
        };
        let key = (state.broker, state.life, state.partition, state.epoch);
        let (epoch, lives) = self.known.entry(key).or_insert((-1, BTreeMap::new()));
        if leader.partition_epoch() < *epoch {
            return Err(format!("partition epoch {} after {epoch}: {state:?}", leader.partition_epoch()));
        }
        *epoch = leader.partition_epoch();
        for (replica, progress) in leader.followers() {
            let life = leader.fetched_broker_epoch(replica);
            // A replica that was removed and added again is a stranger once more.
            let before = lives.insert(replica.0, life).filter(|_| progress.log_end.is_some());
            if before.is_some_and(|before| life < before) {
                return Err(format!("{replica} fetches as {life}, it was {before:?} already: {state:?}"));
            }
        }
        Ok(())
    }
}
