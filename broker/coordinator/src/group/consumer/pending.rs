//! Placeholders until the requests of consumer groups are built: no consumer group can come into being yet.

use std::sync::Arc;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::state::ConsumerGroup;
use crate::group::classic::Join;
use crate::group::records::GroupRecord;
use crate::group::request::Client;
use crate::group::shard::{Cx, GroupShard, Out};
use crate::group::state::GroupState;
use crate::shard::Token;

impl ConsumerGroup {
    pub(crate) fn tombstones(&self, id: &Arc<str>, out: &mut Out) {
        out.records.push(GroupRecord::ConsumerGroup { group: Arc::clone(id), value: None });
    }

    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| member.subscribed_topic_names.contains(topic))
    }
}

impl GroupShard {
    pub(crate) fn join_consumer_group(
        &mut self,
        _hard: &GroupState,
        _group: &ConsumerGroup,
        join: &Join,
        _cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        join.fail("", ErrorCode::InconsistentGroupProtocol, out);
    }

    pub(crate) fn sync_consumer_group(
        &mut self,
        _group: &ConsumerGroup,
        token: Token,
        _client: &Client,
        _request: &m::SyncGroupRequest,
        _cx: &mut Cx<'_>,
        out: &mut Out,
    ) {
        crate::group::classic::reply_sync_error(token, ErrorCode::UnknownMemberId, out);
    }

    pub(crate) fn heartbeat_consumer_group(
        &mut self,
        _group: &ConsumerGroup,
        _request: &m::HeartbeatRequest,
        _cx: &mut Cx<'_>,
    ) -> ErrorCode {
        ErrorCode::UnknownMemberId
    }

    pub(crate) fn leave_consumer_group(
        &mut self,
        _hard: &GroupState,
        _group: &Arc<str>,
        _members: &[m::leave_group_request::MemberIdentity],
        _cx: &mut Cx<'_>,
        _out: &mut Out,
    ) -> Vec<m::leave_group_response::MemberResponse> {
        Vec::new()
    }
}
