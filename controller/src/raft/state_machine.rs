//! openraft's state machine: replays committed entries into the image and publishes it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use ottla_metadata::MetadataImage;
use ottla_protocol::Offset;
use tokio::sync::watch;

use super::snapshot::{self, SnapshotDir};
use super::types::{Entry, LogId, Membership, Snapshot, SnapshotMeta, TypeConfig};
use crate::long::long;

/// Of a record in an entry, as a rule.
const RECORD_BYTES: usize = 50;

/// The image of this node, moved on by what raft commits.
pub(crate) struct ImageMachine {
    image: MetadataImage,
    last_applied: Option<LogId>,
    membership: Membership,
    published: watch::Sender<Arc<MetadataImage>>,
    snapshots: SnapshotDir,
    /// Bytes of records applied since the last snapshot; the driver asks for the next one by it.
    pub(crate) bytes_since_snapshot: Arc<AtomicU64>,
}

impl ImageMachine {
    /// Starts at the newest snapshot, or empty.
    pub(crate) fn open(snapshots: SnapshotDir) -> io::Result<(Self, watch::Receiver<Arc<MetadataImage>>)> {
        let (meta, image) = match snapshots.newest()? {
            Some((meta, image, _)) => (meta, image),
            None => (SnapshotMeta::default(), MetadataImage::default()),
        };
        let (published, images) = watch::channel(Arc::new(image.clone()));
        let machine = Self {
            image,
            last_applied: meta.last_log_id,
            membership: meta.last_membership,
            published,
            snapshots,
            bytes_since_snapshot: Arc::default(),
        };
        Ok((machine, images))
    }

    fn replay(&mut self, entry: &Entry) -> io::Result<()> {
        let mut records = Vec::new();
        let mut bytes = 0;
        match &entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Normal(batch) => {
                bytes = batch.0.len();
                records = long(bytes / RECORD_BYTES, || batch.decode()).map_err(|error| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("metadata entry {}: {error}", entry.log_id.index),
                    )
                })?;
                self.bytes_since_snapshot.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            EntryPayload::Membership(membership) => {
                self.membership = Membership::new(Some(entry.log_id), membership.clone());
            }
        }
        let (offset, epoch) = (Offset(entry.log_id.index as i64), entry.log_id.leader_id.term as i32);
        long(bytes / RECORD_BYTES, || self.image.replay_entry(offset, epoch, &records));
        self.last_applied = Some(entry.log_id);
        Ok(())
    }

    fn publish(&self) {
        self.published.send_replace(Arc::new(self.image.clone()));
    }
}

impl RaftStateMachine<TypeConfig> for ImageMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), io::Error> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        // Who asked is answered after the image is published: a reader that was told "done" must see it.
        let mut waiting = Vec::new();
        while let Some((entry, responder)) = entries.try_next().await? {
            self.replay(&entry)?;
            waiting.extend(responder);
        }
        self.publish();
        for responder in waiting {
            responder.send(());
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            image: self.image.clone(),
            meta: SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() },
            snapshots: self.snapshots.clone(),
            bytes_since_snapshot: Arc::clone(&self.bytes_since_snapshot),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, bytes: Bytes) -> Result<(), io::Error> {
        let (_, image) = snapshot::decode(&bytes)?;
        self.snapshots.save(meta, &bytes).await?;
        self.image = image;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.bytes_since_snapshot.store(0, Ordering::Relaxed);
        self.publish();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.newest()?.map(|(meta, _, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes one snapshot. It holds a clone of the image, which costs nothing and stays as it is.
pub(crate) struct SnapshotBuilder {
    image: MetadataImage,
    meta: SnapshotMeta,
    snapshots: SnapshotDir,
    bytes_since_snapshot: Arc<AtomicU64>,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.bytes_since_snapshot.store(0, Ordering::Relaxed);
        let (meta, image, snapshots) = (self.meta.clone(), self.image.clone(), self.snapshots.clone());
        let runtime = tokio::runtime::Handle::current();
        let written = tokio::task::spawn_blocking(move || {
            let bytes = snapshot::encode(&meta, &image)?;
            runtime.block_on(snapshots.save(&meta, &bytes))?;
            tracing::info!(offset = image.offset.0, bytes = bytes.len(), "metadata snapshot written");
            Ok(Snapshot { meta, snapshot: bytes })
        });
        written.await.map_err(io::Error::other)?
    }
}
