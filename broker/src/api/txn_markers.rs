//! WriteTxnMarkers: v1-2. Other brokers' coordinators, and `kafka-transactions abort`. v2 tells the transaction version.

use std::collections::HashMap;

use ottla_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use ottla_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use ottla_protocol::{ErrorCode, TopicPartition};
use tokio::task::JoinSet;

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
            let mut written = write_all(&writer, &request).await;
            let markers = request.markers.into_iter().enumerate().map(|(at, marker)| {
                let topics = marker.topics.into_iter().map(|topic| {
                    let partitions = topic.partition_indexes.iter().map(|&index| {
                        let code = written.remove(&(at, topic.name.as_str().to_owned(), index));
                        WritableTxnMarkerPartitionResult::default()
                            .with_partition_index(index)
                            .with_error_code(code.unwrap_or(ErrorCode::UnknownServerError).code())
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

/// Place of the marker in the request, topic and partition.
type Place = (usize, String, i32);

/// Writes all markers at once: they wait for the in-sync replicas of different partitions.
async fn write_all(writer: &MarkerWriter, request: &WriteTxnMarkersRequest) -> HashMap<Place, ErrorCode> {
    let mut tries: JoinSet<(Place, ErrorCode)> = JoinSet::new();
    for (at, marker) in request.markers.iter().enumerate() {
        let asked = TxnMarker {
            producer: producer(marker.producer_id, marker.producer_epoch),
            coordinator_epoch: marker.coordinator_epoch,
            commit: marker.transaction_result,
            // Version 1 of the request does not tell it: the rule of the transactions of old.
            transaction_version: marker.transaction_version.into(),
        };
        for topic in &marker.topics {
            for &index in &topic.partition_indexes {
                let (writer, name) = (writer.clone(), topic.name.as_str().to_owned());
                tries.spawn(async move {
                    let written = writer.write(&TopicPartition::new(&*name, index), asked).await;
                    ((at, name, index), code_of(written))
                });
            }
        }
    }
    let mut written = HashMap::new();
    while let Some(tried) = tries.join_next().await {
        written.extend(tried.ok());
    }
    written
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
