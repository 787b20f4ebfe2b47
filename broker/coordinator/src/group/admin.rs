//! ListGroups: v0-5 (v4 states filter, v5 types filter), DescribeGroups: v0-6 (v6 GROUP_ID_NOT_FOUND), DeleteGroups: v0-2.

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;
use ottla_protocol::messages as m;

use super::classic::{ClassicState, LiveGroup};
use super::offsets::delete_all;
use super::records::GroupRecord;
use super::request::{Client, GroupResponse};
use super::shard::{Cx, GroupShard, Out};
use super::state::{Group, GroupState};
use super::text::{arc, group_id, wire, wire_option};
use crate::shard::{Effect, Token};

impl GroupShard {
    pub(crate) fn list_groups(
        &mut self,
        hard: &GroupState,
        token: Token,
        states_filter: &[String],
        types_filter: &[String],
        cx: &Cx<'_>,
        out: &mut Out,
    ) {
        let wanted = |filter: &[String], value: &str| {
            filter.is_empty() || filter.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(value))
        };
        let mut listed = Vec::new();
        for (id, group) in hard.groups() {
            let (protocol_type, state, group_type) = match group {
                Group::Classic(_) => {
                    let group = self.take_classic(hard, id, cx.now);
                    let facts = (group.protocol_type.clone().unwrap_or_default(), group.state.name(), "classic");
                    self.put_classic(group);
                    facts
                }
                Group::Consumer(group) => ("consumer".into(), group.state().name(), "consumer"),
            };
            if wanted(states_filter, state) && wanted(types_filter, group_type) {
                listed.push(
                    m::list_groups_response::ListedGroup::default()
                        .with_group_id(group_id(id))
                        .with_protocol_type(wire(&protocol_type))
                        .with_group_state(wire(state))
                        .with_group_type(wire(group_type)),
                );
            }
        }
        out.effects.push(Effect::Reply(token, GroupResponse::ListGroups(listed)));
    }

    pub(crate) fn describe_groups(
        &mut self,
        hard: &GroupState,
        token: Token,
        client: &Client,
        ids: &[m::GroupId],
        cx: &Cx<'_>,
        out: &mut Out,
    ) {
        let mut described = Vec::with_capacity(ids.len());
        for id in ids {
            let answer = m::describe_groups_response::DescribedGroup::default().with_group_id(id.clone());
            described.push(match hard.group(id) {
                Some(Group::Classic(_)) => {
                    let group = self.take_classic(hard, &arc(id), cx.now);
                    let answer = describe(&group, answer);
                    self.put_classic(group);
                    answer
                }
                other => {
                    let answer = answer.with_group_state(wire("Dead"));
                    if client.version >= 6 {
                        let message = match other {
                            None => format!("Group {} not found.", id.as_str()),
                            Some(_) => format!("Group {} is not a classic group.", id.as_str()),
                        };
                        answer
                            .with_error_code(ErrorCode::GroupIdNotFound.code())
                            .with_error_message(Some(wire(&message)))
                    } else {
                        answer
                    }
                }
            });
        }
        out.effects.push(Effect::Reply(token, GroupResponse::DescribeGroups(described)));
    }

    pub(crate) fn delete_groups(
        &mut self,
        hard: &GroupState,
        token: Token,
        ids: &[m::GroupId],
        cx: &Cx<'_>,
        out: &mut Out,
    ) {
        let mut results: Vec<m::delete_groups_response::DeletableGroupResult> = Vec::with_capacity(ids.len());
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for id in ids {
            if !seen.insert(id.as_str()) {
                continue;
            }
            let error = self.delete_group(hard, id, cx, out).err().unwrap_or(ErrorCode::None);
            results.push(
                m::delete_groups_response::DeletableGroupResult::default()
                    .with_group_id(id.clone())
                    .with_error_code(error.code()),
            );
        }
        out.effects.push(Effect::Reply(token, GroupResponse::DeleteGroups(results)));
    }

    fn delete_group(
        &mut self,
        hard: &GroupState,
        id: &m::GroupId,
        cx: &Cx<'_>,
        out: &mut Out,
    ) -> Result<(), ErrorCode> {
        let id = arc(id);
        match hard.group(&id).ok_or(ErrorCode::GroupIdNotFound)? {
            Group::Classic(_) => {
                let group = self.take_classic(hard, &id, cx.now);
                if group.state != ClassicState::Empty {
                    self.put_classic(group);
                    return Err(ErrorCode::NonEmptyGroup);
                }
                // Whoever was about to join with an id of this group finds it gone and starts anew.
                for member in &group.pending_join {
                    self.cancel_session(&group, member);
                }
                delete_all(hard, &id, out);
                out.records.push(GroupRecord::ClassicGroup { group: id.clone(), value: None });
            }
            Group::Consumer(group) => {
                if !group.members.is_empty() {
                    return Err(ErrorCode::NonEmptyGroup);
                }
                delete_all(hard, &id, out);
                group.tombstones(&id, out);
            }
        }
        self.forget_group(&id);
        Ok(())
    }
}

fn describe(
    group: &LiveGroup,
    answer: m::describe_groups_response::DescribedGroup,
) -> m::describe_groups_response::DescribedGroup {
    // Metadata belongs to a protocol, and only a stable group has one.
    let protocol = group.protocol.as_deref().filter(|_| group.state == ClassicState::Stable);
    let members = group.members.values().map(|member| {
        m::describe_groups_response::DescribedGroupMember::default()
            .with_member_id(wire(&member.id))
            .with_group_instance_id(wire_option(member.instance_id.as_ref()))
            .with_client_id(wire(&member.client_id))
            .with_client_host(wire(&member.client_host))
            .with_member_metadata(protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default())
            .with_member_assignment(member.assignment.clone())
    });
    answer
        .with_group_state(wire(group.state.name()))
        .with_protocol_type(wire(group.protocol_type.as_deref().unwrap_or_default()))
        .with_protocol_data(wire(protocol.unwrap_or_default()))
        .with_members(members.collect())
}
