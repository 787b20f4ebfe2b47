//! ElectLeaders: v0-2. AlterPartitionReassignments: v0-1. ListPartitionReassignments: v0.

use ottla_controller::{Committed, Controller};
use ottla_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ElectLeadersRequest, ElectLeadersResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};
use ottla_protocol::{ErrorCode, Offset};

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
        let elected = self.in_force(self.controller.elect_leaders(origin(cx), request).await).await;
        cx.reply(&elected.unwrap_or_else(|code| ElectLeadersResponse::default().with_error_code(code as i16)))
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

    /// Every request that follows the answer finds it true.
    async fn in_force<R>(&self, decided: Result<Committed<R>, ErrorCode>) -> Result<R, ErrorCode> {
        let committed = decided?;
        if committed.offset > Offset(-1) {
            self.publisher.wait_applied(committed.offset).await?;
        }
        Ok(committed.response)
    }
}
