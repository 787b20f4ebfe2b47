//! ListOffsets: v1-11.
//!
//! v2 isolation · v4 leader epochs · v5 OFFSET_NOT_AVAILABLE · v7 largest timestamp (-3) · v8 local start (-4) ·
//! v9 end of the tiered part (-5) · v11 start of what awaits its upload (-6).

use std::collections::HashSet;

use ottla_protocol::messages::list_offsets_request::ListOffsetsPartition;
use ottla_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use ottla_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use ottla_protocol::{ErrorCode, LeaderEpoch, Timestamp};

use super::turn::Turn;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::replica::{Epochs, Isolation, OffsetFound, OffsetQuery, Partitions};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

const CONSUMER: i32 = -1;
const DEBUGGING_CONSUMER: i32 = -2;

/// Handler of ListOffsets.
pub struct ListOffsets {
    partitions: Partitions,
}

/// What a timestamp of the request stands for.
enum Wanted {
    Query(OffsetQuery),
    /// Something of a tiered log; without a remote part there is no such offset.
    Tiered,
}

impl ListOffsets {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(2)];

    pub fn new(house: &House) -> Self {
        Self { partitions: house.partitions.clone() }
    }

    pub async fn handle(&self, cx: &RequestContext, request: ListOffsetsRequest) -> Reply {
        let repeated = repeated(&request);
        let isolation = match (request.replica_id.0, request.isolation_level) {
            (CONSUMER, 1) => Isolation::LastStable,
            (CONSUMER, _) => Isolation::HighWatermark,
            _ => Isolation::LogEnd,
        };
        let leader_only = request.replica_id.0 != DEBUGGING_CONSUMER;
        let mut topics = Vec::with_capacity(request.topics.len());
        let mut turn = Turn::begin();
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for asked in &topic.partitions {
                if repeated.contains(&(topic.name.as_str(), asked.partition_index)) {
                    partitions.push(without_offset(asked, ErrorCode::InvalidRequest));
                    continue;
                }
                // A timestamp is looked for in a batch, which may expand to many times its size.
                turn.pass().await;
                partitions.push(match self.find(cx.version, &topic.name, asked, isolation, leader_only) {
                    Ok(found) => answered(cx.version, asked, found),
                    Err(code) => without_offset(asked, code),
                });
            }
            topics.push(ListOffsetsTopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions));
        }
        cx.reply(&ListOffsetsResponse::default().with_topics(topics))
    }

    fn find(
        &self,
        version: i16,
        topic: &str,
        asked: &ListOffsetsPartition,
        isolation: Isolation,
        leader_only: bool,
    ) -> Result<Option<OffsetFound>, ErrorCode> {
        let wanted = wanted(version, asked.timestamp).ok_or(ErrorCode::UnsupportedVersion)?;
        let partition = self.partitions.get(topic, asked.partition_index)?;
        let epochs = Epochs { current: LeaderEpoch(asked.current_leader_epoch), leader_only };
        let query = match wanted {
            Wanted::Query(query) => query,
            Wanted::Tiered => return partition.check_epochs(epochs).map(|()| None),
        };
        partition.find_offset(query, isolation, epochs).map_err(|code| match code {
            // Before v5 clients do not know the code, but know to ask again after this one.
            ErrorCode::OffsetNotAvailable if version < 5 => ErrorCode::LeaderNotAvailable,
            code => code,
        })
    }
}

/// `None` for a special timestamp that the version does not have.
fn wanted(version: i16, timestamp: i64) -> Option<Wanted> {
    let (since, wanted) = match timestamp {
        LATEST => (1, Wanted::Query(OffsetQuery::Latest)),
        EARLIEST => (1, Wanted::Query(OffsetQuery::Earliest)),
        MAX_TIMESTAMP => (7, Wanted::Query(OffsetQuery::MaxTimestamp)),
        EARLIEST_LOCAL => (8, Wanted::Query(OffsetQuery::Earliest)),
        LATEST_TIERED => (9, Wanted::Tiered),
        EARLIEST_PENDING_UPLOAD => (11, Wanted::Tiered),
        0.. => (1, Wanted::Query(OffsetQuery::At(Timestamp(timestamp)))),
        _ => return None,
    };
    (version >= since).then_some(wanted)
}

fn repeated(request: &ListOffsetsRequest) -> HashSet<(&str, i32)> {
    let mut seen = HashSet::new();
    let all = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index)));
    all.filter(|&partition| !seen.insert(partition)).collect()
}

fn answered(version: i16, asked: &ListOffsetsPartition, found: Option<OffsetFound>) -> ListOffsetsPartitionResponse {
    let Some(found) = found else { return without_offset(asked, ErrorCode::None) };
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_timestamp(found.timestamp.0)
        .with_offset(found.offset.0);
    if version >= 4 { response.with_leader_epoch(found.leader_epoch.0) } else { response }
}

fn without_offset(asked: &ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_error_code(code as i16)
        .with_timestamp(-1)
        .with_offset(-1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_timestamps_wait_for_their_version() {
        for (timestamp, since) in [(-1, 1), (-2, 1), (-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
            for version in 1..=11 {
                assert_eq!(wanted(version, timestamp).is_some(), version >= since, "{timestamp} in v{version}");
            }
        }
        assert!(wanted(11, -7).is_none());
        assert!(wanted(1, 0).is_some());
    }
}
