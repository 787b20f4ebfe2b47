//! Telling a client how long it is muted, whatever the answer: `throttle_time_ms` is the first field of nearly all of them.

use bytes::BytesMut;
use ottla_protocol::request;

use super::{Chunk, RequestContext, Response};

/// APIs whose answers begin with `throttle_time_ms`, and the version since which they do.
const FIRST_SINCE: &[(i16, i16)] = &[
    (1, 1),
    (2, 2),
    (3, 3),
    (8, 3),
    (9, 3),
    (10, 1),
    (11, 2),
    (12, 1),
    (13, 1),
    (14, 1),
    (15, 1),
    (16, 1),
    (19, 2),
    (20, 1),
    (21, 0),
    (22, 0),
    (23, 2),
    (24, 0),
    (25, 0),
    (26, 0),
    (28, 0),
    (29, 0),
    (30, 0),
    (31, 0),
    (32, 0),
    (33, 0),
    (34, 0),
    (35, 0),
    (37, 0),
    (42, 0),
    (43, 0),
    (44, 0),
    (45, 0),
    (46, 0),
    (48, 0),
    (49, 0),
    (50, 0),
    (51, 0),
    (57, 0),
    (60, 0),
    (61, 0),
    (64, 0),
    (65, 0),
    (66, 0),
    (68, 0),
    (69, 0),
    (74, 0),
    (75, 0),
];

impl Response {
    /// The client waits at least this long before it is served again, and is told so where the answer has a place for it.
    pub fn throttle(&mut self, cx: &RequestContext, throttle_ms: i32) {
        if throttle_ms <= self.throttle_ms {
            return;
        }
        self.throttle_ms = throttle_ms;
        if !FIRST_SINCE.iter().any(|&(key, since)| key == cx.api_key && cx.version >= since) {
            return;
        }
        // Length, correlation id and, in flexible versions, an empty list of tagged fields stand before it.
        let at = if request::header_version(cx.api_key, cx.version) == Some(2) { 9 } else { 8 };
        if let Some(Chunk::Bytes(first)) = self.chunks.first_mut() {
            let mut bytes = std::mem::take(first).try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
            if let Some(field) = bytes.get_mut(at..at + 4) {
                field.copy_from_slice(&throttle_ms.to_be_bytes());
            }
            *first = bytes.freeze();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use ottla_protocol::messages::*;
    use ottla_protocol::{Decodable, Encodable, HeaderVersion};

    use super::*;
    use crate::api::{ConnectionId, ListenerInfo};
    use crate::security::Principal;

    fn context(api_key: i16, version: i16) -> RequestContext {
        let (name, advertised_host): (Arc<str>, Arc<str>) = ("PLAINTEXT".into(), "x".into());
        RequestContext {
            api_key,
            version,
            correlation_id: 7,
            client_id: "".into(),
            connection: ConnectionId(1),
            listener: Arc::new(ListenerInfo {
                name,
                advertised_host,
                advertised_port: 1,
                follows_client: false,
                is_controller: false,
            }),
            peer: ([127, 0, 0, 1], 1).into(),
            principal: Principal::anonymous(),
            request_size: 0,
        }
    }

    /// The field as a client reads it from the smallest answer.
    fn told<R: Default + Encodable + Decodable + HeaderVersion>(key: i16, version: i16, field: fn(R) -> i32) -> i32 {
        let cx = context(key, version);
        let mut response = cx.respond(&R::default());
        response.throttle(&cx, 1234);
        assert_eq!(response.throttle_ms, 1234);
        let Chunk::Bytes(frame) = response.chunks.remove(0) else { panic!("a frame") };
        let mut body = frame.slice(if R::header_version(version) == 1 { 9 } else { 8 }..);
        let told = field(R::decode(&mut body, version).unwrap());
        assert!(body.is_empty());
        told
    }

    #[test]
    fn every_answer_in_the_list_begins_with_it() {
        for &(key, since) in FIRST_SINCE {
            let (min, max) = ottla_protocol::versions::supported(key).unwrap();
            for version in since.max(min)..=max {
                let told = of_api(key, version);
                assert_eq!(told, 1234, "API {key} version {version}");
            }
        }

        fn of_api(key: i16, version: i16) -> i32 {
            match key {
                1 => told::<FetchResponse>(key, version, |answer| answer.throttle_time_ms),
                2 => told::<ListOffsetsResponse>(key, version, |answer| answer.throttle_time_ms),
                3 => told::<MetadataResponse>(key, version, |answer| answer.throttle_time_ms),
                8 => told::<OffsetCommitResponse>(key, version, |answer| answer.throttle_time_ms),
                9 => told::<OffsetFetchResponse>(key, version, |answer| answer.throttle_time_ms),
                10 => told::<FindCoordinatorResponse>(key, version, |answer| answer.throttle_time_ms),
                11 => told::<JoinGroupResponse>(key, version, |answer| answer.throttle_time_ms),
                12 => told::<HeartbeatResponse>(key, version, |answer| answer.throttle_time_ms),
                13 => told::<LeaveGroupResponse>(key, version, |answer| answer.throttle_time_ms),
                14 => told::<SyncGroupResponse>(key, version, |answer| answer.throttle_time_ms),
                15 => told::<DescribeGroupsResponse>(key, version, |answer| answer.throttle_time_ms),
                16 => told::<ListGroupsResponse>(key, version, |answer| answer.throttle_time_ms),
                19 => told::<CreateTopicsResponse>(key, version, |answer| answer.throttle_time_ms),
                20 => told::<DeleteTopicsResponse>(key, version, |answer| answer.throttle_time_ms),
                21 => told::<DeleteRecordsResponse>(key, version, |answer| answer.throttle_time_ms),
                22 => told::<InitProducerIdResponse>(key, version, |answer| answer.throttle_time_ms),
                23 => told::<OffsetForLeaderEpochResponse>(key, version, |answer| answer.throttle_time_ms),
                24 => told::<AddPartitionsToTxnResponse>(key, version, |answer| answer.throttle_time_ms),
                25 => told::<AddOffsetsToTxnResponse>(key, version, |answer| answer.throttle_time_ms),
                26 => told::<EndTxnResponse>(key, version, |answer| answer.throttle_time_ms),
                28 => told::<TxnOffsetCommitResponse>(key, version, |answer| answer.throttle_time_ms),
                29 => told::<DescribeAclsResponse>(key, version, |answer| answer.throttle_time_ms),
                30 => told::<CreateAclsResponse>(key, version, |answer| answer.throttle_time_ms),
                31 => told::<DeleteAclsResponse>(key, version, |answer| answer.throttle_time_ms),
                32 => told::<DescribeConfigsResponse>(key, version, |answer| answer.throttle_time_ms),
                33 => told::<AlterConfigsResponse>(key, version, |answer| answer.throttle_time_ms),
                34 => told::<AlterReplicaLogDirsResponse>(key, version, |answer| answer.throttle_time_ms),
                35 => told::<DescribeLogDirsResponse>(key, version, |answer| answer.throttle_time_ms),
                37 => told::<CreatePartitionsResponse>(key, version, |answer| answer.throttle_time_ms),
                42 => told::<DeleteGroupsResponse>(key, version, |answer| answer.throttle_time_ms),
                43 => told::<ElectLeadersResponse>(key, version, |answer| answer.throttle_time_ms),
                44 => told::<IncrementalAlterConfigsResponse>(key, version, |answer| answer.throttle_time_ms),
                45 => told::<AlterPartitionReassignmentsResponse>(key, version, |answer| answer.throttle_time_ms),
                46 => told::<ListPartitionReassignmentsResponse>(key, version, |answer| answer.throttle_time_ms),
                48 => told::<DescribeClientQuotasResponse>(key, version, |answer| answer.throttle_time_ms),
                49 => told::<AlterClientQuotasResponse>(key, version, |answer| answer.throttle_time_ms),
                50 => told::<DescribeUserScramCredentialsResponse>(key, version, |answer| answer.throttle_time_ms),
                51 => told::<AlterUserScramCredentialsResponse>(key, version, |answer| answer.throttle_time_ms),
                57 => told::<UpdateFeaturesResponse>(key, version, |answer| answer.throttle_time_ms),
                60 => told::<DescribeClusterResponse>(key, version, |answer| answer.throttle_time_ms),
                61 => told::<DescribeProducersResponse>(key, version, |answer| answer.throttle_time_ms),
                64 => told::<UnregisterBrokerResponse>(key, version, |answer| answer.throttle_time_ms),
                65 => told::<DescribeTransactionsResponse>(key, version, |answer| answer.throttle_time_ms),
                66 => told::<ListTransactionsResponse>(key, version, |answer| answer.throttle_time_ms),
                68 => told::<ConsumerGroupHeartbeatResponse>(key, version, |answer| answer.throttle_time_ms),
                69 => told::<ConsumerGroupDescribeResponse>(key, version, |answer| answer.throttle_time_ms),
                74 => told::<ListConfigResourcesResponse>(key, version, |answer| answer.throttle_time_ms),
                75 => told::<DescribeTopicPartitionsResponse>(key, version, |answer| answer.throttle_time_ms),
                _ => panic!("no answer of API {key} is known here"),
            }
        }
    }

    #[test]
    fn the_longer_of_two_waits_holds() {
        let cx = context(12, 4);
        let mut response = cx.respond(&HeartbeatResponse::default());
        response.throttle(&cx, 20);
        response.throttle(&cx, 10);
        assert_eq!(response.throttle_ms, 20);
    }
}
