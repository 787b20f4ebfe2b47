//! Replicas whose log directory fails: whoever waits at one is answered, and whoever watches one looks elsewhere.

use super::registry::Partitions;
use crate::offline_dirs::OfflineDirs;

/// Runs as long as the broker does.
pub async fn tell(partitions: Partitions, mut offline_dirs: OfflineDirs) {
    loop {
        offline_dirs.changed().await;
        for partition in partitions.iter().iter().filter(|partition| !partition.log().is_online()) {
            partition.on_disk_failed();
        }
    }
}
