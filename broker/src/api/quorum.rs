//! DescribeQuorum v0-2 (v1 timestamps, v2 directory ids and nodes). Voters do not change while the cluster runs:
//! AddRaftVoter and RemoveRaftVoter are not advertised.

use ottla_controller::{Controller, QuorumInfo, ReplicaState as Replica, VoterInfo};
use ottla_decisions::names::CLUSTER_METADATA_TOPIC;
use ottla_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use ottla_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of DescribeQuorum.
pub struct Quorum {
    controller: Controller,
}

impl Quorum {
    /// What is advertised of this family.
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(55)];

    pub fn new(house: &House) -> Self {
        Self { controller: house.controller.clone() }
    }

    pub async fn describe_quorum(&self, cx: &RequestContext, request: DescribeQuorumRequest) -> Reply {
        let (controller, cx) = (self.controller.clone(), cx.clone());
        // The leader knows; it may be another node, or there may be none for the moment.
        Reply::Later(Box::pin(async move {
            let response = match controller.quorum().await {
                Ok(quorum) => describe(&request, &quorum, cx.version),
                Err(code) => refused(&request, code, cx.version),
            };
            cx.respond(&response)
        }))
    }
}

fn describe(request: &DescribeQuorumRequest, quorum: &QuorumInfo, version: i16) -> DescribeQuorumResponse {
    let asked = match request.topics.as_slice() {
        [topic] if topic.topic_name.as_str() == CLUSTER_METADATA_TOPIC => topic.partitions.as_slice(),
        _ => &[],
    };
    if asked.len() != 1 || asked[0].partition_index != 0 {
        return refused(request, ErrorCode::UnknownTopicOrPartition, version);
    }
    let partition = PartitionData::default()
        .with_error_message(None)
        .with_leader_id(quorum.leader.map_or(-1, |leader| leader.0).into())
        .with_leader_epoch(quorum.leader_epoch)
        .with_high_watermark(quorum.high_watermark.0)
        .with_current_voters(quorum.replicas.iter().map(|replica| replica_state(replica, version)).collect())
        .with_observers(quorum.observers.iter().map(|replica| replica_state(replica, version)).collect());
    let topic = TopicData::default()
        .with_topic_name(StrBytes::from_static_str(CLUSTER_METADATA_TOPIC).into())
        .with_partitions(vec![partition]);
    let mut response = DescribeQuorumResponse::default().with_error_message(None).with_topics(vec![topic]);
    if version >= 2 {
        response.nodes = quorum.voters.iter().map(node).collect();
    }
    response
}

fn replica_state(replica: &Replica, version: i16) -> ReplicaState {
    let state =
        ReplicaState::default().with_replica_id(replica.id.0.into()).with_log_end_offset(replica.log_end_offset.0);
    // Lower versions have no room for these, and the encoder refuses rather than drops.
    let state = match version {
        0 => state,
        _ => state
            .with_last_fetch_timestamp(replica.last_fetch.0)
            .with_last_caught_up_timestamp(replica.last_caught_up.0),
    };
    if version >= 2 { state.with_replica_directory_id(replica.directory_id) } else { state }
}

fn node(voter: &VoterInfo) -> Node {
    let listener = |endpoint: &ottla_metadata::Endpoint| {
        Listener::default()
            .with_name(StrBytes::from_string(endpoint.name.to_string()))
            .with_host(StrBytes::from_string(endpoint.host.to_string()))
            .with_port(endpoint.port)
    };
    Node::default().with_node_id(voter.id.0.into()).with_listeners(voter.endpoints.iter().map(listener).collect())
}

fn refused(request: &DescribeQuorumRequest, code: ErrorCode, version: i16) -> DescribeQuorumResponse {
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer =
                PartitionData::default().with_partition_index(partition.partition_index).with_error_code(code.code());
            if version >= 2 {
                answer.with_error_message(Some(StrBytes::from_static_str(code.message())))
            } else {
                answer
            }
        });
        TopicData::default().with_topic_name(topic.topic_name.clone()).with_partitions(partitions.collect())
    });
    DescribeQuorumResponse::default().with_error_message(None).with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use ottla_protocol::messages::describe_quorum_request;
    use ottla_protocol::{BrokerId, Encodable, Offset, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn asking(topic: &'static str, partition: i32) -> DescribeQuorumRequest {
        let partition = describe_quorum_request::PartitionData::default().with_partition_index(partition);
        let topic = describe_quorum_request::TopicData::default()
            .with_topic_name(StrBytes::from_static_str(topic).into())
            .with_partitions(vec![partition]);
        DescribeQuorumRequest::default().with_topics(vec![topic])
    }

    fn quorum() -> QuorumInfo {
        let id = BrokerId(1);
        let directory_id = Uuid::from_u128(7000);
        let endpoint = ottla_metadata::Endpoint {
            name: "CONTROLLER".into(),
            host: "localhost".into(),
            port: 9093,
            security_protocol: 0,
        };
        QuorumInfo {
            leader: Some(id),
            leader_epoch: 3,
            high_watermark: Offset(10),
            observers: Vec::new(),
            voters: vec![VoterInfo { id, directory_id, endpoints: vec![endpoint] }],
            replicas: vec![Replica {
                id,
                directory_id,
                log_end_offset: Offset(10),
                last_fetch: Timestamp(5),
                last_caught_up: Timestamp(5),
            }],
        }
    }

    #[test]
    fn every_version_can_be_encoded() {
        for version in 0..=2 {
            let response = describe(&asking(CLUSTER_METADATA_TOPIC, 0), &quorum(), version);
            assert_eq!(response.topics[0].partitions[0].current_voters[0].log_end_offset, 10);
            let mut bytes = bytes::BytesMut::new();
            assert!(response.encode(&mut bytes, version).is_ok(), "v{version}");
            let response = describe(&asking("other", 0), &quorum(), version);
            assert!(response.encode(&mut bytes, version).is_ok(), "v{version}");
        }
    }

    #[test]
    fn only_the_metadata_log_has_a_quorum() {
        let code = |request| describe(&request, &quorum(), 2).topics[0].partitions[0].error_code;
        assert_eq!(code(asking("orders", 0)), ErrorCode::UnknownTopicOrPartition.code());
        assert_eq!(code(asking(CLUSTER_METADATA_TOPIC, 1)), ErrorCode::UnknownTopicOrPartition.code());
        assert_eq!(code(asking(CLUSTER_METADATA_TOPIC, 0)), 0);
    }
}
