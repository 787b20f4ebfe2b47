//! DescribeQuorum v0-2 (v1 timestamps, v2 directory ids and nodes). AddRaftVoter v0-1 (v1 an answer before the commit),
//! RemoveRaftVoter v0, UpdateRaftVoter v0: they change the voters at whoever leads the quorum.

use std::sync::Arc;

use ottla_controller::{Controller, QuorumInfo, ReplicaState as Replica, VoterChange, VoterError, VoterInfo};
use ottla_metadata::Endpoint;
use ottla_protocol::messages::describe_quorum_response::{Listener, Node, PartitionData, ReplicaState, TopicData};
use ottla_protocol::messages::{
    AddRaftVoterRequest, AddRaftVoterResponse, DescribeQuorumRequest, DescribeQuorumResponse, RemoveRaftVoterRequest,
    RemoveRaftVoterResponse, UpdateRaftVoterRequest, UpdateRaftVoterResponse, update_raft_voter_response,
};
use ottla_protocol::topic_names::CLUSTER_METADATA_TOPIC;
use ottla_protocol::{BrokerId, Encodable, ErrorCode, HeaderVersion, StrBytes};
use uuid::Uuid;

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of requests about the quorum.
pub struct Quorum {
    controller: Controller,
    cluster_id: Arc<str>,
    /// The listener by which voters reach each other.
    listener: Arc<str>,
}

/// Longest wait for a change of the voters, whatever the request allows.
const CHANGE_MS_MAX: i32 = 60_000;

impl Quorum {
    /// What is advertised of this family.
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(55), ApiSpec::of(80), ApiSpec::of(81), ApiSpec::of(82)];

    pub fn new(house: &House) -> Self {
        let named = house.settings.list("controller.listener.names").first().map(|name| name.to_uppercase());
        // A controller without a listener for other nodes is reached as clients reach it.
        let own = || house.settings.listeners.first().map(|listener| listener.name.clone());
        Self {
            controller: house.controller.clone(),
            cluster_id: Arc::clone(&house.cluster_id),
            listener: named.or_else(own).unwrap_or_else(|| "CONTROLLER".to_owned()).into(),
        }
    }

    pub async fn add_raft_voter(&self, cx: &RequestContext, request: AddRaftVoterRequest) -> Reply {
        let change = self.addition(&request);
        self.change(cx, change, |code, message| {
            AddRaftVoterResponse::default().with_error_code(code).with_error_message(message)
        })
    }

    pub async fn remove_raft_voter(&self, cx: &RequestContext, request: RemoveRaftVoterRequest) -> Reply {
        let change = self.check_cluster(request.cluster_id.as_ref()).and_then(|()| {
            if request.voter_id < 0 || request.voter_directory_id.is_nil() {
                return Err(invalid("Remove voter request didn't include a valid voter"));
            }
            let (id, directory_id) = (BrokerId(request.voter_id), request.voter_directory_id);
            Ok(VoterChange::Remove { id, directory_id })
        });
        self.change(cx, change, |code, message| {
            RemoveRaftVoterResponse::default().with_error_code(code).with_error_message(message)
        })
    }

    pub async fn update_raft_voter(&self, cx: &RequestContext, request: UpdateRaftVoterRequest) -> Reply {
        let endpoints = request.listeners.iter().map(|listener| (&listener.name, &listener.host, listener.port));
        let change = self.check_cluster(request.cluster_id.as_ref()).and_then(|()| {
            let voter = self.voter(request.voter_id, request.voter_directory_id, endpoints)?;
            let known = self.controller.local_quorum().map_or(-1, |quorum| quorum.leader_epoch);
            match request.current_leader_epoch {
                epoch if epoch < 0 || known < 0 || epoch == known => Ok(VoterChange::Update { voter }),
                epoch if epoch < known => Err(VoterError {
                    code: ErrorCode::FencedLeaderEpoch,
                    message: ErrorCode::FencedLeaderEpoch.message().to_owned(),
                }),
                _ => Err(VoterError {
                    code: ErrorCode::UnknownLeaderEpoch,
                    message: ErrorCode::UnknownLeaderEpoch.message().to_owned(),
                }),
            }
        });
        let quorum = self.controller.local_quorum();
        self.change(cx, change, move |code, _| {
            let leader = quorum.as_ref().and_then(|quorum| {
                let id = quorum.leader?;
                let endpoint = quorum.voters.iter().find(|voter| voter.id == id)?.endpoints.first()?.clone();
                Some((id, quorum.leader_epoch, endpoint))
            });
            let known = update_raft_voter_response::CurrentLeader::default();
            let known = match leader {
                Some((id, epoch, endpoint)) => known
                    .with_leader_id(id.0.into())
                    .with_leader_epoch(epoch)
                    .with_host(StrBytes::from_string(endpoint.host.to_string()))
                    .with_port(i32::from(endpoint.port)),
                None => known.with_leader_id((-1).into()).with_leader_epoch(-1),
            };
            UpdateRaftVoterResponse::default().with_error_code(code).with_current_leader(known)
        })
    }

    fn addition(&self, request: &AddRaftVoterRequest) -> Result<VoterChange, VoterError> {
        self.check_cluster(request.cluster_id.as_ref())?;
        if request.voter_id < 0 || request.voter_directory_id.is_nil() {
            return Err(invalid("Add voter request didn't include a valid voter"));
        }
        let endpoints = request.listeners.iter().map(|listener| (&listener.name, &listener.host, listener.port));
        let voter = self.voter(request.voter_id, request.voter_directory_id, endpoints)?;
        let timeout_ms = u32::try_from(request.timeout_ms.clamp(1, CHANGE_MS_MAX)).unwrap_or(1);
        Ok(VoterChange::Add { voter, timeout_ms, wait_until_committed: request.ack_when_committed })
    }

    fn check_cluster(&self, named: Option<&StrBytes>) -> Result<(), VoterError> {
        match named.filter(|named| named.as_str() != &*self.cluster_id) {
            Some(named) => Err(VoterError {
                code: ErrorCode::InconsistentClusterId,
                message: format!(
                    "The given id \"{}\" doesn't match the cluster id \"{}\"",
                    named.as_str(),
                    self.cluster_id
                ),
            }),
            None => Ok(()),
        }
    }

    /// The listener by which the quorum is reached comes first.
    fn voter<'a>(
        &self,
        id: i32,
        directory_id: Uuid,
        endpoints: impl Iterator<Item = (&'a StrBytes, &'a StrBytes, u16)>,
    ) -> Result<VoterInfo, VoterError> {
        let endpoint = |(name, host, port): (&StrBytes, &StrBytes, u16)| Endpoint {
            name: name.as_str().into(),
            host: host.as_str().into(),
            port,
            security_protocol: 0,
        };
        let mut endpoints: Vec<Endpoint> = endpoints.map(endpoint).collect();
        if !endpoints.iter().any(|endpoint| *endpoint.name == *self.listener) {
            let named: Vec<String> =
                endpoints.iter().map(|at| format!("ListenerName({})={}:{}", at.name, at.host, at.port)).collect();
            return Err(invalid(&format!(
                "Add voter request didn't include the endpoint (Endpoints(endpoints={{{}}})) for the default listener \
                 ListenerName({})",
                named.join(", "),
                self.listener
            )));
        }
        endpoints.sort_by_key(|endpoint| *endpoint.name != *self.listener);
        Ok(VoterInfo { id: BrokerId(id), directory_id, endpoints })
    }

    fn change<R: Encodable + HeaderVersion>(
        &self,
        cx: &RequestContext,
        change: Result<VoterChange, VoterError>,
        answer: impl FnOnce(i16, Option<StrBytes>) -> R + Send + 'static,
    ) -> Reply {
        let (controller, cx) = (self.controller.clone(), cx.clone());
        Reply::Later(Box::pin(async move {
            let changed = match change {
                Ok(change) => controller.change_voters(change).await,
                Err(error) => Err(error),
            };
            let response = match changed {
                Ok(()) => answer(0, None),
                Err(error) => answer(error.code.code(), Some(StrBytes::from_string(error.message))),
            };
            cx.respond(&response)
        }))
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

fn invalid(message: &str) -> VoterError {
    VoterError { code: ErrorCode::InvalidRequest, message: message.to_owned() }
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
    use ottla_protocol::{Offset, Timestamp};
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
