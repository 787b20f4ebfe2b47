//! A disk that is looked at: what is read through it is counted, and somebody is asked before it is changed.
//!
//! For tests and measurements that state what a use costs, whatever the machine: bytes and requests instead of time.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::{DirEntry, DirLock, Disk, DiskFile, FileSystem, OpenMode, Space};

/// A change that is about to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Write,
    Rename,
    Remove,
    Sync,
}

/// What went through the disk so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub bytes_read: u64,
    /// Requests to read.
    pub reads: u64,
    /// Files that were opened.
    pub opened: u64,
    /// Directories that were listed.
    pub listed: u64,
    /// Files that are open now.
    pub open_now: u64,
}

impl Counts {
    /// What came since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            bytes_read: self.bytes_read - before.bytes_read,
            reads: self.reads - before.reads,
            opened: self.opened - before.opened,
            listed: self.listed - before.listed,
            open_now: self.open_now,
        }
    }
}

type Hook = Arc<dyn Fn(Change, &Path) + Send + Sync>;

#[derive(Default)]
struct State {
    bytes_read: AtomicU64,
    reads: AtomicU64,
    opened: AtomicU64,
    listed: AtomicU64,
    open_now: AtomicU64,
    hook: RwLock<Option<Hook>>,
}

impl State {
    fn ask(&self, change: Change, path: &Path) {
        // Not under the lock: a hook may wait for another change.
        let hook = self.hook.read().clone();
        if let Some(hook) = hook {
            hook(change, path);
        }
    }

    fn read(&self, bytes: usize) {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Another disk, watched. Clones are the same.
#[derive(Clone)]
pub struct WatchedDisk {
    inner: Arc<dyn Disk>,
    state: Arc<State>,
}

impl fmt::Debug for WatchedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedDisk").field(&self.inner).finish()
    }
}

impl WatchedDisk {
    pub fn new(inner: impl Disk) -> Self {
        Self { inner: Arc::new(inner), state: Arc::default() }
    }

    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            bytes_read: get(&self.state.bytes_read),
            reads: get(&self.state.reads),
            opened: get(&self.state.opened),
            listed: get(&self.state.listed),
            open_now: get(&self.state.open_now),
        }
    }

    /// From now on `hook` is called before every change, in the thread that makes it.
    pub fn set_hook(&self, hook: impl Fn(Change, &Path) + Send + Sync + 'static) {
        *self.state.hook.write() = Some(Arc::new(hook));
    }

    fn watch(&self, path: &Path, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        self.state.opened.fetch_add(1, Ordering::Relaxed);
        self.state.open_now.fetch_add(1, Ordering::Relaxed);
        Arc::new(WatchedFile { file, path: path.to_path_buf(), state: Arc::clone(&self.state) })
    }
}

impl Disk for WatchedDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watch(path, self.inner.open(path, mode)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.state.listed.fetch_add(1, Ordering::Relaxed);
        self.inner.list(dir)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.state.ask(Change::Rename, from);
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.state.ask(Change::Remove, path);
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.state.ask(Change::Remove, dir);
        self.inner.remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state.ask(Change::Sync, dir);
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DirLock>> {
        self.inner.lock(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.inner.space(path)
    }

    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.watch(path, self.inner.open_direct(path)?))
    }

    fn file_system(&self, dir: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        self.inner.file_system(dir)
    }
}

struct WatchedFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    state: Arc<State>,
}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedFile").field(&self.path).finish()
    }
}

impl Drop for WatchedFile {
    fn drop(&mut self) {
        self.state.open_now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DiskFile for WatchedFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let read = self.file.read_at(buf, position)?;
        self.state.read(read);
        Ok(read)
    }

    fn try_read_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        let read = self.file.try_read_at(buf, position)?;
        self.state.read(read.unwrap_or(0));
        Ok(read)
    }

    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        self.state.ask(Change::Write, &self.path);
        self.file.write_at(parts, position)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.state.ask(Change::Sync, &self.path);
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.state.ask(Change::Write, &self.path);
        self.file.set_len(len)
    }

    fn reserve(&self, len: u64) -> io::Result<()> {
        self.file.reserve(len)
    }

    fn as_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        self.file.as_fd()
    }
}
