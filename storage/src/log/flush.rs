//! Making a log durable, and closing it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_protocol::{Offset, Timestamp};

use super::{EPOCHS_FILE, Log, Writer};
use crate::config::{Durability, LogConfig};
use crate::disk::{Disk, OpenMode, remove_if_present, rewrite_atomic, rewrite_unsynced};
use crate::errors::{is_descriptor_shortage, is_lack_of_space, is_shortage};
use crate::partition_metadata;
use crate::producer_snapshot;
use crate::retention::{self, SegmentAge};
use crate::segment::{FileKind, Segment, Suffix};

/// Bytes of a `strict` log that recovery may have to check.
const UNFLUSHED_MAX: u64 = 32 << 20;

/// What a log has written and not made durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unsynced {
    end: Offset,
    cuts: u64,
}

impl Log {
    /// Makes all that was appended before the call durable and moves the recovery point there. A failure takes the log
    /// directory offline.
    pub fn flush(&self) -> io::Result<()> {
        self.flush_to(true)
    }

    /// As [`Self::flush`], but leaves the active segment to the operating system.
    pub(crate) fn flush_closed_segments(&self) -> io::Result<()> {
        self.flush_to(false)
    }

    /// All that is there once the lock is had: what was there before may have been truncated meanwhile.
    fn flush_to(&self, all: bool) -> io::Result<()> {
        let _order = self.flushing.lock();
        self.home().health.check()?;
        let cuts = self.durable.cuts();
        let unflushed = self.unflushed.load(Ordering::Relaxed);
        let (target, snapshot) = {
            let mut writer = self.writer.lock();
            let target = if all { self.log_end() } else { self.active().base };
            if all {
                self.keep_snapshot(&mut writer, target)?;
            }
            (target, writer.snapshot)
        };
        let synced = Offset(self.recovery_point.load(Ordering::Acquire));
        if target <= synced
            && !self.epochs_changed.load(Ordering::Acquire)
            && !self.names_changed.load(Ordering::Acquire)
            && !self.length_changed.load(Ordering::Acquire)
        {
            return Ok(());
        }
        if self.config.load().durability == Durability::Ephemeral {
            return Ok(());
        }
        // What has to be written for it. Where that finds no space the reserve is given free, once; nothing is lost by it.
        if let Err(error) = self.home().guard(|| self.write_for_flush(synced, target)) {
            if !is_shortage(&error) {
                return Err(error);
            }
            self.home().relieve(&error);
            self.home().guard(|| self.write_for_flush(synced, target))?;
        }
        let synced_files = match self.sync_files(synced, target, snapshot) {
            Err(error) if is_descriptor_shortage(&error) => {
                self.home().relieve(&error);
                self.sync_files(synced, target, snapshot)
            }
            done => done,
        };
        // A failed sync is never tried again: the kernel may have dropped the pages, and a second one would succeed. A file that
        // could not be opened is another matter.
        synced_files.inspect_err(|error| {
            if !is_descriptor_shortage(error) {
                self.home().health.fail(&self.home().path(), error);
            }
        })?;
        self.recovery_point.fetch_max(target.0, Ordering::AcqRel);
        self.durable.raise(target, cuts);
        if all {
            self.unflushed.fetch_sub(unflushed, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes the records durable that the log has now, and leaves indexes, snapshots and the recovery point as they are.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.home().health.check()?;
        let cuts = self.durable.cuts();
        // Not the durable end alone: up to there it may be only the journal that has the records.
        let from = Offset(self.recovery_point.load(Ordering::Acquire)).min(self.durable.end());
        let end = self.log_end();
        let segments = self.segments.load_full();
        let first = segments.partition_point(|segment| segment.base <= from).saturating_sub(1);
        for segment in &segments[first..] {
            match segment.log_file().existing().and_then(|file| file.sync_data()) {
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        self.sync_names()?;
        self.durable.raise(end, cuts);
        Ok(())
    }

    /// Makes the names of the files and of the directory durable.
    pub(super) fn sync_names(&self) -> io::Result<()> {
        let _one = self.naming.lock();
        let home = self.home();
        if self.identity_changed.swap(false, Ordering::AcqRel) {
            let sync = || home.disk.open(&home.file(partition_metadata::FILE), OpenMode::ReadWrite)?.sync_data();
            sync().inspect_err(|_| self.identity_changed.store(true, Ordering::Release))?;
        }
        if self.names_changed.swap(false, Ordering::AcqRel) {
            let dir = home.path();
            let synced = home.disk.sync_dir(&dir);
            let synced = synced.and_then(|()| dir.parent().map_or(Ok(()), |parent| home.disk.sync_dir(parent)));
            synced.inspect_err(|_| self.names_changed.store(true, Ordering::Release))?;
        }
        Ok(())
    }

    /// `flush.ms`, and a bound on what recovery has to read: flushes what has waited for long or has become much.
    pub(crate) fn flush_if_old(&self, now: Timestamp) -> io::Result<()> {
        let config = self.config.load();
        let unflushed = self.unflushed.load(Ordering::Relaxed);
        if unflushed == 0 || config.durability == Durability::Ephemeral {
            return Ok(());
        }
        let age = now.0 - self.flushed_at.load(Ordering::Relaxed);
        if age >= config.flush_ms || (config.durability == Durability::Strict && unflushed >= UNFLUSHED_MAX) {
            self.flushed_at.store(now.0, Ordering::Relaxed);
            return self.flush_records(&config);
        }
        Ok(())
    }

    /// As [`Self::flush`]. Where there is no space for what a flush writes beside the records, for the indexes and the epochs,
    /// the records are synced without it: they are in the file, a follower counts as having them and readers may see them, so
    /// that the promise of `flush.messages` holds for them too. Recovery brings the rest up to date.
    fn flush_records(&self, config: &LogConfig) -> io::Result<()> {
        match self.flush() {
            // What a `strict` log promises its journal has.
            Err(error) if is_lack_of_space(&error) && config.durability == Durability::Replicated => {
                self.insist_on_sync(|| self.sync_data())
            }
            done => done,
        }
    }

    fn write_for_flush(&self, synced: Offset, target: Offset) -> io::Result<()> {
        for segment in self.segments_between(synced, target) {
            segment.write_collected()?;
            segment.write_indexes()?;
        }
        self.write_epochs()
    }

    /// Segments with records from `start` to before `end`.
    fn segments_between(&self, start: Offset, end: Offset) -> Vec<Arc<Segment>> {
        let segments = self.segments.load_full();
        let first = segments.partition_point(|segment| segment.base <= start).saturating_sub(1);
        segments[first..].iter().take_while(|segment| segment.base < end).map(Arc::clone).collect()
    }

    fn sync_files(&self, synced: Offset, target: Offset, snapshot: Option<Offset>) -> io::Result<()> {
        if self.length_changed.swap(false, Ordering::AcqRel) {
            // A segment that ends at the recovery point was flushed but for its length: zeros were cut off since.
            let segments = self.segments.load_full();
            let before = segments.partition_point(|segment| segment.base < synced).checked_sub(1);
            let sync = || before.map_or(Ok(()), |at| segments[at].log_file().for_writing()?.sync_data());
            sync().inspect_err(|_| self.length_changed.store(true, Ordering::Release))?;
        }
        for segment in self.segments_between(synced, target) {
            segment.sync_written()?;
        }
        if let Some(snapshot) = snapshot {
            match self.home().disk.open(&self.home().file(&FileKind::Snapshot.name(snapshot.0)), OpenMode::ReadWrite) {
                Ok(file) => file.sync_data()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.sync_names()
    }

    pub(super) fn write_epochs(&self) -> io::Result<()> {
        self.rewrite_epochs(rewrite_atomic)
    }

    fn rewrite_epochs(&self, rewrite: fn(&dyn Disk, &Path, &[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.epochs_changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let text = self.epochs.read().to_text();
        let written = rewrite(&*self.home().disk, &self.home().file(EPOCHS_FILE), text.as_bytes());
        written.inspect_err(|_| self.epochs_changed.store(true, Ordering::Release))
    }

    /// `flush.messages`. What acks=all waits for is on the disk of a `strict` log anyway; with the key set an append itself
    /// waits, and with it every other answer.
    pub(super) fn flush_if_due(&self, config: &LogConfig) -> io::Result<()> {
        let unflushed = |from: Offset| self.log_end().0.saturating_sub(from.0) >= config.flush_messages;
        match (config.durability, &*self.journal.load()) {
            (Durability::Ephemeral, _) => Ok(()),
            (Durability::Strict, Some(journal)) if unflushed(self.durable.end()) => {
                journal.commit();
                self.home().health.check()
            }
            (Durability::Strict, Some(_)) => Ok(()),
            _ if unflushed(Offset(self.recovery_point.load(Ordering::Acquire))) => self.flush_records(config),
            _ => Ok(()),
        }
    }

    /// Writes the producers' state up to `offset`, unless that was done. It is synced with the next flush.
    pub(super) fn take_snapshot(&self, writer: &mut Writer, offset: Offset) -> io::Result<()> {
        if writer.snapshot == Some(offset) {
            return Ok(());
        }
        let bytes = producer_snapshot::encode(&writer.producers.snapshot());
        let file = self.home().disk.open(&self.home().file(&FileKind::Snapshot.name(offset.0)), OpenMode::Truncate)?;
        file.write_at(&[&bytes], 0)?;
        self.names_changed.store(true, Ordering::Release);
        let previous = writer.snapshot.replace(offset);
        // One at each segment's base is kept, for when the log is cut; the others only served the recovery point.
        if let Some(previous) = previous
            && !self.segments.load().iter().any(|segment| segment.base == previous)
        {
            remove_if_present(&*self.home().disk, &self.home().file(&FileKind::Snapshot.name(previous.0)))?;
        }
        Ok(())
    }

    /// Flushes, writes producers' snapshot and indexes for a quick start, and refuses appends from then on. Log start, recovery point
    /// and high watermark are for the caller to keep ([`super::LogOptions::new`]).
    ///
    /// # Errors
    /// Those of the disk.
    pub fn close(&self) -> io::Result<()> {
        if self.refuse_appends() { Ok(()) } else { self.finish() }
    }

    /// Refuses appends from now on, without another write. True if they were refused before.
    pub(crate) fn refuse_appends(&self) -> bool {
        std::mem::replace(&mut self.writer.lock().closed, true)
    }

    /// What closing does once nothing is appended any more.
    pub(crate) fn finish(&self) -> io::Result<()> {
        if self.is_online() {
            self.seal()?;
            self.flush()?;
            if self.config.load().durability == Durability::Ephemeral {
                // For a quick start; that it may not be true after a power cut is what was chosen.
                self.write_epochs()?;
                self.recovery_point.store(self.log_end().0, Ordering::Release);
            }
        }
        self.close_files();
        Ok(())
    }

    /// Whether [`Self::finish`] would have to wait for the disk.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.log_end().0 > self.recovery_point.load(Ordering::Acquire)
            || self.epochs_changed.load(Ordering::Acquire)
            || self.names_changed.load(Ordering::Acquire)
            || self.length_changed.load(Ordering::Acquire)
            || self.writer.lock().ahead.are_there()
    }

    /// As [`Self::finish`], up to where the disk is waited for: whoever closes many logs waits once, for the whole file
    /// system. [`Self::mark_synced`] ends it.
    pub(crate) fn finish_unsynced(&self) -> io::Result<Unsynced> {
        let _order = self.flushing.lock();
        self.home().health.check()?;
        let cuts = self.durable.cuts();
        self.seal()?;
        let end = self.log_end();
        self.keep_snapshot(&mut self.writer.lock(), end)?;
        let synced = Offset(self.recovery_point.load(Ordering::Acquire));
        self.home().guard(|| {
            for segment in self.segments_between(synced, end) {
                segment.write_collected()?;
                segment.write_indexes()?;
            }
            self.rewrite_epochs(rewrite_unsynced)
        })?;
        Ok(Unsynced { end, cuts })
    }

    /// All of the file system was made durable since [`Self::finish_unsynced`].
    pub(crate) fn mark_synced(&self, what: Unsynced) {
        let _order = self.flushing.lock();
        self.names_changed.store(false, Ordering::Release);
        self.length_changed.store(false, Ordering::Release);
        self.identity_changed.store(false, Ordering::Release);
        if self.durable.cuts() == what.cuts {
            self.recovery_point.fetch_max(what.end.0, Ordering::AcqRel);
            self.durable.raise(what.end, what.cuts);
        }
        self.close_files();
    }

    fn seal(&self) -> io::Result<()> {
        let active = self.active();
        if active.is_empty() {
            return Ok(());
        }
        self.home().guard(|| active.write_collected())?;
        self.if_there_is_space(active.seal())?;
        self.home().guard(|| self.cut_zeros(&mut self.writer.lock()))?;
        if self.config.load().preallocate { self.home().guard(|| active.give_back()) } else { Ok(()) }
    }

    /// Closes the files; they are opened again when they are needed.
    pub(crate) fn close_files(&self) {
        for segment in self.segments.load().iter() {
            segment.close_files();
        }
    }

    /// With a snapshot recovery has to read nothing before the recovery point. It can do without: what is already in the
    /// log is made durable also when there is no space left for a snapshot of it.
    fn keep_snapshot(&self, writer: &mut Writer, end: Offset) -> io::Result<()> {
        self.home().health.check()?;
        self.if_there_is_space(self.take_snapshot(writer, end))
    }

    /// What can be done without where there is no space for it.
    pub(super) fn if_there_is_space(&self, done: io::Result<()>) -> io::Result<()> {
        let Err(error) = done else { return Ok(()) };
        self.home().report(&error);
        if is_shortage(&error) { Ok(()) } else { Err(error) }
    }

    /// Deletes the segments that retention or DeleteRecords has left behind; how many. Nothing at or behind the high watermark
    /// goes.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn apply_retention(&self, now: Timestamp) -> io::Result<usize> {
        let config = self.config.load();
        let high_watermark = self.high_watermark();
        let (segments, reasons) = {
            let segments = self.segments.load_full();
            let log_end = self.log_end();
            let mut ages = Vec::with_capacity(segments.len());
            for (at, segment) in segments.iter().enumerate() {
                let end = segments.get(at + 1).map_or(log_end, |next| next.base);
                ages.push(SegmentAge { end, size: segment.size(), latest: segment.latest()? });
            }
            let is_full = self.home().health.is_full();
            let reasons = retention::choose(&ages, self.log_start(), high_watermark, &config, now, is_full);
            (segments, reasons)
        };
        if reasons.is_empty() {
            return Ok(0);
        }
        let _order = self.flushing.lock();
        let mut writer = self.writer.lock();
        let doomed = &segments[..reasons.len()];
        let current = self.segments.load_full();
        // The cleaner or a truncation may have been here meanwhile: then the next round decides anew.
        if !current.iter().zip(doomed).all(|(here, chosen)| Arc::ptr_eq(here, chosen)) || current.len() < doomed.len() {
            return Ok(0);
        }
        let start = self.home().guard(|| {
            if doomed.len() == current.len() {
                self.roll(&mut writer, self.log_end())?;
                // Where the log goes on has to be known before what was there goes.
                self.sync_names()?;
            }
            let current = self.segments.load_full();
            let rest = current[doomed.len()..].to_vec();
            let start = rest[0].base;
            self.move_log_start(&mut writer, start.max(self.log_start()));
            self.segments.store(Arc::new(rest));
            self.recovery_point.fetch_max(start.0, Ordering::AcqRel);
            Ok(start)
        })?;
        let newest = writer.snapshot;
        // Nobody finds these segments any more, so appends need not wait while thousands of files are renamed. The oldest
        // go first: whatever a crash leaves of them continues into the log.
        drop(writer);
        self.home().guard(|| {
            self.rename_deleted(doomed)?;
            self.unlink_renamed(doomed.to_vec())?;
            self.remove_snapshots(newest, |offset| offset < start)
        })?;
        tracing::info!(partition = %self.topic_partition(), segments = doomed.len(), reason = ?reasons[0], log_start = %self.log_start(), "old segments deleted");
        Ok(doomed.len())
    }

    /// Renames the files of segments that nobody can find any more; they are unlinked once their readers are done.
    pub(super) fn unlink(&self, segments: Vec<Arc<Segment>>) -> io::Result<()> {
        // The `.log` last: a start that finds another in its place goes on from there.
        for segment in &segments {
            segment.forget_collected();
            segment.rename_suffix(Suffix::Deleted)?;
        }
        self.names_changed.store(true, Ordering::Release);
        self.unlink_renamed(segments)
    }

    pub(super) fn rename_deleted(&self, segments: &[Arc<Segment>]) -> io::Result<()> {
        // The records first, and for good: a segment that comes back after a crash without its index of aborted transactions
        // would give them to readers of committed records.
        for segment in segments {
            segment.forget_collected();
            segment.log_file().rename_suffix(Suffix::Deleted)?;
        }
        if segments.iter().any(|segment| !segment.txn_index().is_empty()) {
            self.home().disk.sync_dir(&self.home().path())?;
        }
        for file in segments.iter().flat_map(|segment| segment.files()).filter(|file| !file.is_log()) {
            file.rename_suffix(Suffix::Deleted)?;
        }
        self.names_changed.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn unlink_renamed(&self, segments: Vec<Arc<Segment>>) -> io::Result<()> {
        match self.host() {
            Some(host) => host.unlink_later(segments, self.config.load().file_delete_delay_ms),
            None => unlink_now(self, &segments)?,
        }
        Ok(())
    }

    /// Removes snapshots whose offset is `doomed`, save the newest one.
    pub(super) fn remove_snapshots(&self, newest: Option<Offset>, doomed: impl Fn(Offset) -> bool) -> io::Result<()> {
        for entry in self.home().disk.list(&self.home().path())? {
            if let Some((offset, FileKind::Snapshot)) = FileKind::parse(&entry.name)
                && doomed(Offset(offset))
                && newest != Some(Offset(offset))
            {
                remove_if_present(&*self.home().disk, &self.home().file(&entry.name))?;
            }
        }
        Ok(())
    }
}

fn unlink_now(log: &Log, segments: &[Arc<Segment>]) -> io::Result<()> {
    for segment in segments {
        for file in segment.files() {
            remove_if_present(&*log.home().disk, &file.path())?;
        }
    }
    Ok(())
}
