//! Work that takes long and must not hold up what else the runtime has to do: heartbeats of raft among it.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Fewer things are done where one is: handing the thread's other tasks on takes longer.
const FEW: usize = 1_000;

/// Does what may take as long as `count` things do. Other tasks go on meanwhile, where the runtime has threads for it.
pub(crate) fn long<R>(count: usize, work: impl FnOnce() -> R) -> R {
    let has_threads = Handle::try_current().is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    if count > FEW && has_threads { tokio::task::block_in_place(work) } else { work() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_meanwhile() {
        let long_work = tokio::spawn(async {
            let (done, is_done) = std::sync::mpsc::channel();
            let other = tokio::spawn(async move { done.send(()).unwrap() });
            // On its one thread the runtime would never come to the other task.
            long(FEW + 1, || is_done.recv().unwrap());
            other.await.unwrap();
        });
        long_work.await.unwrap();
    }

    #[tokio::test]
    async fn without_threads_it_is_done_all_the_same() {
        assert_eq!(long(FEW + 1, || 7), 7);
    }
}
