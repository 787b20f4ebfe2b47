//! The way to leaders on other brokers, over connections of their own: a fetch that waits holds nobody else up.

use std::sync::Arc;
use std::time::Duration;

use ottla_metadata::Endpoint;
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::{FetchRequest, FetchResponse, ListOffsetsRequest, TopicName};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, StrBytes};

use super::fetcher::{Called, Leaders};
use crate::config::Settings;
use crate::metadata_cache::MetadataCache;
use crate::peer::{Limits, Peers};

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
    listener: Arc<str>,
    /// One lane for each shard.
    fetches: Vec<Peers>,
    questions: Peers,
}

impl PeerLeaders {
    pub fn new(settings: &Settings, metadata: MetadataCache) -> Self {
        // `replica.socket.timeout.ms`
        let timeout = Duration::from_millis(u64::try_from(settings.i64("replica.socket.timeout.ms")).unwrap_or(0));
        let limits = Limits { request_timeout: timeout, ..Limits::default() };
        let shards = settings.usize("num.replica.fetchers").max(1);
        let fetches = (0..shards)
            .map(|shard| Peers::new(&format!("broker-{}-fetcher-{shard}", settings.node_id.0), limits.clone()))
            .collect();
        let questions = Peers::new(&format!("broker-{}-replica", settings.node_id.0), limits);
        let listener = inter_broker_listener(settings);
        Self { local: settings.node_id, metadata, listener, fetches, questions }
    }

    fn endpoint(&self, broker: BrokerId) -> Result<Endpoint, ErrorCode> {
        let image = self.metadata.load();
        let registration = image.brokers.get(&broker).ok_or(ErrorCode::BrokerNotAvailable)?;
        registration.listener(&self.listener).cloned().ok_or(ErrorCode::ListenerNotFound)
    }
}

/// The name of the listener that brokers reach each other on.
pub fn inter_broker_listener(settings: &Settings) -> Arc<str> {
    let named = settings.text("inter.broker.listener.name");
    named.or_else(|| settings.text("security.inter.broker.protocol")).unwrap_or("PLAINTEXT").into()
}

impl Leaders for PeerLeaders {
    fn fetch(&self, source: BrokerId, shard: usize, request: FetchRequest) -> Called<FetchResponse> {
        let (endpoint, lane) = (self.endpoint(source), self.fetches.get(shard).cloned());
        Box::pin(async move {
            let lane = lane.ok_or(ErrorCode::UnknownServerError)?;
            lane.call(&endpoint?, FETCH_VERSION, &request).await.map_err(|error| {
                tracing::debug!(source = source.0, %error, "fetch failed");
                error.code()
            })
        })
    }

    fn log_range(
        &self,
        source: BrokerId,
        topic: Arc<str>,
        partition: i32,
        epoch: LeaderEpoch,
    ) -> Called<(Offset, Offset)> {
        let (this, endpoint) = (self.clone(), self.endpoint(source));
        Box::pin(async move {
            let endpoint = endpoint?;
            let start = this.offset(&endpoint, &topic, partition, epoch, EARLIEST).await?;
            let end = this.offset(&endpoint, &topic, partition, epoch, LATEST).await?;
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
        endpoint: &Endpoint,
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
        let response =
            self.questions.call(endpoint, LIST_OFFSETS_VERSION, &request).await.map_err(|error| error.code())?;
        let answer = response.topics.iter().flat_map(|topic| &topic.partitions).next();
        let answer = answer.ok_or(ErrorCode::UnknownServerError)?;
        match ErrorCode::from_code(answer.error_code) {
            Some(ErrorCode::None) => Ok(Offset(answer.offset)),
            code => Err(code.unwrap_or(ErrorCode::UnknownServerError)),
        }
    }
}
