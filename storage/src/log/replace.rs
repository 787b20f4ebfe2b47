//! What compaction needs of a log.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ottla_protocol::{Offset, ProducerEpoch, ProducerId};

use super::Log;
use crate::segment::{Segment, Suffix};

impl Log {
    /// By producer: its epoch and the last offset of its last batch.
    pub(crate) fn last_batches(&self) -> HashMap<ProducerId, (ProducerEpoch, Option<Offset>)> {
        self.writer.lock().producers.last_batch_offsets()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.writer.lock().closed
    }

    /// Puts a cleaned segment (its files synced, their names still ending in `.cleaned`) in the place of neighbours. The
    /// order of the steps is that of [`crate::segment::swap`].
    ///
    /// # Errors
    /// `Interrupted` if the log has changed meanwhile: then nothing is replaced.
    pub(crate) fn replace_segments(&self, old: &[Arc<Segment>], new: Arc<Segment>) -> io::Result<()> {
        let _order = self.flushing.lock();
        let writer = self.writer.lock();
        let current = self.segments.load_full();
        let first = current.partition_point(|segment| segment.base < old[0].base);
        let there = current.get(first..first + old.len());
        let same = there.is_some_and(|there| there.iter().zip(old).all(|(a, b)| Arc::ptr_eq(a, b)));
        if !same || writer.closed || self.is_moving() || first + old.len() >= current.len() {
            for file in new.files() {
                crate::disk::remove_if_present(&*self.home().disk, &file.path())?;
            }
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the log has changed while it was cleaned"));
        }
        self.home().guard(|| {
            let dir = self.home().path();
            new.rename_suffix(Suffix::Swap)?;
            self.home().disk.sync_dir(&dir)?;
            self.unlink(old.to_vec())?;
            self.home().disk.sync_dir(&dir)?;
            new.rename_suffix(Suffix::None)?;
            self.home().disk.sync_dir(&dir)?;
            let mut segments = Vec::clone(&current);
            segments.splice(first..first + old.len(), [Arc::clone(&new)]);
            self.segments.store(Arc::new(segments));
            self.names_changed.store(true, Ordering::Release);
            // Snapshots at the bases of segments that are gone serve nobody.
            let gone: Vec<Offset> = old[1..].iter().map(|segment| segment.base).collect();
            self.remove_snapshots(writer.snapshot, |offset| gone.contains(&offset))
        })
    }
}
