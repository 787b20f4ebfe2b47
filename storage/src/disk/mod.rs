//! The only door to the file system.
//!
//! Everything above works on [`Disk`] and [`DiskFile`]: [`RealDisk`] in the broker, `faulty::FaultyDisk` in
//! tests, which remembers what was synced and can lose the rest, [`watched::WatchedDisk`] where it is counted what is read. No other file of this crate names `std::fs`.

pub mod faulty;
mod real;
pub mod watched;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

pub use real::RealDisk;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must exist.
    Read,
    /// The file must exist.
    ReadWrite,
    /// Created if it is missing, kept if it is there.
    Create,
    /// Created if it is missing, emptied if it is there.
    Truncate,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Bytes; 0 for directories.
    pub len: u64,
    pub modified: SystemTime,
}

/// Bytes of the file system that holds a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    pub total: u64,
    /// What an unprivileged process may still use.
    pub usable: u64,
}

/// A directory's lock, held as long as the value lives.
pub struct DirLock {
    _held: Box<dyn std::any::Any + Send + Sync>,
}

impl DirLock {
    fn new(held: impl std::any::Any + Send + Sync) -> Self {
        Self { _held: Box::new(held) }
    }
}

impl fmt::Debug for DirLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DirLock")
    }
}

/// A file system. Names are durable after [`Disk::sync_dir`], contents after [`DiskFile::sync_data`].
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;
    /// The names in a directory, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a directory with all that it holds.
    fn remove_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Takes a file's exclusive lock; `None` if another process has it.
    fn lock(&self, path: &Path) -> io::Result<Option<DirLock>>;
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Opens a file whose reads and writes go past the page cache where the system can do that. Then positions, lengths and
    /// addresses are multiples of [`BLOCK`].
    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path, OpenMode::ReadWrite)
    }
    /// The file system that holds `dir`, if all of it can be made durable at once.
    fn file_system(&self, _dir: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        Ok(None)
    }
}

/// The unit of writes past the page cache.
pub const BLOCK: usize = 4096;

/// A whole file system.
pub trait FileSystem: fmt::Debug + Send + Sync + 'static {
    /// Makes all contents and all names durable. Fails if anything could not be written since this value was made.
    fn sync(&self) -> io::Result<()>;
}

/// An open file. Several threads may read while one writes.
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;
    /// As [`Self::read_at`], but only what lies in memory: `None` when the disk would have to be asked.
    fn try_read_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>>;
    /// Writes all of `parts`, one behind the other.
    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()>;
    /// Makes the contents and the length durable.
    fn sync_data(&self) -> io::Result<()>;
    fn len(&self) -> io::Result<u64>;
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Takes the space for `len` bytes where the file system can do that; the file's length stays as it is. Cutting the file
    /// gives back what is behind its end.
    fn reserve(&self, _len: u64) -> io::Result<()> {
        Ok(())
    }
    /// The descriptor, where there is one, for system calls that move bytes without a copy.
    fn as_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

/// Fills `buf` from `position` on, or says that the file is too short.
pub fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], position: u64) -> io::Result<()> {
    let read = file.read_at(buf, position)?;
    if read == buf.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[repr(align(4096))]
struct Zeros([u8; 256 << 10]);

/// What new files are filled from: never written to, so that it takes no memory of its own.
static ZEROS: Zeros = Zeros([0; 256 << 10]);

/// Zeros to write: as many as asked for, at most 256 KiB.
pub(crate) fn zeros(len: u64) -> &'static [u8] {
    &ZEROS.0[..usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.0.len())]
}

/// Makes the first `len` bytes of a file zeros that the file system has given space to. A file that was opened for direct
/// writes gets a multiple of [`BLOCK`].
pub fn fill_with_zeros(file: &dyn DiskFile, len: u64) -> io::Result<()> {
    let mut position = 0;
    while position < len {
        let zeros = zeros(len - position);
        file.write_at(&[zeros], position)?;
        position += zeros.len() as u64;
    }
    Ok(())
}

/// A whole small file; `None` if it does not exist.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Replaces a file's contents in one step that survives a power cut: the old contents or the new, never a mixture.
pub fn rewrite_atomic(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    rewrite(disk, path, contents, |file| file.sync_data())?;
    match path.parent() {
        Some(parent) => disk.sync_dir(parent),
        None => Ok(()),
    }
}

/// Replaces a file's contents in one step, to be made durable by whoever syncs the whole file system next. A power cut before
/// that may leave anything.
pub fn rewrite_unsynced(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    rewrite(disk, path, contents, |_| Ok(()))
}

fn rewrite(
    disk: &dyn Disk,
    path: &Path,
    contents: &[u8],
    sync: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let file = disk.open(temporary, OpenMode::Truncate)?;
    file.write_at(&[contents], 0)?;
    sync(&*file)?;
    drop(file);
    disk.rename(temporary, path)
}

/// Removes a file that may be gone already.
pub fn remove_if_present(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
