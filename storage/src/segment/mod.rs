//! A segment: one `.log` file and its indexes.
//!
//! ```text
//! 00000000000000000042.log        record batches, nothing else
//! 00000000000000000042.index      offset    -> position   every index.interval.bytes
//! 00000000000000000042.timeindex  timestamp -> offset
//! 00000000000000000042.txnindex   aborted transactions, if any
//! ```
//! A closed segment keeps a few numbers in memory; its files are opened when they are needed.

mod behind;
mod file_records;
mod files;
mod home;
mod scan;
mod sparse_index;
pub mod swap;
mod txn_index;

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use ottla_protocol::record_batch::BatchHeader;
use ottla_protocol::{Offset, Timestamp};
use parking_lot::{Mutex, RwLock};

use self::files::SegmentFiles;
use crate::errors::is_shortage;

pub use behind::Behind;
pub use file_records::FileRecords;
pub use files::{OpenFiles, SegmentFile};
pub use home::{DirHealth, FileKind, Home, Suffix};
pub use scan::{Headers, Located};
pub use sparse_index::{IndexEntry, OffsetEntry, SparseIndex, TimeEntry};
pub use txn_index::{AbortedEntry, TxnIndex};

/// Log between the entries of a time index that is built again.
const REBUILD_INTERVAL_BYTES: usize = 4096;

/// The largest timestamp of a segment and the last offset of the batch that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxTimestamp {
    pub timestamp: Timestamp,
    pub offset: Offset,
}

/// One segment, all in one piece of memory: where partitions rest this is much of what they take.
#[derive(Debug)]
pub struct Segment {
    pub base: Offset,
    /// Itself: for those who close files that are idle.
    this: Weak<Self>,
    files: SegmentFiles,
    collected: behind::Collected,
    offset_index: RwLock<sparse_index::State<OffsetEntry>>,
    time_index: RwLock<sparse_index::State<TimeEntry>>,
    txn_index_len: AtomicU64,
    size: AtomicU64,
    /// Unknown until it is asked for; then `None` for a segment without batches.
    max_timestamp: Mutex<Option<Option<MaxTimestamp>>>,
    /// Max timestamp of the first batch, `i64::MIN` until it is known: the segment's age is counted from it.
    first_timestamp: AtomicI64,
    /// Milliseconds; `i64::MIN` before the first append.
    began: AtomicI64,
    /// As `began`; that of its file where it was found, be it empty.
    written: AtomicI64,
}

impl Segment {
    /// A segment that is new on disk: [`Self::create_files`] or its first use makes its files.
    pub fn create(home: &Arc<Home>, base: Offset, suffix: Suffix) -> Arc<Self> {
        let segment = Self::new(home, base, suffix, 0, 0, true);
        *segment.max_timestamp.lock() = Some(None);
        segment
    }

    /// A segment found on disk.
    pub fn found(home: &Arc<Home>, base: Offset, size: u64, txn_index_size: u64, modified: Timestamp) -> Arc<Self> {
        let segment = Self::new(home, base, Suffix::None, size, txn_index_size, false);
        segment.written.store(modified.0, Ordering::Relaxed);
        if size > 0 {
            segment.began.store(modified.0, Ordering::Relaxed);
        }
        segment
    }

    fn new(home: &Arc<Home>, base: Offset, suffix: Suffix, size: u64, txn_len: u64, fresh: bool) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            base,
            this: Weak::clone(this),
            files: SegmentFiles::new(Arc::clone(home), suffix),
            collected: behind::Collected::default(),
            offset_index: RwLock::new(sparse_index::State::new(fresh)),
            time_index: RwLock::new(sparse_index::State::new(fresh)),
            txn_index_len: AtomicU64::new(txn_len),
            size: AtomicU64::new(size),
            max_timestamp: Mutex::new(None),
            first_timestamp: AtomicI64::new(i64::MIN),
            began: AtomicI64::new(i64::MIN),
            written: AtomicI64::new(i64::MIN),
        })
    }

    /// Takes note that something was appended.
    pub fn wrote(&self, now: Timestamp) {
        let _ = self.began.compare_exchange(i64::MIN, now.0, Ordering::Relaxed, Ordering::Relaxed);
        self.written.store(now.0, Ordering::Relaxed);
    }

    /// As old, and as long not written to, as another one.
    pub fn take_times(&self, other: &Self) {
        self.began.store(other.began.load(Ordering::Relaxed), Ordering::Relaxed);
        self.written.store(other.written.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Milliseconds since the first append, or since the file that was found was last written. 0 for an empty segment.
    pub fn age(&self, now: Timestamp) -> i64 {
        match self.began.load(Ordering::Relaxed) {
            i64::MIN => 0,
            began => now.0.saturating_sub(began),
        }
    }

    /// Time of the latest record, or where none has a time that of the last append, as in Kafka's `LogSegment.largestTimestamp`.
    pub fn latest(&self) -> io::Result<Timestamp> {
        let latest = self.max_timestamp()?.map(|max| max.timestamp).filter(|latest| latest.0 >= 0);
        Ok(latest.unwrap_or_else(|| Timestamp(self.written.load(Ordering::Relaxed))))
    }

    /// Bytes of whole batches in the `.log` file, and of those that it gets before anybody opens it.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }

    pub const fn log_file(&self) -> SegmentFile<'_> {
        SegmentFile::new(self, &self.files.log)
    }

    pub const fn offset_index(&self) -> SparseIndex<'_, OffsetEntry> {
        SparseIndex::new(SegmentFile::new(self, &self.files.offset_index), &self.offset_index)
    }

    pub const fn time_index(&self) -> SparseIndex<'_, TimeEntry> {
        SparseIndex::new(SegmentFile::new(self, &self.files.time_index), &self.time_index)
    }

    pub const fn txn_index(&self) -> TxnIndex<'_> {
        TxnIndex::new(SegmentFile::new(self, &self.files.txn_index), &self.txn_index_len)
    }

    /// The files of a segment that is written to exist from its beginning, as Kafka's tools expect. Only the log stays open.
    pub fn create_files(&self) -> io::Result<()> {
        for index in [self.offset_index().file(), self.time_index().file()] {
            index.created()?;
            index.close();
        }
        self.log_file().created().map(drop)
    }

    /// Whether `offset` can be written relative to the base offset.
    pub const fn can_hold(&self, offset: Offset) -> bool {
        let relative = offset.0 - self.base.0;
        relative >= 0 && relative <= i32::MAX as i64
    }

    /// Writes bytes at the end without making them visible.
    pub fn write(&self, parts: &[&[u8]]) -> io::Result<()> {
        let size = self.size();
        let file = self.log_file().created()?;
        // What was written of it must not be taken for a batch later: this segment may be a closed one when it is read again,
        // and those are believed. If it stays, its error, which is none of space, takes the directory offline: recovery cuts it.
        file.write_at(parts, size).map_err(|error| file.set_len(size).err().unwrap_or(error))
    }

    /// Makes written bytes visible to readers.
    pub fn publish(&self, bytes: u64) {
        self.size.fetch_add(bytes, Ordering::Release);
    }

    /// Takes note of a batch's time.
    pub fn note_timestamp(&self, header: &BatchHeader) {
        let _ = self.first_timestamp.compare_exchange(
            i64::MIN,
            header.max_timestamp.0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        let mut max = self.max_timestamp.lock();
        raise(max.get_or_insert(None), header);
    }

    /// Adds to the indexes what points to a batch at `position`.
    pub fn index(&self, header: &BatchHeader, position: u64) -> io::Result<()> {
        let relative = |offset: Offset| u32::try_from(offset.0 - self.base.0).map_err(io::Error::other);
        let position = u32::try_from(position).map_err(io::Error::other)?;
        self.offset_index().append(OffsetEntry { relative_offset: relative(header.last_offset())?, position })?;
        self.index_time()
    }

    /// Adds the largest timestamp so far to the time index, if it is later than its last entry.
    pub fn index_time(&self) -> io::Result<()> {
        let Some(max) = self.max_timestamp()? else { return Ok(()) };
        let last = self.time_index().last()?;
        let relative_offset = u32::try_from(max.offset.0 - self.base.0).map_err(io::Error::other)?;
        if max.timestamp.0 >= 0
            && last.is_none_or(|last| max.timestamp.0 > last.timestamp && relative_offset > last.relative_offset)
        {
            self.time_index().append(TimeEntry { timestamp: max.timestamp.0, relative_offset })?;
        }
        Ok(())
    }

    /// The largest timestamp; read from the time index for a segment found on disk.
    pub fn max_timestamp(&self) -> io::Result<Option<MaxTimestamp>> {
        let mut known = self.max_timestamp.lock();
        if let Some(known) = *known {
            return Ok(known);
        }
        let max = match self.indexed_timestamp()? {
            Some(indexed) => Some(indexed),
            None if self.is_empty() => None,
            // A time index that was lost or damaged would hide the segment from every search by time.
            None => self.rebuild_time_index()?,
        };
        *known = Some(max);
        Ok(max)
    }

    /// Finds the largest timestamp before `position` again, for a segment that goes on from there.
    pub fn settle_timestamp(&self, position: u64) -> io::Result<()> {
        let max = if position == 0 { None } else { self.measure_timestamp(position)? };
        *self.max_timestamp.lock() = Some(max);
        Ok(())
    }

    /// What the time index says, if it has a sound entry.
    fn indexed_timestamp(&self) -> io::Result<Option<MaxTimestamp>> {
        let last = self.time_index().last()?.filter(|last| last.timestamp >= 0);
        Ok(last.map(|last| MaxTimestamp {
            timestamp: Timestamp(last.timestamp),
            offset: self.base.plus(i64::from(last.relative_offset)),
        }))
    }

    /// The largest timestamp before `end`: the index's, or one of the batches behind its last entry.
    fn measure_timestamp(&self, end: u64) -> io::Result<Option<MaxTimestamp>> {
        let mut max = self.indexed_timestamp()?;
        let from = max.map_or(Ok(0), |max| self.start_of_search(max.offset))?;
        let mut headers = self.headers(from)?;
        while let Some(batch) = headers.next_batch()?.filter(|batch| batch.end() <= end) {
            raise(&mut max, &batch.header);
        }
        Ok(max)
    }

    fn rebuild_time_index(&self) -> io::Result<Option<MaxTimestamp>> {
        self.time_index().clear()?;
        let (mut max, mut last, mut since) = (None, None, 0);
        let mut headers = self.headers(0)?;
        let mut append = |max: MaxTimestamp| {
            if max.timestamp.0 < 0 || last == Some(max) {
                return Ok(());
            }
            last = Some(max);
            let relative_offset = u32::try_from(max.offset.0 - self.base.0).map_err(io::Error::other)?;
            self.time_index().append(TimeEntry { timestamp: max.timestamp.0, relative_offset })
        };
        while let Some(batch) = headers.next_batch()? {
            let latest = raise(&mut max, &batch.header);
            since += batch.header.size();
            if since > REBUILD_INTERVAL_BYTES {
                append(latest)?;
                since = 0;
            }
        }
        if let Some(max) = max {
            append(max)?;
        }
        tracing::warn!(index = %self.time_index().file().path().display(), "a time index without entries was built again");
        Ok(max)
    }

    /// Max timestamp of the first batch.
    pub fn first_timestamp(&self) -> io::Result<Option<Timestamp>> {
        let known = self.first_timestamp.load(Ordering::Relaxed);
        if known != i64::MIN {
            return Ok(Some(Timestamp(known)));
        }
        if self.is_empty() {
            return Ok(None);
        }
        let first = self.headers(0)?.next_batch()?.map(|batch| batch.header.max_timestamp);
        if let Some(first) = first {
            self.first_timestamp.store(first.0, Ordering::Relaxed);
        }
        Ok(first)
    }

    /// The headers from a position on.
    pub fn headers(&self, position: u64) -> io::Result<Headers> {
        if self.is_empty() {
            return Ok(Headers::new(Arc::new(NoFile), 0, 0));
        }
        Ok(Headers::new(self.log_file().existing()?, position, self.size()))
    }

    /// The first batch whose last offset is at or behind `target`.
    pub fn find(&self, target: Offset) -> io::Result<Option<Located>> {
        if self.is_empty() {
            return Ok(None);
        }
        let mut headers = self.headers(self.start_of_search(target)?)?;
        while let Some(batch) = headers.next_batch()? {
            if batch.header.last_offset() >= target {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// A position at or before the batch that holds `target`. An entry of the index is only believed if a batch with
    /// that last offset begins where it points to.
    pub fn start_of_search(&self, target: Offset) -> io::Result<u64> {
        let relative = target.0 - self.base.0;
        let entry = self.offset_index().floor(|entry| i64::from(entry.relative_offset) <= relative)?;
        let Some(entry) = entry else { return Ok(0) };
        let position = u64::from(entry.position);
        let expected = self.base.plus(i64::from(entry.relative_offset));
        match self.headers(position)?.next_batch()? {
            Some(batch) if batch.header.last_offset() == expected => Ok(position),
            _ => {
                tracing::warn!(index = %self.offset_index().file().path().display(), "an index entry points to no batch, the segment is searched");
                Ok(0)
            }
        }
    }

    /// Lends `len` bytes from `position` on.
    pub fn lend(&self, position: u64, len: usize) -> io::Result<FileRecords> {
        Ok(FileRecords::new(self.log_file().existing()?, position, len))
    }

    /// A batch's bytes.
    pub fn read_batch(&self, batch: &Located) -> io::Result<Vec<u8>> {
        self.lend(batch.position, batch.header.size())?.read_all()
    }

    /// Cuts the log file and the indexes: what lies at or behind `offset` goes, `position` is where it began.
    pub fn truncate(&self, offset: Offset, position: u64) -> io::Result<()> {
        let relative = offset.0 - self.base.0;
        self.log_file().created()?.set_len(position)?;
        self.size.store(position, Ordering::Release);
        self.offset_index().truncate(|entry| i64::from(entry.relative_offset) < relative)?;
        self.time_index().truncate(|entry| i64::from(entry.relative_offset) < relative)?;
        self.txn_index().truncate(offset)?;
        if position == 0 {
            self.first_timestamp.store(i64::MIN, Ordering::Relaxed);
            self.began.store(i64::MIN, Ordering::Relaxed);
        }
        self.settle_timestamp(position)
    }

    /// Makes everything durable but the names in the directory.
    pub fn sync(&self) -> io::Result<()> {
        self.log_file().created()?.sync_data()?;
        self.offset_index().sync()?;
        self.time_index().sync()?;
        self.txn_index().sync()
    }

    /// As [`Self::sync`], but asks for no space: index entries and records that are still in memory are left there.
    pub fn sync_written(&self) -> io::Result<()> {
        self.log_file().for_writing()?.sync_data()?;
        self.offset_index().file().created()?.sync_data()?;
        self.time_index().file().created()?.sync_data()?;
        self.txn_index().sync()
    }

    /// Hands the index entries that are in memory to the operating system.
    pub fn write_indexes(&self) -> io::Result<()> {
        self.offset_index().write()?;
        self.time_index().write()
    }

    /// Called when the next segment takes over: the time index gets its last entry.
    pub fn seal(&self) -> io::Result<()> {
        self.index_time()?;
        self.write_indexes()
    }

    /// Takes space in advance where there is enough; without it the file grows as it is written.
    pub fn reserve(&self, len: u64) -> io::Result<()> {
        let file = self.log_file().created()?;
        match file.reserve(len) {
            // What could be taken of it is needed by others.
            Err(error) if is_shortage(&error) => file.set_len(self.size()),
            done => done,
        }
    }

    /// Cuts the file off where its records end, and frees the space that was taken in advance and not used.
    pub fn give_back(&self) -> io::Result<()> {
        self.log_file().created()?.set_len(self.size())
    }

    /// Cuts the file off where its records end. Only for one that nobody reads yet.
    pub fn end_at(&self, position: u64) -> io::Result<()> {
        self.log_file().created()?.set_len(position)?;
        self.size.store(position, Ordering::Release);
        Ok(())
    }

    /// The four files, the `.log` first.
    pub fn files(&self) -> [SegmentFile<'_>; 4] {
        let files = &self.files;
        [&files.log, &files.offset_index, &files.time_index, &files.txn_index].map(|file| SegmentFile::new(self, file))
    }

    /// Renames all files, the `.log` last.
    pub fn rename_suffix(&self, suffix: Suffix) -> io::Result<()> {
        for file in self.files().into_iter().rev() {
            file.rename_suffix(suffix)?;
        }
        Ok(())
    }

    /// Closes the files; they are opened again when they are needed.
    pub fn close_files(&self) {
        for file in self.files() {
            file.close();
        }
    }
}

/// The later of what is known and a batch's largest timestamp.
fn raise(max: &mut Option<MaxTimestamp>, header: &BatchHeader) -> MaxTimestamp {
    let of_batch = MaxTimestamp { timestamp: header.max_timestamp, offset: header.last_offset() };
    let latest = max.filter(|known| known.timestamp >= of_batch.timestamp).unwrap_or(of_batch);
    *max = Some(latest);
    latest
}

/// Stands for the file of a segment that has none yet.
#[derive(Debug)]
struct NoFile;

impl crate::disk::DiskFile for NoFile {
    fn read_at(&self, _: &mut [u8], _: u64) -> io::Result<usize> {
        Ok(0)
    }
    fn try_read_at(&self, _: &mut [u8], _: u64) -> io::Result<Option<usize>> {
        Ok(Some(0))
    }
    fn write_at(&self, _: &[&[u8]], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(0)
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
