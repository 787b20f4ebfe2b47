//! The append that is being collected: the records of several decisions in one batch.

use bytes::Bytes;
use ottla_coordinator::shard::{Effect, Producer, Shard, Stored};
use ottla_protocol::compression::Codec;
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{ProducerId, Timestamp};

type EffectOf<S> = Effect<<S as Shard>::Response, <S as Shard>::Action>;

/// Room that a record takes in a batch besides its key and value, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Records that are decided and replayed, but not yet appended, and what is to follow from them.
pub(super) struct OpenBatch<S: Shard> {
    /// The state before the first of these records; gone back to when the append fails.
    pub(super) checkpoint: Option<S::Hard>,
    builder: Option<BatchBuilder>,
    producer: Option<Producer>,
    pub(super) effects: Vec<EffectOf<S>>,
}

/// Encoded records of one decision.
pub(super) struct Encoded {
    records: Vec<(Bytes, Option<Bytes>)>,
    producer: Option<Producer>,
    bytes: usize,
}

impl Encoded {
    /// `None` when there is a record that only the host may write (a marker), or when producers are mixed: both are
    /// mistakes of the shard.
    pub(super) fn new<S: Shard>(records: &[S::Record]) -> Option<Self> {
        let mut encoded = Self { records: Vec::with_capacity(records.len()), producer: None, bytes: 0 };
        for (index, record) in records.iter().enumerate() {
            let Stored::Data { key, value, producer } = S::encode(record) else { return None };
            if index == 0 {
                encoded.producer = producer;
            } else if encoded.producer != producer {
                return None;
            }
            encoded.bytes += key.len() + value.as_ref().map_or(0, Bytes::len) + RECORD_OVERHEAD_BYTES;
            encoded.records.push((key, value));
        }
        Some(encoded)
    }
}

impl<S: Shard> OpenBatch<S> {
    pub(super) const fn new() -> Self {
        Self { checkpoint: None, builder: None, producer: None, effects: Vec::new() }
    }

    pub(super) const fn has_records(&self) -> bool {
        self.builder.is_some()
    }

    /// True when `more` can join this batch: same producer (a transactional batch has exactly one) and room enough.
    pub(super) fn takes(&self, more: &Encoded, max_bytes: usize) -> bool {
        self.builder
            .as_ref()
            .is_none_or(|builder| self.producer == more.producer && builder.size() + more.bytes <= max_bytes)
    }

    /// Adds the records of one decision.
    pub(super) fn push(&mut self, encoded: &Encoded, now: Timestamp) {
        let builder = self.builder.get_or_insert_with(|| {
            self.producer = encoded.producer;
            match encoded.producer {
                Some(producer) => BatchBuilder::new().producer(producer.id, producer.epoch, 0).transactional(true),
                None => BatchBuilder::new().producer(ProducerId::NONE, ottla_protocol::ProducerEpoch(-1), -1),
            }
        });
        for (key, value) in &encoded.records {
            builder.push(now, Some(key), value.as_deref(), &[]);
        }
    }

    /// Ends collecting.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    /// The batch; `None` without records.
    pub(super) fn build(&mut self, codec: Codec) -> Option<Bytes> {
        self.builder.take().map(|builder| builder.compression(codec, None).build())
    }
}
