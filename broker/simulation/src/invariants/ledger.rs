//! Committed records never change: what one leader showed below its high watermark, every later leader shows too.

use std::collections::BTreeMap;

use ottla_metadata::PartitionImage;
use ottla_protocol::Offset;
use ottla_protocol::record_batch::batches;
use ottla_storage::Log;

use super::Scene;
use crate::broker::Broker;
use crate::clients::values_of;
use crate::observation::Observation;

/// In place of a value that was deleted before anybody saw it.
pub const UNSEEN: u64 = u64::MAX - 1;

/// Every committed value at its offset.
#[derive(Debug, Default)]
pub struct Ledger {
    values: BTreeMap<i32, Vec<u64>>,
}

impl Ledger {
    pub fn values(&self, partition: i32) -> &[u64] {
        self.values.get(&partition).map_or(&[], Vec::as_slice)
    }

    /// The value at an offset; `None` if nothing was committed there.
    pub fn at(&self, partition: i32, offset: i64) -> Option<u64> {
        self.values(partition).get(usize::try_from(offset).ok()?).copied()
    }

    pub fn on(
        &mut self,
        seen: &Observation,
        scene: Scene<'_>,
        partitions: &BTreeMap<i32, PartitionImage>,
    ) -> Result<(), String> {
        match seen {
            Observation::Replica(state) if state.leads => {
                let known = self.values(state.partition).len() as i64;
                if state.high_watermark > known {
                    let broker = &scene.brokers[&state.broker];
                    self.extend(broker, state.partition, known, state.high_watermark)?;
                }
            }
            // A leader that the controller has replaced by now may know less: nobody follows it.
            Observation::Leads { broker, partition, epoch, log_end }
                if partitions.get(partition).is_some_and(|image| image.leader_epoch.0 == *epoch) =>
            {
                self.compare(&scene.brokers[broker], *partition, *log_end)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn extend(&mut self, broker: &Broker, partition: i32, from: i64, to: i64) -> Result<(), String> {
        let Some(log) = broker.log(partition) else { return Ok(()) };
        let start = log.offsets().log_start.0;
        let values = self.values.entry(partition).or_default();
        while (values.len() as i64) < start.min(to) {
            values.push(UNSEEN);
        }
        for (offset, value) in contents(log, from.max(start), to)? {
            if offset == values.len() as i64 {
                values.push(value);
            }
        }
        if (values.len() as i64) < to {
            return Err(format!("t-{partition} of broker {}: no record at {} below {to}", broker.node, values.len()));
        }
        Ok(())
    }

    fn compare(&self, broker: &Broker, partition: i32, log_end: i64) -> Result<(), String> {
        let Some(log) = broker.log(partition) else { return Ok(()) };
        let known = self.values(partition);
        if log_end < known.len() as i64 {
            return Err(format!(
                "broker {} leads t-{partition} and ends at {log_end}, but {} records were committed",
                broker.node,
                known.len()
            ));
        }
        let start = log.offsets().log_start.0;
        for (offset, value) in contents(log, start, known.len() as i64)? {
            let committed = known.get(usize::try_from(offset).unwrap_or(usize::MAX)).copied();
            if committed.is_some_and(|committed| committed != UNSEEN && committed != value) {
                let node = broker.node;
                return Err(format!(
                    "broker {node} leads t-{partition} with {value:x} at {offset}, committed was {committed:x?}"
                ));
            }
        }
        Ok(())
    }
}

/// Offsets and values of a log from one offset to another.
pub fn contents(log: &Log, from: i64, to: i64) -> Result<Vec<(i64, u64)>, String> {
    let mut found = Vec::new();
    let mut next = from;
    while next < to {
        let read = log.read(Offset(next), 1 << 16, Offset(i64::MAX), true).map_err(|error| error.to_string())?;
        let Some(records) = read.records.first() else { break };
        let bytes = records.read_all().map_err(|error| error.to_string())?;
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            batch.check_crc().map_err(|error| format!("at {next}: {error}"))?;
            let values = values_of(&batch).ok_or("a record that nobody wrote")?;
            found.extend(values.into_iter().filter(|(offset, _)| *offset >= from && *offset < to));
            next = batch.next_offset().0;
        }
    }
    Ok(found)
}
