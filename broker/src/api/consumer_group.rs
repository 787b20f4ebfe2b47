//! ConsumerGroupHeartbeat v0-1, ConsumerGroupDescribe v0-1: the consumer group protocol (KIP-848).
//!
//! Offered at `group.version` 1 and while `group.coordinator.rebalance.protocols` names it; otherwise the answer is
//! UNSUPPORTED_VERSION, which sends clients back to the classic protocol.

use ottla_coordinator::group::{GroupRequest, GroupResponse};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::consumer_group_describe_response::DescribedGroup;
use ottla_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatRequest,
    ConsumerGroupHeartbeatResponse,
};

use super::coordinated::{answer_later, ask_group, client, expect_answer};
use super::group_admin::{ask_by_partition, gather};
use super::operations::GROUP_OPERATIONS;
use super::wire::once;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::config::Effective;
use crate::coordinators::Coordinators;
use crate::metadata_cache::MetadataCache;

/// The feature that finalizes the protocol.
const GROUP_VERSION: &str = "group.version";

/// Handler of ConsumerGroupHeartbeat, ConsumerGroupDescribe.
pub struct ConsumerGroup {
    coordinators: Coordinators,
    metadata: MetadataCache,
    effective: Effective,
}

impl ConsumerGroup {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(68), ApiSpec::of(69)];

    pub fn new(house: &House) -> Self {
        Self {
            coordinators: house.coordinators.clone(),
            metadata: house.metadata.clone(),
            effective: house.effective.clone(),
        }
    }

    pub async fn consumer_group_heartbeat(&self, cx: &RequestContext, request: ConsumerGroupHeartbeatRequest) -> Reply {
        let group = request.group_id.0.clone();
        let asked = if !self.is_enabled() {
            Err(ErrorCode::UnsupportedVersion)
        } else if group.is_empty() {
            Err(ErrorCode::InvalidRequest)
        } else {
            ask_group(&self.coordinators, &group, GroupRequest::ConsumerGroupHeartbeat(client(cx), request)).await
        };
        answer_later(cx, asked, |answer| {
            expect_answer!(answer, GroupResponse::ConsumerGroupHeartbeat)
                .unwrap_or_else(|error| ConsumerGroupHeartbeatResponse::default().with_error_code(error.code()))
        })
    }

    pub async fn consumer_group_describe(&self, cx: &RequestContext, request: ConsumerGroupDescribeRequest) -> Reply {
        if !self.is_enabled() {
            let refuse = |group| {
                DescribedGroup::default().with_group_id(group).with_error_code(ErrorCode::UnsupportedVersion.code())
            };
            let groups = request.group_ids.into_iter().map(refuse).collect();
            return cx.reply(&ConsumerGroupDescribeResponse::default().with_groups(groups));
        }
        let wants_operations = request.include_authorized_operations;
        let asked =
            ask_by_partition(&self.coordinators, once(request.group_ids), GroupRequest::ConsumerGroupDescribe).await;
        let cx = cx.clone();
        Reply::Later(Box::pin(async move {
            let mut groups = gather(
                asked,
                |response| match response {
                    GroupResponse::ConsumerGroupDescribe(groups) => Some(groups),
                    _ => None,
                },
                |group, error| DescribedGroup::default().with_group_id(group).with_error_code(error.code()),
            )
            .await;
            if wants_operations {
                for group in groups.iter_mut().filter(|group| group.error_code == 0) {
                    group.authorized_operations = GROUP_OPERATIONS;
                }
            }
            cx.respond(&ConsumerGroupDescribeResponse::default().with_groups(groups))
        }))
    }

    fn is_enabled(&self) -> bool {
        let image = self.metadata.load();
        let protocols = self.effective.at(&image).broker_text("group.coordinator.rebalance.protocols");
        image.features.level(GROUP_VERSION) >= 1
            && protocols.is_none_or(|text| text.split(',').any(|name| name.trim().eq_ignore_ascii_case("consumer")))
    }
}
