//! A follower cuts its log while space or file descriptors are wanting: either it can be tried again, or the directory is
//! offline; and what the log says of its producers is what its records say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io;
use std::sync::Arc;

use common::{context, dir, idempotent, options};
use ottla_protocol::{LeaderEpoch, Offset};
use ottla_storage::disk::Disk;
use ottla_storage::disk::faulty::FaultyDisk;
use ottla_storage::{AppendContext, Log, LogOptions, OpenFiles};

const EMFILE: i32 = 24;
const ENOSPC: i32 = 28;
/// Where the log is cut: within a segment, and at the beginning of one.
const RECORDS: i64 = 180;

fn open(disk: &FaultyDisk, recovery_point: i64) -> Log {
    // Hardly any file stays open: each use of one has to open it.
    let open_files = Arc::new(OpenFiles::new(1));
    let options = LogOptions { recovery_point: Offset(recovery_point), open_files, ..options(disk) };
    Log::open(dir(), options).unwrap().0
}

/// Three producers in several segments and under three epochs; a snapshot of them at the base of each segment.
fn filled() -> (FaultyDisk, Log) {
    let disk = FaultyDisk::default();
    disk.create_dir_all("/data".as_ref()).unwrap();
    disk.sync_dir("/".as_ref()).unwrap();
    let log = open(&disk, 0);
    for number in 0..RECORDS / 3 {
        let (producer, sequence) = (number % 3, i32::try_from(number / 3 * 3).unwrap());
        let epoch = LeaderEpoch(i32::try_from(number / 25).unwrap());
        let cx = AppendContext { leader_epoch: epoch, ..context() };
        log.append_as_leader(idempotent(producer, 0, sequence, 3), &cx).unwrap();
        if number == 40 {
            log.flush().unwrap();
        }
    }
    assert!(log.segment_count() > 2);
    (disk, log)
}

/// All that must fit together.
fn state(log: &Log) -> String {
    let offsets = log.offsets();
    let mut next = Offset(0);
    while let Some(batch) = log.read(next, 1, Offset(i64::MAX), true).ok().filter(|read| !read.records.is_empty()) {
        let bytes = batch.records[0].read_all().unwrap();
        next = ottla_protocol::record_batch::batches(&bytes).next().unwrap().unwrap().next_offset();
    }
    format!(
        "{}..{} read to {next}, {:?}, {:?}",
        offsets.log_start,
        offsets.log_end,
        log.latest_epoch(),
        log.producers()
    )
}

#[derive(Clone, Copy, Debug)]
enum Cut {
    To(i64),
    Fully(i64),
}

fn cut(log: &Log, cut: Cut) -> io::Result<()> {
    match cut {
        Cut::To(offset) => log.truncate_to(Offset(offset)),
        Cut::Fully(offset) => log.truncate_fully_and_start_at(Offset(offset)),
    }
}

#[test]
fn a_cut_that_lacks_space_or_descriptors_leaves_a_log_that_fits_its_records() {
    let (mut tried_again, mut offline) = (0, 0);
    for what in [Cut::To(150), Cut::To(31), Cut::To(97), Cut::Fully(500)] {
        let (_, log) = filled();
        let before = state(&log);
        cut(&log, what).unwrap();
        let after = state(&log);
        for (errno, of_opens) in [(ENOSPC, false), (EMFILE, true)] {
            for (many, at) in [1, 2, 1_000].into_iter().flat_map(|many| (0..40).map(move |at| (many, at))) {
                let (disk, log) = filled();
                let mut count = 0;
                let mut fault = move || {
                    count += 1;
                    (count > at && count <= at + many).then(|| io::Error::from_raw_os_error(errno))
                };
                match of_opens {
                    true => disk.set_open_fault(move |_| fault()),
                    false => disk.set_fault(move |_, _| fault()),
                }
                let done = cut(&log, what);
                disk.clear_fault();
                let case = format!("{what:?}, error {errno}, {many} from {at}: {done:?}");
                if log.is_online() {
                    let now = state(&log);
                    assert!(now == after || (done.is_err() && now == before), "{case}\n{now}\n{after}");
                    tried_again += usize::from(done.is_err());
                    cut(&log, what).unwrap();
                    assert_eq!(state(&log), after, "{case}");
                } else {
                    offline += 1;
                    assert!(done.is_err(), "{case}");
                    assert!(log.append_as_leader(idempotent(9, 0, 0, 1), &context()).is_err(), "{case}");
                }
                // The next process finds producers as the records have them.
                let found = state(&open(&disk.after_kill(), 0));
                let records_only = disk.after_kill();
                for entry in records_only.list(&dir()).unwrap() {
                    if entry.name.ends_with(".snapshot") {
                        records_only.remove_file(&dir().join(entry.name)).unwrap();
                    }
                }
                assert_eq!(found, state(&open(&records_only, 0)), "{case}");
            }
        }
    }
    assert!(tried_again > 20 && offline > 20, "{tried_again} tried again, {offline} offline");
}

/// Nothing is wrong with the disk when a file cannot be opened.
#[test]
fn a_flush_without_descriptors_is_made_later() {
    let (disk, log) = filled();
    for at in 0..12 {
        let mut count = 0;
        disk.set_open_fault(move |_| {
            count += 1;
            (count > at).then(|| io::Error::from_raw_os_error(EMFILE))
        });
        let flushed = log.flush();
        disk.clear_fault();
        assert!(log.is_online(), "{at}: {flushed:?}");
    }
    log.flush().unwrap();
    assert_eq!(log.offsets().recovery_point, Offset(RECORDS));
    let cut = disk.after_power_cut(|_| 0);
    assert_eq!(state(&open(&cut, RECORDS)), state(&log));
}
