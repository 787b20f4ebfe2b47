//! The thread that makes appended entries durable: whatever waits is covered by one sync.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

use openraft::storage::IOFlushed;

use super::types::TypeConfig;
use super::witness::{self, Witness};

/// Appended, not yet durable.
pub(crate) struct Pending {
    pub file: Arc<File>,
    pub end: u64,
    /// Index of the last entry.
    pub last: u64,
    /// How often the log had been cut.
    pub cuts: u64,
    pub synced: Arc<AtomicU64>,
    pub done: IOFlushed<TypeConfig>,
}

/// Hands appends to the flush thread. The thread ends when the last handle is gone.
#[derive(Debug, Clone)]
pub(crate) struct Flusher {
    queue: mpsc::Sender<Pending>,
}

impl Flusher {
    /// Starts the thread.
    pub(crate) fn start(witness: Witness) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel();
        thread::Builder::new().name("metadata-log".into()).spawn(move || run(&waiting, &witness))?;
        Ok(Self { queue })
    }

    /// `pending.done` is called once the bytes are on the disk, or with the error.
    pub(crate) fn flush(&self, pending: Pending) {
        if let Err(mpsc::SendError(pending)) = self.queue.send(pending) {
            pending.done.io_completed(Err(io::Error::other("the flush thread has ended")));
        }
    }
}

fn run(waiting: &mpsc::Receiver<Pending>, witness: &Witness) {
    // After a failed sync the kernel may have dropped the dirty pages: nothing written here can be trusted again.
    let mut failed = false;
    let mut witnessed = None;
    while let Some(first) = next(waiting, witness) {
        let mut group = vec![first];
        group.extend(waiting.try_iter());
        let mut start = 0;
        while start < group.len() {
            let file = Arc::clone(&group[start].file);
            let end = start + group[start..].iter().take_while(|p| Arc::ptr_eq(&p.file, &file)).count();
            let result = if failed { Err(io::Error::other("an earlier sync failed")) } else { file.sync_data() };
            failed |= result.is_err();
            if result.is_ok() {
                for pending in &group[start..end] {
                    pending.synced.fetch_max(pending.end, Ordering::AcqRel);
                    witnessed = witnessed.max(Some((pending.cuts, pending.last)));
                }
            }
            for pending in group.drain(start..end) {
                let result = result.as_ref().copied().map_err(|error| io::Error::new(error.kind(), error.to_string()));
                pending.done.io_completed(result);
            }
            start = 0;
        }
        // Behind the answers: nobody waits for it.
        if let Some((cuts, last)) = witnessed.take() {
            witness.note(last, cuts);
        }
    }
    witness.settle();
}

/// The next append; what the witness lacks is written while there is none.
fn next(waiting: &mpsc::Receiver<Pending>, witness: &Witness) -> Option<Pending> {
    if witness.is_behind() {
        match waiting.recv_timeout(witness::INTERVAL) {
            Err(mpsc::RecvTimeoutError::Timeout) => witness.settle(),
            next => return next.ok(),
        }
    }
    waiting.recv().ok()
}
