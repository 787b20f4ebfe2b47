//! The coordinator as its host sees it: one match over the requests, one over the timers.
#![allow(clippy::todo, clippy::missing_const_for_fn, unused_variables, dead_code)] // bodies arrive with the next delivery

use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, Timestamp};

use super::config::GroupConfig;
use super::explain::Explain;
use super::records::GroupRecord;
use super::request::{GroupAction, GroupRequest, GroupResponse};
use super::state::GroupState;
use super::timers::Timers;
use crate::shard::{BadRecord, Context, Decision, Shard, Stored, Token};

/// The soft half of the group coordinator.
#[derive(Debug, Default)]
pub struct GroupShard {
    timers: Timers,
    explain: Explain,
}

impl Shard for GroupShard {
    type Hard = GroupState;
    type Record = GroupRecord;
    type Request = GroupRequest;
    type Response = GroupResponse;
    type Action = GroupAction;
    type Image = MetadataImage;
    type Config = GroupConfig;

    fn encode(record: &GroupRecord) -> Stored {
        todo!()
    }

    fn decode(stored: Stored) -> Result<Option<GroupRecord>, BadRecord> {
        todo!()
    }

    fn loaded(hard: &GroupState, cx: &mut Context<'_, Self>) -> (Self, Decision<Self>) {
        (Self::default(), Decision::<Self>::nothing())
    }

    fn handle(
        &mut self,
        hard: &GroupState,
        token: Token,
        request: GroupRequest,
        cx: &mut Context<'_, Self>,
    ) -> Decision<Self> {
        todo!()
    }

    fn next_deadline(&self, hard: &GroupState) -> Option<Timestamp> {
        self.timers.next()
    }

    fn on_deadline(&mut self, hard: &GroupState, cx: &mut Context<'_, Self>) -> Decision<Self> {
        todo!()
    }

    fn append_failed(&mut self, hard: &GroupState, error: ErrorCode, cx: &mut Context<'_, Self>) -> Decision<Self> {
        todo!()
    }
}
