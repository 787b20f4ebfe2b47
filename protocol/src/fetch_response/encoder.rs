//! The bytes around the records.

use bytes::{BufMut, BytesMut};

use super::{FetchAnswer, FetchedPartition, FetchedTopic, NodeEndpoint};
use crate::buf::put_uvarint;
use crate::response::{Chunk, EncodeError, RecordsLen};
use crate::scatter::Scatter;

/// From v12 on lengths are varints and structs end in tagged fields.
const FLEXIBLE: i16 = 12;

pub(super) struct Encoder<R> {
    version: i16,
    out: Scatter<R>,
}

impl<R: RecordsLen + Clone> Encoder<R> {
    pub(super) fn new(correlation_id: i32, version: i16) -> Self {
        Self { version, out: Scatter::begin(correlation_id, version >= FLEXIBLE) }
    }

    pub(super) fn encode(mut self, answer: &FetchAnswer<R>) -> Result<Vec<Chunk<R>>, EncodeError> {
        self.out.head.put_i32(answer.throttle_time_ms);
        if self.version >= 7 {
            self.out.head.put_i16(answer.error_code);
            self.out.head.put_i32(answer.session_id);
        }
        self.out.put_length(answer.topics.len());
        for topic in &answer.topics {
            self.put_topic(topic)?;
        }
        if self.version >= 16 && !answer.node_endpoints.is_empty() {
            put_uvarint(&mut self.out.head, 1);
            self.put_node_endpoints(&answer.node_endpoints);
        } else {
            self.out.put_no_tags();
        }
        let version = self.version;
        self.out.finish().ok_or_else(|| error(version, "longer than a frame can be"))
    }

    fn put_topic(&mut self, topic: &FetchedTopic<R>) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.out.head.put_slice(topic.topic_id.0.as_bytes());
        } else {
            self.put_string(&topic.topic)?;
        }
        self.out.put_length(topic.partitions.len());
        for partition in &topic.partitions {
            self.put_partition(partition)?;
        }
        self.out.put_no_tags();
        Ok(())
    }

    fn put_partition(&mut self, partition: &FetchedPartition<R>) -> Result<(), EncodeError> {
        self.out.head.put_i32(partition.partition_index);
        self.out.head.put_i16(partition.error_code);
        self.out.head.put_i64(partition.high_watermark);
        self.out.head.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            self.out.head.put_i64(partition.log_start_offset);
        }
        match &partition.aborted {
            None => self.out.put_null(),
            Some(aborted) => {
                self.out.put_length(aborted.len());
                for transaction in aborted {
                    self.out.head.put_i64(transaction.producer_id);
                    self.out.head.put_i64(transaction.first_offset);
                    self.out.put_no_tags();
                }
            }
        }
        if self.version >= 11 {
            self.out.head.put_i32(partition.preferred_read_replica);
        }
        self.out.put_records(&partition.records);
        if self.flexible() {
            self.put_partition_tags(partition);
        }
        Ok(())
    }

    fn put_partition_tags(&mut self, partition: &FetchedPartition<R>) {
        let tags =
            [partition.diverging_epoch.is_some(), partition.current_leader.is_some(), partition.snapshot_id.is_some()];
        put_uvarint(&mut self.out.head, tags.iter().filter(|set| **set).count() as u32);
        // Each is a struct of one i32, one i64 or i32, and no tags of its own.
        if let Some(diverging) = partition.diverging_epoch {
            self.out.put_tag(0, 13);
            self.out.head.put_i32(diverging.epoch);
            self.out.head.put_i64(diverging.end_offset);
            put_uvarint(&mut self.out.head, 0);
        }
        if let Some(leader) = partition.current_leader {
            self.out.put_tag(1, 9);
            self.out.head.put_i32(leader.leader_id);
            self.out.head.put_i32(leader.leader_epoch);
            put_uvarint(&mut self.out.head, 0);
        }
        if let Some(snapshot) = partition.snapshot_id {
            self.out.put_tag(2, 13);
            self.out.head.put_i64(snapshot.end_offset);
            self.out.head.put_i32(snapshot.epoch);
            put_uvarint(&mut self.out.head, 0);
        }
    }

    fn put_node_endpoints(&mut self, endpoints: &[NodeEndpoint]) {
        let mut field = BytesMut::new();
        put_uvarint(&mut field, endpoints.len() as u32 + 1);
        for endpoint in endpoints {
            field.put_i32(endpoint.node_id);
            put_uvarint(&mut field, endpoint.host.len() as u32 + 1);
            field.put_slice(endpoint.host.as_bytes());
            field.put_i32(endpoint.port);
            match &endpoint.rack {
                None => put_uvarint(&mut field, 0),
                Some(rack) => {
                    put_uvarint(&mut field, rack.len() as u32 + 1);
                    field.put_slice(rack.as_bytes());
                }
            }
            put_uvarint(&mut field, 0);
        }
        self.out.put_tag(0, field.len());
        self.out.head.put_slice(&field);
    }

    fn put_string(&mut self, text: &str) -> Result<(), EncodeError> {
        if self.flexible() {
            put_uvarint(&mut self.out.head, text.len() as u32 + 1);
        } else {
            let length = i16::try_from(text.len()).map_err(|_| error(self.version, "a topic name is too long"))?;
            self.out.head.put_i16(length);
        }
        self.out.head.put_slice(text.as_bytes());
        Ok(())
    }

    const fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }
}

fn error(version: i16, reason: &str) -> EncodeError {
    EncodeError { message: "FetchResponse", version, reason: reason.to_owned() }
}
