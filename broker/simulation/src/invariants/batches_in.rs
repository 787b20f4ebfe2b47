//! The headers of all batches of a log.

use ottla_protocol::Offset;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::{BatchHeader, batches};
use ottla_storage::Log;

/// Header of each batch from the log start on, and whether it is a transaction marker.
pub fn batches_in(log: &Log) -> Result<Vec<(BatchHeader, bool)>, String> {
    let offsets = log.offsets();
    let mut found = Vec::new();
    let mut next = offsets.log_start.0;
    while next < offsets.log_end.0 {
        let read = log.read(Offset(next), 1 << 16, Offset(i64::MAX), true).map_err(|error| error.to_string())?;
        let records = read.records.first().ok_or_else(|| format!("nothing at {next} of {offsets:?}"))?;
        let bytes = records.read_all().map_err(|error| error.to_string())?;
        let before = next;
        for batch in batches(&bytes) {
            let Ok(batch) = batch else { break };
            batch.check_crc().map_err(|error| format!("the batch at {next}: {error}"))?;
            let is_marker = batch.is_control() && ControlRecord::of_batch(&batch).is_ok();
            found.push((*batch.header(), is_marker));
            next = batch.next_offset().0;
        }
        if next == before {
            return Err(format!("no batch at {next} of {offsets:?}"));
        }
    }
    Ok(found)
}
