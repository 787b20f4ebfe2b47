//! The one place where a metadata change enters the broker.
//!
//! ```text
//!   controller ──image──► partitions made and re-roled ──► cache swapped ──► deleted ones removed ──► applied
//! ```
//!
//! Partitions come before the cache: a client that learns of a topic finds it served. Whoever answers for a change waits
//! for `applied`, so that every request that follows the answer succeeds.

use std::sync::Arc;

use ottla_controller::Committed;
use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::steady;
use crate::cordons::Cordons;
use crate::metadata_cache::MetadataCache;
use crate::replica::{Assignment, Changes};

/// Told of every image once it is in force. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    applied: watch::Receiver<Arc<MetadataImage>>,
}

impl Publisher {
    /// Applies the image of this moment, then starts the task that applies all later ones. The task ends with `images`.
    pub async fn start(
        mut images: watch::Receiver<Arc<MetadataImage>>,
        cache: MetadataCache,
        assignment: Assignment,
        cordons: Cordons,
    ) -> (Self, JoinHandle<()>) {
        let first = images.borrow_and_update().clone();
        let (published, applied) = watch::channel(cache.load());
        let mut work = Work { assignment: Arc::new(assignment), cordons, cache, published, current: Arc::default() };
        work.clear_strays(&first).await;
        work.apply(first).await;
        let task = tokio::spawn(async move {
            while images.changed().await.is_ok() {
                let image = images.borrow_and_update().clone();
                work.apply(image).await;
            }
        });
        (Self { applied }, task)
    }

    /// Waits until everything up to `offset` of the metadata log is in force here.
    ///
    /// # Errors
    /// `BrokerNotAvailable` when this broker is going down.
    pub async fn wait_applied(&self, offset: Offset) -> Result<(), ErrorCode> {
        let mut applied = self.applied.clone();
        let waited = applied.wait_for(|image| image.offset >= offset).await;
        waited.map(drop).map_err(|_| ErrorCode::BrokerNotAvailable)
    }

    /// The answer to a change once it is in force here: every request that follows the answer finds it true. What was decided
    /// holds also where this broker goes down meanwhile.
    pub async fn in_force<R>(&self, committed: Committed<R>) -> R {
        let _ = self.wait_applied(committed.offset).await;
        committed.response
    }

    /// Images in force. A slow reader sees the newest and may miss some in between.
    pub fn applied(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.applied.clone()
    }
}

struct Work {
    assignment: Arc<Assignment>,
    cordons: Cordons,
    cache: MetadataCache,
    published: watch::Sender<Arc<MetadataImage>>,
    current: Arc<MetadataImage>,
}

impl Work {
    async fn clear_strays(&self, image: &Arc<MetadataImage>) {
        let (assignment, image) = (Arc::clone(&self.assignment), Arc::clone(image));
        run_blocking(move || assignment.move_strays_aside(&image)).await;
    }

    async fn apply(&mut self, new: Arc<MetadataImage>) {
        let changes = Arc::new(Changes::between(&self.current, &new));
        // Before new logs are placed.
        self.cordons.apply(&new);
        // Most images change something else (an ACL, a quota, a block of producer ids) and need no other thread.
        if !changes.is_empty() {
            let (assignment, image, changes) = (Arc::clone(&self.assignment), Arc::clone(&new), Arc::clone(&changes));
            run_blocking(move || assignment.apply(&image, &changes, steady())).await;
        }
        self.cache.store(Arc::clone(&new));
        if changes.deletes() {
            let assignment = Arc::clone(&self.assignment);
            run_blocking(move || assignment.remove_deleted(&changes)).await;
        }
        self.current = Arc::clone(&new);
        self.published.send_replace(new);
    }
}

async fn run_blocking(work: impl FnOnce() + Send + 'static) {
    // Where the process ends meanwhile the work is not begun any more, and nobody is served.
    if let Err(error) = tokio::task::spawn_blocking(work).await
        && error.is_panic()
    {
        // A half-applied image would serve some partitions under old roles: whoever watches this task ends the process.
        tracing::error!(%error, "a metadata change could not be applied");
        std::panic::resume_unwind(error.into_panic());
    }
}
