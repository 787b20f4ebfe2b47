//! Within one leadership the high watermark never moves back, nor does the last stable offset.

use std::collections::BTreeMap;

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct HighWatermarkNeverMovesBack {
    /// By broker, life, partition and epoch.
    highest: BTreeMap<(Node, u64, i32, i32), (i64, i64)>,
}

impl Invariant for HighWatermarkNeverMovesBack {
    fn name(&self) -> &'static str {
        "the high watermark never moves back"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Replica(state) = seen else { return Ok(()) };
        if !state.leads {
            return Ok(());
        }
        let key = (state.broker, state.life, state.partition, state.epoch);
        let now = (state.high_watermark, state.last_stable);
        let before = self.highest.insert(key, now).unwrap_or((0, 0));
        if now.0 < before.0 || now.1 < before.1 {
            return Err(format!("{state:?}, before it were {before:?}"));
        }
        Ok(())
    }
}
