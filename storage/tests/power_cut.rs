//! The power goes at every step of a workload, and what was not synced survives in any part. Afterwards each log is a
//! prefix of what was appended, with all that was flushed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, contents, dir, expected, options};
use ottla_protocol::Offset;
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{Log, LogOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// A disk with a log directory that is there for good.
fn disk() -> FaultyDisk {
    let disk = FaultyDisk::default();
    disk.create_dir_all("/data".as_ref()).unwrap();
    disk.sync_dir("/".as_ref()).unwrap();
    disk
}

/// Appends, rolls and flushes until the disk fails; what the last flush that succeeded covered.
fn workload(disk: &FaultyDisk, seed: u64) -> (i64, i64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut flushed = 0;
    let Ok((log, _)) = Log::open(dir(), options(disk)) else { return (0, 0) };
    for _ in 0..60 {
        if append(&log, rng.random_range(1..8)).is_err() {
            break;
        }
        if rng.random_bool(0.1) && log.flush().is_ok() {
            flushed = log.offsets().log_end.0;
        }
    }
    (flushed, log.offsets().log_end.0)
}

#[test]
fn a_log_is_a_prefix_with_all_that_was_flushed() {
    let whole = disk();
    workload(&whole, 1);
    let steps = whole.operations();
    assert!(steps > 100);
    let mut cuts = 0;
    for step in 0..steps {
        let disk = disk();
        disk.stop_after(step);
        let (flushed, appended) = workload(&disk, 1);
        for seed in 0..12 {
            let mut rng = StdRng::seed_from_u64(step * 100 + seed);
            let crashed = disk.after_power_cut(|below| rng.random_range(0..below));
            let at = LogOptions { recovery_point: Offset(flushed), ..options(&crashed) };
            let (log, report) = Log::open(dir(), at.clone()).unwrap();
            let end = log.offsets().log_end.0;
            let context = format!("step {step} seed {seed}: {flushed} flushed, {appended} appended, {end} found");
            assert!(end >= flushed && end <= appended, "{context}");
            assert_eq!(report.lost_below, None, "{context}");
            assert_eq!(contents(&log, Offset(0)), expected(end), "{context}");
            cuts += usize::from(report.cut.is_some());
            // It goes on from there, also after another kill.
            append(&log, 3).unwrap();
            let killed = crashed.after_kill();
            let (log, _) = Log::open(dir(), LogOptions { disk: std::sync::Arc::new(killed), ..at }).unwrap();
            assert_eq!(contents(&log, Offset(0)), expected(end + 3), "{context}");
        }
    }
    assert!(cuts > 0, "some tails were torn");
}

#[test]
fn a_killed_process_loses_nothing_that_was_acknowledged() {
    let whole = disk();
    workload(&whole, 2);
    for step in 0..whole.operations() {
        let disk = disk();
        disk.stop_after(step);
        let (flushed, appended) = workload(&disk, 2);
        let (log, _) =
            Log::open(dir(), LogOptions { recovery_point: Offset(flushed), ..options(&disk.after_kill()) }).unwrap();
        assert_eq!(log.offsets().log_end, Offset(appended), "step {step}");
        assert_eq!(contents(&log, Offset(0)), expected(appended), "step {step}");
    }
}
