//! Reading: where the records lie, without a byte of them.

use std::io;
use std::sync::Arc;

use ottla_protocol::Offset;

use super::{AbortedTxn, Log, LogRead};
use crate::errors::ReadError;
use crate::segment::Segment;

impl Log {
    /// Finds up to `max_bytes` of batches from the one that holds `from` on, none of which begins at or behind
    /// `upper_bound`. With `at_least_one` the first batch is whole, however large.
    ///
    /// # Errors
    /// `OutOfRange` if `from` lies before the log start or behind the log end.
    pub fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one: bool,
    ) -> Result<LogRead, ReadError> {
        let (start, end) = (self.log_start(), self.log_end());
        if from < start || from > end {
            return Err(ReadError::OutOfRange { asked: from, start, end });
        }
        if from >= upper_bound.min(end) || (max_bytes == 0 && !at_least_one) {
            return Ok(LogRead { records: Vec::new(), next_offset: from });
        }
        self.find_records(from, max_bytes, upper_bound, at_least_one).map_err(|error| {
            let start = self.log_start();
            if from < start {
                // Its segment was deleted under our hands.
                return ReadError::OutOfRange { asked: from, start, end };
            }
            ReadError::Io(error)
        })
    }

    fn find_records(
        &self,
        from: Offset,
        max_bytes: usize,
        upper_bound: Offset,
        at_least_one: bool,
    ) -> io::Result<LogRead> {
        let segments = self.segments.load();
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for (at, segment) in segments.iter().enumerate().skip(first) {
            if segment.base >= upper_bound {
                break;
            }
            // The size before the log end: then what is within the size lies below that end (see the module's head).
            let size = segment.size();
            let segment_end = segments.get(at + 1).map_or_else(|| self.log_end(), |next| next.base);
            let Some(batch) = segment.find(from)? else { continue };
            let limit = if upper_bound >= segment_end {
                size
            } else {
                segment.find(upper_bound)?.map_or(size, |bound| bound.position)
            };
            let available = limit.saturating_sub(batch.position);
            // A first batch that is cut off helps nobody: a consumer finds no record in it and makes no progress.
            let least = batch.header.size();
            if !at_least_one && max_bytes < least {
                break;
            }
            let len = available.min(max_bytes.max(least) as u64);
            if len == 0 {
                break;
            }
            let len = usize::try_from(len).map_err(io::Error::other)?;
            let next_offset = upper_bound.min(segment_end);
            return Ok(LogRead { records: vec![segment.lend(batch.position, len)?], next_offset });
        }
        Ok(LogRead { records: Vec::new(), next_offset: from })
    }

    /// The transactions between two offsets whose records a reader of committed records must skip.
    pub fn aborted_transactions(&self, from: Offset, upper: Offset) -> io::Result<Vec<AbortedTxn>> {
        let segments = self.segments.load();
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        let mut aborted = Vec::new();
        'segments: for segment in &segments[first..] {
            for entry in segment.txn_index().entries()? {
                if entry.last_offset >= from && entry.first_offset < upper {
                    aborted.push(AbortedTxn { producer_id: entry.producer_id, first_offset: entry.first_offset });
                }
                if entry.last_stable_offset >= upper {
                    break 'segments;
                }
            }
        }
        Ok(aborted)
    }

    /// The segments as they are now.
    pub(crate) fn segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.load_full()
    }
}
