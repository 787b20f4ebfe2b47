//! Space that is kept back: when a disk is full, producers are refused, and what frees space or must go on has room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, OpenMode, fill_with_zeros, remove_if_present};

/// The file that holds the space.
const FILE: &str = "ottla-reserve";
/// A disk is full when it has less left than this part of the reserve.
const FULL: u64 = 4;
/// A disk has space again when it has this many times the reserve.
const FREE: u64 = 2;

/// The reserve of one log directory.
#[derive(Debug)]
pub struct Reserve {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    bytes: u64,
    is_held: Mutex<bool>,
}

impl Reserve {
    /// At most `bytes`, and a small part of a small disk.
    pub fn new(disk: Arc<dyn Disk>, dir: &Path, bytes: u64) -> Self {
        let total = disk.space(dir).map_or(u64::MAX, |space| space.total);
        Self { disk, dir: dir.to_path_buf(), bytes: bytes.min(total / 64), is_held: Mutex::new(false) }
    }

    /// Takes the space, unless there is so little that it is needed now. False in that case.
    pub fn take(&self) -> io::Result<bool> {
        let mut is_held = self.is_held.lock();
        if *is_held || self.bytes == 0 {
            return Ok(true);
        }
        let path = self.dir.join(FILE);
        let there = match self.disk.open(&path, OpenMode::Read) {
            Ok(file) => file.len()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        if self.usable()? + there < self.bytes * FREE {
            self.remove()?;
            return Ok(false);
        }
        if there < self.bytes {
            let file = self.disk.open(&path, OpenMode::Truncate)?;
            fill_with_zeros(&*file, self.bytes)?;
        }
        *is_held = true;
        Ok(true)
    }

    /// Gives the space to whoever needs it now.
    pub fn release(&self) -> io::Result<()> {
        *self.is_held.lock() = false;
        self.remove()
    }

    /// Whether so little is left that only the reserve can help.
    pub fn is_needed(&self) -> io::Result<bool> {
        Ok(self.bytes > 0 && self.usable()? < self.bytes / FULL)
    }

    fn remove(&self) -> io::Result<()> {
        remove_if_present(&*self.disk, &self.dir.join(FILE))
    }

    /// Bytes that are left.
    pub fn usable(&self) -> io::Result<u64> {
        Ok(self.disk.space(&self.dir)?.usable)
    }
}
