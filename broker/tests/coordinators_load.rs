//! A coordinator comes back with everything that its partition holds, however many reads that takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use common::{Broker, topic};
use ottla_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use ottla_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use ottla_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};

const PARTITIONS: i32 = 100;
/// As long as `offset.metadata.max.bytes` lets it be.
const METADATA_BYTES: usize = 4096;
/// Together some megabytes, where one read of a coordinator takes one.
const COMMITS: i64 = 8;

fn group() -> GroupId {
    GroupId(StrBytes::from_static_str("g"))
}

async fn commit(broker: &Broker, offset: i64) -> Vec<i16> {
    let metadata = StrBytes::from_string("m".repeat(METADATA_BYTES));
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(metadata.clone()))
    };
    let partitions = (0..PARTITIONS).map(partition).collect();
    let topic = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(partitions);
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let response: OffsetCommitResponse = broker.call(8, request).await;
    response.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
}

async fn committed(broker: &Broker) -> Result<Vec<(i64, usize)>, i16> {
    let topics =
        OffsetFetchRequestTopics::default().with_name(topic("t")).with_partition_indexes((0..PARTITIONS).collect());
    let group = OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topics]));
    let response: OffsetFetchResponse = broker.call(8, OffsetFetchRequest::default().with_groups(vec![group])).await;
    let group = &response.groups[0];
    if group.error_code != 0 {
        return Err(group.error_code);
    }
    let partitions = group.topics[0].partitions.iter();
    Ok(partitions.map(|found| (found.committed_offset, found.metadata.as_ref().map_or(0, |text| text.len()))).collect())
}

async fn find(broker: &Broker) {
    for _ in 0..200 {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![StrBytes::from_static_str("g")]);
        let response: FindCoordinatorResponse = broker.call(4, request).await;
        if response.coordinators[0].error_code == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no coordinator");
}

#[tokio::test(flavor = "multi_thread")]
async fn megabytes_of_offsets_are_there_after_a_restart() {
    let broker = Broker::start_with(&[("offsets.topic.num.partitions", "1")]).await;
    broker.create_topic("t", PARTITIONS).await;
    find(&broker).await;
    for offset in 0..COMMITS {
        let mut codes = commit(&broker, offset).await;
        while codes.contains(&(ErrorCode::CoordinatorLoadInProgress as i16)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
            codes = commit(&broker, offset).await;
        }
        assert_eq!(codes, vec![0; PARTITIONS as usize]);
    }
    let broker = broker.restart().await;
    find(&broker).await;
    let mut found = committed(&broker).await;
    while found == Err(ErrorCode::CoordinatorLoadInProgress as i16) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        found = committed(&broker).await;
    }
    assert_eq!(found, Ok(vec![(COMMITS - 1, METADATA_BYTES); PARTITIONS as usize]));
}
