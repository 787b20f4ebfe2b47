//! An idempotent producer for the tools: one batch per partition in flight, retried under its own sequence, so that a retry
//! never writes a record twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use ottla_protocol::compression::Codec;
use ottla_protocol::record_batch::BatchBuilder;
use ottla_protocol::{ErrorCode, ProducerEpoch, ProducerId, Timestamp};

use super::Failure;
use super::client::{Client, Target};

/// Keys and values of headers, in their order; a key may occur more than once.
pub type Headers = Vec<(String, Option<Vec<u8>>)>;

/// One record to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
    /// `None`: when it is sent.
    pub timestamp: Option<Timestamp>,
}

impl Record {
    fn size(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let headers: usize = self.headers.iter().map(|(key, value)| key.len() + length(value) + 4).sum();
        length(&self.key) + length(&self.value) + headers + 20
    }
}

/// How records are sent.
#[derive(Debug, Clone)]
pub struct Settings {
    pub acks: i16,
    pub codec: Codec,
    pub batch_bytes: usize,
    pub request_timeout: Duration,
    /// How long a batch is tried before it is given up.
    pub delivery_timeout: Duration,
}

/// Records on their way to one topic.
#[derive(Debug)]
pub struct Producer<'a> {
    client: &'a mut Client,
    topic: String,
    topic_id: uuid::Uuid,
    leaders: BTreeMap<i32, i32>,
    settings: Settings,
    id: ProducerId,
    epoch: ProducerEpoch,
    pending: BTreeMap<i32, Pending>,
    /// Records without a key go to one partition until its batch is full.
    sticky: usize,
    delivered: (i32, i64),
}

#[derive(Debug, Default)]
struct Pending {
    records: Vec<(Timestamp, Record)>,
    bytes: usize,
    next_sequence: i32,
}

impl<'a> Producer<'a> {
    pub fn new(client: &'a mut Client, topic: &str, settings: Settings) -> Result<Self, Failure> {
        let mut producer = Self {
            client,
            topic: topic.to_owned(),
            topic_id: uuid::Uuid::nil(),
            leaders: BTreeMap::new(),
            settings,
            id: ProducerId::NONE,
            epoch: ProducerEpoch(-1),
            pending: BTreeMap::new(),
            sticky: 0,
            delivered: (-1, -1),
        };
        producer.find_leaders()?;
        if producer.settings.acks == -1 {
            let request =
                InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(i32::MAX);
            let deadline = Instant::now() + producer.settings.delivery_timeout;
            // A broker that has just started may still wait for its block of ids.
            let response = loop {
                let response = producer.client.send(&Target::Any, &request)?;
                match Failure::check(response.error_code, None) {
                    Ok(()) => break response,
                    Err(failure) if is_worth_a_retry(&failure) && Instant::now() < deadline => {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                    Err(failure) => return Err(failure),
                }
            };
            producer.id = ProducerId(response.producer_id.0);
            producer.epoch = ProducerEpoch(response.producer_epoch);
        }
        Ok(producer)
    }

    /// Takes a record; sends the batch of its partition when that is full.
    pub fn push(&mut self, record: Record) -> Result<(), Failure> {
        let partition = self.partition_of(&record);
        let pending = self.pending.entry(partition).or_default();
        pending.bytes += record.size();
        pending.records.push((record.timestamp.unwrap_or_else(now), record));
        if pending.bytes >= self.settings.batch_bytes {
            self.sticky += 1;
            self.send(partition)?;
        }
        Ok(())
    }

    /// Whether records wait for their batch.
    pub fn is_empty(&self) -> bool {
        self.pending.values().all(|pending| pending.records.is_empty())
    }

    /// Partition and first offset of the last batch that was acknowledged; offset -1 without acks.
    pub const fn last_delivered(&self) -> (i32, i64) {
        self.delivered
    }

    /// Sends everything and waits for the answers.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let partitions: Vec<i32> =
            self.pending.iter().filter(|(_, pending)| !pending.records.is_empty()).map(|(id, _)| *id).collect();
        partitions.into_iter().try_for_each(|partition| self.send(partition))
    }

    fn partition_of(&self, record: &Record) -> i32 {
        let count = self.leaders.len().max(1);
        let index = match &record.key {
            Some(key) => (murmur2(key) & 0x7fff_ffff) as usize % count,
            None => self.sticky % count,
        };
        self.leaders.keys().nth(index).copied().unwrap_or(0)
    }

    fn send(&mut self, partition: i32) -> Result<(), Failure> {
        let Some(pending) = self.pending.get_mut(&partition) else { return Ok(()) };
        let records = std::mem::take(&mut pending.records);
        pending.bytes = 0;
        let sequence = if self.id == ProducerId::NONE { -1 } else { pending.next_sequence };
        let count = i32::try_from(records.len()).unwrap_or(i32::MAX);
        pending.next_sequence = ottla_protocol::record_batch::sequence_after(pending.next_sequence, count);
        let mut batch =
            BatchBuilder::new().compression(self.settings.codec, None).producer(self.id, self.epoch, sequence);
        for (timestamp, record) in &records {
            let headers: Vec<(&str, Option<&[u8]>)> =
                record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
            batch.push(*timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
        }
        let batch = batch.build();
        let deadline = Instant::now() + self.settings.delivery_timeout;
        loop {
            let outcome = self.send_batch(partition, &batch);
            match outcome {
                Err(failure) if is_worth_a_retry(&failure) && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(100));
                    // The leader may have moved, and the topic may have been created just now.
                    let _ = self.find_leaders();
                }
                outcome => return outcome,
            }
        }
    }

    fn send_batch(&mut self, partition: i32, batch: &bytes::Bytes) -> Result<(), Failure> {
        let leader = self.leaders.get(&partition).copied().unwrap_or(-1);
        let (acks, topic, topic_id) = (self.settings.acks, self.topic.clone(), self.topic_id);
        let timeout = i32::try_from(self.settings.request_timeout.as_millis()).unwrap_or(i32::MAX);
        let body = |version: i16| {
            let data = TopicProduceData::default().with_partition_data(vec![
                PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone())),
            ]);
            let data = if version >= 13 {
                data.with_topic_id(topic_id)
            } else {
                data.with_name(TopicName(StrBytes::from_string(topic.clone())))
            };
            ProduceRequest::default().with_acks(acks).with_timeout_ms(timeout).with_topic_data(vec![data])
        };
        let target = Target::Node(leader);
        if acks == 0 {
            self.delivered = (partition, -1);
            return self.client.send_without_answer::<ProduceRequest>(&target, body);
        }
        let response = self.client.send_with(&target, body)?;
        for topic in response.responses {
            for answer in topic.partition_responses {
                self.delivered = (partition, answer.base_offset);
                let message = answer.error_message.map(|message| message.to_string());
                // A retry of a batch that was written after all.
                if answer.error_code != ErrorCode::DuplicateSequenceNumber.code() {
                    Failure::check(answer.error_code, message)?;
                }
            }
        }
        Ok(())
    }

    /// Who leads the partitions; creates the topic where the cluster does that on demand.
    fn find_leaders(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + self.settings.delivery_timeout;
        loop {
            let topic =
                MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(self.topic.clone()))));
            let request =
                MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
            let response = self.client.send(&Target::Any, &request)?;
            let Some(topic) = response.topics.into_iter().next() else {
                return Err(Failure::from_code(ErrorCode::UnknownTopicOrPartition.code(), None));
            };
            self.topic_id = topic.topic_id;
            self.leaders =
                topic.partitions.iter().map(|partition| (partition.partition_index, partition.leader_id.0)).collect();
            match Failure::check(topic.error_code, None) {
                Ok(()) if self.leaders.values().all(|leader| *leader >= 0) => return self.client.refresh(),
                Err(failure) if !is_worth_a_retry(&failure) => return Err(failure),
                _ if Instant::now() >= deadline => {
                    return Err(Failure::from_code(
                        ErrorCode::RequestTimedOut.code(),
                        Some(format!("Topic {} not present in metadata", self.topic)),
                    ));
                }
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

fn is_worth_a_retry(failure: &Failure) -> bool {
    // Without a code the connection was lost: the batch may or may not have been written, its sequence tells the broker.
    failure.code.is_none_or(ErrorCode::is_retriable)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The hash that Kafka's clients place keys with (MurmurHash2, 32 bits, Kafka's seed).
pub fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ (data.len() as u32);
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (index, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * index);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_placed_as_kafkas_java_client_places_them() {
        // The values that Kafka's own unit test of its hash expects.
        assert_eq!(murmur2(b"21"), -973_932_308);
        assert_eq!(murmur2(b"foobar"), -790_332_482);
        assert_eq!(murmur2(b"a-little-bit-long-string"), -985_981_536);
        assert_eq!(murmur2(b"a-little-bit-longer-string"), -1_486_304_829);
        assert_eq!(murmur2(b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"), -58_897_971);
        assert_eq!(murmur2(b"abc"), 479_470_107);
    }
}
