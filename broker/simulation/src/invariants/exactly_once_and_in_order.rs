//! The records of a producer with sequence numbers are in the log once each, in the order they were written.

use std::collections::BTreeMap;

use super::{Invariant, View};
use crate::clients::is_exactly_once;

#[derive(Debug)]
pub struct ExactlyOnceAndInOrder;

impl Invariant for ExactlyOnceAndInOrder {
    fn name(&self) -> &'static str {
        "exactly once and in order"
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        for partition in 0..view.plan.partitions {
            let mut last: BTreeMap<u64, u64> = BTreeMap::new();
            for (offset, value) in view.ledger.values(partition).iter().enumerate() {
                if !is_exactly_once(*value) || *value == super::ledger::UNSEEN {
                    continue;
                }
                let before = last.insert(value >> 24, *value);
                if before.is_some_and(|before| before >= *value) {
                    return Err(format!("{value:x} is at {offset} of t-{partition}, behind {before:x?}"));
                }
            }
        }
        Ok(())
    }
}
