//! Appending, and rolling to the next segment.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::{BatchView, TimestampType, stamp};
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};

use super::{AppendContext, AppendInfo, Log, Writer};
use crate::config::LogConfig;
use crate::errors::{AppendError, is_lack_of_space, is_shortage};
use crate::producer_state::{BatchMetadata, Marker};
use crate::segment::{IndexEntry, OffsetEntry, Segment, Suffix, TimeEntry};
use crate::validate::{self, AppendOrigin, CheckedBatch};

/// Base offset, length and leader epoch: what is stamped on a batch lies within.
const STAMPED: usize = 16;

impl Log {
    /// Appends what a producer or a coordinator sent: offsets and leader epoch are assigned here. When this returns readers see
    /// the bytes, and unless they are awaited they are with the operating system, so that they survive the process.
    /// A client sends exactly one batch at a time.
    ///
    /// # Errors
    /// With `Invalid` and `FencedLeaderEpoch` nothing was written, nor with `DiskFull`, which can be tried again. With the others the log
    /// is closed or its directory offline; where a sync has failed that `flush.messages` asked for the records may be in it.
    pub fn append_as_leader(&self, records: Bytes, cx: &AppendContext) -> Result<AppendInfo, AppendError> {
        let config = self.config.load();
        // All that needs no order happens before the lock.
        let mut batches = validate::for_leader(&records, cx.origin, &config, cx.now, self.topic_partition())?;
        let markers = markers(&batches)?;
        let mut writer = self.writer.lock();
        self.check_writable(&writer)?;
        if cx.origin == AppendOrigin::Client && self.home().health.is_full() {
            return Err(AppendError::DiskFull);
        }
        if let Some(latest) = self.latest_epoch()
            && cx.leader_epoch < latest
        {
            return Err(AppendError::FencedLeaderEpoch { given: cx.leader_epoch.0, current: latest.0 });
        }
        for (batch, marker) in batches.iter().zip(&markers) {
            if let Some(marker) = marker {
                writer.producers.check_marker(&batch.header, *marker, cx.verification)?;
            } else if let Some(first) = writer.producers.check(&batch.header, cx.origin, cx.verification)? {
                if !cx.is_awaited {
                    self.active().write_collected().map_err(|error| self.write_failed(error))?;
                }
                return Ok(self.duplicate(&first, &config, cx));
            }
        }
        let mut next = self.log_end();
        for batch in &mut batches {
            batch.header.base_offset = next;
            batch.header.partition_leader_epoch = cx.leader_epoch;
            next = batch.header.next_offset();
        }
        let mut written = self.write(&mut writer, &batches, &markers, &config, cx.now, cx.is_awaited);
        if matches!(written, Err(AppendError::DiskFull)) && cx.origin != AppendOrigin::Client {
            // That has given the reserve free.
            written = self.write(&mut writer, &batches, &markers, &config, cx.now, false);
        }
        let info = written?;
        drop(writer);
        self.flush_if_due(&config)?;
        let stamped =
            cx.origin == AppendOrigin::Client && config.message_timestamp_type == TimestampType::LogAppendTime;
        Ok(AppendInfo { log_append_time: stamped.then_some(cx.now), ..info })
    }

    /// Appends what was fetched from the leader: batches carry their offsets and epochs already.
    pub fn append_as_follower(&self, records: Bytes, now: Timestamp) -> Result<AppendInfo, AppendError> {
        let config = self.config.load();
        let batches = validate::for_follower(&records)?;
        let markers = markers(&batches)?;
        let mut writer = self.writer.lock();
        self.check_writable(&writer)?;
        // The leader's log start may lie within a batch, after DeleteRecords, and the batch comes whole. An empty log begins
        // with it; the leader's log start is taken over once it is committed here. Where there are records before it the
        // leader's epochs said no more than that they may differ behind its log start: within the batch they surely do.
        if let [first, ..] = &batches[..]
            && first.header.base_offset < self.log_end()
            && first.header.next_offset() > self.log_end()
        {
            let base = first.header.base_offset;
            drop(writer);
            if self.log_start() == self.log_end() {
                self.truncate_fully_and_start_at(base)?;
            } else {
                self.truncate_to(base)?;
            }
            writer = self.writer.lock();
            self.check_writable(&writer)?;
            // A batch of another history went with it: what lies between is to be asked for.
            if self.log_end() < base {
                return Err(AppendError::OutOfOrderOffsets { first: base, end: self.log_end() });
            }
        }
        let mut end = self.log_end();
        for batch in &batches {
            if batch.header.base_offset < end {
                return Err(AppendError::OutOfOrderOffsets { first: batch.header.base_offset, end });
            }
            end = batch.header.next_offset();
        }
        let info = self.write(&mut writer, &batches, &markers, &config, now, false)?;
        drop(writer);
        self.flush_if_due(&config)?;
        Ok(info)
    }

    fn check_writable(&self, writer: &Writer) -> Result<(), AppendError> {
        if writer.closed || !self.is_online() { Err(AppendError::Offline) } else { Ok(()) }
    }

    fn duplicate(&self, first: &BatchMetadata, config: &LogConfig, cx: &AppendContext) -> AppendInfo {
        let stamped = config.message_timestamp_type == TimestampType::LogAppendTime;
        AppendInfo {
            first_offset: first.first_offset(),
            last_offset: first.last_offset,
            max_timestamp: first.timestamp,
            log_append_time: stamped.then_some(first.timestamp),
            log_start_offset: self.log_start(),
            duplicate: true,
            leader_epoch: cx.leader_epoch,
        }
    }

    /// Writes checked batches whose headers have their offsets.
    fn write(
        &self,
        writer: &mut Writer,
        batches: &[CheckedBatch],
        markers: &[Option<Marker>],
        config: &LogConfig,
        now: Timestamp,
        is_awaited: bool,
    ) -> Result<AppendInfo, AppendError> {
        let (Some(first), Some(last)) = (batches.first(), batches.last()) else {
            let end = self.log_end();
            return Ok(AppendInfo {
                first_offset: end,
                last_offset: Offset(end.0 - 1),
                max_timestamp: Timestamp(-1),
                log_append_time: None,
                log_start_offset: self.log_start(),
                duplicate: false,
                leader_epoch: LeaderEpoch::UNKNOWN,
            });
        };
        let size: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        let max_timestamp = batches.iter().map(|batch| batch.header.max_timestamp).max().unwrap_or_default();
        let incoming = Incoming {
            size: size as u64,
            first: first.header.base_offset,
            last: last.header.last_offset(),
            max_timestamp,
        };
        let segment = self.roll_if_due(writer, &incoming, config, now).map_err(|error| self.write_failed(error))?;

        let mut prefixes = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut prefix = [0; STAMPED];
            prefix.copy_from_slice(&batch.bytes[..STAMPED]);
            stamp(&mut prefix, batch.header.base_offset, batch.header.partition_leader_epoch);
            prefixes.push(prefix);
        }
        let mut parts: Vec<&[u8]> = Vec::with_capacity(batches.len() * 2);
        for (prefix, batch) in prefixes.iter().zip(batches) {
            parts.extend([&prefix[..], &batch.bytes[STAMPED..]]);
        }
        let mut position = segment.size();
        let journal = self.journal.load();
        let journal = journal.as_ref().filter(|_| self.is_strict());
        let behind = journal.filter(|_| is_awaited).and_then(|journal| journal.collects(size, config));
        match behind {
            Some(directory) => {
                segment.collect(&parts, directory, config).inspect(|()| writer.ahead.written(position + size as u64, 0))
            }
            None => self.write_parts(writer, &segment, parts, position + size as u64, config, now),
        }
        .map_err(|error| self.write_failed(error))?;

        for (batch, marker) in batches.iter().zip(markers) {
            let header = &batch.header;
            if self.latest_epoch().is_none_or(|latest| header.partition_leader_epoch > latest)
                && self.epochs.write().assign(header.partition_leader_epoch, header.base_offset)
            {
                self.epochs_changed.store(true, Ordering::Release);
            }
            segment.note_timestamp(header);
            if writer.bytes_since_index > config.index_interval_bytes.unsigned_abs().into() {
                // An index may lack entries, so a full disk is no reason to refuse what is already in the log.
                match segment.index(header, position) {
                    Ok(()) => writer.bytes_since_index = 0,
                    Err(error) => self.home().report(&error),
                }
            }
            writer.bytes_since_index += header.size() as u64;
            position += header.size() as u64;
            match marker {
                Some(marker) => {
                    if let Some(aborted) = writer.producers.apply_marker(header, *marker)
                        && let Err(error) = segment.txn_index().append(&aborted)
                    {
                        // Without the entry readers would take aborted records for committed ones.
                        self.home().health.fail(&self.home().path(), &error);
                        return Err(AppendError::Io(error));
                    }
                }
                None => writer.producers.apply_batch(header),
            }
        }
        self.publish_first_unstable(&writer.producers);
        let before = self.log_end();
        self.log_end.store(last.header.next_offset().0, Ordering::Release);
        segment.wrote(now);
        segment.publish(size as u64);
        self.unflushed.fetch_add(size as u64, Ordering::Relaxed);
        if let Some(journal) = journal {
            let parts = prefixes.iter().zip(batches).map(|(prefix, batch)| (*prefix, batch.bytes.slice(STAMPED..)));
            journal.append(&self.durable, before, last.header.next_offset(), parts.collect(), behind.is_some());
        }
        Ok(AppendInfo {
            first_offset: first.header.base_offset,
            last_offset: last.header.last_offset(),
            max_timestamp,
            log_append_time: None,
            log_start_offset: self.log_start(),
            duplicate: false,
            leader_epoch: last.header.partition_leader_epoch,
        })
    }

    /// Writes `parts`, which end at `end` in the file, and the zeros that are due behind them.
    fn write_parts(
        &self,
        writer: &mut Writer,
        segment: &Segment,
        mut parts: Vec<&[u8]>,
        end: u64,
        config: &LogConfig,
        now: Timestamp,
    ) -> io::Result<()> {
        let zeros = writer.ahead.zeros_behind(segment.size(), end, config, now);
        // Without a host nobody would cut them off when the log is at rest.
        if !zeros.is_empty()
            && !self.home().health.is_full()
            && let Some(host) = self.host()
        {
            parts.push(zeros);
            match segment.write(&parts) {
                Ok(()) => {
                    writer.ahead.written(end, zeros.len() as u64);
                    if !writer.ahead.is_watched {
                        writer.ahead.is_watched = host.cut_zeros_later(self);
                    }
                    return Ok(());
                }
                // There may be space for the records.
                Err(error) if is_lack_of_space(&error) => parts.pop(),
                Err(error) => return Err(error),
            };
        }
        segment.write(&parts)?;
        writer.ahead.written(end, 0);
        Ok(())
    }

    fn write_failed(&self, error: io::Error) -> AppendError {
        self.home().report(&error);
        if is_shortage(&error) {
            return AppendError::DiskFull;
        }
        AppendError::Io(error)
    }

    /// The segment that takes the incoming batches: the active one or, if it is full or old, a new one.
    fn roll_if_due(
        &self,
        writer: &mut Writer,
        incoming: &Incoming,
        config: &LogConfig,
        now: Timestamp,
    ) -> io::Result<Arc<Segment>> {
        let active = self.active();
        let too_far = !active.can_hold(incoming.last);
        let due = !active.is_empty()
            && (active.size() + incoming.size > u64::from(config.segment_bytes.unsigned_abs())
                || is_old(&active, config, incoming.max_timestamp, now)?
                || index_is_full(&active, config)?);
        if !too_far && !due {
            self.preallocate(&active, config)?;
            return Ok(active);
        }
        // A segment begins where the one before ends, also when the records fetched from a compacted leader begin later:
        // so recovery sees whether the end of a segment is missing.
        let end = self.log_end();
        let reaches = incoming.last.0 - end.0 <= i64::from(i32::MAX);
        self.roll(writer, if reaches { end } else { incoming.first })?;
        let active = self.active();
        self.preallocate(&active, config)?;
        Ok(active)
    }

    /// Takes the space of a segment once there is something to write to it: partitions that nobody uses take none.
    fn preallocate(&self, active: &Segment, config: &LogConfig) -> io::Result<()> {
        let wanted = config.preallocate && active.is_empty();
        if wanted { active.reserve(config.segment_bytes.unsigned_abs().into()) } else { Ok(()) }
    }

    /// Closes the active segment and begins one at `base`.
    pub(super) fn roll(&self, writer: &mut Writer, base: Offset) -> io::Result<()> {
        let active = self.active();
        if active.is_empty() && active.base == base {
            return Ok(());
        }
        let config = self.config.load();
        // As long as nothing shows that the log goes on elsewhere: where it fails the log goes on here.
        active.write_collected()?;
        self.cut_zeros(writer)?;
        if config.preallocate {
            active.give_back()?;
        }
        let next = Segment::create(&self.home(), base, Suffix::None);
        // The files exist from now on, so that a directory always shows where its log ends.
        next.create_files()?;
        // Deleting records must be able to roll when there is no space for either.
        self.if_there_is_space(active.seal())?;
        self.if_there_is_space(self.take_snapshot(writer, base))?;
        let mut segments = Vec::clone(&self.segments.load());
        let replaced = if active.is_empty() { segments.pop() } else { None };
        segments.push(next);
        self.segments.store(Arc::new(segments));
        self.names_changed.store(true, Ordering::Release);
        writer.bytes_since_index = 0;
        if let Some(empty) = replaced {
            self.unlink(vec![empty])?;
        }
        if let Some(host) = self.host() {
            host.flush_soon(self);
        }
        Ok(())
    }

    /// Closes the active segment if its time is over, though nothing is appended: counted from its begin, whatever times its
    /// records have. Records of long ago that are copied in order are of one age, and one segment.
    pub fn roll_if_old(&self, now: Timestamp) -> io::Result<bool> {
        let config = self.config.load();
        let active = self.active();
        if active.is_empty() || active.age(now) <= time_to_roll(active.base, &config) {
            return Ok(false);
        }
        let mut writer = self.writer.lock();
        self.home().guard(|| self.roll(&mut writer, self.log_end()))?;
        Ok(true)
    }

    /// Closes the active segment when it has `bytes` and twice as many as all segments before it, so that it can be compacted:
    /// a log that is read as a whole stays about as long as what is alive in it. True when it did.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn roll_if_outgrown(&self, bytes: u64) -> io::Result<bool> {
        let is_outgrown = || {
            let active = self.active().size();
            active >= bytes.max(self.size().saturating_sub(active).saturating_mul(2))
        };
        if !is_outgrown() {
            return Ok(false);
        }
        let mut writer = self.writer.lock();
        if !is_outgrown() || self.check_writable(&writer).is_err() {
            return Ok(false);
        }
        self.home().guard(|| self.roll(&mut writer, self.log_end()))?;
        Ok(true)
    }
}

struct Incoming {
    size: u64,
    first: Offset,
    last: Offset,
    max_timestamp: Timestamp,
}

/// The markers among the batches; every other batch has `None`.
fn markers(batches: &[CheckedBatch]) -> Result<Vec<Option<Marker>>, AppendError> {
    batches.iter().map(|batch| if batch.header.is_control() { marker_of(&batch.bytes) } else { Ok(None) }).collect()
}

/// What a control batch says about a transaction, if it does.
pub(super) fn marker_of(batch: &[u8]) -> Result<Option<Marker>, AppendError> {
    let invalid = |error: ottla_protocol::record_batch::BatchError| {
        AppendError::invalid(ErrorCode::InvalidRecord, error.to_string())
    };
    let view = BatchView::parse(batch).map_err(invalid)?;
    if view.record_count == 0 {
        // Compaction has left nothing but the header of it.
        return Ok(None);
    }
    let record = ControlRecord::of_batch(&view).map_err(invalid)?;
    Ok(match record {
        ControlRecord::Abort { coordinator_epoch } => Some(Marker { commit: false, coordinator_epoch }),
        ControlRecord::Commit { coordinator_epoch } => Some(Marker { commit: true, coordinator_epoch }),
        _ => None,
    })
}

/// Whether a segment has had its time: counted by the records' timestamps where they have any.
fn is_old(active: &Segment, config: &LogConfig, latest: Timestamp, now: Timestamp) -> io::Result<bool> {
    let age = match active.first_timestamp()?.filter(|first| first.0 >= 0) {
        Some(first) => latest.0.saturating_sub(first.0),
        None => active.age(now),
    };
    Ok(age > time_to_roll(active.base, config))
}

/// Milliseconds that a segment is written to.
fn time_to_roll(base: Offset, config: &LogConfig) -> i64 {
    config.max_segment_ms().saturating_sub(jitter(base, config))
}

/// Spreads the rolling of segments that began together; the same for a segment each time it is asked.
fn jitter(base: Offset, config: &LogConfig) -> i64 {
    let limit = config.segment_jitter_ms.min(config.max_segment_ms());
    if limit <= 0 { 0 } else { (base.0.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()) >> 1).rem_euclid(limit) }
}

fn index_is_full(active: &Segment, config: &LogConfig) -> io::Result<bool> {
    let limit = config.segment_index_bytes.unsigned_abs() as usize;
    // One entry of the time index is left for the one that is added when the segment is closed.
    Ok(active.offset_index().len()? >= limit / OffsetEntry::SIZE
        || active.time_index().len()? + 1 >= (limit / TimeEntry::SIZE).max(2))
}
