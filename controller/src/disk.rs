//! Small files that are replaced whole, and directories that remember them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Between two looks whether there is space again.
const LOOK: Duration = Duration::from_millis(100);

/// Waits for space where there is none. Clones stop together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Space {
    stopped: Arc<AtomicBool>,
    is_lacking: Arc<AtomicBool>,
}

impl Space {
    /// Has `write` done, as often as it fails for want of space or of file descriptors. It must leave nothing that counts when
    /// it fails.
    pub(crate) async fn wait<T>(
        &self,
        what: &'static str,
        mut write: impl FnMut() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        let mut waited = false;
        loop {
            let error = match write() {
                Err(error) if is_shortage(&error) => error,
                done => {
                    if waited {
                        self.is_lacking.store(false, Ordering::Release);
                        tracing::info!(what, done = done.is_ok(), "there is space again");
                    }
                    return done;
                }
            };
            if self.stopped.load(Ordering::Acquire) {
                return Err(error);
            }
            if !waited {
                waited = true;
                self.is_lacking.store(true, Ordering::Release);
                tracing::error!(what, %error, "no change of the cluster's metadata until there is space");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Whether somebody waits right now.
    pub(crate) fn is_lacking(&self) -> bool {
        self.is_lacking.load(Ordering::Acquire)
    }

    /// For those who wait apart from the others, and stop with them.
    pub(crate) fn apart(&self) -> Self {
        Self { stopped: Arc::clone(&self.stopped), is_lacking: Arc::default() }
    }

    /// Nobody waits any more: the node stops.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }
}

/// What passes by itself, and says nothing against the disk.
pub(crate) fn is_shortage(error: &io::Error) -> bool {
    // ENFILE, EMFILE: the same numbers on Linux, macOS and the BSDs.
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || matches!(error.raw_os_error(), Some(23 | 24))
}

/// Makes creations, renames and removals in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces `path` by a file with these bytes: a crash leaves the old file or the new one, never a mixture.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().ok_or_else(|| io::Error::other("a file lies in a directory"))?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_dir(dir)
}

/// An error that says which file is damaged.
pub(crate) fn damaged(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}
