//! One journal per log directory: what makes a record durable at once, whatever the number of partitions.
//!
//! An append writes to its segment, through the page cache, at once or a moment later, and leaves the same bytes here. One thread takes all that has
//! come together meanwhile, writes it as one frame and syncs one file: one flush of the device at a time, however many logs
//! are dirty. Only then [`Durable::end`] moves, and with it what may be answered and read. The segments reach the disk
//! later, all at once (`syncfs`), and the journal's files are used again. After a crash the logs are recovered as ever,
//! then [`recover`] appends what the journal has and they have not.
//!
//! ```text
//!  append ──► segment (page cache) ─────────── sync of the file system, every 192 MiB ─► files are free again
//!     └─────► queue ──► frame ──► sync ──► Durable::end ──► high watermark ──► answer
//! ```
//! While many come together, appends that are awaited come to the page cache later and in large pieces ([`crate::segment::Behind`]): the process may end
//! meanwhile as well, since nobody was told of them but by the journal. All are there before a sync that frees files.
//!
//! Where it would be slower it is left out: much data of few logs is synced where it lies, as is what was appended while
//! the log was not `strict`. Invariant: [`Durable::end`] never moves before the bytes below it are synced here or there.

mod entry;
mod files;
mod frame;
mod reader;
pub mod recover;
mod trim;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use ottla_protocol::Offset;
use parking_lot::{Condvar, Mutex};
use uuid::Uuid;

use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, FileSystem, remove_if_present};
use crate::durable::Durable;
use crate::errors::is_shortage;
use crate::log::Log;
use crate::segment::{Behind, DirHealth};
use entry::HeadKind;
use files::Files;
use frame::{FrameBuffer, Header};

/// Bytes that may wait. What comes beyond is synced where it lies, so that a slow device does not fill the memory.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// So few logs ...
const DIRECT_LOGS_MAX: usize = 2;
/// ... with so much each are synced where they lie: writing the bytes twice would take longer than another flush.
const DIRECT_BYTES_MIN: usize = 1 << 20;

/// A batch as it goes to the disk: its stamped beginning and the rest.
pub type Part = ([u8; 16], Bytes);

enum Item {
    Append { log: Arc<Durable>, cuts: u64, before: Offset, after: Offset, parts: Vec<Part>, bytes: usize },
    Cut { log: Arc<Durable>, offset: Offset },
    Reset { log: Arc<Durable> },
    Sync { log: Arc<Durable> },
}

#[derive(Default)]
struct Queue {
    items: Vec<Item>,
    bytes: usize,
    /// Logs whose listeners are still to be told.
    told_later: Vec<Arc<Durable>>,
    stopped: bool,
    trim: bool,
    /// There are, or will be, records that the segments' files lack.
    behind: bool,
}

struct Writer {
    buffer: Option<FrameBuffer>,
    run: u64,
    next: u64,
    /// First frame since the last sync.
    round: u64,
}

impl Writer {
    /// Writes the frame that closes a file, which says that frames from `oldest` on count.
    fn close(&mut self, file: &dyn DiskFile, position: u64, oldest: u64) -> io::Result<()> {
        let mut closing = FrameBuffer::of_one_block();
        let header = Header { length: frame::HEADER, run: self.run, number: self.next, round: self.round, oldest };
        file.write_at(&[closing.finish(&header)], position)?;
        file.sync_data()?;
        self.next += 1;
        self.round = self.next;
        Ok(())
    }
}

/// How a journal is kept.
#[derive(Debug, Clone, Copy)]
pub struct JournalOptions {
    /// Without threads somebody has to call [`crate::LogDirs::commit`], [`crate::LogDirs::write_out`] and
    /// [`crate::LogDirs::trim`].
    pub threads: bool,
    /// Bytes of the first file.
    pub file_bytes: u64,
    /// Once so many appends are made durable together they are collected for their segments' files
    /// ([`crate::LogDirs::write_out`]). 0: always.
    pub collect_from: usize,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self { threads: true, file_bytes: files::default_size(), collect_from: 16 }
    }
}

/// All logs of the log directory.
pub type Logs = Box<dyn Fn() -> Vec<Arc<Log>> + Send + Sync>;

/// The journal of one log directory.
pub struct Journal {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    health: Arc<DirHealth>,
    file_system: Option<Arc<dyn FileSystem>>,
    options: JournalOptions,
    queue: Mutex<Queue>,
    work: Condvar,
    trim: Condvar,
    writer: Mutex<Writer>,
    files: Mutex<Files>,
    behind: Arc<Behind>,
    logs: OnceLock<Logs>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// A log's part in a round.
struct Group {
    log: Arc<Durable>,
    cuts: u64,
    end: Offset,
    bytes: usize,
    direct: bool,
}

impl Journal {
    /// A journal that goes on behind what an earlier process has left.
    pub fn new(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        health: Arc<DirHealth>,
        left: &recover::Left,
        options: JournalOptions,
    ) -> io::Result<Arc<Self>> {
        let run = left.run.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
        Ok(Arc::new(Self {
            dir: dir.to_path_buf(),
            disk: Arc::clone(disk),
            health,
            file_system: disk.file_system(dir)?,
            options,
            queue: Mutex::default(),
            work: Condvar::new(),
            trim: Condvar::new(),
            writer: Mutex::new(Writer { buffer: None, run, next: left.next, round: left.next }),
            files: Mutex::new(Files::new(Arc::clone(disk), dir, left.paths.clone(), left.oldest, options.file_bytes)),
            behind: Arc::new(Behind::new(options.collect_from)),
            logs: OnceLock::new(),
            threads: Mutex::default(),
        }))
    }

    /// Starts the threads; `logs` are all logs of the directory. With `sync` they are synced soon.
    pub fn start(self: &Arc<Self>, logs: Logs, sync: bool) {
        let _ = self.logs.set(logs);
        self.queue.lock().trim = sync;
        if !self.options.threads {
            return;
        }
        for (name, run) in [("journal", Self::run as fn(&Self)), ("journal-trim", Self::run_trim)] {
            let journal = Arc::clone(self);
            match std::thread::Builder::new().name(name.to_owned()).spawn(move || run(&journal)) {
                Ok(thread) => self.threads.lock().push(thread),
                Err(error) => self.health.fail(&self.dir, &error),
            }
        }
    }

    /// What can make all of the directory durable at once.
    pub const fn file_system(&self) -> Option<&Arc<dyn FileSystem>> {
        self.file_system.as_ref()
    }

    /// An append that [`Durable::end`] has to wait for, and whether its segment's file lacks it. Called in the order of the log.
    pub fn append(&self, log: &Arc<Durable>, before: Offset, after: Offset, mut parts: Vec<Part>, is_behind: bool) {
        let bytes = parts.iter().map(|(head, rest)| head.len() + rest.len()).sum();
        let cuts = log.cuts();
        let mut queue = self.queue.lock();
        if is_behind {
            self.write_soon(&mut queue);
        }
        if queue.bytes + bytes > QUEUE_BYTES_MAX {
            parts = Vec::new();
        } else {
            queue.bytes += bytes;
        }
        self.push(&mut queue, Item::Append { log: Arc::clone(log), cuts, before, after, parts, bytes });
    }

    fn write_soon(&self, queue: &mut Queue) {
        if !std::mem::replace(&mut queue.behind, true) {
            self.trim.notify_one();
        }
    }

    /// Where an append of so many bytes may be collected that is told here before anybody is answered: its file gets it soon.
    pub fn collects(&self, bytes: usize, config: &LogConfig) -> Option<&Arc<Behind>> {
        (self.health.has_plenty() && self.behind.takes(bytes, config)).then_some(&self.behind)
    }

    /// Asks for a sync of what a log has that was not told here.
    pub fn sync_soon(&self, log: &Arc<Durable>) {
        self.push(&mut self.queue.lock(), Item::Sync { log: Arc::clone(log) });
    }

    fn push(&self, queue: &mut Queue, item: Item) {
        let was_empty = queue.items.is_empty();
        queue.items.push(item);
        // While items wait the thread is at work and looks again before it sleeps.
        if was_empty {
            self.work.notify_one();
        }
    }

    /// Notes that a log ends at `offset` from now on. When this returns that is on the disk, and everything that was told
    /// before as well.
    pub fn cut(&self, log: &Arc<Durable>, offset: Offset) -> io::Result<()> {
        self.queue.lock().items.push(Item::Cut { log: Arc::clone(log), offset });
        self.settle()
    }

    /// Notes that what was said of a log does not count any more.
    pub fn reset(&self, log: &Arc<Durable>) -> io::Result<()> {
        self.queue.lock().items.push(Item::Reset { log: Arc::clone(log) });
        self.settle()
    }

    /// A round whose listeners are told by the next one: the caller holds a lock that they may want.
    fn settle(&self) -> io::Result<()> {
        let (logs, _) = self.round();
        let mut queue = self.queue.lock();
        queue.told_later.extend(logs);
        self.work.notify_one();
        drop(queue);
        self.health.check()
    }

    /// Makes durable what has come together. False if there was nothing.
    pub fn commit(&self) -> bool {
        let (mut logs, did) = self.round();
        logs.append(&mut self.queue.lock().told_later);
        let told = !logs.is_empty();
        self.tell(&logs);
        did || told
    }

    fn tell(&self, logs: &[Arc<Durable>]) {
        let online = self.health.is_online();
        for listener in logs.iter().filter_map(|log| log.listener()) {
            if online { listener.on_durable() } else { listener.on_failed() }
        }
    }

    /// One round. Answers whose listeners are to be told, and whether there was anything to do.
    fn round(&self) -> (Vec<Arc<Durable>>, bool) {
        let mut writer = self.writer.lock();
        let items = {
            let mut queue = self.queue.lock();
            queue.bytes = 0;
            std::mem::take(&mut queue.items)
        };
        if items.is_empty() {
            return (Vec::new(), false);
        }
        if self.behind.had_round(items.len()) {
            // So that a pass sees when that is over.
            self.write_soon(&mut self.queue.lock());
        }
        let groups = self.groups(&items);
        let done = self.health.check().and_then(|()| match self.write(&mut writer, &items, &groups) {
            Ok(true) => Ok(Vec::new()),
            // No room for the journal: the logs' own files have it all.
            Ok(false) => self.sync_logs(&mut writer, &items),
            Err(error) if is_shortage(&error) => self.sync_logs(&mut writer, &items),
            Err(error) => Err(error),
        });
        if let Err(error) = &done {
            // Before anybody else's round can find nothing left to do.
            self.health.fail(&self.dir, error);
        }
        drop(writer);
        let mut logs: Vec<Arc<Durable>> = Vec::with_capacity(groups.len());
        match done {
            Ok(others) => {
                for group in groups {
                    group.log.raise(group.end, group.cuts);
                    logs.push(group.log);
                }
                logs.extend(others);
            }
            Err(_) => {
                logs.extend(groups.into_iter().map(|group| group.log));
            }
        }
        (logs, true)
    }

    /// Writes and syncs a round. False: there is no file to write to.
    fn write(&self, writer: &mut Writer, items: &[Item], groups: &[Group]) -> io::Result<bool> {
        writer.round = writer.next;
        let doomed = self.files.lock().take_doomed();
        let written = self.write_items(writer, items, groups);
        if matches!(written, Ok(true)) && writer.next > writer.round {
            for (_, path) in &doomed {
                // It takes space and nothing else; the next start finds it.
                let _ = remove_if_present(&*self.disk, path);
            }
        } else {
            self.files.lock().doom(doomed);
        }
        written
    }

    fn write_items(&self, writer: &mut Writer, items: &[Item], groups: &[Group]) -> io::Result<bool> {
        let direct: HashMap<*const Durable, bool> =
            groups.iter().map(|group| (Arc::as_ptr(&group.log), group.direct)).collect();
        for item in items {
            let (log, kind) = match item {
                Item::Append { log, before, after, bytes, .. } => {
                    if direct.get(&Arc::as_ptr(log)) == Some(&true) {
                        continue;
                    }
                    (log, HeadKind::Append { before: *before, after: *after, bytes: *bytes })
                }
                Item::Cut { log, offset } => (log, HeadKind::Cut(*offset)),
                Item::Reset { log } => (log, HeadKind::Reset),
                Item::Sync { .. } => continue,
            };
            let head = entry::head(log.id(), log.topic_id(), &kind);
            let parts: &[Part] = if let Item::Append { parts, .. } = item { parts } else { &[] };
            let size = head.len() + parts.iter().map(|(prefix, rest)| prefix.len() + rest.len()).sum::<usize>();
            if writer.buffer.get_or_insert_with(FrameBuffer::new).is_full_for(size) && !self.write_frame(writer)? {
                return Ok(false);
            }
            let buffer = writer.buffer.get_or_insert_with(FrameBuffer::new);
            buffer.push(&head);
            for (prefix, rest) in parts {
                buffer.push(prefix);
                buffer.push(rest);
            }
        }
        if writer.buffer.as_ref().is_some_and(|buffer| !buffer.is_empty()) && !self.write_frame(writer)? {
            return Ok(false);
        }
        if writer.next > writer.round
            && let Some(active) = { self.files.lock().active() }
        {
            active.sync_data()?;
        }
        let direct: Vec<&Group> = groups.iter().filter(|group| group.direct).collect();
        match &self.file_system {
            Some(file_system) if direct.len() > DIRECT_LOGS_MAX => {
                self.behind.write_out()?;
                file_system.sync()?;
            }
            _ => {
                for log in direct.iter().filter_map(|group| group.log.log()) {
                    log.sync_data()?;
                }
            }
        }
        Ok(true)
    }

    /// Writes the frame that was put together. False: there is no file to write to.
    fn write_frame(&self, writer: &mut Writer) -> io::Result<bool> {
        let Some(bytes) = writer.buffer.as_ref().map(|buffer| buffer.padded() as u64) else { return Ok(true) };
        let mut files = self.files.lock();
        let place = match files.place(bytes) {
            Some(place) => Some(place),
            None => {
                if let Some((file, position)) = files.closing() {
                    // Before a frame is written over that does not count.
                    writer.close(&*file, position, files.oldest(writer.next))?;
                }
                // The reserve of a full disk is not for new files of the journal.
                if !self.health.is_full() && files.next_file(writer.next, bytes)? { files.place(bytes) } else { None }
            }
        };
        let Some(buffer) = &mut writer.buffer else { return Ok(true) };
        let Some((file, position)) = place else {
            buffer.clear();
            return Ok(false);
        };
        let oldest = files.oldest(writer.next);
        let trim = files.wants_sync() || files.wants_file();
        drop(files);
        let header = Header { length: 0, run: writer.run, number: writer.next, round: writer.round, oldest };
        file.write_at(&[buffer.finish(&header)], position)?;
        buffer.clear();
        writer.next += 1;
        if trim {
            self.ask_to_trim();
        }
        Ok(true)
    }

    /// Syncs every log of the directory: nothing that the journal holds counts after that. Answers all logs.
    fn sync_logs(&self, writer: &mut Writer, items: &[Item]) -> io::Result<Vec<Arc<Durable>>> {
        if let Some(buffer) = &mut writer.buffer {
            buffer.clear();
        }
        let synced = self.sync_all()?;
        let has_cuts = items.iter().any(|item| matches!(item, Item::Cut { .. } | Item::Reset { .. }));
        match self.forget(writer) {
            // A file system that copies on write may lack space even for that. Then what was said before still holds.
            Err(error) if is_shortage(&error) && !has_cuts => {}
            done => done?,
        }
        self.files.lock().release_all()?;
        writer.round = writer.next;
        Ok(synced)
    }

    /// Notes that nothing counts that was written before: it may say less than was done since.
    fn forget(&self, writer: &mut Writer) -> io::Result<()> {
        let closing = self.files.lock().closing();
        closing.map_or(Ok(()), |(file, position)| writer.close(&*file, position, writer.next))
    }

    fn ask_to_trim(&self) {
        let mut queue = self.queue.lock();
        if !std::mem::replace(&mut queue.trim, true) {
            self.trim.notify_one();
        }
    }

    fn run(&self) {
        // Whoever appends first does not wait for it. Where it fails a round will say so.
        let _ = self.files.lock().prepare();
        loop {
            if self.commit() {
                continue;
            }
            let mut queue = self.queue.lock();
            if !queue.items.is_empty() || !queue.told_later.is_empty() {
                continue;
            }
            if queue.stopped {
                return;
            }
            self.work.wait(&mut queue);
        }
    }

    /// Ends the threads after a last round. The journal is kept.
    pub fn stop(&self) {
        self.queue.lock().stopped = true;
        self.work.notify_all();
        self.trim.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.thread().id() != std::thread::current().id() {
                // A panic there was reported by its hook.
                let _ = thread.join();
            }
        }
        self.commit();
        self.write_out();
    }

    /// After all logs were synced and closed: nothing is left to be said.
    pub fn remove(&self) -> io::Result<()> {
        self.forget(&mut self.writer.lock())?;
        self.files.lock().remove_all()
    }

    /// The logs of a round, and what has to become of each.
    fn groups(&self, items: &[Item]) -> Vec<Group> {
        let mut places: HashMap<*const Durable, usize> = HashMap::new();
        let mut groups: Vec<Group> = Vec::new();
        for item in items {
            match item {
                Item::Append { log, cuts, before, after, parts, bytes } => {
                    let place = *places.entry(Arc::as_ptr(log)).or_insert_with(|| {
                        groups.push(Group {
                            log: Arc::clone(log),
                            cuts: *cuts,
                            end: log.end(),
                            bytes: 0,
                            direct: false,
                        });
                        groups.len() - 1
                    });
                    let group = &mut groups[place];
                    // Behind a gap, or without its bytes, it would not be understood.
                    group.direct |=
                        *before > group.end.max(log.end()) || parts.is_empty() || *bytes > frame::BATCHES_MAX;
                    group.end = *after;
                    group.cuts = *cuts;
                    group.bytes += bytes;
                }
                Item::Sync { log } => {
                    let (cuts, mut end) = (log.cuts(), log.end());
                    if let Some(log) = log.log() {
                        let log_end = log.offsets().log_end;
                        // As in `sync_all`.
                        if log.is_journaled_by(self) {
                            end = log_end;
                        }
                    }
                    let place = *places.entry(Arc::as_ptr(log)).or_insert_with(|| {
                        groups.push(Group { log: Arc::clone(log), cuts, end, bytes: 0, direct: true });
                        groups.len() - 1
                    });
                    let group = &mut groups[place];
                    group.direct = true;
                    (group.end, group.cuts) = (end, cuts);
                }
                Item::Cut { log, offset } => {
                    if let Some(group) = places.get(&Arc::as_ptr(log)).and_then(|place| groups.get_mut(*place)) {
                        group.end = group.end.min(*offset);
                    }
                }
                Item::Reset { .. } => {}
            }
        }
        if groups.len() <= DIRECT_LOGS_MAX {
            for group in groups.iter_mut().filter(|group| group.bytes >= DIRECT_BYTES_MIN) {
                group.direct = true;
            }
        }
        groups
    }
}
