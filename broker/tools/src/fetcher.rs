//! Reading records for the tools: positions per partition, one Fetch per leader, batches taken apart in this process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use ottla_protocol::control_record::ControlRecord;
use ottla_protocol::record_batch::{BatchView, TimestampType, batches};
use ottla_protocol::{ErrorCode, Timestamp};

use super::Failure;
use super::client::{Client, Target};
use super::producer::Headers;

/// One record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub is_log_append_time: bool,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Headers,
}

/// Where to begin in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    At(i64),
}

const EARLIEST_TIMESTAMP: i64 = -2;
const LATEST_TIMESTAMP: i64 = -1;
const WAIT_MS: i32 = 500;
const RESPONSE_BYTES: i32 = 50 * 1024 * 1024;
const PARTITION_BYTES: i32 = 1024 * 1024;

type Partition = (String, i32);

/// Positions in partitions and the records read from them.
#[derive(Debug)]
pub struct Fetcher {
    is_read_committed: bool,
    /// What to do where the position is not in the log (`auto.offset.reset`); `None` makes it an error.
    reset: Option<Start>,
    positions: BTreeMap<Partition, i64>,
    leaders: BTreeMap<Partition, i32>,
    topic_ids: BTreeMap<String, uuid::Uuid>,
    ready: VecDeque<Fetched>,
}

impl Fetcher {
    pub fn new(is_read_committed: bool, reset: Option<Start>) -> Self {
        Self {
            is_read_committed,
            reset,
            positions: BTreeMap::new(),
            leaders: BTreeMap::new(),
            topic_ids: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Reads these partitions from now on; records of others that were not handed out yet are forgotten.
    pub fn assign(&mut self, client: &mut Client, starts: &BTreeMap<Partition, Start>) -> Result<(), Failure> {
        self.ready.clear();
        self.positions.clear();
        let topics: BTreeSet<&str> = starts.keys().map(|(topic, _)| topic.as_str()).collect();
        self.find_leaders(client, &topics)?;
        for (partition, start) in starts {
            let offset = self.resolve(client, partition, *start)?;
            self.positions.insert(partition.clone(), offset);
        }
        Ok(())
    }

    /// Where each partition is to be read from next, as far as records were handed out.
    pub fn consumed(&self) -> BTreeMap<Partition, i64> {
        let mut consumed = self.positions.clone();
        for record in self.ready.iter().rev() {
            consumed.insert((record.topic.clone(), record.partition), record.offset);
        }
        consumed
    }

    /// The next record; asks the brokers, for half a second at most, when none is at hand.
    pub fn next(&mut self, client: &mut Client) -> Result<Option<Fetched>, Failure> {
        if self.ready.is_empty() {
            self.fetch(client)?;
        }
        Ok(self.ready.pop_front())
    }

    /// Finds out anew who leads before it asks again.
    pub fn forget_leaders(&mut self) {
        self.leaders.values_mut().for_each(|leader| *leader = -1);
    }

    /// Whether records are at hand that need no asking.
    pub fn has_buffered(&self) -> bool {
        !self.ready.is_empty()
    }

    fn fetch(&mut self, client: &mut Client) -> Result<(), Failure> {
        let mut by_leader: BTreeMap<i32, BTreeMap<&str, Vec<FetchPartition>>> = BTreeMap::new();
        for ((topic, partition), offset) in &self.positions {
            let leader = self.leaders.get(&(topic.clone(), *partition)).copied().unwrap_or(-1);
            let asked = FetchPartition::default()
                .with_partition(*partition)
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(PARTITION_BYTES);
            by_leader.entry(leader).or_default().entry(topic).or_default().push(asked);
        }
        if by_leader.is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(WAIT_MS as u64));
            return Ok(());
        }
        let isolation = i8::from(self.is_read_committed);
        // With several leaders only the first may wait, or a quiet one would hold up the records of the others.
        let mut wait_ms = WAIT_MS;
        let mut answers = Vec::new();
        let mut gone = Vec::new();
        for (leader, topics) in &by_leader {
            let response = client.send_with(&Target::Node(*leader), |version| {
                let topics = topics.iter().map(|(name, partitions)| {
                    let topic = FetchTopic::default().with_partitions(partitions.clone());
                    match self.topic_ids.get(*name) {
                        Some(id) if version >= 13 => topic.with_topic_id(*id),
                        _ => topic.with_topic(TopicName(StrBytes::from_string((*name).to_owned()))),
                    }
                });
                FetchRequest::default()
                    .with_replica_id(BrokerId(-1))
                    .with_max_wait_ms(wait_ms)
                    .with_min_bytes(1)
                    .with_max_bytes(RESPONSE_BYTES)
                    .with_isolation_level(isolation)
                    .with_session_epoch(-1)
                    .with_topics(topics.collect())
            });
            wait_ms = 0;
            match response {
                Ok(response) => {
                    Failure::check(response.error_code, None)?;
                    answers.extend(response.responses);
                }
                // A leader that is gone is found again below.
                Err(failure) if failure.is_lost => gone.push(*leader),
                Err(failure) => return Err(failure),
            }
        }
        self.leaders.values_mut().filter(|leader| gone.contains(leader)).for_each(|leader| *leader = -1);
        let names: BTreeMap<uuid::Uuid, String> = self.topic_ids.iter().map(|(name, id)| (*id, name.clone())).collect();
        for topic in answers {
            let name = match names.get(&topic.topic_id) {
                Some(name) if topic.topic.is_empty() => name.clone(),
                _ => topic.topic.to_string(),
            };
            for data in topic.partitions {
                self.take(client, &name, &data)?;
            }
        }
        if self.positions.keys().any(|partition| self.leaders.get(partition).is_none_or(|leader| *leader < 0)) {
            std::thread::sleep(std::time::Duration::from_millis(100));
            client.refresh()?;
            let topics: BTreeSet<String> = self.positions.keys().map(|(topic, _)| topic.clone()).collect();
            self.find_leaders(client, &topics.iter().map(String::as_str).collect())?;
        }
        Ok(())
    }

    fn take(&mut self, client: &mut Client, topic: &str, data: &PartitionData) -> Result<(), Failure> {
        let partition = (topic.to_owned(), data.partition_index);
        match ErrorCode::from_code(data.error_code) {
            Some(ErrorCode::None) => {}
            Some(ErrorCode::OffsetOutOfRange) => {
                let Some(reset) = self.reset else {
                    return Err(Failure::from_code(data.error_code, None));
                };
                let offset = self.resolve(client, &partition, reset)?;
                self.positions.insert(partition, offset);
                return Ok(());
            }
            Some(error) if error.is_retriable() => {
                self.leaders.insert(partition, -1);
                return Ok(());
            }
            _ => return Err(Failure::from_code(data.error_code, None)),
        }
        let Some(position) = self.positions.get(&partition).copied() else { return Ok(()) };
        let mut aborted: Vec<(i64, i64)> = match &data.aborted_transactions {
            Some(list) if self.is_read_committed => {
                list.iter().map(|aborted| (aborted.first_offset, aborted.producer_id.0)).collect()
            }
            _ => Vec::new(),
        };
        aborted.sort_unstable_by(|a, b| b.cmp(a));
        let mut open_aborted = BTreeSet::new();
        let mut next = position;
        for batch in batches(data.records.as_deref().unwrap_or_default()) {
            // The last batch of an answer may be cut off.
            let Ok(batch) = batch else { break };
            batch.check_crc().map_err(|error| Failure::failed(format!("{topic}-{}: {error}", data.partition_index)))?;
            while aborted.last().is_some_and(|(first, _)| *first <= batch.last_offset().0) {
                open_aborted.extend(aborted.pop().map(|(_, producer)| producer));
            }
            next = next.max(batch.next_offset().0);
            if batch.is_control() {
                if matches!(ControlRecord::of_batch(&batch), Ok(ControlRecord::Abort { .. })) {
                    open_aborted.remove(&batch.producer_id.0);
                }
                continue;
            }
            if batch.is_transactional() && open_aborted.contains(&batch.producer_id.0) {
                continue;
            }
            self.unpack(topic, data.partition_index, &batch, position)?;
        }
        self.positions.insert(partition, next);
        Ok(())
    }

    fn unpack(&mut self, topic: &str, partition: i32, batch: &BatchView<'_>, from: i64) -> Result<(), Failure> {
        let unreadable = |error: &dyn std::fmt::Display| Failure::failed(format!("{topic}-{partition}: {error}"));
        let is_log_append_time = batch.timestamp_type() == TimestampType::LogAppendTime;
        let mut records = batch.records().map_err(|error| unreadable(&error))?;
        while let Some(record) = records.next_record().map_err(|error| unreadable(&error))? {
            let offset = batch.base_offset.0 + i64::from(record.offset_delta);
            if offset < from {
                continue;
            }
            let headers = record
                .headers()
                .map(|header| {
                    let value = header.value.map(<[u8]>::to_vec);
                    (String::from_utf8_lossy(header.key).into_owned(), value)
                })
                .collect();
            self.ready.push_back(Fetched {
                topic: topic.to_owned(),
                partition,
                offset,
                leader_epoch: batch.partition_leader_epoch.0,
                is_log_append_time,
                timestamp: if is_log_append_time {
                    batch.max_timestamp
                } else {
                    batch.timestamp_of(record.timestamp_delta)
                },
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers,
            });
        }
        Ok(())
    }

    fn resolve(&self, client: &mut Client, (topic, partition): &Partition, start: Start) -> Result<i64, Failure> {
        let timestamp = match start {
            Start::At(offset) => return Ok(offset),
            Start::Earliest => EARLIEST_TIMESTAMP,
            Start::Latest => LATEST_TIMESTAMP,
        };
        let missing = |code: ErrorCode, what: &str| {
            Err(Failure::from_code(code.code(), Some(format!("Partition {topic}-{partition} {what}"))))
        };
        let leader = match self.leaders.get(&(topic.clone(), *partition)).copied() {
            None => return missing(ErrorCode::UnknownTopicOrPartition, "does not exist"),
            Some(..0) => return missing(ErrorCode::LeaderNotAvailable, "has no leader"),
            Some(leader) => leader,
        };
        let asked = ListOffsetsPartition::default().with_partition_index(*partition).with_timestamp(timestamp);
        let asked = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.clone())))
            .with_partitions(vec![asked]);
        let isolation = i8::from(self.is_read_committed);
        let response = client.send_with(&Target::Node(leader), |version| {
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked.clone()]);
            if version >= 2 { request.with_isolation_level(isolation) } else { request }
        })?;
        let answer = response.topics.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or_else(|| Failure::failed("The broker answered nothing about the partition"))?;
        Failure::check(answer.error_code, None)?;
        Ok(answer.offset)
    }

    fn find_leaders(&mut self, client: &mut Client, topics: &BTreeSet<&str>) -> Result<(), Failure> {
        for topic in topic_metadata(client, Some(topics))? {
            self.topic_ids.insert(topic.name.clone(), topic.id);
            for (partition, leader) in topic.leaders {
                self.leaders.insert((topic.name.clone(), partition), leader);
            }
        }
        Ok(())
    }
}

/// What the tools need to know of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    pub name: String,
    pub id: uuid::Uuid,
    pub is_internal: bool,
    /// Partition to leader; -1 is none.
    pub leaders: BTreeMap<i32, i32>,
}

/// The topics that exist, of those named or of all.
pub fn topic_metadata(client: &mut Client, names: Option<&BTreeSet<&str>>) -> Result<Vec<TopicMetadata>, Failure> {
    let asked = names.map(|names| {
        let topic = |name: &&str| {
            kafka_protocol::messages::metadata_request::MetadataRequestTopic::default()
                .with_name(Some(TopicName(StrBytes::from_string((*name).to_owned()))))
        };
        names.iter().map(topic).collect()
    });
    // A reader creates topics where the cluster allows it, as Kafka's consumer does by default.
    let request = MetadataRequest::default().with_topics(asked).with_allow_auto_topic_creation(names.is_some());
    let response = client.send(&Target::Any, &request)?;
    Ok(response
        .topics
        .into_iter()
        .filter(|topic| topic.error_code == 0)
        .filter_map(|topic| {
            Some(TopicMetadata {
                name: topic.name.as_ref()?.to_string(),
                id: topic.topic_id,
                is_internal: topic.is_internal,
                leaders: topic.partitions.iter().map(|p| (p.partition_index, p.leader_id.0)).collect(),
            })
        })
        .collect())
}
