//! What a log holds after a crash.
//!
//! Up to the recovery point everything was synced and is believed. From there on each batch is read and checked; the log
//! ends before the first one that is not sound. Indexes, aborted transactions, leader epochs and producers are brought up
//! to date on the way. After a clean stop only the headers behind the last index entry are read, to find the log end.

use std::io;
use std::sync::Arc;

use ottla_protocol::record_batch::{BatchHeader, BatchView};
use ottla_protocol::{Offset, Timestamp, TopicPartition};

use super::append::marker_of;
use super::truncate::snapshots;
use crate::config::LogConfig;
use crate::disk::{read_file, remove_if_present};
use crate::leader_epoch::LeaderEpochs;
use crate::producer_snapshot;
use crate::producer_state::ProducerState;
use crate::segment::{FileKind, Home, Located, Segment};

/// Where and why a log was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The log ends here now.
    pub offset: Offset,
    /// Base offset of the segment with the unsound batch.
    pub segment: Offset,
    /// Where the unsound batch began in its file.
    pub position: u64,
    /// Bytes that went, later segments included.
    pub bytes: u64,
    pub reason: String,
}

/// What recovery did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Batches whose checksum was computed.
    pub batches_checked: u64,
    pub bytes_checked: u64,
    pub cut: Option<Cut>,
    /// Data that had been synced is missing: the log ends before its recovery point or its start, given here.
    pub lost_below: Option<Offset>,
}

impl RecoveryReport {
    pub(super) fn tell(&self, id: &TopicPartition, log_end: Offset) {
        if let Some(cut) = &self.cut {
            tracing::warn!(partition = %id, offset = %cut.offset, segment = %cut.segment, position = cut.position, bytes = cut.bytes, reason = cut.reason, "the log's tail is not sound and was cut");
        }
        if let Some(end) = self.lost_below {
            tracing::error!(partition = %id, from = %log_end.min(end), to = %end, "records that had been on the disk are lost: the log ended at `to`");
        }
    }
}

/// What recovery found.
pub(super) struct Recovered {
    pub log_end: Offset,
    pub epochs: LeaderEpochs,
    pub producers: ProducerState,
    pub snapshot: Option<Offset>,
    pub report: RecoveryReport,
}

/// Finds the log's end. `segments` loses those behind a cut. `trusted_to` beyond the log: all of it is believed.
pub(super) fn recover(
    home: &Arc<Home>,
    segments: &mut Vec<Arc<Segment>>,
    trusted_to: Offset,
    epochs: Option<LeaderEpochs>,
    log_start: Offset,
    now: Timestamp,
    config: &LogConfig,
) -> io::Result<Recovered> {
    let check_all = trusted_to.0 != i64::MAX;
    let mut report = RecoveryReport::default();
    let first = match check_all {
        true => segments.partition_point(|segment| segment.base <= trusted_to).saturating_sub(1),
        false => segments.len() - 1,
    };
    let Start { position: from, end: begin, next } = starting_point(&segments[first], trusted_to)?;
    let kept = snapshots(home)?;
    let (mut producers, mut snapshot) = load_producers(home, &kept, segments, log_start, begin, now, config)?;
    let rebuild_epochs = epochs.is_none() && segments.iter().any(|segment| !segment.is_empty());
    let mut epochs = epochs.unwrap_or_default();
    if rebuild_epochs {
        for_each_header(&segments[..=first], segments[0].base, begin, |_, batch| {
            epochs.assign(batch.header.partition_leader_epoch, batch.header.base_offset);
            Ok(())
        })?;
    }
    epochs.truncate_from_end(next.max(log_start));

    let mut log_end = begin;
    let mut cut = None;
    for at in first..segments.len() {
        let segment = &segments[at];
        let from = if at == first { from } else { 0 };
        if segment.base < log_end && at != first {
            cut = Some((at, 0, "segments overlap".to_owned()));
            break;
        }
        if check_all && segment.base > log_end && at != first && is_tail_missing(home, segment.base)? {
            cut = Some((at - 1, segments[at - 1].size(), format!("what lay before {} is missing", segment.base)));
            break;
        }
        let end = segments.get(at + 1).map(|next| next.base);
        let mut scan =
            Scan { segment, position: from, log_end: log_end.max(segment.base), check: check_all, end, trusted_to };
        if check_all {
            prepare(segment, from, scan.log_end)?;
        }
        let outcome = scan.run(&mut report, &mut epochs, &mut producers, config);
        log_end = scan.log_end;
        let position = scan.position;
        match outcome? {
            None => {
                if check_all {
                    segment.index_time()?;
                }
            }
            Some(reason) => {
                cut = Some((at, position, reason));
                break;
            }
        }
    }
    let mut first_cut = None;
    if let Some((at, position, reason)) = cut {
        let segment = &segments[at];
        first_cut = segment.headers(position)?.next_batch()?.map(|batch| batch.header.base_offset);
        let bytes = segment.size() - position + segments[at + 1..].iter().map(|later| later.size()).sum::<u64>();
        report.cut = Some(Cut { offset: log_end, segment: segment.base, position, bytes, reason });
        segment.truncate(log_end.max(segment.base), position)?;
        for later in segments.drain(at + 1..) {
            for file in later.files() {
                remove_if_present(&*home.disk, &file.path())?;
            }
        }
        // What was cut off must not come back behind what is written next.
        segments[at].sync()?;
        home.disk.sync_dir(&home.path())?;
    }
    epochs.truncate_from_end(log_end.max(log_start));
    for stray in kept.into_iter().filter(|offset| *offset > log_end) {
        remove_if_present(&*home.disk, &home.file(&FileKind::Snapshot.name(stray.0)))?;
    }
    if snapshot.is_some_and(|snapshot| snapshot > log_end) {
        snapshot = None;
    }
    // Offsets are not within the checksum: where one is damaged the log may seem to end behind what was synced, while what
    // is cut says that it lay before.
    let cuts_synced = check_all && first_cut.is_some_and(|offset| offset < trusted_to);
    if check_all && (log_end < trusted_to || cuts_synced) {
        report.lost_below = Some(trusted_to);
    }
    Ok(Recovered { log_end, epochs, producers, snapshot, report })
}

/// Whether records are missing where a segment begins behind the end of the one before: it was rolled where the log ended
/// then. Kafka rolls at the first record to be written, so that on a compacted topic its segments may leave gaps.
fn is_tail_missing(home: &Home, base: Offset) -> io::Result<bool> {
    let snapshot = read_file(&*home.disk, &home.file(&FileKind::Snapshot.name(base.0)))?;
    Ok(!snapshot.as_deref().is_some_and(producer_snapshot::is_kafkas))
}

/// Where in the first segment checking begins.
struct Start {
    position: u64,
    /// What is believed ends here.
    end: Offset,
    /// Where the batch at the position says that it begins: it may have been compacted away, or not be true.
    next: Offset,
}

fn starting_point(segment: &Segment, trusted_to: Offset) -> io::Result<Start> {
    let from = segment.start_of_search(trusted_to)?;
    let mut headers = segment.headers(from)?;
    let mut expected = segment.base;
    while let Some(batch) = headers.next_batch()? {
        let (header, position) = (&batch.header, batch.position);
        // A header whose offsets cannot be true is no part of what was synced.
        let fits = header.base_offset >= expected
            && header.last_offset_delta >= 0
            && segment.can_hold(header.base_offset)
            && segment.can_hold(header.last_offset())
            // The log was synced up to there, so a batch ends there.
            && (expected >= trusted_to || header.base_offset <= trusted_to);
        if !fits {
            return Ok(Start { position, end: expected, next: expected });
        }
        let next = header.base_offset;
        // An index entry vouches for the first batch, as far as anything does.
        let is_indexed = position == from && from > 0;
        if header.next_offset() > trusted_to {
            let end = if is_indexed { next } else { expected };
            return Ok(Start { position, end, next });
        }
        if trusted_to.0 == i64::MAX {
            return Ok(Start { position: from, end: next, next });
        }
        expected = header.next_offset();
    }
    // All of the segment is trusted, or it has no sound batch at all there.
    let position = headers.position();
    let last = if position > 0 { last_offset_before(segment, position)? } else { None };
    let end = last.map_or(segment.base, |last| last.plus(1));
    Ok(Start { position, end, next: end })
}

fn last_offset_before(segment: &Segment, position: u64) -> io::Result<Option<Offset>> {
    let entry = segment.offset_index().floor(|entry| u64::from(entry.position) < position)?;
    let mut headers = segment.headers(entry.map_or(0, |entry| u64::from(entry.position)))?;
    let mut last = None;
    while let Some(batch) = headers.next_batch()? {
        if batch.position >= position {
            break;
        }
        last = Some(batch.header.last_offset());
    }
    Ok(last)
}

/// Cuts the indexes back to what points before `from`, where offset `begin` lies.
fn prepare(segment: &Segment, from: u64, begin: Offset) -> io::Result<()> {
    if from == 0 {
        segment.offset_index().clear()?;
        segment.time_index().clear()?;
    } else {
        let relative = begin.0 - segment.base.0;
        segment
            .offset_index()
            .truncate(|entry| u64::from(entry.position) < from && i64::from(entry.relative_offset) < relative)?;
        segment.time_index().truncate(|entry| i64::from(entry.relative_offset) < relative)?;
    }
    segment.settle_timestamp(from)?;
    segment.txn_index().truncate(begin)
}

struct Scan<'a> {
    segment: &'a Segment,
    position: u64,
    log_end: Offset,
    check: bool,
    /// Base offset of the next segment.
    end: Option<Offset>,
    /// The log was synced up to there, so a batch ends there.
    trusted_to: Offset,
}

impl Scan<'_> {
    /// Walks to the segment's end, or answers why it stopped before.
    fn run(
        &mut self,
        report: &mut RecoveryReport,
        epochs: &mut LeaderEpochs,
        producers: &mut ProducerState,
        config: &LogConfig,
    ) -> io::Result<Option<String>> {
        let segment = self.segment;
        if segment.is_empty() {
            return Ok(None);
        }
        let mut headers = segment.headers(self.position)?;
        let mut since_index = match segment.offset_index().last()? {
            Some(entry) => self.position.saturating_sub(u64::from(entry.position)),
            None => self.position,
        };
        while let Some(batch) = headers.next_batch()? {
            if let Some(reason) = self.fault(&batch, report)? {
                return Ok(Some(reason));
            }
            let header = &batch.header;
            // Nobody appends under an epoch that has passed: these bytes were cut off once, and the cut was lost.
            if epochs.latest().is_some_and(|latest| header.partition_leader_epoch < latest) {
                let epoch = header.partition_leader_epoch;
                return Ok(Some(format!("the leader epoch goes back to {epoch}")));
            }
            epochs.assign(header.partition_leader_epoch, header.base_offset);
            segment.max_timestamp()?;
            segment.note_timestamp(header);
            if self.check {
                if since_index > config.index_interval_bytes.unsigned_abs().into() {
                    segment.index(header, batch.position)?;
                    since_index = 0;
                }
                since_index += header.size() as u64;
            }
            apply(segment, &batch, producers, self.check)?;
            self.position = batch.end();
            self.log_end = header.next_offset();
        }
        if self.position == segment.size() {
            return Ok(None);
        }
        Ok(Some("the bytes are no whole batch".to_owned()))
    }

    fn fault(&self, batch: &Located, report: &mut RecoveryReport) -> io::Result<Option<String>> {
        let header = &batch.header;
        if header.base_offset < self.log_end
            || header.last_offset_delta < 0
            || !self.segment.can_hold(header.last_offset())
            || self.end.is_some_and(|end| header.last_offset() >= end)
            || (self.check && self.log_end < self.trusted_to && header.base_offset > self.trusted_to)
        {
            return Ok(Some(format!("offsets {}..{} do not fit", header.base_offset, header.last_offset())));
        }
        if !self.check {
            return Ok(None);
        }
        report.batches_checked += 1;
        report.bytes_checked += header.size() as u64;
        let bytes = self.segment.read_batch(batch)?;
        let checked = BatchView::parse(&bytes).and_then(|view| view.check_crc());
        Ok(checked.err().map(|error| error.to_string()))
    }
}

/// Brings the producers up to a batch; with `index` an aborted transaction is entered in the segment's index.
fn apply(segment: &Segment, batch: &Located, producers: &mut ProducerState, index: bool) -> io::Result<()> {
    let header: &BatchHeader = &batch.header;
    if !header.is_control() {
        producers.apply_batch(header);
    } else if header.has_producer_id()
        && let Ok(Some(marker)) = marker_of(&segment.read_batch(batch)?)
        && let Some(aborted) = producers.apply_marker(header, marker)
        && index
    {
        segment.txn_index().append(&aborted)?;
    }
    Ok(())
}

/// The producers' state at `end`: from the newest sound one of the snapshots that is not behind it and the batches since.
pub(super) fn load_producers(
    home: &Home,
    kept: &[Offset],
    segments: &[Arc<Segment>],
    log_start: Offset,
    end: Offset,
    now: Timestamp,
    config: &LogConfig,
) -> io::Result<(ProducerState, Option<Offset>)> {
    let mut state = ProducerState::default();
    let mut from = log_start;
    let mut newest = None;
    for offset in kept.iter().copied().filter(|offset| *offset <= end) {
        let path = home.file(&FileKind::Snapshot.name(offset.0));
        match read_file(&*home.disk, &path)?.as_deref().and_then(producer_snapshot::decode) {
            Some(snapshot) => {
                state = ProducerState::from_snapshot(&snapshot, now, config.producer_id_expiration_ms);
                from = offset;
                newest = Some(offset);
                break;
            }
            None => {
                tracing::warn!(file = %path.display(), "a damaged producer snapshot is removed");
                remove_if_present(home.disk.as_ref(), &path)?;
            }
        }
    }
    if from < end {
        for_each_header(segments, from, end, |segment, batch| apply(segment, batch, &mut state, false))?;
    }
    Ok((state, newest))
}

/// Walks the batches between two offsets.
fn for_each_header(
    segments: &[Arc<Segment>],
    from: Offset,
    end: Offset,
    mut visit: impl FnMut(&Segment, &Located) -> io::Result<()>,
) -> io::Result<()> {
    let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
    for segment in segments[first..].iter().take_while(|segment| segment.base < end) {
        let mut headers = segment.headers(segment.start_of_search(from)?)?;
        while let Some(batch) = headers.next_batch()? {
            if batch.header.base_offset >= end {
                return Ok(());
            }
            if batch.header.base_offset >= from {
                visit(segment, &batch)?;
            }
        }
    }
    Ok(())
}
