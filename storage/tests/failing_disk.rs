//! After a failed sync nothing is trusted any more; a full disk is another matter and passes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io;
use std::sync::Arc;

use common::{append, batch, config, contents, context, dir, expected, options};
use ottla_protocol::record_batch::batches;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::{FaultyDisk, Operation};
use ottla_storage::{AppendContext, AppendError, Durability, Log, LogConfig, LogOptions};

#[test]
fn a_failed_sync_takes_the_log_offline_for_good() {
    // Whichever of them it is: that of the records, of an index, of the epochs, of a directory.
    for failing in 0.. {
        let disk = FaultyDisk::default();
        let (log, _) = Log::open(dir(), options(&disk)).unwrap();
        append(&log, 3).unwrap();
        let mut syncs = 0;
        disk.set_fault(move |operation, _| {
            let is_sync = matches!(operation, Operation::SyncData | Operation::SyncDir);
            syncs += i32::from(is_sync);
            (is_sync && syncs == failing + 1).then(|| io::Error::from_raw_os_error(5))
        });
        if log.flush().is_ok() {
            assert!(failing > 4, "there are as many");
            break;
        }
        // The second sync would succeed: it says nothing about the pages that the first one lost.
        assert!(log.flush().is_err(), "sync {failing}");
        assert_eq!(log.offsets().recovery_point, Offset(0));
        let refused = append(&log, 1).unwrap_err();
        assert!(matches!(refused, AppendError::Offline), "sync {failing}");
        assert_eq!(refused.error_code(), ErrorCode::KafkaStorageError);
        assert!(!log.is_online());
    }
}

#[test]
fn a_failed_write_is_not_acknowledged_and_not_read() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 3).unwrap();
    disk.set_fault(|operation, _| (operation == Operation::Write).then(|| io::Error::from_raw_os_error(5)));
    assert!(matches!(append(&log, 1).unwrap_err(), AppendError::Io(_)));
    disk.clear_fault();
    assert!(matches!(append(&log, 1).unwrap_err(), AppendError::Offline));
    assert_eq!(contents(&log, Offset(0)), expected(3));
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 3).unwrap();
    disk.set_capacity(1);
    let refused = append(&log, 1).unwrap_err();
    assert!(matches!(refused, AppendError::DiskFull));
    assert!(refused.error_code().is_retriable());
    assert_eq!(contents(&log, Offset(0)), expected(3));
    disk.set_capacity(u64::MAX);
    append(&log, 2).unwrap();
    assert_eq!(contents(&log, Offset(0)), expected(5));
    drop(log);
    let (log, report) = Log::open(dir(), LogOptions { ..options(&disk) }).unwrap();
    assert_eq!((report.cut, log.offsets().log_end), (None, Offset(5)));
}

/// The part of it that the disk had room for lies behind the last record of a segment that is closed then.
#[test]
fn half_of_a_refused_batch_is_never_given_to_readers() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 3).unwrap();
    disk.set_capacity(disk.used() + 50);
    assert!(matches!(append(&log, 9).unwrap_err(), AppendError::DiskFull));
    disk.set_capacity(u64::MAX);
    log.roll_if_old(Timestamp(i64::MAX)).unwrap();
    append(&log, 2).unwrap();
    assert_eq!(log.segment_count(), 2);
    log.close().unwrap();
    for clean_shutdown in [true, false] {
        let at = LogOptions { clean_shutdown, recovery_point: Offset(5), ..options(&disk.after_kill()) };
        let (log, _) = Log::open(dir(), at).unwrap();
        assert_eq!(contents(&log, Offset(0)), expected(5));
        for from in [0, 3] {
            let bytes = log.read(Offset(from), 1 << 20, Offset(5), true).unwrap().records[0].read_all().unwrap();
            assert!(batches(&bytes).all(|batch| batch.is_ok()), "from {from}: a consumer could not go on");
        }
    }
}

#[test]
fn half_of_a_refused_batch_that_cannot_be_cut_off_takes_the_log_offline() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 3).unwrap();
    disk.set_capacity(disk.used() + 50);
    disk.set_fault(|operation, _| (operation == Operation::SetLen).then(|| io::Error::from_raw_os_error(5)));
    assert!(append(&log, 9).is_err());
    assert!(!log.is_online());
    let (log, report) = Log::open(dir(), options(&disk.after_kill())).unwrap();
    assert_eq!((report.cut.map(|cut| cut.bytes), log.offsets().log_end), (Some(50), Offset(3)));
    assert_eq!(contents(&log, Offset(0)), expected(3));
}

/// A follower that has written records fetches on behind them, whatever it made of the append: the leader counts them as its
/// own. So they are on the disk, though there is no space for the file of the epochs that a flush writes as well.
#[test]
fn with_flush_messages_a_full_disk_has_synced_what_it_took() {
    let mut written = 0;
    for space in (0..400).step_by(4) {
        for follows in [true, false] {
            let disk = FaultyDisk::default();
            disk.create_dir_all("/data".as_ref()).unwrap();
            disk.sync_dir("/".as_ref()).unwrap();
            let each = LogConfig { durability: Durability::Replicated, flush_messages: 1, ..config() };
            let flushed = LogOptions { config: Arc::new(each), ..options(&disk) };
            let (log, _) = Log::open(dir(), flushed).unwrap();
            append(&log, 3).unwrap();
            // A new epoch is to be noted.
            let at = AppendContext { leader_epoch: LeaderEpoch(4), ..context() };
            let (leader, _) = Log::open(dir(), options(&FaultyDisk::default())).unwrap();
            append(&leader, 3).unwrap();
            leader.append_as_leader(batch(3, 2), &at).unwrap();
            let read = leader.read(Offset(3), 1 << 20, Offset(5), true).unwrap();
            let fetched = read.records[0].read_all().unwrap();
            disk.set_capacity(disk.used() + space);
            let _ = if follows {
                log.append_as_follower(fetched.into(), Timestamp(1))
            } else {
                log.append_as_leader(batch(3, 2), &at)
            };
            let offsets = log.offsets();
            written += i32::from(offsets.log_end == Offset(5) && offsets.recovery_point == Offset(3));
            // Nothing survives but what was synced.
            let crashed = disk.after_power_cut(|_| 0);
            let after = LogOptions { recovery_point: offsets.recovery_point, ..options(&crashed) };
            let (log, _) = Log::open(dir(), after).unwrap();
            assert_eq!(contents(&log, Offset(0)), expected(offsets.log_end.0), "{space} bytes, follows: {follows}");
            let epoch = if offsets.log_end == Offset(5) { 4 } else { 0 };
            assert_eq!(log.latest_epoch(), Some(LeaderEpoch(epoch)));
        }
    }
    assert!(written > 0, "some had space for the records and none for the epochs");
}
