//! A leader's last stable offset never passes a record of a transaction whose marker is not committed. Of markers that it
//! found in its log when it began to lead it may not know that they are not: a snapshot of producers does not tell, and in
//! Kafka's as little. A marker that is lost is written again, for its transaction was decided before the first one was.

use std::collections::BTreeMap;

use super::ledger::UNSEEN;
use super::{Invariant, View};
use crate::clients::{MARKER, is_transactional};
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct OpenTransactionsAreNotStable {
    /// For each partition and each number of committed records: where the transaction begins that is open behind them.
    open: BTreeMap<i32, Vec<Option<i64>>>,
}

impl Invariant for OpenTransactionsAreNotStable {
    fn name(&self) -> &'static str {
        "open transactions are not stable"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        let Observation::Replica(state) = seen else { return Ok(()) };
        let open = self.open.entry(state.partition).or_insert_with(|| vec![None]);
        let values = view.ledger.values(state.partition);
        for (offset, value) in values.iter().enumerate().skip(open.len() - 1) {
            let before = open.last().copied().flatten();
            // One producer writes the transactions of a partition. What nobody saw may have been its marker.
            open.push(match *value {
                MARKER | UNSEEN => None,
                value if is_transactional(value) => before.or(Some(offset as i64)),
                _ => before,
            });
        }
        let leader = view.brokers.get(&state.broker).and_then(|broker| broker.leader(state.partition));
        if leader.is_none_or(|leader| leader.epoch_start().0 > state.high_watermark) {
            return Ok(());
        }
        let begins = usize::try_from(state.high_watermark).ok().and_then(|end| open.get(end).copied().flatten());
        match begins {
            Some(begins) if state.last_stable > begins.max(state.log_start) => {
                Err(format!("a transaction is open from {begins}: {state:?}"))
            }
            _ => Ok(()),
        }
    }
}
