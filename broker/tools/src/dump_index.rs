//! kafka-dump-log on the files beside a log: its indexes, held against the log they point into, and the producers' snapshots.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

use ottla_protocol::buf::{Cursor, ReadError};
use ottla_protocol::record_batch::{BatchView, TimestampType, batches};

use super::Failure;
use super::dump_log::base_offset;

/// How indexes are looked at.
pub struct Checks {
    /// Only what a broker checks when it starts.
    pub is_sanity_only: bool,
    /// Nothing is printed but what is wrong.
    pub is_verify_only: bool,
    /// The largest batch that an entry may point to.
    pub batch_bytes_max: usize,
}

/// What does not fit, by file.
#[derive(Default)]
pub struct Findings {
    /// Offset in the index and in the log.
    offsets: BTreeMap<String, BTreeMap<i64, i64>>,
    /// Timestamp in the index and in the log.
    timestamps: BTreeMap<String, Vec<(i64, i64)>>,
    /// Timestamp and the one before it.
    out_of_order: BTreeMap<String, Vec<(i64, i64)>>,
    /// Offset in the time index and the nearest in the log.
    not_found: BTreeMap<String, Vec<(i64, i64)>>,
}

impl Findings {
    /// The findings as Kafka's tool tells them.
    pub fn told(&self) -> String {
        let mut text = String::new();
        for (file, pairs) in &self.offsets {
            let _ = writeln!(text, "Mismatches in :{file}");
            for (index, log) in pairs.iter().rev() {
                let _ = writeln!(text, "  Index offset: {index}, log offset: {log}");
            }
        }
        let mut list = |of: &BTreeMap<String, Vec<(i64, i64)>>, title: &str, left: &str, right: &str| {
            for (file, pairs) in of {
                let _ = writeln!(text, "{title} :{file}");
                for (index, log) in pairs {
                    let _ = writeln!(text, "{left}: {index}, {right}: {log}");
                }
            }
        };
        list(&self.timestamps, "Found timestamp mismatch in", "  Index timestamp", "log timestamp");
        list(
            &self.out_of_order,
            "Found out of order timestamp in",
            "  Index timestamp",
            "Previously indexed timestamp",
        );
        list(&self.not_found, "The following indexed offsets are not found in", "Indexed offset", "found log offset");
        text
    }
}

const INDEX_ENTRY_SIZE: usize = 8;
const TIME_INDEX_ENTRY_SIZE: usize = 12;

/// Entries of 8 bytes: offset less the base offset, and position. Preallocated files end in zeros.
pub fn dump_index(
    path: &Path,
    bytes: &[u8],
    checks: &Checks,
    findings: &mut Findings,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let log = beside(path, "log")?;
    let entries = offset_entries(base, bytes);
    let Some(last) = entries.last() else {
        writeln!(out, "{} is empty.", path.display())?;
        return Ok(());
    };
    if checks.is_sanity_only {
        check_index(path, base, last.0, bytes.len())?;
        writeln!(out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    for (number, &(offset, position)) in entries.iter().enumerate() {
        if offset == base && number > 0 {
            break;
        }
        let rest = log.get(position..).unwrap_or_default();
        let slice = &rest[..rest.len().min(checks.batch_bytes_max)];
        let batch = BatchView::parse(slice)
            .map_err(|_| Failure::failed(format!("Exception in thread \"main\" java.util.NoSuchElementException: no batch begins at position {position} of the log")))?;
        let found = last_offset(&batch);
        if found != offset {
            findings.offsets.entry(absolute(path)).or_default().insert(offset, found);
        }
        if !checks.is_verify_only {
            writeln!(out, "offset: {offset} position: {position}")?;
        }
    }
    Ok(())
}

fn check_index(path: &Path, base: i64, last: i64, size: usize) -> Result<(), Failure> {
    let file = absolute(path);
    if last < base {
        return Err(Failure::failed(format!(
            "Corrupt index found, index file {file} has non-zero size but the last offset is {last} which is less than the \
             base offset {base}"
        )));
    }
    if !size.is_multiple_of(INDEX_ENTRY_SIZE) {
        return Err(Failure::failed(format!(
            "Index file {file} is corrupt, found {size} bytes which is neither positive nor a multiple of {INDEX_ENTRY_SIZE}"
        )));
    }
    Ok(())
}

/// Entries of 12 bytes: timestamp, and offset less the base offset.
pub fn dump_time_index(
    path: &Path,
    bytes: &[u8],
    checks: &Checks,
    findings: &mut Findings,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let base = base_offset(path)?;
    let log = beside(path, "log")?;
    let offsets = offset_entries(base, &beside(path, "index")?);
    let entries = time_entries(base, bytes);
    if checks.is_sanity_only {
        check_time_index(path, base, &entries, bytes.len())?;
        writeln!(out, "{} passed sanity check.", path.display())?;
        return Ok(());
    }
    let file = absolute(path);
    let mut previous = -1;
    for (number, &(timestamp, offset)) in entries.iter().enumerate() {
        if offset == base && number > 0 {
            break;
        }
        // Where the log is to be read from: what the offset index knows at or below this offset.
        let known = offsets.iter().take_while(|entry| entry.0 <= offset && (entry.0, entry.1) != (base, 0)).last();
        let rest = log.get(known.map_or(0, |entry| entry.1)..).unwrap_or_default();
        let found = batches(rest).map_while(Result::ok).find(|batch| last_offset(batch) >= offset);
        match found {
            None => findings.not_found.entry(file.clone()).or_default().push((offset, -1)),
            Some(batch) if last_offset(&batch) != offset => {
                findings.not_found.entry(file.clone()).or_default().push((offset, last_offset(&batch)));
            }
            Some(batch) => {
                let newest = newest_timestamp(&batch)?;
                if newest != timestamp {
                    findings.timestamps.entry(file.clone()).or_default().push((timestamp, newest));
                }
                if previous >= timestamp {
                    findings.out_of_order.entry(file.clone()).or_default().push((timestamp, previous));
                }
            }
        }
        if !checks.is_verify_only {
            writeln!(out, "timestamp: {timestamp} offset: {offset}")?;
        }
        previous = timestamp;
    }
    Ok(())
}

fn check_time_index(path: &Path, base: i64, entries: &[(i64, i64)], size: usize) -> Result<(), Failure> {
    let file = absolute(path);
    if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
        let (what, last, first) =
            if last.0 < first.0 { ("timestamp", last.0, first.0) } else { ("offset", last.1, base) };
        if last < first {
            return Err(Failure::failed(format!(
                "Corrupt time index found, time index file ({file}) has non-zero size but the last {what} is {last} which is \
                 less than the first {what} {first}"
            )));
        }
    }
    if !size.is_multiple_of(TIME_INDEX_ENTRY_SIZE) {
        return Err(Failure::failed(format!(
            "Time index file {file} is corrupt, found {size} bytes which is neither positive nor a multiple of \
             {TIME_INDEX_ENTRY_SIZE}"
        )));
    }
    Ok(())
}

/// Entries of 34 bytes: version, producer, first and last offset, last stable offset.
pub fn dump_transactions(bytes: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    for entry in bytes.chunks_exact(34) {
        let long = |at| i64::from_be_bytes(number(entry, at));
        writeln!(
            out,
            "version: {} producerId: {} firstOffset: {} lastOffset: {} lastStableOffset: {}",
            i16::from_be_bytes(number(entry, 0)),
            long(2),
            long(10),
            long(18),
            long(26)
        )?;
    }
    Ok(())
}

/// Version, checksum, and a count of producers; what an Ottla broker writes behind them is passed over, as Kafka does.
pub fn dump_snapshot(bytes: &[u8], out: &mut dyn Write) -> Result<(), Failure> {
    let stored = bytes.get(2..6).map_or(0, |crc| u32::from_be_bytes(number(crc, 0)));
    let computed = crc_fast::crc32_iscsi(bytes.get(6..).unwrap_or_default());
    if stored != computed || bytes.len() < 10 {
        out.flush()?;
        eprintln!("Snapshot is corrupt (CRC is no longer valid). Stored crc: {stored}. Computed crc: {computed}");
        return Ok(());
    }
    let mut cursor = Cursor::new(&bytes[6..]);
    let mut print = || -> Result<(), ReadError> {
        for _ in 0..cursor.i32()? {
            let (producer, epoch) = (cursor.i64()?, cursor.i16()?);
            let (last_sequence, last_offset) = (cursor.i32()?, cursor.i64()?);
            let (delta, timestamp) = (cursor.i32()?, cursor.i64()?);
            let (coordinator_epoch, first) = (cursor.i32()?, cursor.i64()?);
            let open = if first < 0 { "OptionalLong.empty".to_owned() } else { format!("OptionalLong[{first}]") };
            let _ = write!(
                out,
                "producerId: {producer} producerEpoch: {epoch} coordinatorEpoch: {coordinator_epoch} \
                 currentTxnFirstOffset: {open} lastTimestamp: {timestamp}"
            );
            if last_offset >= 0 {
                let first_sequence = sequence_before(last_sequence, delta);
                let _ = write!(
                    out,
                    " firstSequence: {first_sequence} lastSequence: {last_sequence} lastOffset: {last_offset} \
                     offsetDelta: {delta} timestamp: {timestamp}"
                );
            }
            let _ = writeln!(out);
        }
        Ok(())
    };
    print().map_err(|error| Failure::failed(format!("The snapshot cannot be read: {error}")))
}

/// The sequence `decrement` records before `sequence`: 0 follows 2^31-1.
fn sequence_before(sequence: i32, decrement: i32) -> i32 {
    if sequence >= decrement { sequence - decrement } else { i32::MAX - (decrement - sequence) + 1 }
}

/// Another file of the same segment.
fn beside(path: &Path, extension: &str) -> Result<Vec<u8>, Failure> {
    let path = path.with_extension(extension);
    std::fs::read(&path).map_err(|error| {
        Failure::failed(format!(
            "Exception in thread \"main\" java.nio.file.NoSuchFileException: {}: {error}",
            path.display()
        ))
    })
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn last_offset(batch: &BatchView<'_>) -> i64 {
    batch.header().base_offset.0 + i64::from(batch.header().last_offset_delta)
}

fn newest_timestamp(batch: &BatchView<'_>) -> Result<i64, Failure> {
    let header = *batch.header();
    if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Ok(header.max_timestamp.0);
    }
    let unreadable = |error: &dyn std::fmt::Display| Failure::failed(format!("A batch cannot be read: {error}"));
    let mut records = batch.records().map_err(|error| unreadable(&error))?;
    let mut newest = -1;
    while let Some(record) = records.next_record().map_err(|error| unreadable(&error))? {
        newest = newest.max(header.base_timestamp.0 + record.timestamp_delta);
    }
    Ok(newest)
}

fn offset_entries(base: i64, bytes: &[u8]) -> Vec<(i64, usize)> {
    let entry = |entry: &[u8]| {
        let position = u32::from_be_bytes(number(entry, 4));
        (base + i64::from(u32::from_be_bytes(number(entry, 0))), usize::try_from(position).unwrap_or(usize::MAX))
    };
    bytes.chunks_exact(INDEX_ENTRY_SIZE).map(entry).collect()
}

fn time_entries(base: i64, bytes: &[u8]) -> Vec<(i64, i64)> {
    let entry =
        |entry: &[u8]| (i64::from_be_bytes(number(entry, 0)), base + i64::from(u32::from_be_bytes(number(entry, 8))));
    bytes.chunks_exact(TIME_INDEX_ENTRY_SIZE).map(entry).collect()
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut number = [0; N];
    number.copy_from_slice(&bytes[at..at + N]);
    number
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_sanity_check_tells_what_a_broker_would_rebuild() {
        let path = Path::new("/x/00000000000000000010.timeindex");
        assert!(check_time_index(path, 10, &[(5, 10), (7, 12)], 24).is_ok());
        let refused = |entries: &[(i64, i64)], size| check_time_index(path, 10, entries, size).unwrap_err().message;
        assert!(
            refused(&[(5, 10), (0, 10)], 24).contains("last timestamp is 0 which is less than the first timestamp 5")
        );
        assert!(refused(&[(5, 10), (7, 9)], 24).contains("last offset is 9 which is less than the first offset 10"));
        assert!(refused(&[(5, 10)], 13).contains("13 bytes"));
        assert!(check_index(path, 10, 9, 8).is_err());
        assert!(check_index(path, 10, 10, 9).unwrap_err().message.contains("a multiple of 8"));
    }

    #[test]
    fn findings_are_told_file_by_file() {
        let mut findings = Findings::default();
        findings.offsets.entry("/x/1.index".into()).or_default().extend([(3, 4), (9, 8)]);
        findings.not_found.entry("/x/1.timeindex".into()).or_default().push((5, -1));
        assert_eq!(
            findings.told(),
            "Mismatches in :/x/1.index\n  Index offset: 9, log offset: 8\n  Index offset: 3, log offset: 4\n\
             The following indexed offsets are not found in :/x/1.timeindex\nIndexed offset: 5, found log offset: -1\n"
        );
    }

    #[test]
    fn a_snapshot_of_producers_is_printed() {
        let mut body = 1_i32.to_be_bytes().to_vec();
        body.extend(7_i64.to_be_bytes());
        body.extend(2_i16.to_be_bytes());
        body.extend(9_i32.to_be_bytes());
        body.extend(30_i64.to_be_bytes());
        body.extend(4_i32.to_be_bytes());
        body.extend(1000_i64.to_be_bytes());
        body.extend((-1_i32).to_be_bytes());
        body.extend((-1_i64).to_be_bytes());
        let mut file = 1_i16.to_be_bytes().to_vec();
        file.extend(crc_fast::crc32_iscsi(&body).to_be_bytes());
        file.extend(&body);
        let mut out = Vec::new();
        dump_snapshot(&file, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "producerId: 7 producerEpoch: 2 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong.empty lastTimestamp: 1000 \
             firstSequence: 5 lastSequence: 9 lastOffset: 30 offsetDelta: 4 timestamp: 1000\n"
        );
        let mut out = Vec::new();
        file[20] ^= 1;
        dump_snapshot(&file, &mut out).unwrap();
        assert!(out.is_empty());
    }
}
