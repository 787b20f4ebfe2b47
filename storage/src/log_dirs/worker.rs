//! The one thread that does what no append should wait for: syncs of closed segments and removal of files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ottla_protocol::Offset;
use parking_lot::Mutex;

use crate::disk::{Disk, remove_if_present};
use crate::log::Log;
use crate::segment::Segment;

enum Job {
    /// Weak: a log that is gone needs no sync.
    Flush(Weak<Log>),
    Remove(Instant, Doomed),
    Stop,
}

enum Doomed {
    Dir(PathBuf),
    /// A copy, once the step that it is at has ended.
    Copy(PathBuf, Arc<Mutex<()>>),
    Segments(Vec<Arc<Segment>>),
    /// What is behind a log's records, if the log still ends there.
    Zeros(Weak<Log>, Offset),
}

/// How long nothing is appended to a log that is at rest, in milliseconds.
const REST_MS: i64 = 1000;

/// Handle of the thread.
#[derive(Debug)]
pub struct Worker {
    /// What waits is not done any more.
    stopped: Arc<AtomicBool>,
    jobs: Mutex<Sender<Job>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Where there is no thread.
    queue: Mutex<Option<Receiver<Job>>>,
}

impl Worker {
    /// Without a thread the work is done by [`Self::run_pending`].
    pub fn start(disk: Arc<dyn Disk>, with_thread: bool) -> Self {
        let (jobs, queue) = channel();
        let (jobs, stopped) = (Mutex::new(jobs), Arc::new(AtomicBool::new(false)));
        if !with_thread {
            return Self { stopped, jobs, thread: Mutex::default(), queue: Mutex::new(Some(queue)) };
        }
        let ends = Arc::clone(&stopped);
        let thread =
            std::thread::Builder::new().name("log-worker".to_owned()).spawn(move || run(&queue, &*disk, &ends));
        let thread = thread.inspect_err(|error| tracing::error!(%error, "no thread for log maintenance")).ok();
        Self { stopped, jobs, thread: Mutex::new(thread), queue: Mutex::default() }
    }

    /// Does all that has come together, removals at once. False if there was nothing.
    pub fn run_pending(&self, disk: &dyn Disk) -> bool {
        let queue = self.queue.lock();
        let Some(queue) = &*queue else { return false };
        let (mut did, mut again) = (false, Vec::new());
        while let Ok(job) = queue.try_recv() {
            match job {
                Job::Flush(log) => {
                    did = true;
                    flush(&log);
                }
                // Nobody appends meanwhile: a log that has grown since is at rest now.
                Job::Remove(_, doomed) => match remove(disk, doomed).and_then(|left| remove(disk, left)) {
                    Some(left) => again.push(left),
                    None => did = true,
                },
                Job::Stop => {}
            }
        }
        for left in again {
            self.send(Job::Remove(due(0), left));
        }
        did
    }

    /// Has a log synced soon. An error takes its directory offline.
    pub fn flush(&self, log: Arc<Log>) {
        self.send(Job::Flush(Arc::downgrade(&log)));
    }

    /// Has a directory removed after so many milliseconds. What cannot be removed is logged and left to the next start.
    pub fn remove_dir_later(&self, dir: PathBuf, delay_ms: i64) {
        self.send(Job::Remove(due(delay_ms), Doomed::Dir(dir)));
    }

    /// Has the copy of a move that was given up removed, once the step that it may be at has ended. Errors as above.
    pub fn remove_copy_later(&self, dir: PathBuf, stepping: Arc<Mutex<()>>) {
        self.send(Job::Remove(due(0), Doomed::Copy(dir, stepping)));
    }

    /// Has the files of deleted segments removed after so many milliseconds. Errors as above.
    pub fn unlink_later(&self, segments: Vec<Arc<Segment>>, delay_ms: i64) {
        self.send(Job::Remove(due(delay_ms), Doomed::Segments(segments)));
    }

    /// Has the zeros behind a log's records cut off once nothing is appended any more. Errors as above.
    /// False where there is no thread any more.
    pub fn cut_zeros_later(&self, log: &Arc<Log>) -> bool {
        self.send(Job::Remove(due(REST_MS), Doomed::Zeros(Arc::downgrade(log), log.offsets().log_end)))
    }

    /// Removes the files of deleted segments; blocks. Errors as above.
    pub fn unlink_now(disk: &dyn Disk, segments: Vec<Arc<Segment>>) {
        let _ = remove(disk, Doomed::Segments(segments));
    }

    /// Ends the thread after the job that it is at. What was to be removed later is removed by the next start; what was to be
    /// synced is synced by whoever closes the logs.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.send(Job::Stop);
        if let Some(thread) = self.thread.lock().take() {
            // A panic there was reported by its hook.
            let _ = thread.join();
        }
    }

    /// False once the thread has ended: then the next start does the work.
    fn send(&self, job: Job) -> bool {
        self.jobs.lock().send(job).is_ok()
    }
}

fn due(delay_ms: i64) -> Instant {
    let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
    let now = Instant::now();
    now.checked_add(delay).unwrap_or(now)
}

struct Due(Reverse<Instant>, Doomed);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

fn run(queue: &Receiver<Job>, disk: &dyn Disk, stopped: &AtomicBool) {
    let mut doomed: BinaryHeap<Due> = BinaryHeap::new();
    loop {
        let job = match doomed.peek() {
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(next) => queue.recv_timeout(next.0.0.saturating_duration_since(Instant::now())),
        };
        if stopped.load(Ordering::Acquire) {
            return;
        }
        match job {
            Ok(Job::Flush(log)) => flush(&log),
            Ok(Job::Remove(at, what)) => doomed.push(Due(Reverse(at), what)),
            Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(Due(_, what)) = doomed.pop()
                    && let Some(left) = remove(disk, what)
                {
                    doomed.push(Due(Reverse(due(REST_MS)), left));
                }
            }
        }
    }
}

fn flush(log: &Weak<Log>) {
    if let Some(log) = log.upgrade()
        && let Err(error) = log.flush_closed_segments()
    {
        tracing::error!(partition = %log.topic_partition(), %error, "closed segment could not be synced");
    }
}

/// What it answers is to be looked at again later.
fn remove(disk: &dyn Disk, doomed: Doomed) -> Option<Doomed> {
    let failed = |path: PathBuf, error: std::io::Error| {
        tracing::warn!(path = %path.display(), %error, "could not be removed");
    };
    match doomed {
        Doomed::Dir(dir) => {
            if let Err(error) = disk.remove_dir_all(&dir) {
                failed(dir, error);
            }
        }
        Doomed::Copy(dir, stepping) => {
            let _last_step = stepping.lock();
            if let Err(error) = disk.remove_dir_all(&dir) {
                failed(dir, error);
            }
        }
        Doomed::Segments(segments) => {
            for file in segments.iter().flat_map(|segment| segment.files()) {
                file.close();
                if let Err(error) = remove_if_present(disk, &file.path()) {
                    failed(file.path(), error);
                }
            }
        }
        Doomed::Zeros(weak, seen) => {
            let log = weak.upgrade()?;
            match log.cut_zeros_at_rest(seen) {
                Ok(end) => return end.map(|end| Doomed::Zeros(weak, end)),
                Err(error) => {
                    tracing::warn!(partition = %log.topic_partition(), %error, "the zeros behind the records are still there");
                    return Some(Doomed::Zeros(weak, seen));
                }
            }
        }
    }
    None
}
