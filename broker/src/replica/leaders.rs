//! The way to leaders on other brokers, over connections of their own: a fetch that waits holds nobody else up.

use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, TopicName};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, StrBytes};

use super::fetcher::{Called, Leaders};
use crate::config::Settings;
use crate::metadata_cache::MetadataCache;
use crate::peer::Neighbours;

/// Topic ids, broker epochs and the follower's high watermark (KIP-1166).
const FETCH_VERSION: i16 = 18;
const LIST_OFFSETS_VERSION: i16 = 9;
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// Leaders as the metadata names them.
#[derive(Clone)]
pub struct PeerLeaders {
    local: BrokerId,
    metadata: MetadataCache,
    /// One lane for each shard.
    fetches: Vec<Neighbours>,
    questions: Neighbours,
}

impl PeerLeaders {
    pub fn new(settings: &Settings, metadata: MetadataCache) -> Self {
        let timeout = Duration::from_millis(u64::try_from(settings.i64("replica.socket.timeout.ms")).unwrap_or(0));
        let (id, listener) = (settings.node_id, settings.listener_between_brokers());
        let lane = |purpose: &str| Neighbours::new(id, listener, metadata.clone(), purpose, timeout);
        let shards = settings.usize("num.replica.fetchers").max(1);
        let fetches = (0..shards).map(|shard| lane(&format!("fetcher-{shard}"))).collect();
        let questions = lane("replica");
        Self { local: settings.node_id, metadata, fetches, questions }
    }
}

impl Leaders for PeerLeaders {
    fn fetch(&self, source: BrokerId, shard: usize, request: FetchRequest) -> Called<FetchResponse> {
        let lane = self.fetches.get(shard).cloned();
        Box::pin(async move {
            let lane = lane.ok_or(ErrorCode::UnknownServerError)?;
            lane.ask(source, FETCH_VERSION, &request).await
        })
    }

    fn log_range(
        &self,
        source: BrokerId,
        topic: Arc<str>,
        partition: i32,
        epoch: LeaderEpoch,
    ) -> Called<(Offset, Offset)> {
        let this = self.clone();
        Box::pin(async move {
            let start = this.offset(source, &topic, partition, epoch, EARLIEST).await?;
            let end = this.offset(source, &topic, partition, epoch, LATEST).await?;
            Ok((start, end))
        })
    }

    fn own_epoch(&self) -> Option<i64> {
        self.metadata.load().brokers.get(&self.local).map(|broker| broker.epoch)
    }
}

impl PeerLeaders {
    async fn offset(
        &self,
        source: BrokerId,
        topic: &str,
        partition: i32,
        epoch: LeaderEpoch,
        timestamp: i64,
    ) -> Result<Offset, ErrorCode> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(epoch.0)
            .with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(self.local.0.into()).with_topics(vec![topic]);
        let response = self.questions.ask(source, LIST_OFFSETS_VERSION, &request).await?;
        let answer = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let answer = answer.ok_or(ErrorCode::UnknownServerError)?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => Ok(Offset(answer.offset)),
            code => Err(code.unwrap_or(ErrorCode::UnknownServerError)),
        }
    }
}
