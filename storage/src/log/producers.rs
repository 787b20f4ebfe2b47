//! What a log tells about its producers.

use ottla_protocol::{Offset, ProducerEpoch, ProducerId, Timestamp};

use super::{Log, Writer};
use crate::producer_state::{ProducerSnapshotEntry, VerificationGuard};

impl Log {
    /// All producers, by id.
    pub fn producers(&self) -> Vec<ProducerSnapshotEntry> {
        self.writer.lock().producers.entries()
    }

    /// The largest id among the producers.
    pub fn last_producer_id(&self) -> Option<ProducerId> {
        self.writer.lock().producers.last_id()
    }

    /// Before the coordinator is asked about a transaction that has written nothing here yet; `None` when it has, and
    /// nobody needs to be asked.
    pub fn start_verification(
        &self,
        producer: (ProducerId, ProducerEpoch),
        sequence: i32,
        adds_partitions: bool,
        now: Timestamp,
    ) -> Option<VerificationGuard> {
        self.writer.lock().producers.start_verification(producer, sequence, adds_partitions, now)
    }

    /// Whether a transactional batch that was admitted with this guard (`None`: as its transaction was open) may still
    /// be appended.
    pub fn is_verified(&self, id: ProducerId, epoch: ProducerEpoch, guard: Option<VerificationGuard>) -> bool {
        self.writer.lock().producers.is_verified(id, epoch, guard)
    }

    /// Forgets producers that have been silent for `producer.id.expiration.ms`.
    pub fn expire_producers(&self, now: Timestamp) {
        let expiration_ms = self.config.load().producer_id_expiration_ms;
        let mut writer = self.writer.lock();
        if !writer.producers.is_empty() {
            writer.producers.expire(now, expiration_ms);
        }
    }

    /// Moves the log start without regard to segments.
    pub(super) fn move_log_start(&self, writer: &mut Writer, start: Offset) {
        use std::sync::atomic::Ordering;
        self.log_start.fetch_max(start.0, Ordering::AcqRel);
        self.high_watermark.fetch_max(start.0, Ordering::AcqRel);
        if self.epochs.write().truncate_from_start(start) {
            self.epochs_changed.store(true, Ordering::Release);
        }
        writer.producers.on_log_start(start);
        self.publish_first_unstable(&writer.producers);
    }
}
