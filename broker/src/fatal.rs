//! What the process must not go on after: told by whoever notices, heard by `main`, which ends the process.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// The reason to end, if there is one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Fatal {
    /// The process is to end. The first reason counts.
    pub fn report(&self, reason: impl Into<String>) {
        self.0.send_if_modified(|known| {
            let is_first = known.is_none();
            if is_first {
                *known = Some(reason.into());
            }
            is_first
        });
    }

    /// Waits for a reason.
    pub async fn told(&self) -> String {
        let mut told = self.0.subscribe();
        match told.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            // This handle keeps the sender.
            Err(_) => std::future::pending().await,
        }
    }

    /// The end of a task that must not end by itself is a reason. Aborting what is returned aborts the task, and is none.
    pub fn watch(&self, what: &'static str, task: JoinHandle<()>) -> JoinHandle<()> {
        let (fatal, task) = (self.clone(), AbortOnDropHandle::new(task));
        tokio::spawn(async move {
            match task.await {
                Err(error) if error.is_cancelled() => {}
                Err(error) => fatal.report(format!("{what}: {error}")),
                Ok(()) => fatal.report(what),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_a_reason() {
        let fatal = Fatal::default();
        let aborted = fatal.watch("aborted", tokio::spawn(std::future::pending()));
        aborted.abort();
        assert!(aborted.await.is_err_and(|error| error.is_cancelled()));
        let panicking = fatal.watch("broken", tokio::spawn(async { panic!("on purpose") }));
        assert!(panicking.await.is_ok());
        let why = fatal.told().await;
        assert!(why.starts_with("broken: ") && why.contains("on purpose"), "{why}");
        let ended = fatal.watch("ended", tokio::spawn(async {}));
        assert!(ended.await.is_ok());
        assert_eq!(fatal.told().await, why);
    }
}
