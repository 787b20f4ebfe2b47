//! The vote: the one thing a voter must never forget. A small text file, replaced whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::types::Vote;
use crate::disk;

#[derive(Serialize, Deserialize)]
struct QuorumState {
    version: u32,
    vote: Vote,
}

/// `quorum-state` in the metadata directory.
#[derive(Debug, Clone)]
pub(crate) struct VoteFile {
    path: PathBuf,
}

impl VoteFile {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join("quorum-state") }
    }

    /// Whether Apache Kafka wrote it. Ours has a `version`, theirs a `data_version`.
    pub(crate) fn is_of_apache_kafka(&self) -> bool {
        let text = fs::read(&self.path).unwrap_or_default();
        serde_json::from_slice::<serde_json::Value>(&text).is_ok_and(|state| state.get("data_version").is_some())
    }

    /// The vote that was saved last.
    pub(crate) fn load(&self) -> io::Result<Option<Vote>> {
        let bytes = match fs::read(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let state: QuorumState = serde_json::from_slice(&bytes).map_err(|error| disk::damaged(&self.path, error))?;
        if state.version != 0 {
            return Err(disk::damaged(&self.path, format!("version {} is of a newer build", state.version)));
        }
        Ok(Some(state.vote))
    }

    /// Returns once the vote is on the disk.
    pub(crate) fn save(&self, vote: &Vote) -> io::Result<()> {
        let bytes = serde_json::to_vec(&QuorumState { version: 0, vote: *vote }).map_err(io::Error::other)?;
        disk::replace(&self.path, &bytes)
    }
}
