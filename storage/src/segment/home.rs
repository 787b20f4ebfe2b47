//! Where a partition's files live, and what they are called.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, RwLock};

use super::files::OpenFiles;
use crate::disk::Disk;
use crate::errors::{is_lack_of_space, is_shortage, offline};
use crate::reserve::Reserve;

/// Space that is not used up between two looks at it, seconds apart: much more than a fast disk takes in that time.
const PLENTY: u64 = 16 << 30;

/// A log directory's state of health, shared by all logs in it. Once offline it stays so until a restart: after a failed
/// fsync the kernel may have dropped dirty pages and marked them clean, so nothing read back can be trusted.
#[derive(Debug, Default)]
pub struct DirHealth {
    offline: AtomicBool,
    on_failure: OnceLock<FailureListener>,
    /// The disk is full: producers are refused, what they are refused for goes on.
    full: AtomicBool,
    /// There was so much space when it was last looked at that what is in memory will find some.
    plenty: AtomicBool,
    reserve: OnceLock<Arc<Reserve>>,
    /// What its partitions share.
    volume: Mutex<Weak<Volume>>,
}

/// Is called once a log directory has failed.
struct FailureListener(Arc<dyn Fn() + Send + Sync>);

impl fmt::Debug for FailureListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FailureListener")
    }
}

impl DirHealth {
    pub fn is_online(&self) -> bool {
        !self.offline.load(Ordering::Acquire)
    }

    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_online() { Ok(()) } else { Err(offline()) }
    }

    /// Keeps space back for when the disk is full.
    pub(crate) fn keep_reserve(&self, dir: &Path, reserve: Arc<Reserve>) -> io::Result<()> {
        let _ = self.reserve.set(reserve);
        self.check_space(dir).map(drop)
    }

    /// True once the disk had no space, until it has again.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Whether what is written a moment later will find space.
    pub fn has_plenty(&self) -> bool {
        self.plenty.load(Ordering::Acquire) && !self.is_full()
    }

    /// Something could not be written for want of space: the reserve is for what has to go on.
    pub(crate) fn on_shortage(&self, dir: &Path, error: &io::Error) {
        if is_lack_of_space(error)
            && let Some(reserve) = self.reserve.get()
            && !self.full.swap(true, Ordering::AcqRel)
        {
            tracing::error!(dir = %dir.display(), %error, "the disk is full: producers are refused until there is space again");
            if let Err(error) = reserve.release() {
                tracing::error!(dir = %dir.display(), %error, "the reserve could not be given free");
            }
        }
    }

    /// Looks how much space there is. True while the disk is full.
    pub(crate) fn check_space(&self, dir: &Path) -> io::Result<bool> {
        let Some(reserve) = self.reserve.get() else { return Ok(false) };
        let usable = reserve.usable();
        self.plenty.store(usable.as_ref().is_ok_and(|usable| *usable >= PLENTY), Ordering::Release);
        usable?;
        if !self.is_full() {
            if reserve.is_needed()? || !reserve.take()? {
                self.on_shortage(dir, &io::ErrorKind::StorageFull.into());
            }
        } else if reserve.take()? {
            self.full.store(false, Ordering::Release);
            tracing::info!(dir = %dir.display(), "there is space again");
        }
        Ok(self.is_full())
    }

    /// Takes the directory offline because of `error`.
    pub(crate) fn fail(&self, dir: &Path, error: &io::Error) {
        if !self.offline.swap(true, Ordering::AcqRel) {
            tracing::error!(dir = %dir.display(), %error, "log directory goes offline: nothing is written there until a restart");
            if let Some(FailureListener(listener)) = self.on_failure.get() {
                listener();
            }
        }
    }

    /// Who is told when the directory fails. It may be called under any lock of a log: it must not wait.
    pub(crate) fn on_failure(&self, listener: Arc<dyn Fn() + Send + Sync>) {
        // Set once, when the directories are taken into service.
        let _ = self.on_failure.set(FailureListener(listener));
    }
}

/// What the partitions of a log directory have in common.
pub struct Volume {
    pub disk: Arc<dyn Disk>,
    pub health: Arc<DirHealth>,
    pub open_files: Arc<OpenFiles>,
    dir: PathBuf,
}

/// A partition's directory.
pub struct Home {
    volume: Arc<Volume>,
    /// Its name in the log directory.
    name: RwLock<Box<OsStr>>,
}

impl Deref for Home {
    type Target = Volume;

    fn deref(&self) -> &Volume {
        &self.volume
    }
}

impl fmt::Debug for Volume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Volume").field(&self.dir).finish()
    }
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Home").field(&self.path()).finish()
    }
}

impl Home {
    pub fn new(disk: Arc<dyn Disk>, path: &Path, health: Arc<DirHealth>, open_files: Arc<OpenFiles>) -> Self {
        let (dir, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let mut known = health.volume.lock();
        let is_same = |known: &Arc<Volume>| known.dir == dir && Arc::ptr_eq(&known.open_files, &open_files);
        let volume = known.upgrade().filter(is_same).unwrap_or_else(|| {
            let volume = Volume { disk, health: Arc::clone(&health), open_files, dir: dir.to_path_buf() };
            let volume = Arc::new(volume);
            *known = Arc::downgrade(&volume);
            volume
        });
        drop(known);
        Self { volume, name: RwLock::new(name.into()) }
    }

    pub fn path(&self) -> PathBuf {
        self.volume.dir.join(&**self.name.read())
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Renames the directory within the log directory; files that are open stay so, the others are opened at their new place.
    pub fn rename(&self, to: &Path) -> io::Result<()> {
        let mut name = self.name.write();
        self.disk.rename(&self.volume.dir.join(&**name), to)?;
        *name = to.file_name().unwrap_or_default().into();
        Ok(())
    }

    /// Gives free what can be given free when something could not be done for `error`: space that is kept back, file
    /// descriptors that nobody uses at the moment.
    pub fn relieve(&self, error: &io::Error) {
        self.health.on_shortage(&self.path(), error);
        self.open_files.relieve(error);
    }

    /// Carries out a change of the disk; a failure takes the directory offline, lack of space does not.
    pub fn guard<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.health.check()?;
        work().inspect_err(|error| self.report(error))
    }

    pub fn report(&self, error: &io::Error) {
        if is_shortage(error) {
            self.health.on_shortage(&self.path(), error);
        } else {
            self.health.fail(&self.path(), error);
        }
    }
}

/// Segment files by their ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    Log,
    Index,
    TimeIndex,
    TxnIndex,
    Snapshot,
}

impl FileKind {
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::Index => ".index",
            Self::TimeIndex => ".timeindex",
            Self::TxnIndex => ".txnindex",
            Self::Snapshot => ".snapshot",
        }
    }

    /// `00000000000000000042.log`
    pub fn name(self, offset: i64) -> String {
        format!("{offset:020}{}", self.extension())
    }

    /// The offset and the kind in a file's name.
    pub fn parse(name: &str) -> Option<(i64, Self)> {
        let (digits, _) = name.split_at_checked(20)?;
        let kinds = [Self::Log, Self::Index, Self::TimeIndex, Self::TxnIndex, Self::Snapshot];
        let kind = kinds.into_iter().find(|kind| name[20..] == *kind.extension())?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten().map(|base| (base, kind))
    }
}

/// What follows a segment file's name while it is on its way into the log, or out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suffix {
    None,
    Cleaned,
    Swap,
    Deleted,
}

impl Suffix {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Cleaned => ".cleaned",
            Self::Swap => ".swap",
            Self::Deleted => ".deleted",
        }
    }
}
