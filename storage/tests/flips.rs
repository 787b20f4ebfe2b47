//! Every bit of a 64 KiB log flipped, and every truncation of it: what recovery keeps is a prefix of what was written, and
//! what it does not keep it tells.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{context, dir, options};
use ottla_protocol::record_batch::{BatchBuilder, batches};
use ottla_protocol::{Offset, Timestamp};
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::disk::read_file;
use ottla_storage::{Log, LogConfig, LogOptions};

const LOG: &str = "00000000000000000000.log";
const SIZE: usize = 64 << 10;

fn config() -> Arc<LogConfig> {
    Arc::new(LogConfig { segment_bytes: 1 << 20, ..LogConfig::default() })
}

/// 64 KiB in batches of about 4 KiB; the file, and where each batch begins with its offset, the end last.
fn log_of_64_kib() -> (FaultyDisk, Vec<u8>, Vec<(usize, i64)>) {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), LogOptions { config: config(), ..options(&disk) }).unwrap();
    while log.size() < SIZE as u64 {
        let mut builder = BatchBuilder::new();
        for number in 0..4_u8 {
            builder.push(Timestamp(1_000), Some(&[number]), Some(&vec![number; 1_000]), &[]);
        }
        log.append_as_leader(builder.build(), &context()).unwrap();
    }
    let bytes = read_file(&disk, &dir().join(LOG)).unwrap().unwrap();
    let mut position = 0;
    let mut starts = Vec::new();
    for batch in batches(&bytes) {
        let batch = batch.unwrap();
        starts.push((position, batch.base_offset.0));
        position += batch.size();
    }
    starts.push((position, log.offsets().log_end.0));
    (disk, bytes, starts)
}

fn recovered(disk: &FaultyDisk, bytes: &[u8], recovery_point: i64) -> (Log, ottla_storage::RecoveryReport, FaultyDisk) {
    let crashed = disk.after_kill();
    crashed.damage(&dir().join(LOG), |log| *log = bytes.to_vec()).unwrap();
    let options = LogOptions { config: config(), recovery_point: Offset(recovery_point), ..options(&crashed) };
    let (log, report) = Log::open(dir(), options).unwrap();
    (log, report, crashed)
}

/// In as many threads as there are cores, `work` for every number below `count`.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let work = &work;
            scope.spawn(move || (thread..count).step_by(threads).for_each(work));
        }
    });
}

#[test]
fn every_bit_of_the_unflushed_tail() {
    let (disk, bytes, starts) = log_of_64_kib();
    // One log per bit would take long; recovery stops at the first unsound batch, so what is before it is the same.
    in_parallel(bytes.len() * 8, |bit| {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let at = starts.partition_point(|(start, _)| *start <= bit / 8) - 1;
        let within = bit / 8 - starts[at].0;
        let (log, report, _) = recovered(&disk, &flipped, starts[at].1);
        let end = log.offsets().log_end.0;
        // Neither offset nor epoch is within the checksum. They are not silently believed where they cannot be true.
        let written = starts[starts.len() - 1].1;
        match within {
            0..8 => return assert!(report.cut.is_some() || end > written, "bit {bit}: another offset is believed"),
            12..16 => return assert!(end <= written, "bit {bit}"),
            _ => {}
        }
        assert_eq!(end, starts[at].1, "bit {bit}: the log ends before the damaged batch");
        let cut = report.cut.expect("it is told");
        assert_eq!((cut.offset.0, cut.position), (starts[at].1, starts[at].0 as u64), "bit {bit}: the place is named");
    });
}

#[test]
fn every_bit_below_the_flushed_point() {
    let (disk, bytes, starts) = log_of_64_kib();
    let end = starts[starts.len() - 1].1;
    // Every seventh: nothing here depends on which bit of a byte it is.
    in_parallel(bytes.len() * 8 / 7, |bit| {
        let bit = bit * 7;
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let at = starts.partition_point(|(start, _)| *start <= bit / 8) - 1;
        let (log, report, crashed) = recovered(&disk, &flipped, end);
        // Either the log is as long as it was, and whoever reads the batch sees that its checksum is wrong, or the place is
        // named and the loss is told.
        let kept = log.offsets().log_end.0 >= end;
        assert!(kept || report.lost_below == Some(Offset(end)), "bit {bit}: {report:?}");
        // A damaged length of the very last batch leaves bytes that look like a torn tail: that place is named too.
        if report.lost_below.is_none() && report.cut.is_none() {
            let after = read_file(&crashed, &dir().join(LOG)).unwrap().unwrap();
            assert_eq!(after.len(), bytes.len(), "bit {bit}: nothing was cut");
            let within = bit / 8 - starts[at].0;
            if within >= 21 {
                let batch = Bytes::from(after).slice(starts[at].0..starts[at + 1].0);
                let read = batches(&batch).next().unwrap();
                assert!(read.is_err() || read.unwrap().check_crc().is_err(), "bit {bit}");
            }
        }
    });
}

#[test]
fn every_truncation() {
    let (disk, bytes, starts) = log_of_64_kib();
    let flushed = starts[starts.len() / 2].1;
    in_parallel(bytes.len(), |len| {
        let (log, report, _) = recovered(&disk, &bytes[..len], flushed);
        let (position, end) = *starts.iter().rfind(|(position, _)| *position <= len).unwrap();
        assert_eq!(log.offsets().log_end.0, end, "{len} bytes");
        assert_eq!(report.lost_below, (end < flushed).then_some(Offset(flushed)), "{len} bytes");
        assert_eq!(report.cut.is_some(), position != len, "{len} bytes");
    });
}
