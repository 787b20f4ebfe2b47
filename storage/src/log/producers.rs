//! What a log tells about its producers.

use ottla_protocol::{Offset, ProducerEpoch, ProducerId, Timestamp};

use super::{Log, Writer};
use crate::producer_state::ProducerSnapshotEntry;

impl Log {
    /// All producers, by id.
    pub fn producers(&self) -> Vec<ProducerSnapshotEntry> {
        self.writer.lock().producers.entries()
    }

    /// Whether the producer has an open transaction under this epoch.
    pub fn has_ongoing_transaction(&self, id: ProducerId, epoch: ProducerEpoch) -> bool {
        self.writer.lock().producers.has_open_transaction(id, epoch)
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
