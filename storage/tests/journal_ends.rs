//! What the journal said must not count any more once the logs' own files say more.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{batch, contents, context, errors_of, expected};
use ottla_protocol::record_batch::stamp;
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, AppendError, JournalOptions, Log, LogConfig, LogDirs, LogDirsOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn open(disk: &FaultyDisk) -> Arc<LogDirs> {
    let options = LogDirsOptions {
        disk: Arc::new(disk.clone()),
        cleaner_threads: 0,
        reserve_bytes: 0,
        journal: JournalOptions { threads: false, file_bytes: 16 << 10, collect_from: 0 },
        ..LogDirsOptions::new(BrokerId(1), "5L6g3nShT-eMCtK--X86sw")
    };
    LogDirs::open(&[PathBuf::from("/a")], options).unwrap()
}

fn log(dirs: &Arc<LogDirs>) -> Arc<Log> {
    let topic = TopicId(uuid::Uuid::from_u128(1));
    dirs.create_log(&TopicPartition::new("t", 0), topic, Arc::new(LogConfig::default())).unwrap()
}

/// Two records whose values begin at `value`, as they were fetched from a leader, and a round of the journal.
fn append(dirs: &LogDirs, log: &Log, value: i64, epoch: i32) {
    let mut fetched = batch(value, 2).to_vec();
    stamp(&mut fetched, log.offsets().log_end, LeaderEpoch(epoch));
    log.append_as_follower(fetched.into(), Timestamp(1)).unwrap();
    dirs.commit();
    assert_eq!(log.durable_end(), log.offsets().log_end);
}

fn journal_files(disk: &FaultyDisk) -> usize {
    let entries = disk.list("/a".as_ref()).unwrap();
    entries.iter().filter(|entry| entry.name.starts_with("ottla-journal")).count()
}

#[test]
fn a_cut_for_which_the_journal_had_no_room_stays_a_cut() {
    let disk = FaultyDisk::default();
    let dirs = open(&disk);
    let log = log(&dirs);
    // Three frames fill the first file, and on a full disk there is no second one.
    (0..3).for_each(|at| append(&dirs, &log, at * 2, 1));
    disk.set_capacity(disk.used());
    errors_of(|| {
        let refused = log.append_as_leader(batch(6, 2), &AppendContext { leader_epoch: LeaderEpoch(1), ..context() });
        assert!(matches!(refused, Err(AppendError::DiskFull)), "{refused:?}");
    });
    disk.set_capacity(disk.used() + (12 << 10));
    append(&dirs, &log, 6, 1);
    assert_eq!((journal_files(&disk), contents(&log, Offset(0))), (1, expected(8)));
    log.truncate_to(Offset(2)).unwrap();
    append(&dirs, &log, 100, 2);
    let mut wanted = expected(2);
    wanted.extend([(2, "value 100".to_owned()), (3, "value 101".to_owned())]);
    assert_eq!(contents(&log, Offset(0)), wanted);
    let killed = disk.after_kill();
    assert_eq!(contents(&self::log(&open(&killed)), Offset(0)), wanted);
    for seed in 0..50 {
        let mut rng = StdRng::seed_from_u64(seed);
        let cut = disk.after_power_cut(|below| rng.random_range(0..below));
        assert_eq!(contents(&self::log(&open(&cut)), Offset(0)), wanted, "{seed}");
    }
}

#[test]
fn a_clean_stop_that_the_power_ends_brings_back_nothing_that_was_cut() {
    let mut steps = None;
    for step in 0.. {
        let disk = FaultyDisk::default();
        let dirs = open(&disk);
        let log = log(&dirs);
        for _ in 0..3 {
            while log.offsets().log_end < Offset(10) {
                append(&dirs, &log, log.offsets().log_end.0, 1);
            }
            log.truncate_to(Offset(4)).unwrap();
        }
        assert!(journal_files(&disk) > 1);
        let before = disk.operations();
        // The first time it ends as it should.
        if let Some(steps) = steps {
            disk.stop_after(step - 1);
            if step > steps {
                return;
            }
        }
        errors_of(|| dirs.shutdown(1));
        steps = steps.or(Some(disk.operations() - before));
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let cut = disk.after_power_cut(|below| rng.random_range(0..below));
            assert_eq!(contents(&self::log(&open(&cut)), Offset(0)), expected(4), "step {step}, {seed}");
        }
    }
}
