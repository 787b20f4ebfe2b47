//! WriteTxnMarkers: v1-2. Other brokers' coordinators, and `kafka-transactions abort`. v2 tells the transaction version.

use std::sync::Arc;

use ottla_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use ottla_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use ottla_protocol::{ErrorCode, TopicPartition};
use tokio::task::{JoinError, JoinSet};

use super::coordinated::producer;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::{Coordinators, MarkerWriter, TxnMarker};

/// Handler of WriteTxnMarkers.
pub struct TxnMarkers {
    coordinators: Coordinators,
}

impl TxnMarkers {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(27)];

    pub fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone() }
    }

    pub async fn handle(&self, cx: &RequestContext, request: WriteTxnMarkersRequest) -> Reply {
        let (writer, cx) = (self.coordinators.markers().clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let mut written = write_all(&writer, &request).await.into_iter();
            let markers = request.markers.into_iter().map(|marker| {
                let topics = marker.topics.into_iter().map(|topic| {
                    let partitions = topic.partition_indexes.iter().map(|&index| {
                        let code = written.next().unwrap_or(ErrorCode::UnknownServerError);
                        WritableTxnMarkerPartitionResult::default()
                            .with_partition_index(index)
                            .with_error_code(code.code())
                    });
                    let partitions = partitions.collect();
                    WritableTxnMarkerTopicResult::default().with_name(topic.name).with_partitions(partitions)
                });
                let topics = topics.collect();
                WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics)
            });
            let response = WriteTxnMarkersResponse::default().with_markers(markers.collect());
            cx.respond(&response)
        }))
    }
}

/// So many wait for the in-sync replicas of their partitions at a time.
const AT_A_TIME: usize = 64;

/// Writes all markers. The answers come in the order of the request.
async fn write_all(writer: &MarkerWriter, request: &WriteTxnMarkersRequest) -> Vec<ErrorCode> {
    let topics = request.markers.iter().flat_map(|marker| &marker.topics);
    let mut codes = vec![ErrorCode::UnknownServerError; topics.map(|topic| topic.partition_indexes.len()).sum()];
    let mut tries: JoinSet<(usize, ErrorCode)> = JoinSet::new();
    let mut place = 0;
    for marker in &request.markers {
        let asked = TxnMarker {
            producer: producer(marker.producer_id, marker.producer_epoch),
            coordinator_epoch: marker.coordinator_epoch,
            commit: marker.transaction_result,
            // Version 1 of the request does not tell it: the rule of the transactions of old.
            transaction_version: marker.transaction_version.into(),
        };
        for topic in &marker.topics {
            let name: Arc<str> = Arc::from(topic.name.as_str());
            for &index in &topic.partition_indexes {
                if tries.len() >= AT_A_TIME {
                    take(tries.join_next().await, &mut codes);
                }
                let (writer, partition) =
                    (writer.clone(), TopicPartition { topic: Arc::clone(&name), partition: index });
                let at = place;
                tries.spawn(async move { (at, code_of(writer.write(&partition, asked).await)) });
                place += 1;
            }
        }
    }
    while !tries.is_empty() {
        take(tries.join_next().await, &mut codes);
    }
    codes
}

fn take(tried: Option<Result<(usize, ErrorCode), JoinError>>, codes: &mut [ErrorCode]) {
    if let Some(Ok((place, code))) = tried
        && let Some(known) = codes.get_mut(place)
    {
        *known = code;
    }
}

fn code_of(written: Result<(), ErrorCode>) -> ErrorCode {
    match written {
        Ok(()) => ErrorCode::None,
        // The sender does not expect the words of a group coordinator.
        Err(ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator) => {
            ErrorCode::NotLeaderOrFollower
        }
        Err(error) => error,
    }
}
