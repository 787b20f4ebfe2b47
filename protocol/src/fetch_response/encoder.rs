//! The bytes around the records.

use bytes::{BufMut, BytesMut};

use super::{FetchAnswer, FetchedPartition, FetchedTopic, NodeEndpoint};
use crate::buf::{put_uvarint, uvarint_size};
use crate::response::{Chunk, EncodeError, RecordsLen};

/// From v12 on lengths are varints and structs end in tagged fields.
const FLEXIBLE: i16 = 12;

pub(super) struct Encoder<R> {
    version: i16,
    chunks: Vec<Chunk<R>>,
    /// Bytes since the last records.
    head: BytesMut,
}

impl<R: RecordsLen + Clone> Encoder<R> {
    pub(super) fn new(version: i16) -> Self {
        Self { version, chunks: Vec::new(), head: BytesMut::with_capacity(256) }
    }

    pub(super) fn encode(mut self, correlation_id: i32, answer: &FetchAnswer<R>) -> Result<Vec<Chunk<R>>, EncodeError> {
        self.head.put_i32(0);
        self.head.put_i32(correlation_id);
        if self.flexible() {
            put_uvarint(&mut self.head, 0);
        }
        self.head.put_i32(answer.throttle_time_ms);
        if self.version >= 7 {
            self.head.put_i16(answer.error_code);
            self.head.put_i32(answer.session_id);
        }
        self.put_length(answer.topics.len());
        for topic in &answer.topics {
            self.put_topic(topic)?;
        }
        if self.version >= 16 && !answer.node_endpoints.is_empty() {
            put_uvarint(&mut self.head, 1);
            self.put_node_endpoints(&answer.node_endpoints);
        } else {
            self.put_no_tags();
        }
        self.finish()
    }

    fn put_topic(&mut self, topic: &FetchedTopic<R>) -> Result<(), EncodeError> {
        if self.version >= 13 {
            self.head.put_slice(topic.topic_id.0.as_bytes());
        } else {
            self.put_string(&topic.topic)?;
        }
        self.put_length(topic.partitions.len());
        for partition in &topic.partitions {
            self.put_partition(partition)?;
        }
        self.put_no_tags();
        Ok(())
    }

    fn put_partition(&mut self, partition: &FetchedPartition<R>) -> Result<(), EncodeError> {
        self.head.put_i32(partition.partition_index);
        self.head.put_i16(partition.error_code);
        self.head.put_i64(partition.high_watermark);
        self.head.put_i64(partition.last_stable_offset);
        if self.version >= 5 {
            self.head.put_i64(partition.log_start_offset);
        }
        match &partition.aborted {
            None if self.flexible() => put_uvarint(&mut self.head, 0),
            None => self.head.put_i32(-1),
            Some(aborted) => {
                self.put_length(aborted.len());
                for transaction in aborted {
                    self.head.put_i64(transaction.producer_id);
                    self.head.put_i64(transaction.first_offset);
                    self.put_no_tags();
                }
            }
        }
        if self.version >= 11 {
            self.head.put_i32(partition.preferred_read_replica);
        }
        // Never null: librdkafka before 1.9 takes a null record set for a protocol error.
        self.put_length(partition.records.iter().map(RecordsLen::records_len).sum());
        for records in partition.records.iter().filter(|records| records.records_len() > 0) {
            self.cut();
            self.chunks.push(Chunk::Records(records.clone()));
        }
        if self.flexible() {
            self.put_partition_tags(partition);
        }
        Ok(())
    }

    fn put_partition_tags(&mut self, partition: &FetchedPartition<R>) {
        let tags =
            [partition.diverging_epoch.is_some(), partition.current_leader.is_some(), partition.snapshot_id.is_some()];
        put_uvarint(&mut self.head, tags.iter().filter(|set| **set).count() as u32);
        // Each is a struct of one i32, one i64 or i32, and no tags of its own.
        if let Some(diverging) = partition.diverging_epoch {
            self.put_tag(0, 13);
            self.head.put_i32(diverging.epoch);
            self.head.put_i64(diverging.end_offset);
            put_uvarint(&mut self.head, 0);
        }
        if let Some(leader) = partition.current_leader {
            self.put_tag(1, 9);
            self.head.put_i32(leader.leader_id);
            self.head.put_i32(leader.leader_epoch);
            put_uvarint(&mut self.head, 0);
        }
        if let Some(snapshot) = partition.snapshot_id {
            self.put_tag(2, 13);
            self.head.put_i64(snapshot.end_offset);
            self.head.put_i32(snapshot.epoch);
            put_uvarint(&mut self.head, 0);
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
        self.put_tag(0, field.len());
        self.head.put_slice(&field);
    }

    fn put_tag(&mut self, tag: u32, size: usize) {
        put_uvarint(&mut self.head, tag);
        put_uvarint(&mut self.head, size as u32);
    }

    fn put_no_tags(&mut self) {
        if self.flexible() {
            put_uvarint(&mut self.head, 0);
        }
    }

    fn put_length(&mut self, length: usize) {
        debug_assert!(uvarint_size(length as u32) <= 5);
        if self.flexible() {
            put_uvarint(&mut self.head, length as u32 + 1);
        } else {
            self.head.put_i32(length as i32);
        }
    }

    fn put_string(&mut self, text: &str) -> Result<(), EncodeError> {
        if self.flexible() {
            put_uvarint(&mut self.head, text.len() as u32 + 1);
        } else {
            let length = i16::try_from(text.len()).map_err(|_| self.error("a topic name is too long"))?;
            self.head.put_i16(length);
        }
        self.head.put_slice(text.as_bytes());
        Ok(())
    }

    /// Ends the current run of bytes.
    fn cut(&mut self) {
        if !self.head.is_empty() {
            self.chunks.push(Chunk::Bytes(self.head.split().freeze()));
        }
    }

    /// Puts the frame's length in front, once all of it is known.
    fn finish(mut self) -> Result<Vec<Chunk<R>>, EncodeError> {
        self.cut();
        let total: usize = self.chunks.iter().map(Chunk::len).sum();
        let length = i32::try_from(total - 4).map_err(|_| self.error("longer than a frame can be"))?;
        if let Some(Chunk::Bytes(first)) = self.chunks.first_mut() {
            let mut patched = BytesMut::from(std::mem::take(first));
            patched[..4].copy_from_slice(&length.to_be_bytes());
            *first = patched.freeze();
        }
        Ok(self.chunks)
    }

    const fn flexible(&self) -> bool {
        self.version >= FLEXIBLE
    }

    fn error(&self, reason: &str) -> EncodeError {
        EncodeError { message: "FetchResponse", version: self.version, reason: reason.to_owned() }
    }
}
