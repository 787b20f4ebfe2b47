//! Rebuilds a shard's state from its partition.

use std::sync::Arc;

use bytes::Bytes;
use ottla_coordinator::shard::{BadRecord, Producer, Shard, Stored};
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::{BatchError, BatchView, batches};
use ottla_protocol::{ErrorCode, Offset};
use ottla_state_machine::StateMachine;
use tokio_util::sync::CancellationToken;

use super::log::PartitionLog;

/// How much of the log is read at once (`offsets.load.buffer.size` is Kafka's, 5 MiB; a smaller one costs no speed here).
const LOAD_BYTES: usize = 1024 * 1024;

/// Why a partition could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("reading failed: {0:?}")]
    Read(ErrorCode),
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("resigned while loading")]
    Cancelled,
    #[error("the loading thread is gone")]
    Thread,
}

/// What a load found.
#[derive(Debug)]
pub struct Loaded<Hard> {
    pub hard: Hard,
    /// Everything before this is in `hard`.
    pub end: Offset,
    pub records: u64,
    /// Records that mean nothing to this coordinator, whoever wrote them, and why the first one did not.
    pub skipped: u64,
    pub first_skipped: Option<BadRecord>,
}

impl<Hard: Default> Loaded<Hard> {
    fn from(start: Offset) -> Self {
        Self { hard: Hard::default(), end: start, records: 0, skipped: 0, first_skipped: None }
    }
}

/// Reads the whole log and replays it, on the blocking pool.
pub async fn load<S: Shard>(
    log: Arc<dyn PartitionLog>,
    cancel: CancellationToken,
) -> Result<Loaded<S::Hard>, LoadError> {
    let snapshot = *log.snapshots().borrow();
    if snapshot.log_start == snapshot.log_end {
        return Ok(Loaded::from(snapshot.log_end));
    }
    tokio::task::spawn_blocking(move || read_all::<S>(&*log, &cancel)).await.map_err(|_| LoadError::Thread)?
}

fn read_all<S: Shard>(log: &dyn PartitionLog, cancel: &CancellationToken) -> Result<Loaded<S::Hard>, LoadError> {
    let snapshot = *log.snapshots().borrow();
    let mut loaded: Loaded<S::Hard> = Loaded::from(snapshot.log_start);
    // The end is fixed here: as leader, only this coordinator appends to the partition.
    while loaded.end < snapshot.log_end {
        if cancel.is_cancelled() {
            return Err(LoadError::Cancelled);
        }
        let bytes = log.read(loaded.end, LOAD_BYTES).map_err(LoadError::Read)?;
        let before = loaded.end;
        for batch in batches(&bytes) {
            let batch = batch?;
            if batch.header().next_offset() <= loaded.end {
                continue;
            }
            replay_batch::<S>(&batch, &mut loaded)?;
            loaded.end = batch.header().next_offset();
        }
        if loaded.end == before {
            // Compaction may have removed the last batches.
            loaded.end = snapshot.log_end;
        }
    }
    Ok(loaded)
}

fn replay_batch<S: Shard>(batch: &BatchView<'_>, loaded: &mut Loaded<S::Hard>) -> Result<(), LoadError> {
    let header = *batch.header();
    let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
    if header.is_control() {
        if header.record_count == 0 {
            return Ok(());
        }
        let (commit, coordinator_epoch) = match ControlRecord::of_batch(batch)? {
            ControlRecord::Commit { coordinator_epoch } => (true, coordinator_epoch),
            ControlRecord::Abort { coordinator_epoch } => (false, coordinator_epoch),
            _ => return Ok(()),
        };
        return replay::<S>(Stored::Marker { producer, coordinator_epoch, commit }, loaded);
    }
    let producer = header.is_transactional().then_some(producer);
    let mut records = batch.records()?;
    while let Some(record) = records.next_record()? {
        // Records of coordinators have keys; anything else came from elsewhere and means nothing to them.
        let Some(key) = record.key else { continue };
        let key = Bytes::copy_from_slice(key);
        let value = record.value.map(Bytes::copy_from_slice);
        replay::<S>(Stored::Data { key, value, producer }, loaded)?;
    }
    Ok(())
}

fn replay<S: Shard>(stored: Stored, loaded: &mut Loaded<S::Hard>) -> Result<(), LoadError> {
    match S::decode(stored) {
        Ok(Some(record)) => {
            loaded.hard.replay(&record);
            loaded.records += 1;
        }
        Ok(None) => {}
        // One record that nobody can read must not take all groups or transactions of the partition with it.
        Err(error) => {
            loaded.skipped += 1;
            loaded.first_skipped.get_or_insert(error);
        }
    }
    Ok(())
}
