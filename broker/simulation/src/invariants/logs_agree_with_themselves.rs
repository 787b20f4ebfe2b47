//! What a log knows beside its records is what its records say: which leader wrote what, and what each producer wrote last.
//! Looked at when a log is opened, when its replica begins to lead, and in the end. Not when it is opened after the power was
//! cut: a cut of its end that the power cut undid in part may have left a hole, which the next leader has it cut again.

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::record_batch::BatchHeader;
use ottla_protocol::{LeaderEpoch, Offset, ProducerId};
use ottla_storage::Log;

use super::batches_in::batches_in;
use super::{Invariant, View};
use crate::message::Node;
use crate::observation::Observation;

#[derive(Debug, Default)]
pub struct LogsAgreeWithThemselves {
    /// Brokers that lost data, and the partitions that they have opened since.
    damaged: BTreeMap<Node, BTreeSet<i32>>,
}

impl Invariant for LogsAgreeWithThemselves {
    fn name(&self) -> &'static str {
        "logs agree with themselves"
    }

    fn on(&mut self, seen: &Observation, view: &View<'_>) -> Result<(), String> {
        match seen {
            Observation::Damaged { broker } => {
                self.damaged.insert(*broker, BTreeSet::new());
                Ok(())
            }
            Observation::Opened { broker, partition }
                if self.damaged.get_mut(broker).is_some_and(|opened| opened.insert(*partition)) =>
            {
                Ok(())
            }
            Observation::Opened { broker, partition } | Observation::Leads { broker, partition, .. } => {
                let Some(log) = view.brokers.get(broker).and_then(|broker| broker.log(*partition)) else {
                    return Ok(());
                };
                let leads = match seen {
                    Observation::Leads { epoch, .. } => Some(LeaderEpoch(*epoch)),
                    _ => None,
                };
                // An epoch counts from when its leader begins, whatever is written under it.
                if leads.is_some() && log.latest_epoch() != leads {
                    return Err(format!("broker {broker} leads at {leads:?}, its log is at {:?}", log.latest_epoch()));
                }
                check(log).map_err(|what| format!("t-{partition} of broker {broker}: {what}"))
            }
            _ => Ok(()),
        }
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        for (node, broker) in view.brokers {
            for partition in 0..view.plan.partitions {
                let Some(log) = broker.log(partition) else { continue };
                check(log).map_err(|what| format!("t-{partition} of broker {node}: {what}"))?;
            }
        }
        Ok(())
    }
}

fn check(log: &Log) -> Result<(), String> {
    let batches = batches_in(log)?;
    check_epochs(log, &batches)?;
    check_producers(log, &batches)
}

fn check_epochs(log: &Log, batches: &[(BatchHeader, bool)]) -> Result<(), String> {
    let offsets = log.offsets();
    for (at, (header, _)) in batches.iter().enumerate() {
        let (epoch, base) = (header.partition_leader_epoch, header.base_offset.max(offsets.log_start));
        // Records that were deleted come back when the power is lost before the names of their files; their epochs do not.
        let Some(known) = log.epoch_at(base) else { continue };
        if known != epoch {
            return Err(format!("the batch at {base} is of epoch {epoch}, the log says {known:?}"));
        }
        let next = batches.get(at + 1).map(|(next, _)| (next.partition_leader_epoch, next.base_offset));
        let end = match next {
            Some((next, _)) if next == epoch => continue,
            Some((_, end)) => end,
            None => offsets.log_end,
        };
        let known = log.end_offset_for_epoch(epoch, offsets.log_end);
        if known != Some((epoch, end)) {
            return Err(format!("epoch {epoch} ends at {end}, the log says {known:?}"));
        }
    }
    Ok(())
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Wrote {
    epoch: i16,
    last_sequence: i32,
    in_transaction: bool,
}

fn check_producers(log: &Log, batches: &[(BatchHeader, bool)]) -> Result<(), String> {
    let mut expected: BTreeMap<ProducerId, Wrote> = BTreeMap::new();
    for (header, is_marker) in batches.iter().filter(|(header, _)| header.has_producer_id()) {
        let wrote = expected.entry(header.producer_id).or_insert(Wrote { last_sequence: -1, ..Wrote::default() });
        if wrote.epoch != header.producer_epoch.0 {
            (wrote.epoch, wrote.last_sequence) = (header.producer_epoch.0, -1);
        }
        if *is_marker {
            wrote.in_transaction = false;
        } else {
            wrote.last_sequence = header.last_sequence();
            wrote.in_transaction = header.is_transactional();
        }
    }
    let offsets = log.offsets();
    let mut known = BTreeMap::new();
    for entry in log.producers() {
        let (id, end) = (entry.producer_id, Offset(entry.last_offset.0 + 1));
        if end > offsets.log_end || (offsets.log_start == Offset::ZERO && !expected.contains_key(&id)) {
            return Err(format!("producer {id} wrote nothing at {} of {offsets:?}: {entry:?}", entry.last_offset));
        }
        let in_transaction = entry.current_txn_first_offset.is_some();
        let wrote = Wrote { epoch: entry.producer_epoch.0, last_sequence: entry.last_sequence, in_transaction };
        known.insert(id, wrote);
    }
    for (id, wrote) in expected {
        let known = known.get(&id);
        if known != Some(&wrote) {
            return Err(format!("the last of producer {id} is {wrote:?}, the log says {known:?}: {offsets:?}"));
        }
    }
    Ok(())
}
