//! ListOffsets, OffsetForLeaderEpoch, DeleteRecords.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Broker, topic};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use ottla_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use ottla_protocol::messages::list_offsets_response::ListOffsetsPartitionResponse;
use ottla_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use ottla_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

async fn list(broker: &Broker, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition =
        ListOffsetsPartition::default().with_partition_index(0).with_current_leader_epoch(-1).with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
    let response: ListOffsetsResponse = broker.call(version, request).await;
    response.topics[0].partitions[0].clone()
}

async fn delete(broker: &Broker, offset: i64) -> (i16, i64) {
    let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
    let topic = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
    let response: DeleteRecordsResponse = broker.call(2, request).await;
    let result = &response.topics[0].partitions[0];
    (result.error_code, result.low_watermark)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_lists_the_ends() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.produce("t", 0, &["a", "b", "c"]).await;
    for version in 1..=11 {
        let latest = list(&broker, version, -1).await;
        assert_eq!((latest.error_code, latest.offset, latest.timestamp), (0, 3, -1), "v{version}");
        let earliest = list(&broker, version, -2).await;
        assert_eq!((earliest.error_code, earliest.offset), (0, 0), "v{version}");
        let unsupported = ErrorCode::UnsupportedVersion as i16;
        assert_eq!(list(&broker, version, -3).await.error_code, if version < 7 { unsupported } else { 0 });
        assert_eq!(list(&broker, version, -4).await.error_code, if version < 8 { unsupported } else { 0 });
        assert_eq!(list(&broker, version, -5).await.error_code, if version < 9 { unsupported } else { 0 });
        assert_eq!(list(&broker, version, -6).await.error_code, if version < 11 { unsupported } else { 0 });
        assert_eq!(list(&broker, version, -7).await.error_code, unsupported);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_found_by_time() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    assert_eq!(list(&broker, 9, -3).await.offset, -1, "an empty log has no largest timestamp");
    broker.produce("t", 0, &["a"]).await;
    let first = list(&broker, 9, 5).await;
    assert_eq!((first.error_code, first.offset, first.timestamp), (0, 0, 1_700_000_000_000));
    let none = list(&broker, 9, 1_800_000_000_000).await;
    assert_eq!((none.error_code, none.offset, none.timestamp), (0, -1, -1));
    let largest = list(&broker, 9, -3).await;
    assert_eq!((largest.offset, largest.timestamp), (0, 1_700_000_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_gone() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.produce("t", 0, &["a", "b", "c"]).await;
    assert_eq!(delete(&broker, 2).await, (0, 2));
    assert_eq!(list(&broker, 5, -2).await.offset, 2);
    assert_eq!(delete(&broker, 9).await, (ErrorCode::OffsetOutOfRange as i16, -1));
    assert_eq!(delete(&broker, -1).await, (0, 3), "-1 is the high watermark");
    assert_eq!(delete(&broker, 1).await, (0, 3), "what is deleted stays deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_ends_where_the_log_ends() {
    let broker = Broker::start().await;
    broker.create_topic("t", 1).await;
    broker.produce("t", 0, &["a", "b"]).await;
    let ask = async |current: i32, epoch: i32| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(current)
            .with_leader_epoch(epoch);
        let topic = OffsetForLeaderTopic::default().with_topic(topic("t")).with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let response: OffsetForLeaderEpochResponse = broker.call(4, request).await;
        response.topics[0].partitions[0].clone()
    };
    let end = ask(-1, 0).await;
    assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (0, 0, 2));
    assert_eq!(ask(55, 0).await.error_code, ErrorCode::UnknownLeaderEpoch as i16);
}
