//! Two nodes that have applied the same entries have the same image, byte for byte.

use std::collections::BTreeMap;

use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct ImagesAreDeterministic {
    first: BTreeMap<i64, (Node, Vec<u8>)>,
}

impl Invariant for ImagesAreDeterministic {
    fn name(&self) -> &'static str {
        "images are deterministic"
    }

    fn on(&mut self, seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        let Observation::Image { node, offset, bytes } = seen else { return Ok(()) };
        let (other, first) = self.first.entry(*offset).or_insert_with(|| (*node, bytes.clone()));
        if first == bytes {
            return Ok(());
        }
        Err(format!("{node} and {other} differ at {offset}"))
    }
}
