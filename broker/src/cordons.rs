//! `cordoned.log.dirs` (KIP-1066): directories of this broker that get no new partitions.

use std::path::PathBuf;
use std::sync::Arc;

use ottla_metadata::MetadataImage;
use ottla_storage::LogDirs;
use tokio::sync::watch;
use uuid::Uuid;

use crate::config::Effective;

/// The word for all directories.
const ALL: &str = "*";

/// What is cordoned, as the image in force has it. Cheap to clone.
#[derive(Clone)]
pub struct Cordons {
    effective: Effective,
    log_dirs: Arc<LogDirs>,
    /// Absolute paths, with the directories' ids.
    paths: Arc<[(PathBuf, Uuid)]>,
    cordoned: Arc<watch::Sender<Vec<Uuid>>>,
    changes: watch::Receiver<Vec<Uuid>>,
}

impl Cordons {
    pub fn new(effective: Effective, log_dirs: Arc<LogDirs>) -> Self {
        let dirs = log_dirs.dirs().into_iter();
        let paths = dirs.map(|dir| (std::path::absolute(&dir.path).unwrap_or(dir.path), dir.id)).collect();
        let (cordoned, changes) = watch::channel(Vec::new());
        Self { effective, log_dirs, paths, cordoned: Arc::new(cordoned), changes }
    }

    /// The broker itself places new logs, and moves replicas, as this image says from now on.
    pub fn apply(&self, image: &MetadataImage) {
        let value = self.effective.at(image).broker_text("cordoned.log.dirs").unwrap_or_default();
        let cordoned = named(&value, &self.paths);
        self.log_dirs.cordon(&cordoned);
        self.cordoned.send_if_modified(|before| {
            let is_news = *before != cordoned;
            *before = cordoned;
            is_news
        });
    }

    /// Ids of the cordoned directories, for the controller, which is told with each heartbeat.
    pub fn ids(&mut self) -> Vec<Uuid> {
        self.changes.borrow_and_update().clone()
    }

    /// Returns when others are cordoned than `ids` said last.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn named(value: &str, paths: &[(PathBuf, Uuid)]) -> Vec<Uuid> {
    let names: Vec<&str> = value.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    // A relative path is one of this process, as in `log.dirs`.
    let is_named = |path: &PathBuf| {
        names.iter().any(|name| *name == ALL || std::path::absolute(name).is_ok_and(|name| name == *path))
    };
    paths.iter().filter(|(path, _)| is_named(path)).map(|(_, id)| *id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_named_by_path_or_all_at_once() {
        let dirs = [(PathBuf::from("/a"), Uuid::from_u128(1)), (PathBuf::from("/b"), Uuid::from_u128(2))];
        assert!(named("", &dirs).is_empty());
        assert_eq!(named("/b", &dirs), [Uuid::from_u128(2)]);
        assert_eq!(named("/b, /a", &dirs).len(), 2);
        assert_eq!(named("*", &dirs).len(), 2);
    }
}
