//! Snapshot files: an image and what raft must know about it.
//!
//! ```text
//!   magic "OTCP"  format u8  meta length u32  meta (JSON)  image (see ottla_metadata::snapshot)  crc32c u32
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use ottla_metadata::MetadataImage;

use super::types::SnapshotMeta;
use crate::disk::{self, Space};

const MAGIC: &[u8; 4] = b"OTCP";
const FORMAT: u8 = 1;

/// The name of the snapshot at an entry, in Kafka's manner.
fn file_name(meta: &SnapshotMeta) -> String {
    let (term, index) = meta.last_log_id.as_ref().map_or((0, 0), |id| (id.leader_id.term, id.index));
    format!("{index:020}-{term:010}.checkpoint")
}

/// The bytes of a snapshot file.
pub(crate) fn encode(meta: &SnapshotMeta, image: &MetadataImage) -> io::Result<Bytes> {
    let meta = serde_json::to_vec(meta).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    bytes.extend_from_slice(MAGIC);
    bytes.push(FORMAT);
    bytes.extend_from_slice(&u32::try_from(meta.len()).map_err(io::Error::other)?.to_be_bytes());
    bytes.extend_from_slice(&meta);
    bytes.extend_from_slice(&ottla_metadata::snapshot::encode(image));
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    Ok(bytes.into())
}

/// What the bytes of a snapshot file hold.
pub(crate) fn decode(bytes: &[u8]) -> io::Result<(SnapshotMeta, MetadataImage)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("snapshot: {what}"));
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| invalid("too short"))?;
    if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
        return Err(invalid("checksum"));
    }
    let (head, rest) = body.split_at_checked(9).ok_or_else(|| invalid("too short"))?;
    if &head[..4] != MAGIC || head[4] != FORMAT {
        return Err(invalid("not a snapshot of this build"));
    }
    let meta_size = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) as usize;
    let (meta, image) = rest.split_at_checked(meta_size).ok_or_else(|| invalid("too short"))?;
    let meta = serde_json::from_slice(meta).map_err(|error| invalid(&error.to_string()))?;
    let image = ottla_metadata::snapshot::decode(image).map_err(|error| invalid(&error.to_string()))?;
    Ok((meta, image))
}

/// The snapshots in a directory.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotDir {
    dir: PathBuf,
    space: Space,
}

impl SnapshotDir {
    pub(crate) fn new(dir: &Path, space: Space) -> Self {
        Self { dir: dir.to_owned(), space }
    }

    fn paths(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "checkpoint") {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(paths)
    }

    /// The newest snapshot. One that cannot be read is an error: the log behind it may be gone, so an older one is no
    /// substitute.
    pub(crate) fn newest(&self) -> io::Result<Option<(SnapshotMeta, MetadataImage, Bytes)>> {
        let Some(path) = self.paths()?.pop() else { return Ok(None) };
        let bytes = Bytes::from(fs::read(&path)?);
        let (meta, image) = decode(&bytes).map_err(|error| disk::damaged(&path, error))?;
        Ok(Some((meta, image, bytes)))
    }

    /// Saves a snapshot durably, then removes the older ones.
    pub(crate) async fn save(&self, meta: &SnapshotMeta, bytes: &[u8]) -> io::Result<()> {
        self.space.wait("metadata snapshot", || self.try_save(meta, bytes)).await
    }

    fn try_save(&self, meta: &SnapshotMeta, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(file_name(meta));
        disk::replace(&path, bytes)?;
        for old in self.paths()?.into_iter().filter(|old| *old < path) {
            fs::remove_file(old)?;
        }
        disk::sync_dir(&self.dir)
    }
}
