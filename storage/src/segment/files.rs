//! The files of a segment, and the bound on how many files are open.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Segment;
use super::home::{FileKind, Home, Suffix};
use crate::disk::{DiskFile, OpenMode};
use crate::errors::is_descriptor_shortage;

/// The four files of a segment.
#[derive(Debug)]
pub struct SegmentFiles {
    pub home: Arc<Home>,
    pub log: LazyFile,
    pub offset_index: LazyFile,
    pub time_index: LazyFile,
    pub txn_index: LazyFile,
}

/// A file that is opened when it is first needed.
#[derive(Debug)]
pub struct LazyFile {
    kind: FileKind,
    suffix: Mutex<Suffix>,
    handle: Mutex<Option<Arc<dyn DiskFile>>>,
    used: AtomicBool,
}

impl LazyFile {
    const fn new(kind: FileKind, suffix: Suffix) -> Self {
        Self { kind, suffix: Mutex::new(suffix), handle: Mutex::new(None), used: AtomicBool::new(false) }
    }
}

impl SegmentFiles {
    pub const fn new(home: Arc<Home>, suffix: Suffix) -> Self {
        Self {
            home,
            log: LazyFile::new(FileKind::Log, suffix),
            offset_index: LazyFile::new(FileKind::Index, suffix),
            time_index: LazyFile::new(FileKind::TimeIndex, suffix),
            txn_index: LazyFile::new(FileKind::TxnIndex, suffix),
        }
    }
}

/// One of a segment's files.
#[derive(Debug, Clone, Copy)]
pub struct SegmentFile<'a> {
    segment: &'a Segment,
    file: &'a LazyFile,
}

impl<'a> SegmentFile<'a> {
    pub const fn new(segment: &'a Segment, file: &'a LazyFile) -> Self {
        Self { segment, file }
    }

    pub fn path(self) -> PathBuf {
        let suffix = *self.file.suffix.lock();
        self.path_with(suffix)
    }

    fn path_with(self, suffix: Suffix) -> PathBuf {
        let mut name = self.file.kind.name(self.segment.base.0);
        name.push_str(suffix.as_str());
        self.home().file(&name)
    }

    pub const fn home(self) -> &'a Arc<Home> {
        &self.segment.files.home
    }

    /// The open file; it must exist.
    pub fn existing(self) -> io::Result<Arc<dyn DiskFile>> {
        self.complete()?;
        self.open(OpenMode::ReadWrite)
    }

    /// The open file; created if it is missing.
    pub fn created(self) -> io::Result<Arc<dyn DiskFile>> {
        self.complete()?;
        self.open(OpenMode::Create)
    }

    /// As [`Self::created`], and records that were collected for it may be missing.
    pub fn for_writing(self) -> io::Result<Arc<dyn DiskFile>> {
        self.open(OpenMode::Create)
    }

    fn complete(self) -> io::Result<()> {
        if self.is_log() { self.segment.write_collected() } else { Ok(()) }
    }

    fn open(self, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.file.used.store(true, Ordering::Relaxed);
        let mut handle = self.file.handle.lock();
        if let Some(file) = &*handle {
            return Ok(Arc::clone(file));
        }
        let file = self.home().disk.open(&self.path(), mode)?;
        *handle = Some(Arc::clone(&file));
        drop(handle);
        self.home().open_files.opened(self);
        Ok(file)
    }

    pub fn close(self) {
        *self.file.handle.lock() = None;
    }

    /// Whether it has the records.
    pub fn is_log(self) -> bool {
        self.file.kind == FileKind::Log
    }

    /// Gives the file another suffix; a missing file has nothing to rename.
    pub fn rename_suffix(self, suffix: Suffix) -> io::Result<()> {
        match self.home().disk.rename(&self.path(), &self.path_with(suffix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_log() => {}
            done => done?,
        }
        *self.file.suffix.lock() = suffix;
        Ok(())
    }

    /// Whether it has been used since this was last asked.
    fn take_used(self) -> bool {
        self.file.used.swap(false, Ordering::Relaxed)
    }

    /// Closes the file unless somebody is just opening it; whether it is closed.
    fn try_close(self) -> bool {
        self.file.handle.try_lock().map(|mut handle| *handle = None).is_some()
    }
}

/// A file that was opened, as long as its segment is there.
#[derive(Debug)]
struct Opened {
    segment: Weak<Segment>,
    kind: FileKind,
}

impl Opened {
    /// What `look` finds at the file; `None` once it is gone.
    fn look<T>(&self, look: impl FnOnce(SegmentFile<'_>) -> T) -> Option<T> {
        let segment = self.segment.upgrade()?;
        segment.files().into_iter().find(|file| file.file.kind == self.kind).map(look)
    }
}

/// Closes the files that were not used for longest when too many are open.
#[derive(Debug)]
pub struct OpenFiles {
    max: usize,
    queue: Mutex<VecDeque<Opened>>,
}

impl OpenFiles {
    pub const fn new(max: usize) -> Self {
        Self { max, queue: Mutex::new(VecDeque::new()) }
    }

    /// A file was opened. Second chance: a file used since it was last looked at goes to the back once more.
    fn opened(&self, file: SegmentFile<'_>) {
        let mut queue = self.queue.lock();
        queue.push_back(Opened { segment: Weak::clone(&file.segment.this), kind: file.file.kind });
        let mut looks = queue.len();
        while queue.len() > self.max && looks > 0 {
            looks -= 1;
            let Some(oldest) = queue.pop_front() else { return };
            let stays =
                |other: SegmentFile<'_>| std::ptr::eq(other.file, file.file) || other.take_used() || !other.try_close();
            if oldest.look(stays) == Some(true) {
                queue.push_back(oldest);
            }
        }
    }

    /// Closes what nobody uses at the moment if file descriptors are what is wanting.
    pub(crate) fn relieve(&self, error: &io::Error) {
        if is_descriptor_shortage(error) {
            // The first call takes note of what is used, the second one closes it all the same.
            self.close_idle();
            self.close_idle();
        }
    }

    /// Closes what was not used since the last call: a partition that rests holds no descriptor.
    pub fn close_idle(&self) {
        self.queue.lock().retain(|opened| opened.look(|file| file.take_used() || !file.try_close()) == Some(true));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use ottla_protocol::Offset;

    use super::*;
    use crate::disk::Disk;
    use crate::disk::faulty::FaultyDisk;

    /// One segment, and which of its log, offset index and time index are open.
    fn segment(max: usize) -> (Arc<Segment>, Arc<OpenFiles>, impl Fn() -> [bool; 3]) {
        let disk = FaultyDisk::default();
        disk.create_dir_all(Path::new("/data/t-0")).unwrap();
        let open_files = Arc::new(OpenFiles::new(max));
        let home = Home::new(Arc::new(disk), Path::new("/data/t-0"), Arc::default(), Arc::clone(&open_files));
        let segment = Segment::create(&Arc::new(home), Offset(0), Suffix::None);
        let looked_at = Arc::clone(&segment);
        let is_open = move || {
            let [log, offset_index, time_index, _] = looked_at.files();
            [log, offset_index, time_index].map(|file| file.file.handle.lock().is_some())
        };
        (segment, open_files, is_open)
    }

    #[test]
    fn a_file_that_rests_is_closed_and_the_others_of_its_segment_stay_open() {
        let (segment, open_files, is_open) = segment(16);
        let [log, offset_index, time_index, _] = segment.files();
        for file in [log, offset_index, time_index] {
            file.created().unwrap();
        }
        open_files.close_idle();
        assert_eq!(is_open(), [true, true, true], "all were used since they were last looked at");
        offset_index.existing().unwrap();
        open_files.close_idle();
        assert_eq!(is_open(), [false, true, false]);
        open_files.close_idle();
        assert_eq!(is_open(), [false, false, false]);
        assert!(open_files.queue.lock().is_empty());
    }

    #[test]
    fn a_file_too_many_closes_the_one_that_had_its_second_chance() {
        let (segment, open_files, is_open) = segment(2);
        let [log, offset_index, time_index, _] = segment.files();
        log.created().unwrap();
        offset_index.created().unwrap();
        open_files.close_idle();
        offset_index.existing().unwrap();
        time_index.created().unwrap();
        assert_eq!(is_open(), [false, true, true]);
        // One that is gone is no open file.
        drop((segment, is_open));
        open_files.close_idle();
        assert!(open_files.queue.lock().is_empty());
    }
}
