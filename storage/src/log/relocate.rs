//! What a move to another log directory needs of a log: a copy that follows it, and the moment at which it goes on with the
//! files of the copy. Which directories and names there are is the business of [`crate::LogDirs`].
//!
//! A copy is a log of its own that nobody else knows. It takes the batches as a follower takes those of its leader; where the
//! log is cut meanwhile, the copy is cut as well.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use ottla_protocol::{Offset, Timestamp};

use super::{Log, Writer};
use crate::config::Durability;
use crate::disk::{DiskFile, OpenMode};
use crate::errors::{AppendError, ReadError};
use crate::journal::Journal;
use crate::partition_metadata;

/// Bytes of a copy that are synced at a time, so that little is left to be synced while appends wait.
const UNSYNCED_MAX: u64 = 32 << 20;
/// What may be left to be copied while appends wait: so often ...
const LAST_COPIES_MAX: usize = 4;
/// ... so many bytes.
const LAST_BYTES_MAX: usize = 1 << 20;

/// What became of an attempt to bring a copy up to date.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    pub bytes: usize,
    /// Nothing was left at that moment.
    pub caught_up: bool,
}

impl Log {
    pub(crate) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Acquire)
    }

    /// From now on the segments are not compacted, until the move has ended.
    pub(crate) fn set_moving(&self, is_moving: bool) {
        self.is_moving.store(is_moving, Ordering::Release);
    }

    /// Whether `strict` appends go to this journal.
    pub(crate) fn is_journaled_by(&self, journal: &Journal) -> bool {
        self.journal.load().as_ref().is_some_and(|own| std::ptr::eq(Arc::as_ptr(own), journal))
    }

    /// Copies up to `max_bytes` (a larger batch goes as a whole) of what `copy` lacks.
    pub(crate) fn copy_to(&self, copy: &Self, max_bytes: usize, now: Timestamp) -> io::Result<Copied> {
        self.home().health.check()?;
        copy.update_config(self.config());
        self.cut_copy(copy)?;
        let from = copy.log_end();
        let end = self.log_end();
        let read = match self.read(from, max_bytes, end, true) {
            Ok(read) => read,
            // Cut or deleted meanwhile: the next attempt begins there.
            Err(ReadError::OutOfRange { .. }) => return Ok(Copied::default()),
            Err(ReadError::Io(error)) => return Err(error),
        };
        let mut bytes = 0;
        for records in &read.records {
            let batches = match records.read_all() {
                Ok(batches) => batches,
                Err(_) if self.lowest_cut.load(Ordering::Acquire) != i64::MAX => return Ok(Copied::default()),
                Err(error) => return Err(error),
            };
            bytes += batches.len();
            copy.append_as_follower(Bytes::from(batches), now).map_err(append_failed)?;
        }
        if copy.unflushed.load(Ordering::Relaxed) >= UNSYNCED_MAX {
            copy.flush()?;
        }
        // Compaction may have left nothing between the last batch and the log end.
        Ok(Copied { bytes, caught_up: bytes == 0 || copy.log_end() >= self.log_end() })
    }

    /// The copy loses what the log has lost, at either end.
    fn cut_copy(&self, copy: &Self) -> io::Result<()> {
        match self.lowest_cut.swap(i64::MAX, Ordering::AcqRel) {
            i64::MAX => {}
            i64::MIN => copy.truncate_fully_and_start_at(self.log_start())?,
            cut if Offset(cut) < copy.log_end() => copy.truncate_to(Offset(cut))?,
            _ => {}
        }
        let start = self.log_start();
        if copy.log_end() < start {
            copy.truncate_fully_and_start_at(start)?;
        }
        Ok(())
    }

    /// Goes on with the files of `copy`, once it has everything and all of it is on the disk. `switch` gives the copy's
    /// directory its name and takes it from the old one; appends wait meanwhile. False: too much was appended, copy that
    /// first.
    ///
    /// # Errors
    /// `Interrupted` once the log was closed. After a failure of `switch` the log stays where it is.
    pub(crate) fn move_to(
        &self,
        copy: &Self,
        journal: Option<&Arc<Journal>>,
        now: Timestamp,
        switch: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        copy.flush()?;
        // Also of an `ephemeral` log: its durable mark goes with it.
        copy.home().guard(|| copy.sync_data())?;
        let _order = self.flushing.lock();
        let mut writer = self.writer.lock();
        if writer.closed {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the log was closed while it was moved"));
        }
        let mut copied = Copied::default();
        for _ in 0..LAST_COPIES_MAX {
            copied = self.copy_to(copy, LAST_BYTES_MAX, now)?;
            if copied.caught_up {
                break;
            }
        }
        if !copied.caught_up {
            return Ok(false);
        }
        let (end, cuts) = (self.log_end(), self.durable.cuts());
        copy.complete(self, &writer, end)?;
        // Then the journal can forget the log before it is decided where it is.
        self.home().guard(|| self.sync_data())?;
        switch()?;
        self.home.store(copy.home());
        self.journal.store(journal.cloned());
        self.segments.store(copy.segments.load_full());
        {
            let mut own = copy.writer.lock();
            own.closed = true;
            writer.bytes_since_index = own.bytes_since_index;
            // A copy has none.
            writer.ahead.are_gone();
            writer.snapshot = own.snapshot;
        }
        self.recovery_point.store(copy.recovery_point.load(Ordering::Acquire), Ordering::Release);
        self.unflushed.store(0, Ordering::Relaxed);
        if self.config.load().durability != Durability::Ephemeral {
            self.durable.raise(end, cuts);
        }
        Ok(true)
    }

    /// Takes a log out of use: whoever is at work on its files is done before its directory changes its name.
    pub(crate) fn retire(&self, to: std::path::PathBuf) -> io::Result<()> {
        let _order = self.flushing.lock();
        self.writer.lock().closed = true;
        let active = self.active();
        if active.write_collected().is_err() {
            active.forget_collected();
        }
        self.home().rename(&to)
    }

    /// Makes a copy that has all batches of `log` into what a clean stop of `log` would leave, and syncs it.
    fn complete(&self, log: &Self, writer: &Writer, end: Offset) -> io::Result<()> {
        {
            let mut own = self.writer.lock();
            self.move_log_start(&mut own, log.log_start());
            // The log remembers more of producers and epochs than its batches tell.
            own.producers = writer.producers.clone();
            own.snapshot.take_if(|snapshot| *snapshot == end);
            *self.epochs.write() = log.epochs.read().clone();
            self.epochs_changed.store(true, Ordering::Release);
            self.high_watermark.store(log.high_watermark().0, Ordering::Release);
            if self.log_end() < end {
                // Or the next start would find the end at the last batch.
                self.log_end.store(end.0, Ordering::Release);
                self.home().guard(|| self.roll(&mut own, end))?;
            }
            self.home().guard(|| self.take_snapshot(&mut own, end))?;
        }
        self.settle_topic_id(log)?;
        self.flush()?;
        self.home().guard(|| self.sync_data())?;
        self.home().guard(|| self.write_epochs())
    }

    /// The topic id may have become known since the copy was begun.
    fn settle_topic_id(&self, log: &Self) -> io::Result<()> {
        if self.topic_id() == log.topic_id() {
            return Ok(());
        }
        self.home().guard(|| {
            let file: Arc<dyn DiskFile> =
                self.home().disk.open(&self.home().file(partition_metadata::FILE), OpenMode::Truncate)?;
            file.write_at(&[partition_metadata::encode(log.topic_id()).as_bytes()], 0)?;
            self.durable.set_topic_id(log.topic_id());
            self.identity_changed.store(true, Ordering::Release);
            self.names_changed.store(true, Ordering::Release);
            Ok(())
        })
    }
}

fn append_failed(error: AppendError) -> io::Error {
    match error {
        AppendError::Io(error) => error,
        AppendError::DiskFull => io::ErrorKind::StorageFull.into(),
        other => io::Error::other(other),
    }
}
