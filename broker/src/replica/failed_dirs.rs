//! Replicas whose log directory fails: whoever waits at one is answered, whoever watches one looks elsewhere, and nobody fetches for
//! it any more, which would tell its leader that it keeps up.

use super::fetcher::Fetchers;
use super::registry::Partitions;
use crate::offline_dirs::OfflineDirs;

/// Runs as long as the broker does.
pub async fn tell(partitions: Partitions, fetchers: Fetchers, mut offline_dirs: OfflineDirs) {
    loop {
        offline_dirs.changed().await;
        for partition in partitions.iter().iter().filter(|partition| !partition.log().is_online()) {
            fetchers.forget(partition.topic_id(), partition.id().partition);
            partition.on_disk_failed();
        }
    }
}
