//! A frame becomes a header and a typed body.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request as RequestMessage};

use crate::messages::*;
use crate::response::{EncodeError, seal};
use crate::skeleton;
use crate::versions::{ApiSpec, Listeners, both};

/// One decoded request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub header: RequestHeader,
    pub api_key: i16,
    pub version: i16,
    pub body: RequestBody,
    /// Length of the frame without its four-byte prefix.
    pub size: usize,
}

/// Why a frame is no request that can be served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// The API is known, the version is not. ApiVersions is answered with version 0 and error 35 (a client that is
    /// newer than the broker learns from it); for every other API Kafka closes the connection.
    #[error("version {version} of API {api_key} is not supported")]
    UnsupportedVersion { api_key: i16, version: i16, correlation_id: i32, client_id: Option<StrBytes> },
    /// No such API, or one that Kafka 4 removed.
    #[error("API key {api_key} is unknown")]
    UnknownApi { api_key: i16, version: i16 },
    /// Counts, lengths or strings do not fit the schema or the frame.
    #[error("malformed request (API {api_key:?}): {reason}")]
    Malformed { api_key: Option<i16>, reason: String },
}

macro_rules! requests {
    ($( $key:literal $name:ident $request:ident $response:ident $listeners:ident; )*) => {
        /// The body of a request, one variant per API.
        #[derive(Debug, Clone, PartialEq)]
        pub enum RequestBody {
            $( #[doc = concat!("API ", stringify!($key))] $name($request), )*
        }

        pub(crate) const APIS: &[ApiSpec] = &[
            $( ApiSpec {
                key: $key,
                name: stringify!($name),
                min: both::<$request, $response>($key).0,
                max: both::<$request, $response>($key).1,
                listeners: Listeners::$listeners,
            }, )*
        ];

        /// Version of the request header (1 or 2) for a version of an API; `None` for an unknown API.
        pub fn header_version(api_key: i16, version: i16) -> Option<i16> {
            match api_key {
                $( $key => Some($request::header_version(version)), )*
                _ => None,
            }
        }

        /// Decodes a body and encodes it again: what one end writes the other must read.
        #[cfg(test)]
        pub(crate) fn round_trip(is_request: bool, api_key: i16, version: i16, body: &Bytes) -> anyhow::Result<Vec<u8>> {
            fn again<M: Decodable + Encodable>(body: &Bytes, version: i16) -> anyhow::Result<Vec<u8>> {
                let mut rest = body.clone();
                let message = M::decode(&mut rest, version)?;
                anyhow::ensure!(rest.is_empty(), "{} bytes are left", rest.len());
                let mut bytes = Vec::new();
                message.encode(&mut bytes, version)?;
                anyhow::ensure!(message.compute_size(version)? == bytes.len(), "the computed size is wrong");
                Ok(bytes)
            }
            match (api_key, is_request) {
                $(
                    ($key, true) => again::<$request>(body, version),
                    ($key, false) => again::<$response>(body, version),
                )*
                _ => anyhow::bail!("unknown API"),
            }
        }

        /// The default message of an API, encoded.
        #[cfg(test)]
        pub(crate) fn encode_default(is_request: bool, api_key: i16, version: i16) -> anyhow::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            match (api_key, is_request) {
                $(
                    ($key, true) => $request::default().encode(&mut bytes, version)?,
                    ($key, false) => $response::default().encode(&mut bytes, version)?,
                )*
                _ => anyhow::bail!("unknown API"),
            }
            Ok(bytes)
        }

        fn decode_body(api_key: i16, version: i16, body: &mut Bytes) -> Result<RequestBody, String> {
            match api_key {
                $( $key => $request::decode(body, version).map(RequestBody::$name).map_err(|e| e.to_string()), )*
                _ => Err("unknown API".to_owned()),
            }
        }
    };
}

requests! {
    0 Produce ProduceRequest ProduceResponse BROKER;
    1 Fetch FetchRequest FetchResponse BOTH;
    2 ListOffsets ListOffsetsRequest ListOffsetsResponse BROKER;
    3 Metadata MetadataRequest MetadataResponse BROKER;
    8 OffsetCommit OffsetCommitRequest OffsetCommitResponse BROKER;
    9 OffsetFetch OffsetFetchRequest OffsetFetchResponse BROKER;
    10 FindCoordinator FindCoordinatorRequest FindCoordinatorResponse BROKER;
    11 JoinGroup JoinGroupRequest JoinGroupResponse BROKER;
    12 Heartbeat HeartbeatRequest HeartbeatResponse BROKER;
    13 LeaveGroup LeaveGroupRequest LeaveGroupResponse BROKER;
    14 SyncGroup SyncGroupRequest SyncGroupResponse BROKER;
    15 DescribeGroups DescribeGroupsRequest DescribeGroupsResponse BROKER;
    16 ListGroups ListGroupsRequest ListGroupsResponse BROKER;
    17 SaslHandshake SaslHandshakeRequest SaslHandshakeResponse BOTH;
    18 ApiVersions ApiVersionsRequest ApiVersionsResponse BOTH;
    19 CreateTopics CreateTopicsRequest CreateTopicsResponse BOTH;
    20 DeleteTopics DeleteTopicsRequest DeleteTopicsResponse BOTH;
    21 DeleteRecords DeleteRecordsRequest DeleteRecordsResponse BROKER;
    22 InitProducerId InitProducerIdRequest InitProducerIdResponse BROKER;
    23 OffsetForLeaderEpoch OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse BROKER;
    24 AddPartitionsToTxn AddPartitionsToTxnRequest AddPartitionsToTxnResponse BROKER;
    25 AddOffsetsToTxn AddOffsetsToTxnRequest AddOffsetsToTxnResponse BROKER;
    26 EndTxn EndTxnRequest EndTxnResponse BROKER;
    27 WriteTxnMarkers WriteTxnMarkersRequest WriteTxnMarkersResponse BROKER;
    28 TxnOffsetCommit TxnOffsetCommitRequest TxnOffsetCommitResponse BROKER;
    29 DescribeAcls DescribeAclsRequest DescribeAclsResponse BOTH;
    30 CreateAcls CreateAclsRequest CreateAclsResponse BOTH;
    31 DeleteAcls DeleteAclsRequest DeleteAclsResponse BOTH;
    32 DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse BOTH;
    33 AlterConfigs AlterConfigsRequest AlterConfigsResponse BOTH;
    34 AlterReplicaLogDirs AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse BROKER;
    35 DescribeLogDirs DescribeLogDirsRequest DescribeLogDirsResponse BROKER;
    36 SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse BOTH;
    37 CreatePartitions CreatePartitionsRequest CreatePartitionsResponse BOTH;
    38 CreateDelegationToken CreateDelegationTokenRequest CreateDelegationTokenResponse BOTH;
    39 RenewDelegationToken RenewDelegationTokenRequest RenewDelegationTokenResponse BOTH;
    40 ExpireDelegationToken ExpireDelegationTokenRequest ExpireDelegationTokenResponse BOTH;
    41 DescribeDelegationToken DescribeDelegationTokenRequest DescribeDelegationTokenResponse BOTH;
    42 DeleteGroups DeleteGroupsRequest DeleteGroupsResponse BROKER;
    43 ElectLeaders ElectLeadersRequest ElectLeadersResponse BOTH;
    44 IncrementalAlterConfigs IncrementalAlterConfigsRequest IncrementalAlterConfigsResponse BOTH;
    45 AlterPartitionReassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse BOTH;
    46 ListPartitionReassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse BOTH;
    47 OffsetDelete OffsetDeleteRequest OffsetDeleteResponse BROKER;
    48 DescribeClientQuotas DescribeClientQuotasRequest DescribeClientQuotasResponse BROKER;
    49 AlterClientQuotas AlterClientQuotasRequest AlterClientQuotasResponse BOTH;
    50 DescribeUserScramCredentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse BOTH;
    51 AlterUserScramCredentials AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse BOTH;
    52 Vote VoteRequest VoteResponse CONTROLLER;
    53 BeginQuorumEpoch BeginQuorumEpochRequest BeginQuorumEpochResponse CONTROLLER;
    54 EndQuorumEpoch EndQuorumEpochRequest EndQuorumEpochResponse CONTROLLER;
    55 DescribeQuorum DescribeQuorumRequest DescribeQuorumResponse BOTH;
    56 AlterPartition AlterPartitionRequest AlterPartitionResponse CONTROLLER;
    57 UpdateFeatures UpdateFeaturesRequest UpdateFeaturesResponse BOTH;
    58 Envelope EnvelopeRequest EnvelopeResponse CONTROLLER;
    59 FetchSnapshot FetchSnapshotRequest FetchSnapshotResponse CONTROLLER;
    60 DescribeCluster DescribeClusterRequest DescribeClusterResponse BOTH;
    61 DescribeProducers DescribeProducersRequest DescribeProducersResponse BROKER;
    62 BrokerRegistration BrokerRegistrationRequest BrokerRegistrationResponse CONTROLLER;
    63 BrokerHeartbeat BrokerHeartbeatRequest BrokerHeartbeatResponse CONTROLLER;
    64 UnregisterBroker UnregisterBrokerRequest UnregisterBrokerResponse BOTH;
    65 DescribeTransactions DescribeTransactionsRequest DescribeTransactionsResponse BROKER;
    66 ListTransactions ListTransactionsRequest ListTransactionsResponse BROKER;
    67 AllocateProducerIds AllocateProducerIdsRequest AllocateProducerIdsResponse CONTROLLER;
    68 ConsumerGroupHeartbeat ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse BROKER;
    69 ConsumerGroupDescribe ConsumerGroupDescribeRequest ConsumerGroupDescribeResponse BROKER;
    70 ControllerRegistration ControllerRegistrationRequest ControllerRegistrationResponse CONTROLLER;
    71 GetTelemetrySubscriptions GetTelemetrySubscriptionsRequest GetTelemetrySubscriptionsResponse BROKER;
    72 PushTelemetry PushTelemetryRequest PushTelemetryResponse BROKER;
    73 AssignReplicasToDirs AssignReplicasToDirsRequest AssignReplicasToDirsResponse CONTROLLER;
    74 ListConfigResources ListConfigResourcesRequest ListConfigResourcesResponse BROKER;
    75 DescribeTopicPartitions DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse BROKER;
    76 ShareGroupHeartbeat ShareGroupHeartbeatRequest ShareGroupHeartbeatResponse BROKER;
    77 ShareGroupDescribe ShareGroupDescribeRequest ShareGroupDescribeResponse BROKER;
    78 ShareFetch ShareFetchRequest ShareFetchResponse BROKER;
    79 ShareAcknowledge ShareAcknowledgeRequest ShareAcknowledgeResponse BROKER;
    80 AddRaftVoter AddRaftVoterRequest AddRaftVoterResponse BOTH;
    81 RemoveRaftVoter RemoveRaftVoterRequest RemoveRaftVoterResponse BOTH;
    82 UpdateRaftVoter UpdateRaftVoterRequest UpdateRaftVoterResponse CONTROLLER;
    83 InitializeShareGroupState InitializeShareGroupStateRequest InitializeShareGroupStateResponse BROKER;
    84 ReadShareGroupState ReadShareGroupStateRequest ReadShareGroupStateResponse BROKER;
    85 WriteShareGroupState WriteShareGroupStateRequest WriteShareGroupStateResponse BROKER;
    86 DeleteShareGroupState DeleteShareGroupStateRequest DeleteShareGroupStateResponse BROKER;
    87 ReadShareGroupStateSummary ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse BROKER;
    88 StreamsGroupHeartbeat StreamsGroupHeartbeatRequest StreamsGroupHeartbeatResponse BROKER;
    89 StreamsGroupDescribe StreamsGroupDescribeRequest StreamsGroupDescribeResponse BROKER;
    90 DescribeShareGroupOffsets DescribeShareGroupOffsetsRequest DescribeShareGroupOffsetsResponse BROKER;
    91 AlterShareGroupOffsets AlterShareGroupOffsetsRequest AlterShareGroupOffsetsResponse BROKER;
    92 DeleteShareGroupOffsets DeleteShareGroupOffsetsRequest DeleteShareGroupOffsetsResponse BROKER;
    20000 QuorumMessage QuorumMessageRequest QuorumMessageResponse CONTROLLER;
}

/// Writes a request to another broker or controller, length prefix included.
pub fn encode<R: RequestMessage>(
    correlation_id: i32,
    version: i16,
    client_id: Option<StrBytes>,
    request: &R,
) -> Result<Bytes, EncodeError> {
    let fail = |reason: String| EncodeError { message: std::any::type_name::<R>(), version, reason };
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(client_id);
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(version)).map_err(|e| fail(e.to_string()))?;
    request.encode(&mut frame, version).map_err(|e| fail(e.to_string()))?;
    seal(&mut frame).map_err(fail)?;
    Ok(frame.freeze())
}

/// A frame that fits the schema of its request, not yet decoded.
#[derive(Debug, Clone)]
pub struct Checked {
    header: RequestHeader,
    api_key: i16,
    version: i16,
    body: Bytes,
    size: usize,
    elements: usize,
}

/// Reads the header of one frame (without its length prefix) and walks over the body, without taking memory for it.
///
/// Bytes behind the body are ignored, as Kafka ignores them.
pub fn check(frame: Bytes) -> Result<Checked, DecodeError> {
    let size = frame.len();
    let malformed = |api_key, reason: String| DecodeError::Malformed { api_key, reason };
    if size < 8 {
        return Err(malformed(None, format!("{size} bytes are too few for a header")));
    }
    let mut peek = &frame[..8];
    let (api_key, version, correlation_id) = (peek.get_i16(), peek.get_i16(), peek.get_i32());
    let Some((min, max)) = crate::versions::supported(api_key) else {
        return Err(DecodeError::UnknownApi { api_key, version });
    };
    let known = (min..=max).contains(&version);
    if !known && api_key != ApiKey::ApiVersions as i16 {
        return Err(DecodeError::UnsupportedVersion { api_key, version, correlation_id, client_id: None });
    }
    let Some(header_version) = header_version(api_key, version) else {
        return Err(DecodeError::UnknownApi { api_key, version });
    };
    let mut body = frame;
    let header =
        RequestHeader::decode(&mut body, header_version).map_err(|e| malformed(Some(api_key), e.to_string()))?;
    if !known {
        let client_id = header.client_id;
        return Err(DecodeError::UnsupportedVersion { api_key, version, correlation_id, client_id });
    }
    let extent =
        skeleton::check_request(api_key, version, &body).map_err(|e| malformed(Some(api_key), e.to_string()))?;
    Ok(Checked { header, api_key, version, body, size, elements: extent.elements })
}

impl Checked {
    /// How many strings, structs and tagged fields it will become: what decoding takes memory for, besides bytes that are
    /// slices of the frame.
    pub const fn elements(&self) -> usize {
        self.elements
    }

    /// The request. Byte and record fields are slices of the frame, not copies.
    ///
    /// No memory is reserved for more elements than the frame really holds.
    pub fn decode(self) -> Result<Request, DecodeError> {
        let Self { header, api_key, version, mut body, size, .. } = self;
        let body = decode_body(api_key, version, &mut body)
            .map_err(|reason| DecodeError::Malformed { api_key: Some(api_key), reason })?;
        Ok(Request { header, api_key, version, body, size })
    }
}

/// Reads one frame (without its length prefix): [`check`] and [`Checked::decode`] in one.
pub fn decode(frame: Bytes) -> Result<Request, DecodeError> {
    check(frame)?.decode()
}
