//! Finding records by their time.

use std::io;

use ottla_protocol::record_batch::{BatchError, BatchView};
use ottla_protocol::{LeaderEpoch, Offset, Timestamp};

use super::{Log, TimestampOffset};
use crate::segment::{Located, Segment};

impl Log {
    /// The first record at or after `timestamp`.
    pub fn offset_for_timestamp(&self, timestamp: Timestamp) -> io::Result<Option<TimestampOffset>> {
        let start = self.log_start();
        for segment in self.segments.load().iter() {
            if segment.max_timestamp()?.is_none_or(|max| max.timestamp < timestamp) {
                continue;
            }
            // All records up to this entry's offset are earlier than what is searched.
            let entry = segment.time_index().floor(|entry| entry.timestamp < timestamp.0)?;
            let from = entry.map_or(segment.base, |entry| segment.base.plus(i64::from(entry.relative_offset)));
            let mut headers = segment.headers(segment.start_of_search(from.max(start))?)?;
            while let Some(batch) = headers.next_batch()? {
                if batch.header.max_timestamp >= timestamp
                    && batch.header.last_offset() >= start
                    && let Some(found) =
                        self.record_in(segment, &batch, |offset, time| offset >= start && time >= timestamp)?
                {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }

    /// The first record with the largest timestamp.
    pub fn offset_of_max_timestamp(&self) -> io::Result<Option<TimestampOffset>> {
        let segments = self.segments.load();
        let mut latest = None;
        for segment in segments.iter() {
            if let Some(max) = segment.max_timestamp()?
                && latest
                    .as_ref()
                    .is_none_or(|(_, known): &(_, crate::segment::MaxTimestamp)| max.timestamp > known.timestamp)
            {
                latest = Some((segment, max));
            }
        }
        let Some((segment, max)) = latest else { return Ok(None) };
        let Some(batch) = segment.find(max.offset)? else { return Ok(None) };
        self.record_in(segment, &batch, |_, time| time >= max.timestamp)
    }

    fn record_in(
        &self,
        segment: &Segment,
        batch: &Located,
        wanted: impl Fn(Offset, Timestamp) -> bool,
    ) -> io::Result<Option<TimestampOffset>> {
        let invalid = |error: BatchError| io::Error::new(io::ErrorKind::InvalidData, error);
        let bytes = segment.read_batch(batch)?;
        let view = BatchView::parse(&bytes).map_err(invalid)?;
        let mut records = view.records().map_err(invalid)?;
        while let Some(record) = records.next_record().map_err(invalid)? {
            let offset = view.base_offset.plus(i64::from(record.offset_delta));
            let timestamp = view.timestamp_of(record.timestamp_delta);
            if wanted(offset, timestamp) {
                let leader_epoch = match view.partition_leader_epoch {
                    LeaderEpoch::UNKNOWN => self.epoch_at(offset).unwrap_or(LeaderEpoch::UNKNOWN),
                    epoch => epoch,
                };
                return Ok(Some(TimestampOffset { timestamp, offset, leader_epoch }));
            }
        }
        Ok(None)
    }
}
