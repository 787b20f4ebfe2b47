//! DescribeGroups v0-6, ListGroups v0-5, DeleteGroups v0-2.
//!
//! ListGroups answers for the groups of this broker: tools ask every broker. DescribeGroups v6 tells unknown groups apart.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordinator::group::{GroupRequest, GroupResponse, GroupShard};
use ottla_protocol::messages::delete_groups_response::DeletableGroupResult;
use ottla_protocol::messages::describe_groups_response::DescribedGroup;
use ottla_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
    ListGroupsRequest, ListGroupsResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::coordinated::{client, expect_answer};
use super::operations::GROUP_OPERATIONS;
use super::wire::once;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::coordinators::{Coordinators, Kind, Waiting};

/// Handler of DescribeGroups, ListGroups, DeleteGroups.
pub struct GroupAdmin {
    coordinators: Coordinators,
}

/// Groups whose coordinators were asked together, and the answer to come.
pub(super) struct Part {
    groups: Vec<GroupId>,
    waiting: Result<Waiting<GroupShard>, ErrorCode>,
}

/// Asks each group's coordinator, one request per partition.
pub(super) async fn ask_by_partition(
    coordinators: &Coordinators,
    groups: Vec<GroupId>,
    request: impl Fn(Vec<GroupId>) -> GroupRequest,
) -> Vec<Part> {
    let mut by_partition: BTreeMap<i32, Vec<GroupId>> = BTreeMap::new();
    for group in groups {
        by_partition.entry(coordinators.partition_for(Kind::Group, &group)).or_default().push(group);
    }
    let mut parts = Vec::with_capacity(by_partition.len());
    for (partition, groups) in by_partition {
        let waiting = coordinators.groups().submit(partition, request(groups.clone())).await;
        parts.push(Part { groups, waiting });
    }
    parts
}

/// Collects the answers; a part that failed is answered group by group with its error.
pub(super) async fn gather<T>(
    parts: Vec<Part>,
    take: impl Fn(GroupResponse) -> Option<Vec<T>>,
    refuse: impl Fn(GroupId, ErrorCode) -> T,
) -> Vec<T> {
    let mut all = Vec::new();
    for part in parts {
        let answer = match part.waiting {
            Ok(waiting) => waiting.answer().await,
            Err(error) => Err(error),
        };
        match answer.and_then(|response| take(response).ok_or(ErrorCode::UnknownServerError)) {
            Ok(results) => all.extend(results),
            Err(error) => all.extend(part.groups.into_iter().map(|group| refuse(group, error))),
        }
    }
    all
}

impl GroupAdmin {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(15), ApiSpec::of(16), ApiSpec::of(42)];

    pub fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone() }
    }

    pub async fn describe_groups(&self, cx: &RequestContext, request: DescribeGroupsRequest) -> Reply {
        let asker = client(cx);
        let wants_operations = request.include_authorized_operations;
        let ask = |groups| GroupRequest::DescribeGroups(asker.clone(), groups);
        let asked = ask_by_partition(&self.coordinators, once(request.groups), ask).await;
        let cx = cx.clone();
        Reply::Later(Box::pin(async move {
            let mut groups = gather(
                asked,
                |response| match response {
                    GroupResponse::DescribeGroups(groups) => Some(groups),
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
            cx.respond(&DescribeGroupsResponse::default().with_groups(groups))
        }))
    }

    pub async fn list_groups(&self, cx: &RequestContext, request: ListGroupsRequest) -> Reply {
        let texts = |filter: &[StrBytes]| filter.iter().map(ToString::to_string).collect::<Vec<String>>();
        let (states_filter, types_filter) = (texts(&request.states_filter), texts(&request.types_filter));
        let host = self.coordinators.groups();
        let mut asked = Vec::new();
        for (partition, _) in host.partitions() {
            let request =
                GroupRequest::ListGroups { states_filter: states_filter.clone(), types_filter: types_filter.clone() };
            asked.push(host.submit(partition, request).await);
        }
        let cx = cx.clone();
        Reply::Later(Box::pin(async move {
            let mut response = ListGroupsResponse::default();
            for waiting in asked {
                let answer = match waiting {
                    Ok(waiting) => waiting.answer().await,
                    Err(error) => Err(error),
                };
                match expect_answer!(answer, GroupResponse::ListGroups) {
                    Ok(groups) => response.groups.extend(groups),
                    // The partition has just moved away, and its groups with it.
                    Err(ErrorCode::NotCoordinator) => {}
                    Err(error) => {
                        response = ListGroupsResponse::default().with_error_code(error.code());
                        break;
                    }
                }
            }
            cx.respond(&response)
        }))
    }

    pub async fn delete_groups(&self, cx: &RequestContext, request: DeleteGroupsRequest) -> Reply {
        let mut seen: BTreeSet<GroupId> = BTreeSet::new();
        let groups = request.groups_names.into_iter().filter(|group| seen.insert(group.clone())).collect();
        let asked = ask_by_partition(&self.coordinators, groups, GroupRequest::DeleteGroups).await;
        let cx = cx.clone();
        Reply::Later(Box::pin(async move {
            let results = gather(
                asked,
                |response| match response {
                    GroupResponse::DeleteGroups(results) => Some(results),
                    _ => None,
                },
                |group, error| DeletableGroupResult::default().with_group_id(group).with_error_code(error.code()),
            )
            .await;
            cx.respond(&DeleteGroupsResponse::default().with_results(results))
        }))
    }
}
