//! The file system of the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::{DirEntry, DirLock, Disk, DiskFile, FileSystem, OpenMode, Space};

/// Plain positional reads and writes through the page cache.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::Create => {
                options.write(true).create(true).truncate(false);
            }
            OpenMode::Truncate => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of Kafka's, nor is a file that vanished meanwhile.
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            let is_dir = metadata.is_dir();
            let len = if is_dir { 0 } else { metadata.len() };
            entries.push(DirEntry { name, is_dir, len, modified: metadata.modified()? });
        }
        Ok(entries)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<DirLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match lock_exclusive(&file) {
            Ok(()) => Ok(Some(DirLock::new(file))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::PermissionDenied) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let space = rustix::fs::statvfs(path)?;
        Ok(Space { total: space.f_blocks * space.f_frsize, usable: space.f_bavail * space.f_frsize })
    }

    #[cfg(target_os = "linux")]
    fn open_direct(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        use std::os::unix::fs::OpenOptionsExt;
        let flag = rustix::fs::OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().read(true).write(true).custom_flags(flag).open(path) {
            Ok(file) => Ok(Arc::new(RealFile(file))),
            // Not every file system can.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                self.open(path, OpenMode::ReadWrite)
            }
            Err(error) => Err(error),
        }
    }

    #[cfg(target_os = "linux")]
    fn file_system(&self, dir: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        Ok(Some(Arc::new(WholeFileSystem { dir: File::open(dir)?, has_failed: parking_lot::Mutex::new(false) })))
    }
}

/// A directory that stays open: the kernel tells each descriptor once of an error since it was opened.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct WholeFileSystem {
    dir: File,
    has_failed: parking_lot::Mutex<bool>,
}

#[cfg(target_os = "linux")]
impl FileSystem for WholeFileSystem {
    fn sync(&self) -> io::Result<()> {
        // The kernel tells an error once; here everybody has to hear it.
        let mut has_failed = self.has_failed.lock();
        if *has_failed {
            return Err(io::Error::other("an earlier sync of the file system has failed"));
        }
        Ok(rustix::fs::syncfs(&self.dir).inspect_err(|_| *has_failed = true)?)
    }
}

/// Both kinds of lock: Java's `FileChannel.lock` is a record lock (so that Kafka is kept out), which does not exclude a
/// second opening within one process; `flock` does.
fn lock_exclusive(file: &File) -> io::Result<()> {
    rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(())
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.0.read_at(&mut buf[done..], position + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    #[cfg(target_os = "linux")]
    fn try_read_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        match preadv2(&self.0, &mut [IoSliceMut::new(buf)], position, ReadWriteFlags::NOWAIT) {
            Ok(read) => Ok(Some(read)),
            // Not cached, or a file system that cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn try_read_at(&self, _buf: &mut [u8], _position: u64) -> io::Result<Option<usize>> {
        Ok(None)
    }

    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left: &mut [IoSlice<'_>] = &mut slices;
        IoSlice::advance_slices(&mut left, 0);
        let mut position = position;
        while !left.is_empty() {
            // The kernel takes at most 1024 parts at once.
            let many = left.len().min(1024);
            match rustix::io::pwritev(&self.0, &left[..many], position) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    position += written as u64;
                    IoSlice::advance_slices(&mut left, written);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn reserve(&self, len: u64) -> io::Result<()> {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::KEEP_SIZE, 0, len) {
            // Not every file system can.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            done => Ok(done?),
        }
    }

    fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}
