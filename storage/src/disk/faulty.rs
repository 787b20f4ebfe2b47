//! A disk in memory that remembers what was synced, fails on demand and can lose its power.
//!
//! Contents are durable up to the last `sync_data` of the file, names up to the last `sync_dir` of their directory. What
//! came later may survive a power cut in any part: each change of a name on its own, each write on its own, a write torn at a
//! sector or only as the length that it gave the file. A rename survives whole or not at all. On a full disk a write that is
//! refused has written what there was room for.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::{DirEntry, DirLock, Disk, DiskFile, FileSystem, OpenMode, Space};

/// The unit that a power cut does not tear.
const SECTOR: usize = 512;

/// A change of the disk, as a fault is asked about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Write,
    SetLen,
    SyncData,
    SyncDir,
    /// The whole file system.
    SyncAll,
    Rename,
    Remove,
}

/// Decides whether an operation fails, and how.
type Fault = Box<dyn FnMut(Operation, &Path) -> Option<io::Error> + Send>;

/// Decides whether a file or a directory can be opened.
type OpenFault = Box<dyn FnMut(&Path) -> Option<io::Error> + Send>;

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyDisk")
    }
}

type Inode = u64;

struct State {
    nodes: HashMap<Inode, Node>,
    next: Inode,
    operations: u64,
    fault: Option<Fault>,
    open_fault: Option<OpenFault>,
    capacity: u64,
}

#[derive(Debug, Clone)]
enum Node {
    Dir(DirNode),
    File(FileNode),
}

type Names = BTreeMap<OsString, Inode>;

#[derive(Debug, Clone, Default)]
struct DirNode {
    names: Names,
    durable: Names,
    /// Since the last sync.
    pending: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Named(OsString, Inode),
    Unnamed(OsString),
}

impl DirNode {
    fn add(&mut self, name: &OsStr, inode: Inode) {
        self.names.insert(name.to_owned(), inode);
        self.pending.push(NameChange::Named(name.to_owned(), inode));
    }

    fn rename(&mut self, from: &OsStr, to: &OsStr, inode: Inode) {
        self.names.remove(from);
        self.add(to, inode);
    }

    fn remove(&mut self, name: &OsStr) {
        self.names.remove(name);
        self.pending.push(NameChange::Unnamed(name.to_owned()));
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.names);
        self.pending.clear();
    }

    /// Of the changes that were not synced only those are left that survive.
    fn lose_power(&mut self, mut survives: impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending).into_iter().filter(|_| survives()) {
            match change {
                NameChange::Named(name, inode) => {
                    // A file has one name, and the one before goes with it: a rename survives whole.
                    self.durable.retain(|_, other| *other != inode);
                    self.durable.insert(name, inode);
                }
                NameChange::Unnamed(name) => {
                    self.durable.remove(&name);
                }
            }
        }
        self.names.clone_from(&self.durable);
    }
}

#[derive(Debug, Clone, Default)]
struct FileNode {
    // Shared between copies of a disk until one of them writes: a test makes a copy for every crash it looks at.
    bytes: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
    /// Since the last sync.
    pending: Vec<Change>,
}

impl FileNode {
    /// Only what changed is copied: a log that is synced often would be copied whole each time.
    fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(Arc::make_mut(&mut self.synced), usize::MAX);
        }
    }
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Arc<Vec<u8>>),
    SetLen(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, part: usize) {
        match self {
            Self::SetLen(len) => bytes.resize(usize::try_from(*len).unwrap_or(usize::MAX), 0),
            Self::Write(at, data) => {
                let at = usize::try_from(*at).unwrap_or(usize::MAX);
                let data = &data[..part.min(data.len())];
                if bytes.len() < at + data.len() {
                    bytes.resize(at + data.len(), 0);
                }
                bytes[at..at + data.len()].copy_from_slice(data);
            }
        }
    }
}

const ROOT: Inode = 0;

impl Default for FaultyDisk {
    fn default() -> Self {
        let root = Node::Dir(DirNode::default());
        let state = State {
            nodes: [(ROOT, root)].into(),
            next: 1,
            operations: 0,
            fault: None,
            open_fault: None,
            capacity: u64::MAX,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }
}

impl FaultyDisk {
    /// From now on `fault` is asked before every change.
    pub fn set_fault(&self, fault: impl FnMut(Operation, &Path) -> Option<io::Error> + Send + 'static) {
        self.state.lock().fault = Some(Box::new(fault));
    }

    /// From now on `fault` is asked before a file or a directory is opened, be it only to be read.
    pub fn set_open_fault(&self, fault: impl FnMut(&Path) -> Option<io::Error> + Send + 'static) {
        self.state.lock().open_fault = Some(Box::new(fault));
    }

    /// Nothing fails any more.
    pub fn clear_fault(&self) {
        let mut state = self.state.lock();
        (state.fault, state.open_fault) = (None, None);
    }

    /// Bytes that all files together may have; writes beyond fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes that all files together have.
    pub fn used(&self) -> u64 {
        self.state.lock().used()
    }

    /// Changes so far.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Every change from the `operations`-th on fails, as if the process had ended there.
    pub fn stop_after(&self, operations: u64) {
        let mut left = operations;
        self.set_fault(move |_, _| {
            if left == 0 {
                return Some(io::Error::other("the power is off"));
            }
            left -= 1;
            None
        });
    }

    /// The disk as a process finds it that comes after a killed one: everything is there, synced or not.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let state = self.state.lock();
        let copy = State {
            nodes: state.nodes.clone(),
            next: state.next,
            operations: 0,
            fault: None,
            open_fault: None,
            capacity: state.capacity,
        };
        Self { state: Arc::new(Mutex::new(copy)) }
    }

    /// The disk after a power cut. `chance(n)` picks a number below `n`: what was not synced survives as it likes.
    #[must_use]
    pub fn after_power_cut(&self, mut chance: impl FnMut(usize) -> usize) -> Self {
        let disk = self.after_kill();
        let mut state = disk.state.lock();
        let mut inodes: Vec<Inode> = state.nodes.keys().copied().collect();
        inodes.sort_unstable();
        for inode in inodes {
            match state.nodes.get_mut(&inode) {
                Some(Node::Dir(dir)) => dir.lose_power(|| chance(2) == 1),
                Some(Node::File(file)) => {
                    let mut bytes = file.synced.clone();
                    for change in &file.pending {
                        let part = match (chance(4), change) {
                            (0, _) => continue,
                            (1, Change::Write(_, data)) => chance(data.len() / SECTOR + 1) * SECTOR,
                            (2, Change::Write(at, data)) => {
                                // The length was noted, the bytes were not: they read as zeros.
                                let end = usize::try_from(*at).unwrap_or(usize::MAX).saturating_add(data.len());
                                if bytes.len() < end {
                                    Arc::make_mut(&mut bytes).resize(end, 0);
                                }
                                continue;
                            }
                            _ => usize::MAX,
                        };
                        change.apply(Arc::make_mut(&mut bytes), part);
                    }
                    *file = FileNode { synced: bytes.clone(), bytes, pending: Vec::new() };
                }
                None => {}
            }
        }
        drop(state);
        disk
    }

    /// Changes a file's bytes behind everybody's back, as a failing medium does.
    pub fn damage(&self, path: &Path, damage: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.find(path)?;
        let file = state.file(inode)?;
        damage(Arc::make_mut(&mut file.bytes));
        file.synced = file.bytes.clone();
        file.pending.clear();
        Ok(())
    }
}

impl State {
    fn change(&mut self, operation: Operation, path: &Path) -> io::Result<()> {
        if let Some(fault) = &mut self.fault
            && let Some(error) = fault(operation, path)
        {
            return Err(error);
        }
        self.operations += 1;
        Ok(())
    }

    fn opens(&mut self, path: &Path) -> io::Result<()> {
        match self.open_fault.as_mut().and_then(|fault| fault(path)) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut at = ROOT;
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            match self.nodes.get(&at) {
                Some(Node::Dir(dir)) => at = *dir.names.get(name).ok_or(io::ErrorKind::NotFound)?,
                _ => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        if self.nodes.contains_key(&at) { Ok(at) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn dir(&mut self, dir: Inode) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&dir) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&mut self, inode: Inode) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&inode) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn add(&mut self, dir: Inode, name: &OsStr, node: Node) -> io::Result<Inode> {
        let inode = self.next;
        self.next += 1;
        self.nodes.insert(inode, node);
        self.dir(dir)?.add(name, inode);
        Ok(inode)
    }

    fn used(&self) -> u64 {
        // What was removed takes no space any more, whoever has it open.
        let mut dirs = vec![ROOT];
        let mut used = 0;
        while let Some(inode) = dirs.pop() {
            let Some(Node::Dir(dir)) = self.nodes.get(&inode) else { continue };
            for inode in dir.names.values() {
                match self.nodes.get(inode) {
                    Some(Node::File(file)) => used += file.bytes.len() as u64,
                    _ => dirs.push(*inode),
                }
            }
        }
        used
    }
}

fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.opens(path)?;
        let inode = match (state.find(path), mode) {
            (Ok(inode), _) => inode,
            (Err(_), OpenMode::Create | OpenMode::Truncate) => {
                let (parent, name) = split(path)?;
                let parent = state.find(parent)?;
                state.change(Operation::Create, path)?;
                state.add(parent, name, Node::File(FileNode::default()))?
            }
            (Err(error), _) => return Err(error),
        };
        let file = state.file(inode)?;
        if mode == OpenMode::Truncate && !file.bytes.is_empty() {
            state.change(Operation::SetLen, path)?;
            let file = state.file(inode)?;
            Arc::make_mut(&mut file.bytes).clear();
            file.pending.push(Change::SetLen(0));
        }
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.state.lock();
        state.opens(dir)?;
        let dir = state.find(dir)?;
        let names = state.dir(dir)?.names.clone();
        let entry = |(name, inode): (OsString, Inode)| {
            let (is_dir, len) = match state.nodes.get(&inode)? {
                Node::Dir(_) => (true, 0),
                Node::File(file) => (false, file.bytes.len() as u64),
            };
            Some(DirEntry { name: name.into_string().ok()?, is_dir, len, modified: SystemTime::UNIX_EPOCH })
        };
        Ok(names.into_iter().filter_map(entry).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let mut at = PathBuf::from("/");
        for component in dir.components() {
            let Component::Normal(name) = component else { continue };
            let parent = state.find(&at)?;
            at.push(name);
            if state.find(&at).is_err() {
                state.change(Operation::Create, &at)?;
                state.add(parent, name, Node::Dir(DirNode::default()))?;
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.find(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let (from_dir, to_dir) = (state.find(from_dir)?, state.find(to_dir)?);
        state.change(Operation::Rename, from)?;
        if from_dir == to_dir {
            state.dir(to_dir)?.rename(from_name, to_name, inode);
        } else {
            state.dir(from_dir)?.remove(from_name);
            state.dir(to_dir)?.add(to_name, inode);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.find(path)?;
        state.file(inode)?;
        let (dir, name) = split(path)?;
        let dir = state.find(dir)?;
        state.change(Operation::Remove, path)?;
        state.dir(dir)?.remove(name);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.find(path)?;
        let (dir, name) = split(path)?;
        let dir = state.find(dir)?;
        state.change(Operation::Remove, path)?;
        state.dir(dir)?.remove(name);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.opens(dir)?;
        let inode = state.find(dir)?;
        state.change(Operation::SyncDir, dir)?;
        state.dir(inode)?.sync();
        Ok(())
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<DirLock>> {
        Ok(Some(DirLock::new(())))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        Ok(Space { total: state.capacity, usable: state.capacity.saturating_sub(state.used()) })
    }

    fn file_system(&self, _dir: &Path) -> io::Result<Option<Arc<dyn FileSystem>>> {
        Ok(Some(Arc::new(self.clone())))
    }
}

impl FileSystem for FaultyDisk {
    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.change(Operation::SyncAll, Path::new("/"))?;
        for node in state.nodes.values_mut() {
            match node {
                Node::Dir(dir) => dir.sync(),
                Node::File(file) => file.sync(),
            }
        }
        Ok(())
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: Inode,
    path: PathBuf,
}

impl fmt::Debug for FaultyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FaultyFile").field(&self.path).finish()
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        let file = state.file(self.inode)?;
        let from = usize::try_from(position).unwrap_or(usize::MAX).min(file.bytes.len());
        let many = buf.len().min(file.bytes.len() - from);
        buf[..many].copy_from_slice(&file.bytes[from..from + many]);
        Ok(many)
    }

    fn try_read_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        self.read_at(buf, position).map(Some)
    }

    fn write_at(&self, parts: &[&[u8]], position: u64) -> io::Result<()> {
        let mut data = parts.concat();
        let mut state = self.disk.state.lock();
        state.change(Operation::Write, &self.path)?;
        let room = if state.capacity == u64::MAX { u64::MAX } else { state.capacity.saturating_sub(state.used()) };
        let file = state.file(self.inode)?;
        // What is written over has its space.
        let end = (file.bytes.len() as u64).saturating_add(room);
        let fits = usize::try_from(end.saturating_sub(position)).unwrap_or(usize::MAX);
        let is_refused = fits < data.len();
        data.truncate(fits);
        let change = Change::Write(position, Arc::new(data));
        change.apply(Arc::make_mut(&mut file.bytes), usize::MAX);
        file.pending.push(change);
        if is_refused { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change(Operation::SyncData, &self.path)?;
        state.file(self.inode)?.sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().file(self.inode)?.bytes.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        state.change(Operation::SetLen, &self.path)?;
        let file = state.file(self.inode)?;
        let change = Change::SetLen(len);
        change.apply(Arc::make_mut(&mut file.bytes), usize::MAX);
        file.pending.push(change);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_rename_survives_whole_or_not_at_all() {
        let disk = FaultyDisk::default();
        for name in ["/a", "/new"] {
            disk.open(name.as_ref(), OpenMode::Create).unwrap();
        }
        disk.sync_dir("/".as_ref()).unwrap();
        disk.rename("/a".as_ref(), "/b".as_ref()).unwrap();
        disk.rename("/b".as_ref(), "/c".as_ref()).unwrap();
        disk.rename("/new".as_ref(), "/a".as_ref()).unwrap();
        let left = |survivors: usize| {
            let mut change = 0;
            let crashed = disk.after_power_cut(|_| {
                change += 1;
                (survivors >> (change - 1)) & 1
            });
            let mut names: Vec<_> = crashed.list("/".as_ref()).unwrap().into_iter().map(|entry| entry.name).collect();
            names.sort();
            names.join(" ")
        };
        let states: Vec<_> = (0..8).map(left).collect();
        // The third one takes the place of a file whose own rename was lost.
        assert_eq!(states, ["a new", "b new", "c new", "c new", "a", "a b", "a c", "a c"]);
    }

    #[test]
    fn a_write_that_a_full_disk_refuses_has_written_what_there_was_room_for() {
        let disk = FaultyDisk::default();
        let file = disk.open("/a".as_ref(), OpenMode::Create).unwrap();
        disk.set_capacity(6);
        file.write_at(&[b"abcd"], 0).unwrap();
        assert_eq!(file.write_at(&[b"ef", b"gh"], 4).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(crate::disk::read_file(&disk, "/a".as_ref()).unwrap().unwrap(), b"abcdef");
        file.write_at(&[b"ABCDEF"], 0).unwrap();
    }
}
