//! WriteTxnMarkers: v1-2. Other brokers' coordinators, and `kafka-transactions abort`. v2 tells the transaction version.

use ottla_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use ottla_protocol::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use ottla_protocol::{ErrorCode, TopicPartition};

use super::coordinated::producer;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::Coordinators;

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
            let mut markers = Vec::with_capacity(request.markers.len());
            for marker in request.markers {
                let who = producer(marker.producer_id, marker.producer_epoch);
                let mut topics = Vec::with_capacity(marker.topics.len());
                for topic in marker.topics {
                    let mut partitions = Vec::with_capacity(topic.partition_indexes.len());
                    for index in topic.partition_indexes {
                        let partition = TopicPartition::new(topic.name.as_str(), index);
                        let written =
                            writer.write(&partition, who, marker.coordinator_epoch, marker.transaction_result).await;
                        let error = match written {
                            Ok(()) => ErrorCode::None,
                            // The sender does not expect the words of a group coordinator.
                            Err(
                                ErrorCode::CoordinatorNotAvailable
                                | ErrorCode::CoordinatorLoadInProgress
                                | ErrorCode::NotCoordinator,
                            ) => ErrorCode::NotLeaderOrFollower,
                            Err(error) => error,
                        };
                        partitions.push(
                            WritableTxnMarkerPartitionResult::default()
                                .with_partition_index(index)
                                .with_error_code(error.code()),
                        );
                    }
                    topics.push(
                        WritableTxnMarkerTopicResult::default().with_name(topic.name).with_partitions(partitions),
                    );
                }
                markers
                    .push(WritableTxnMarkerResult::default().with_producer_id(marker.producer_id).with_topics(topics));
            }
            cx.respond(&WriteTxnMarkersResponse::default().with_markers(markers))
        }))
    }
}
