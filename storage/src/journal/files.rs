//! The files of a journal: one is written, some are waiting until what they hold is in the logs' own files, some are free.
//!
//! A file is filled with zeros and synced before it is used, and used again and again: so a sync of it has no metadata to
//! write, and does not wait for the data of the logs beside it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{BLOCK, Disk, DiskFile, OpenMode, fill_with_zeros, remove_if_present};

const PREFIX: &str = "ottla-journal-";
/// The first file; each new one is twice as large as the largest, up to the largest size.
const SIZE_MIN: u64 = 4 << 20;
const SIZE_MAX: u64 = 64 << 20;
/// Files at a time: at most so many times their size that is not yet in the logs' files.
const FILES_MAX: usize = 6;
/// So many full ones are worth a sync of the logs: it costs by the number of logs, however little lies in each. The rest of
/// the files takes what is written meanwhile.
const FULL_MAX: usize = 3;
/// Free files that are kept: one that is made takes as long as hundreds of commits.
const FREE_MAX: usize = FILES_MAX - 1;
/// Room for the frame that closes a file.
pub const CLOSING: u64 = BLOCK as u64;

/// A file, open for writing.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
    /// Number of the first frame of this use.
    first: u64,
}

/// All files of one log directory's journal.
#[derive(Debug)]
pub struct Files {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    active: Option<JournalFile>,
    position: u64,
    full: Vec<JournalFile>,
    free: Vec<JournalFile>,
    /// What an earlier process left, the file with the oldest frame that counts first.
    left: Vec<PathBuf>,
    left_oldest: u64,
    next_slot: u64,
    size_min: u64,
    /// Whether somebody makes the next one.
    is_making: bool,
    /// Not used any more, and still there, each with its first frame.
    doomed: Vec<(u64, PathBuf)>,
}

/// A file that is to be made.
#[derive(Debug)]
pub struct Plan {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    path: PathBuf,
    size: u64,
}

impl Plan {
    /// Makes it, where at least as much is left beside it: the last space of a disk, and the reserve where that was given free, is for
    /// the logs, which do without a journal then.
    ///
    /// # Errors
    /// `StorageFull` without a byte written, and those of the disk.
    pub fn make(self) -> io::Result<JournalFile> {
        let Self { disk, dir, path, size } = self;
        if disk.space(&dir)?.usable < size.saturating_mul(2) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let fill = || -> io::Result<Arc<dyn DiskFile>> {
            disk.open(&path, OpenMode::Truncate)?;
            // Past the page cache from the beginning: what lies there each later write would have to throw out.
            let file = disk.open_direct(&path)?;
            fill_with_zeros(&*file, size)?;
            file.sync_data()?;
            disk.sync_dir(&dir)?;
            Ok(file)
        };
        let file = fill().inspect_err(|_| {
            // Half a file would only take space where there is none.
            let _ = disk.remove_file(&path);
        })?;
        Ok(JournalFile { path, file, size, first: 0 })
    }
}

/// Files that can be used again once the logs were synced.
#[derive(Debug)]
pub struct Obsolete {
    /// Files whose first frame comes before this one.
    before: u64,
    left: bool,
}

impl Files {
    /// `left`: files of an earlier process, whose names are not used again, and their oldest frame that counts.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, left: Vec<PathBuf>, left_oldest: u64, size_min: u64) -> Self {
        let slots = left.iter().filter_map(|path| slot_of(path.file_name()?.to_str()?));
        let next_slot = slots.max().map_or(0, |slot| slot + 1);
        Self {
            disk,
            dir: dir.to_path_buf(),
            active: None,
            position: 0,
            full: Vec::new(),
            free: Vec::new(),
            left,
            left_oldest,
            next_slot,
            size_min,
            is_making: false,
            doomed: Vec::new(),
        }
    }

    /// The number of the first frame that still counts, when the next one is `next`.
    pub fn oldest(&self, next: u64) -> u64 {
        match (self.left.is_empty(), self.full.first().or(self.active.as_ref())) {
            (false, _) => self.left_oldest,
            (true, Some(file)) => file.first,
            (true, None) => next,
        }
    }

    /// Where a frame of `bytes` bytes goes in the active file, if it has room for it and for the frame that closes it.
    pub fn place(&mut self, bytes: u64) -> Option<(Arc<dyn DiskFile>, u64)> {
        let active = self.active.as_ref()?;
        if self.position + bytes + CLOSING > active.size {
            return None;
        }
        let position = self.position;
        self.position += bytes;
        Some((Arc::clone(&active.file), position))
    }

    /// The active file, and where the frame goes that closes it.
    pub fn closing(&self) -> Option<(Arc<dyn DiskFile>, u64)> {
        self.active.as_ref().map(|active| (Arc::clone(&active.file), self.position))
    }

    pub fn active(&self) -> Option<Arc<dyn DiskFile>> {
        self.active.as_ref().map(|active| Arc::clone(&active.file))
    }

    /// Goes on to another file, whose first frame will be `first`, of `bytes` bytes. False: the logs have to be synced before there is one.
    pub fn next_file(&mut self, first: u64, bytes: u64) -> io::Result<bool> {
        let mut next = match self.free.pop_if(|largest| largest.size >= bytes + CLOSING) {
            Some(free) => free,
            None if self.full.len() + usize::from(self.active.is_some()) >= FILES_MAX => return Ok(false),
            None => self.create(bytes + CLOSING)?,
        };
        next.first = first;
        self.position = 0;
        self.full.extend(self.active.replace(next));
        Ok(true)
    }

    /// Makes the first file before it is needed.
    pub fn prepare(&mut self) -> io::Result<()> {
        if self.active.is_none() && self.free.is_empty() {
            let first = self.create(CLOSING)?;
            self.free.push(first);
        }
        Ok(())
    }

    fn create(&mut self, bytes: u64) -> io::Result<JournalFile> {
        self.planned(bytes).make()
    }

    fn planned(&mut self, bytes: u64) -> Plan {
        let largest = self.full.iter().chain(&self.active).map(|file| file.size).max();
        // A small disk is not for the journal.
        let share = self.disk.space(&self.dir).map_or(SIZE_MAX, |space| space.total / 64);
        let size_max = SIZE_MAX.min(share);
        let size = largest.map_or(self.size_min, |size| (size * 2).min(size_max)).max(bytes);
        let size = size.next_multiple_of(BLOCK as u64);
        let path = self.dir.join(format!("{PREFIX}{:06}", self.next_slot));
        self.next_slot += 1;
        Plan { disk: Arc::clone(&self.disk), dir: self.dir.clone(), path, size }
    }

    /// Whether the logs are to be synced, so that files can be used again.
    pub fn wants_sync(&self) -> bool {
        self.full.len() >= FULL_MAX || !self.left.is_empty()
    }

    /// Whether the next file is to be made, before somebody waits for it.
    pub fn wants_file(&self) -> bool {
        self.free.is_empty() && !self.is_making && self.full.len() + usize::from(self.active.is_some()) < FILES_MAX
    }

    /// What the next file is to be; it is made without the lock and handed to [`Files::add`].
    pub fn plan(&mut self) -> Plan {
        self.is_making = true;
        self.planned(CLOSING)
    }

    /// Takes a file that was planned.
    pub fn add(&mut self, made: io::Result<JournalFile>) -> io::Result<()> {
        self.is_making = false;
        self.free.push(made?);
        Ok(())
    }

    /// Nothing that was written counts any more: the logs were synced and nothing was written meanwhile.
    pub fn release_all(&mut self) -> io::Result<()> {
        self.full.extend(self.active.take());
        let all = self.mark();
        self.release(&all)
    }

    /// What a sync of the logs that begins now will make obsolete.
    pub fn mark(&self) -> Obsolete {
        // Files that become full while the sync is under way hold what it does not reach.
        let before = match (&self.active, self.full.last()) {
            (Some(active), _) => active.first,
            (None, Some(full)) => full.first + 1,
            (None, None) => 0,
        };
        Obsolete { before, left: !self.left.is_empty() }
    }

    /// The logs were synced since `obsolete` was taken.
    pub fn release(&mut self, obsolete: &Obsolete) -> io::Result<()> {
        self.free.extend(self.full.extract_if(.., |file| file.first < obsolete.before));
        if obsolete.left {
            self.remove_left()?;
        }
        // Small files were for the beginning; the largest one is taken next.
        self.free.sort_by_key(|file| file.size);
        let largest = self.active.iter().chain(&self.free).map(|file| file.size).max().unwrap_or(0);
        while let Some(smallest) = self.free.first()
            && (self.free.len() > FREE_MAX || smallest.size < largest)
        {
            let doomed = self.free.remove(0);
            self.doomed.push((doomed.first, doomed.path));
        }
        Ok(())
    }

    /// Files that may go once a frame is on the disk that is written from now on: it says that none of theirs counts. A power
    /// cut before could leave some of them, and their frames would count without those of the others.
    pub fn take_doomed(&mut self) -> Vec<(u64, PathBuf)> {
        std::mem::take(&mut self.doomed)
    }

    /// Those of [`Files::take_doomed`], where no frame came to the disk.
    pub fn doom(&mut self, files: Vec<(u64, PathBuf)>) {
        self.doomed.extend(files);
    }

    /// Removes all of them. The last frame says that none counts; it goes when the others are gone.
    pub fn remove_all(&mut self) -> io::Result<()> {
        let used = self.full.drain(..).chain(self.free.drain(..)).chain(self.active.take());
        let mut files: Vec<(u64, PathBuf)> =
            used.map(|file| (file.first, file.path)).chain(self.doomed.drain(..)).collect();
        files.sort();
        let last = files.pop();
        self.remove_left()?;
        for paths in [files, Vec::from_iter(last)] {
            for (_, path) in &paths {
                remove_if_present(&*self.disk, path)?;
            }
            if !paths.is_empty() {
                self.disk.sync_dir(&self.dir)?;
            }
        }
        Ok(())
    }

    /// One after the other, the oldest first: whatever moment the power goes, what is left is the end of what was written, and
    /// says how its logs were cut. The begin without the end would bring back what was cut off.
    fn remove_left(&mut self) -> io::Result<()> {
        for path in self.left.drain(..) {
            remove_if_present(&*self.disk, &path)?;
            self.disk.sync_dir(&self.dir)?;
        }
        Ok(())
    }
}

/// The first file's size unless a test asks for less.
pub const fn default_size() -> u64 {
    SIZE_MIN
}

/// The journal's files in a log directory, in the order in which they were made.
pub fn find(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = disk.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
    let mut slots: Vec<(u64, String)> =
        entries.filter_map(|entry| slot_of(&entry.name).map(|slot| (slot, entry.name))).collect();
    slots.sort();
    Ok(slots.into_iter().map(|(_, name)| dir.join(name)).collect())
}

fn slot_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::disk::faulty::FaultyDisk;

    #[test]
    fn what_becomes_full_during_a_sync_is_not_freed_by_it() {
        let disk = FaultyDisk::default();
        disk.create_dir_all("/a".as_ref()).unwrap();
        let mut files = Files::new(Arc::new(disk), "/a".as_ref(), Vec::new(), 0, 16 << 10);
        // As after a start: nothing was written yet.
        let at_start = files.mark();
        for first in [10, 20, 30] {
            assert!(files.next_file(first, 4096).unwrap());
        }
        files.release(&at_start).unwrap();
        assert_eq!(files.oldest(40), 10);
        let later = files.mark();
        assert!(files.next_file(40, 4096).unwrap());
        files.release(&later).unwrap();
        assert_eq!(files.oldest(50), 30);
        files.release_all().unwrap();
        assert_eq!(files.oldest(50), 50);
    }
}
