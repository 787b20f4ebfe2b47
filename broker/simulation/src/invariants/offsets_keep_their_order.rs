//! log start <= last stable offset <= high watermark <= log end, on every replica at every step.

use super::{Invariant, View};
use crate::observation::Observation;

#[derive(Debug)]
pub struct OffsetsKeepTheirOrder;

impl Invariant for OffsetsKeepTheirOrder {
    fn name(&self) -> &'static str {
        "offsets keep their order"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Replica(state) = seen else { return Ok(()) };
        let ordered = state.log_start <= state.last_stable
            && state.last_stable <= state.high_watermark
            && state.high_watermark <= state.log_end;
        if ordered { Ok(()) } else { Err(format!("{state:?}")) }
    }
}
