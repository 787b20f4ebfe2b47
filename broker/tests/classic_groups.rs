//! The classic group protocol, as old and new clients speak it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::{Broker, topic};
use ottla_protocol::ErrorCode;
use ottla_protocol::StrBytes;
use ottla_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use ottla_protocol::messages::leave_group_request::MemberIdentity;
use ottla_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use ottla_protocol::messages::{
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, TransactionalId,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

/// Joins a group of its own with a version that does not ask new members to come back with an id.
async fn join(broker: &Broker, group: &str) -> StrBytes {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(Bytes::from_static(b"\0\0"));
    let request = JoinGroupRequest::default()
        .with_group_id(StrBytes::from_string(group.to_owned()).into())
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocols(vec![protocol]);
    for _ in 0..100 {
        let response: JoinGroupResponse = broker.call(3, request.clone()).await;
        if response.error_code == 0 {
            return response.member_id;
        }
        // The first group makes the topic of the groups, which has to be loaded.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the group did not take a member");
}

async fn leave(broker: &Broker, version: i16, group: &str, member: &StrBytes) -> i16 {
    let request = LeaveGroupRequest::default().with_group_id(StrBytes::from_string(group.to_owned()).into());
    let request = if version < 3 {
        request.with_member_id(member.clone())
    } else {
        request.with_members(vec![MemberIdentity::default().with_member_id(member.clone())])
    };
    let response: LeaveGroupResponse = broker.call(version, request).await;
    response.members.first().map_or(response.error_code, |member| member.error_code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_leaves_with_every_version() {
    let broker = Broker::start_with(&[("group.initial.rebalance.delay.ms", "0")]).await;
    broker.create_topic("__consumer_offsets", 1).await;
    for version in 0..=5 {
        let group = format!("v{version}");
        let member = join(&broker, &group).await;
        assert_eq!(leave(&broker, version, &group, &member).await, 0, "v{version}");
        let gone = ErrorCode::UnknownMemberId as i16;
        assert_eq!(leave(&broker, version, &group, &member).await, gone, "v{version}: it has left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_commits_offsets_of_a_group_with_a_name() {
    let broker = Broker::start().await;
    broker.create_topic("orders", 1).await;
    let partition = TxnOffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(1);
    let topic = TxnOffsetCommitRequestTopic::default().with_name(topic("orders")).with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(StrBytes::from_static_str("t")))
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    let response: TxnOffsetCommitResponse = broker.call(3, request).await;
    assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::InvalidGroupId as i16);
}
