//! When all is well again every replica has the same records, and they are those that were committed.

use super::ledger::{UNSEEN, contents};
use super::{Invariant, View};

#[derive(Debug)]
pub struct LogsAgreeInTheEnd;

impl Invariant for LogsAgreeInTheEnd {
    fn name(&self) -> &'static str {
        "logs agree in the end"
    }

    fn at_end(&mut self, view: &View<'_>) -> Result<(), String> {
        for (partition, image) in view.partitions {
            let committed = view.ledger.values(*partition);
            for replica in &image.replicas {
                let log = view.brokers.get(&(replica.0 as u16)).and_then(|broker| broker.log(*partition));
                let log = log.ok_or_else(|| format!("broker {replica} has no t-{partition}"))?;
                let offsets = log.offsets();
                if offsets.log_end.0 != committed.len() as i64 {
                    let many = committed.len();
                    return Err(format!(
                        "broker {replica} ends t-{partition} at {}, committed are {many}",
                        offsets.log_end
                    ));
                }
                let found = contents(log, offsets.log_start.0, offsets.log_end.0)?;
                for (next, (offset, value)) in (offsets.log_start.0..).zip(found) {
                    let expected = view.ledger.at(*partition, offset);
                    if offset != next || (expected != Some(value) && expected != Some(UNSEEN)) {
                        return Err(format!(
                            "broker {replica} has {value:x} at {offset} of t-{partition}, not {expected:x?} at {next}"
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}
