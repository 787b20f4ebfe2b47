//! After a failed sync nothing is trusted any more; a full disk is another matter and passes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io;

use common::{append, contents, dir, expected, options};
use ottla_protocol::{ErrorCode, Offset};
use ottla_storage::disk::faulty::{FaultyDisk, Operation};
use ottla_storage::{AppendError, Log, LogOptions};

#[test]
fn a_failed_sync_takes_the_log_offline_for_good() {
    let disk = FaultyDisk::default();
    let (log, _) = Log::open(dir(), options(&disk)).unwrap();
    append(&log, 3).unwrap();
    let mut once = true;
    disk.set_fault(move |operation, _| {
        let fails = operation == Operation::SyncData && std::mem::replace(&mut once, false);
        fails.then(|| io::Error::from_raw_os_error(5))
    });
    assert!(log.flush().is_err());
    // The second sync would succeed: it says nothing about the pages that the first one lost.
    assert!(log.flush().is_err());
    assert_eq!(log.offsets().recovery_point, Offset(0));
    let refused = append(&log, 1).unwrap_err();
    assert!(matches!(refused, AppendError::Offline));
    assert_eq!(refused.error_code(), ErrorCode::KafkaStorageError);
    assert!(!log.is_online());
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
