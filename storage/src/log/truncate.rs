//! Cutting a log: at its end, when it differs from the leader's; at its start, when records are deleted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_protocol::{Offset, Timestamp};

use super::{Log, Writer};
use crate::config::Durability;
use crate::errors::{is_descriptor_shortage, is_shortage};
use crate::leader_epoch::LeaderEpochs;
use crate::producer_state::ProducerState;
use crate::segment::{FileKind, Segment, Suffix};

impl Log {
    /// Drops all records at and behind `offset`, and those before it that share a batch with it: a batch goes as a whole, so that the
    /// log may end before `offset`. Log start, high watermark and recovery point follow the end.
    pub fn truncate_to(&self, offset: Offset) -> io::Result<()> {
        if offset < self.segments.load()[0].base {
            return self.truncate_fully_and_start_at(offset);
        }
        let _order = self.flushing.lock();
        let mut writer = self.writer.lock();
        let before = self.noted();
        let cut = self.home().guard(|| self.cut_at(&mut writer, offset));
        if before != self.noted() {
            self.cut_is_unnoted.store(true, Ordering::Release);
        }
        cut?;
        drop(writer);
        // What is cut off mostly lies behind all that is noted, as the unflushed tail does: then no note is wrong. To write one takes
        // a look at every log of the directory, and after a crash many are cut one after the other. A cut that is tried again
        // finds nothing to do and owes the note all the same.
        if self.cut_is_unnoted.load(Ordering::Acquire) {
            self.checkpoint()?;
            self.cut_is_unnoted.store(false, Ordering::Release);
        }
        Ok(())
    }

    /// What the checkpoints of the directory say of this log.
    fn noted(&self) -> [i64; 3] {
        [&self.log_start, &self.recovery_point, &self.high_watermark].map(|offset| offset.load(Ordering::Acquire))
    }

    /// Where it fails for want of space or descriptors either nothing has changed yet, or all but the file of the epochs has:
    /// it can be tried again.
    fn cut_at(&self, writer: &mut Writer, offset: Offset) -> io::Result<()> {
        if offset < self.log_end() {
            self.drop_from(writer, offset)?;
        }
        // Also when no record goes: an epoch that begins at the end may differ from the leader's.
        if self.epochs.write().truncate_from_end(offset) {
            self.epochs_changed.store(true, Ordering::Release);
        }
        self.once_more(|| self.write_epochs())
    }

    fn drop_from(&self, writer: &mut Writer, offset: Offset) -> io::Result<()> {
        let segments = self.segments.load_full();
        let kept = segments.partition_point(|segment| segment.base <= offset);
        let last = &segments[kept - 1];
        // All that has to be read is read before anything changes: what is cut off must not be without those who wrote the
        // rest, nor the other way round.
        let cut = last.find(offset)?;
        // A batch goes as a whole.
        let end = cut.map_or(offset, |batch| batch.header.base_offset.min(offset)).max(last.base);
        let (producers, snapshot) = self.load_producers(end, Timestamp(0))?;
        if let Some(journal) = &*self.journal.load() {
            journal.cut(&self.durable, end)?;
        }
        // Before the cut is counted: who reads the count after it, and then the end that a sync is to reach, must not see the old end.
        self.log_end.store(end.0, Ordering::Release);
        self.durable.cut(end);
        // The batch that the log start lies in may have gone.
        self.log_start.fetch_min(end.0, Ordering::AcqRel);
        self.high_watermark.fetch_min(end.0, Ordering::AcqRel);
        self.recovery_point.fetch_min(end.0, Ordering::AcqRel);
        self.segments.store(Arc::new(segments[..kept].to_vec()));
        // After the end: who takes note of the cut must not read behind it any more. Before the bytes go.
        self.lowest_cut.fetch_min(end.0, Ordering::AcqRel);
        writer.bytes_since_index = 0;
        if cut.is_some() || kept < segments.len() {
            writer.ahead.are_gone();
        }
        (writer.producers, writer.snapshot) = (producers, snapshot);
        writer.producers.on_high_watermark(self.high_watermark());
        self.publish_first_unstable(&writer.producers);
        if self.epochs.write().truncate_from_end(end) {
            self.epochs_changed.store(true, Ordering::Release);
        }
        if let Some(batch) = cut {
            self.insist(|| last.truncate(end, batch.position))?;
        }
        if kept < segments.len() {
            self.insist(|| self.rename_deleted(&segments[kept..]))?;
            self.insist(|| self.unlink_renamed(segments[kept..].to_vec()))?;
        }
        self.insist(|| self.remove_snapshots(None, |snapshot| snapshot > end))?;
        tracing::info!(partition = %self.topic_partition(), log_end = %end, "log truncated");
        if self.config.load().durability != Durability::Ephemeral {
            // What was cut off must not come back behind what is written next.
            self.insist_on_sync(|| {
                last.sync_written()?;
                self.names_changed.store(true, Ordering::Release);
                self.sync_names()
            })?;
        }
        Ok(())
    }

    /// A step of what must not end half-way. Where it lacks space or descriptors it is tried once more with what can be given
    /// free; any other error, and the second one, takes the directory offline.
    fn insist(&self, step: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let home = self.home();
        self.once_more(step).inspect_err(|error| home.health.fail(&home.path(), error))
    }

    /// As [`Self::insist`] for a sync: one that has failed says nothing when it is tried again, unless a file could not be opened.
    pub(super) fn insist_on_sync(&self, sync: impl Fn() -> io::Result<()>) -> io::Result<()> {
        let home = self.home();
        let synced = sync().or_else(|error| {
            if !is_descriptor_shortage(&error) {
                return Err(error);
            }
            home.relieve(&error);
            sync()
        });
        synced.inspect_err(|error| home.health.fail(&home.path(), error))
    }

    fn once_more(&self, step: impl Fn() -> io::Result<()>) -> io::Result<()> {
        step().or_else(|error| {
            if !is_shortage(&error) {
                return Err(error);
            }
            self.home().relieve(&error);
            step()
        })
    }

    /// Drops all records; the next one is written at `offset`.
    pub fn truncate_fully_and_start_at(&self, offset: Offset) -> io::Result<()> {
        let _order = self.flushing.lock();
        let mut writer = self.writer.lock();
        self.home().guard(|| {
            if let Some(journal) = &*self.journal.load() {
                journal.reset(&self.durable)?;
            }
            let old = self.segments.load_full();
            let segment = Segment::create(&self.home(), offset, Suffix::None);
            // Renamed first: one of them may have the name of the new segment.
            self.insist(|| self.rename_deleted(&old))?;
            // Before there is a log again that they could be believed for.
            self.insist(|| self.remove_snapshots(None, |_| true))?;
            self.insist(|| segment.create_files())?;
            self.segments.store(Arc::new(vec![segment]));
            *self.epochs.write() = LeaderEpochs::default();
            self.epochs_changed.store(true, Ordering::Release);
            writer.producers = ProducerState::default();
            writer.bytes_since_index = 0;
            writer.ahead.are_gone();
            writer.snapshot = None;
            self.publish_first_unstable(&writer.producers);
            for position in [&self.log_start, &self.log_end, &self.high_watermark, &self.recovery_point] {
                position.store(offset.0, Ordering::Release);
            }
            self.durable.restart(offset);
            self.lowest_cut.store(i64::MIN, Ordering::Release);
            self.insist(|| self.unlink_renamed(old.to_vec()))?;
            self.names_changed.store(true, Ordering::Release);
            self.insist_on_sync(|| self.sync_names())?;
            self.once_more(|| self.write_epochs())
        })?;
        drop(writer);
        tracing::info!(partition = %self.topic_partition(), start = %offset, "log emptied");
        self.checkpoint()
    }

    /// Deletes records before `offset`: nobody can read them any more, and their segments go with the next retention.
    ///
    /// # Errors
    /// `InvalidInput` beyond the high watermark.
    pub fn increment_log_start_offset(&self, offset: Offset) -> io::Result<()> {
        if self.advance_log_start(offset)? { self.note_log_start() } else { Ok(()) }
    }

    /// Moves the log start without noting it: true where [`Log::note_log_start`] is left to do. The next checkpoint notes it
    /// as well, seconds later.
    pub fn advance_log_start(&self, offset: Offset) -> io::Result<bool> {
        if offset > self.high_watermark() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "beyond the high watermark"));
        }
        let mut writer = self.writer.lock();
        self.home().health.check()?;
        if offset <= self.log_start() {
            return Ok(false);
        }
        self.move_log_start(&mut writer, offset);
        Ok(true)
    }

    /// Notes where the logs of this log's directory start, so that what was deleted stays deleted whatever happens to this
    /// process. Syncs files: once for all logs of a directory is enough.
    pub fn note_log_start(&self) -> io::Result<()> {
        match self.checkpoint() {
            Err(error) if is_shortage(&error) => {
                // There is no space even for that note: what was deleted makes room for it.
                self.apply_retention(Timestamp(0))?;
                self.checkpoint()
            }
            Ok(()) if self.home().health.is_full() => self.apply_retention(Timestamp(0)).map(drop),
            done => done,
        }
    }

    /// The log start that was noted before a crash, once recovery has brought the log's end. A log that ends before it is
    /// begun anew there; true if that happened.
    pub(crate) fn settle_log_start(&self, start: Offset) -> io::Result<bool> {
        if self.log_end() < start {
            self.truncate_fully_and_start_at(start)?;
            return Ok(true);
        }
        self.move_log_start(&mut self.writer.lock(), start);
        Ok(false)
    }

    pub(crate) fn checkpoint(&self) -> io::Result<()> {
        self.host().map_or(Ok(()), |host| host.checkpoint(self))
    }

    /// The producers' state at `end`: the newest snapshot before it, and what was appended since.
    pub(super) fn load_producers(&self, end: Offset, now: Timestamp) -> io::Result<(ProducerState, Option<Offset>)> {
        let segments = self.segments.load_full();
        let home = self.home();
        let kept = snapshots(&home)?;
        super::recover::load_producers(&home, &kept, &segments, self.log_start(), end, now, &self.config.load())
    }
}

/// Offsets of the snapshots in a directory, newest first.
pub(super) fn snapshots(home: &crate::segment::Home) -> io::Result<Vec<Offset>> {
    let mut offsets: Vec<Offset> = home
        .disk
        .list(&home.path())?
        .iter()
        .filter_map(|entry| match FileKind::parse(&entry.name) {
            Some((offset, FileKind::Snapshot)) => Some(Offset(offset)),
            _ => None,
        })
        .collect();
    offsets.sort_by(|a, b| b.cmp(a));
    Ok(offsets)
}
