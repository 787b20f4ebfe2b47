//! Log directories that have failed: the controller is told by heartbeats (KIP-858), and the process ends when none is left,
//! or when it is the one that the metadata log is in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ottla_storage::LogDirs;
use tokio::sync::watch;
use uuid::Uuid;

use crate::fatal::Fatal;

/// The directories that have failed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OfflineDirs {
    log_dirs: Arc<LogDirs>,
    failures: watch::Receiver<()>,
}

impl OfflineDirs {
    /// To be made once for all directories of a broker.
    pub fn new(log_dirs: &Arc<LogDirs>) -> Self {
        let (failed, failures) = watch::channel(());
        log_dirs.on_failure(move || {
            failed.send_replace(());
        });
        Self { log_dirs: Arc::clone(log_dirs), failures }
    }

    /// Ids of those that have one.
    pub fn ids(&self) -> Vec<Uuid> {
        self.log_dirs.failed_dirs().into_iter().map(|(_, id)| id).filter(|id| !id.is_nil()).collect()
    }

    /// Returns when another one has failed since this was called last.
    pub async fn changed(&mut self) {
        if self.failures.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Has the process end where it cannot go on without what has failed. `metadata_dir` is the one with the metadata log.
    pub async fn watch(mut self, metadata_dir: Option<PathBuf>, fatal: Fatal) {
        loop {
            self.failures.borrow_and_update();
            let is_of_metadata = |dir: &Path| metadata_dir.as_deref().is_some_and(|metadata| metadata == dir);
            if self.log_dirs.all_have_failed() {
                return fatal.report("all log directories have failed");
            }
            if let Some((dir, _)) = self.log_dirs.failed_dirs().into_iter().find(|(dir, _)| is_of_metadata(dir)) {
                return fatal.report(format!("the log directory of the metadata has failed: {}", dir.display()));
            }
            self.changed().await;
        }
    }
}
