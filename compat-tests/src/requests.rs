//! The smallest right frame of every API and version, and a broker's own list of both.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request};
use ottla_protocol::messages::*;

use crate::wire::Wire;

/// The correlation id of every frame made here.
pub const CORRELATION_ID: i32 = 7;

/// APIs that Apache Kafka lists and Ottla does not build yet (see `UNSUPPORTED.md`): left out of comparisons.
pub const NOT_BUILT: &[i16] = &[17, 36, 38, 39, 40, 41, 76, 77, 78, 79, 80, 81, 83, 84, 85, 86, 87, 88, 89, 90, 91, 92];

/// One row of an ApiVersions answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub key: i16,
    pub min: i16,
    pub max: i16,
}

/// What the broker advertises, by ApiVersions v0.
pub fn advertised(address: SocketAddr) -> std::io::Result<Vec<Range>> {
    let mut wire = Wire::connect(address, Duration::from_secs(10))?;
    wire.send_raw(&[0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff])?;
    let answer = wire.receive()?;
    let word = |at: usize| i16::from_be_bytes([answer[at], answer[at + 1]]);
    let count = i32::from_be_bytes([answer[6], answer[7], answer[8], answer[9]]) as usize;
    let rows = (0..count).map(|row| 10 + row * 6);
    Ok(rows.map(|at| Range { key: word(at), min: word(at + 2), max: word(at + 4) }).collect())
}

/// Header and body of the request with every field at its default; `None` where the API or version is not known here.
pub fn default_request(key: i16, version: i16) -> Option<(Vec<u8>, Vec<u8>)> {
    let (header_version, body) = default_body(key, version)?;
    Some((header(key, version, header_version), body))
}

/// A request header of version 1 or 2.
pub fn header(key: i16, version: i16, header_version: i16) -> Vec<u8> {
    let mut header = BytesMut::new();
    header.put_i16(key);
    header.put_i16(version);
    header.put_i32(CORRELATION_ID);
    header.put_i16(4);
    header.put_slice(b"wire");
    if header_version >= 2 {
        header.put_u8(0);
    }
    header.to_vec()
}

/// The name of an API, as Kafka spells it.
pub fn name(key: i16) -> String {
    NAMES.iter().find(|(known, _)| *known == key).map_or_else(|| format!("API {key}"), |(_, name)| (*name).to_owned())
}

macro_rules! requests {
    ($($name:literal $request:ident,)+) => {
        const NAMES: &[(i16, &str)] = &[$((<$request as Request>::KEY, $name),)+];

        fn default_body(key: i16, version: i16) -> Option<(i16, Vec<u8>)> {
            match key {
                $(<$request as Request>::KEY => {
                    let mut bytes = BytesMut::new();
                    let header = <$request as HeaderVersion>::header_version(version);
                    $request::default().encode(&mut bytes, version).ok().map(|()| (header, bytes.to_vec()))
                })+
                _ => None,
            }
        }
    };
}

requests!(
    "Produce" ProduceRequest,
    "Fetch" FetchRequest,
    "ListOffsets" ListOffsetsRequest,
    "Metadata" MetadataRequest,
    "OffsetCommit" OffsetCommitRequest,
    "OffsetFetch" OffsetFetchRequest,
    "FindCoordinator" FindCoordinatorRequest,
    "JoinGroup" JoinGroupRequest,
    "Heartbeat" HeartbeatRequest,
    "LeaveGroup" LeaveGroupRequest,
    "SyncGroup" SyncGroupRequest,
    "DescribeGroups" DescribeGroupsRequest,
    "ListGroups" ListGroupsRequest,
    "SaslHandshake" SaslHandshakeRequest,
    "ApiVersions" ApiVersionsRequest,
    "CreateTopics" CreateTopicsRequest,
    "DeleteTopics" DeleteTopicsRequest,
    "DeleteRecords" DeleteRecordsRequest,
    "InitProducerId" InitProducerIdRequest,
    "OffsetForLeaderEpoch" OffsetForLeaderEpochRequest,
    "AddPartitionsToTxn" AddPartitionsToTxnRequest,
    "AddOffsetsToTxn" AddOffsetsToTxnRequest,
    "EndTxn" EndTxnRequest,
    "WriteTxnMarkers" WriteTxnMarkersRequest,
    "TxnOffsetCommit" TxnOffsetCommitRequest,
    "DescribeAcls" DescribeAclsRequest,
    "CreateAcls" CreateAclsRequest,
    "DeleteAcls" DeleteAclsRequest,
    "DescribeConfigs" DescribeConfigsRequest,
    "AlterConfigs" AlterConfigsRequest,
    "AlterReplicaLogDirs" AlterReplicaLogDirsRequest,
    "DescribeLogDirs" DescribeLogDirsRequest,
    "SaslAuthenticate" SaslAuthenticateRequest,
    "CreatePartitions" CreatePartitionsRequest,
    "CreateDelegationToken" CreateDelegationTokenRequest,
    "RenewDelegationToken" RenewDelegationTokenRequest,
    "ExpireDelegationToken" ExpireDelegationTokenRequest,
    "DescribeDelegationToken" DescribeDelegationTokenRequest,
    "DeleteGroups" DeleteGroupsRequest,
    "ElectLeaders" ElectLeadersRequest,
    "IncrementalAlterConfigs" IncrementalAlterConfigsRequest,
    "AlterPartitionReassignments" AlterPartitionReassignmentsRequest,
    "ListPartitionReassignments" ListPartitionReassignmentsRequest,
    "OffsetDelete" OffsetDeleteRequest,
    "DescribeClientQuotas" DescribeClientQuotasRequest,
    "AlterClientQuotas" AlterClientQuotasRequest,
    "DescribeUserScramCredentials" DescribeUserScramCredentialsRequest,
    "AlterUserScramCredentials" AlterUserScramCredentialsRequest,
    "DescribeQuorum" DescribeQuorumRequest,
    "UpdateFeatures" UpdateFeaturesRequest,
    "DescribeCluster" DescribeClusterRequest,
    "DescribeProducers" DescribeProducersRequest,
    "UnregisterBroker" UnregisterBrokerRequest,
    "DescribeTransactions" DescribeTransactionsRequest,
    "ListTransactions" ListTransactionsRequest,
    "ConsumerGroupHeartbeat" ConsumerGroupHeartbeatRequest,
    "ConsumerGroupDescribe" ConsumerGroupDescribeRequest,
    "GetTelemetrySubscriptions" GetTelemetrySubscriptionsRequest,
    "PushTelemetry" PushTelemetryRequest,
    "ListConfigResources" ListConfigResourcesRequest,
    "DescribeTopicPartitions" DescribeTopicPartitionsRequest,
    "ShareGroupHeartbeat" ShareGroupHeartbeatRequest,
    "ShareGroupDescribe" ShareGroupDescribeRequest,
    "ShareFetch" ShareFetchRequest,
    "ShareAcknowledge" ShareAcknowledgeRequest,
    "AddRaftVoter" AddRaftVoterRequest,
    "RemoveRaftVoter" RemoveRaftVoterRequest,
    "InitializeShareGroupState" InitializeShareGroupStateRequest,
    "ReadShareGroupState" ReadShareGroupStateRequest,
    "WriteShareGroupState" WriteShareGroupStateRequest,
    "DeleteShareGroupState" DeleteShareGroupStateRequest,
    "ReadShareGroupStateSummary" ReadShareGroupStateSummaryRequest,
    "StreamsGroupHeartbeat" StreamsGroupHeartbeatRequest,
    "StreamsGroupDescribe" StreamsGroupDescribeRequest,
    "DescribeShareGroupOffsets" DescribeShareGroupOffsetsRequest,
    "AlterShareGroupOffsets" AlterShareGroupOffsetsRequest,
    "DeleteShareGroupOffsets" DeleteShareGroupOffsetsRequest,
);
