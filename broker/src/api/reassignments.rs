//! ElectLeaders: v0-2. AlterPartitionReassignments: v0-1. ListPartitionReassignments: v0.

use ottla_controller::{Committed, Controller};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::elect_leaders_request::TopicPartitions;
use ottla_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::topics::origin;
use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::publisher::Publisher;

/// Handler of ElectLeaders, AlterPartitionReassignments and ListPartitionReassignments.
pub struct Reassignments {
    controller: Controller,
    publisher: Publisher,
}

impl Reassignments {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(43), ApiSpec::of(45), ApiSpec::of(46)];

    pub fn new(house: &House) -> Self {
        Self { controller: house.controller.clone(), publisher: house.publisher.clone() }
    }

    pub async fn elect_leaders(&self, cx: &RequestContext, request: ElectLeadersRequest) -> Reply {
        let asked = request.topic_partitions.clone();
        let elected = self.in_force(self.controller.elect_leaders(origin(cx), request).await).await;
        cx.reply(&elected.unwrap_or_else(|code| not_elected(cx.version, asked, code)))
    }

    pub async fn alter_partition_reassignments(
        &self,
        cx: &RequestContext,
        request: AlterPartitionReassignmentsRequest,
    ) -> Reply {
        let altered = self.in_force(self.controller.alter_partition_reassignments(origin(cx), request).await).await;
        cx.reply(&altered.unwrap_or_else(|code| {
            AlterPartitionReassignmentsResponse::default()
                .with_error_code(code as i16)
                .with_error_message(Some(text(code.message())))
        }))
    }

    pub async fn list_partition_reassignments(
        &self,
        cx: &RequestContext,
        request: ListPartitionReassignmentsRequest,
    ) -> Reply {
        let listed = self.in_force(self.controller.list_partition_reassignments(origin(cx), request).await).await;
        cx.reply(&listed.unwrap_or_else(|code| {
            ListPartitionReassignmentsResponse::default()
                .with_error_code(code as i16)
                .with_error_message(Some(text(code.message())))
        }))
    }

    /// What was decided, once it is in force.
    async fn in_force<R>(&self, decided: Result<Committed<R>, ErrorCode>) -> Result<R, ErrorCode> {
        Ok(self.publisher.in_force(decided?).await)
    }
}

/// One error for every partition that was named. Version 0 has no other place for it.
fn not_elected(version: i16, asked: Option<Vec<TopicPartitions>>, code: ErrorCode) -> ElectLeadersResponse {
    let results = asked.into_iter().flatten().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|index| {
            PartitionResult::default()
                .with_partition_id(index)
                .with_error_code(code as i16)
                .with_error_message(Some(text(code.message())))
        });
        ReplicaElectionResult::default().with_topic(topic.topic).with_partition_result(partitions.collect())
    });
    let response = ElectLeadersResponse::default().with_replica_election_results(results.collect());
    if version >= 1 { response.with_error_code(code as i16) } else { response }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytes::BytesMut;
    use ottla_protocol::{Decodable, Encodable};

    use super::*;
    use crate::api::wire::topic_name;

    #[test]
    fn an_election_that_nobody_could_hold_is_an_error_in_every_version() {
        for version in 0..=2 {
            let asked = TopicPartitions::default().with_topic(topic_name("t")).with_partitions(vec![0, 3]);
            let response = not_elected(version, Some(vec![asked]), ErrorCode::NotController);
            let mut frame = BytesMut::new();
            response.encode(&mut frame, version).unwrap();
            let response = ElectLeadersResponse::decode(&mut frame.freeze(), version).unwrap();
            let code = ErrorCode::NotController as i16;
            assert_eq!(response.error_code, if version >= 1 { code } else { 0 }, "v{version}");
            let results = &response.replica_election_results[0].partition_result;
            let told: Vec<(i32, i16)> = results.iter().map(|result| (result.partition_id, result.error_code)).collect();
            assert_eq!(told, [(0, code), (3, code)], "v{version}");
        }
    }
}
