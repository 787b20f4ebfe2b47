//! Why groups rebalanced and producers were fenced, for `ottla explain`. No API of Kafka's tells it, so it is two read-only
//! configs of the group resource, which only those see who ask for them by name: stock tools never do.

use std::collections::HashMap;

use ottla_coordinator::group::{GroupRequest, GroupResponse};
use ottla_coordinator::transaction::{TransactionRequest, TransactionResponse};
use ottla_protocol::messages::DescribeConfigsRequest;
use ottla_protocol::messages::describe_configs_request::DescribeConfigsResource;
use serde_json::{Value, json};

use super::House;
use crate::config::effective::{Described, Source};
use crate::coordinators::{Coordinators, Kind};

const GROUP_RESOURCE: i8 = 32;
/// Of the group that the resource names.
const GROUP_KEY: &str = "ottla.explain.group";
/// Of the transactional id that the resource names.
const TRANSACTION_KEY: &str = "ottla.explain.transaction";

/// Asks the coordinators of this broker.
#[derive(Clone)]
pub(super) struct Explain {
    coordinators: Coordinators,
}

/// What a request asked for, by name of the resource and key.
#[derive(Default)]
pub(super) struct Explained(HashMap<(String, &'static str), String>);

impl Explain {
    pub(super) fn new(house: &House) -> Self {
        Self { coordinators: house.coordinators.clone() }
    }

    /// Finds out what the request asks for; what is coordinated elsewhere is left out.
    pub(super) async fn asked_for(&self, request: &DescribeConfigsRequest) -> Explained {
        let mut explained = Explained::default();
        for resource in request.resources.iter().filter(|resource| resource.resource_type == GROUP_RESOURCE) {
            let name = resource.resource_name.to_string();
            for key in [GROUP_KEY, TRANSACTION_KEY].into_iter().filter(|key| names(resource, key)) {
                let found = if key == GROUP_KEY { self.group(&name).await } else { self.transaction(&name).await };
                if let Some(reasons) = found {
                    explained.0.insert((name.clone(), key), Value::Array(reasons).to_string());
                }
            }
        }
        explained
    }

    async fn group(&self, group: &str) -> Option<Vec<Value>> {
        let partition = self.coordinators.partition_for(Kind::Group, group);
        let asked = self.coordinators.groups().call(partition, GroupRequest::Explain(group.into())).await;
        let Ok(GroupResponse::Explain(reasons)) = asked else { return None };
        let reason = |reason: ottla_coordinator::group::RebalanceReason| {
            json!({
                "at": reason.at.0, "epoch": reason.epoch, "member": &*reason.member_id, "client": &*reason.client_id,
                "host": &*reason.client_host, "reason": reason.reason,
            })
        };
        Some(reasons.into_iter().map(reason).collect())
    }

    async fn transaction(&self, id: &str) -> Option<Vec<Value>> {
        let ask = TransactionRequest::Explain { transactional_id: id.into() };
        let Ok(TransactionResponse::Explained(fences)) = self.coordinators.transaction(id, ask).await else {
            return None;
        };
        let reason = |fence: ottla_coordinator::transaction::Fence| {
            json!({
                "at": fence.at.0, "producer": fence.producer.id.0, "epoch": fence.producer.epoch.0, "reason": fence.reason,
            })
        };
        Some(fences.into_iter().map(reason).collect())
    }
}

impl Explained {
    /// The entries of one resource.
    pub(super) fn of(&self, resource: &DescribeConfigsResource) -> Vec<Described> {
        let entry = |key: &&'static str| {
            let value = self.0.get(&(resource.resource_name.to_string(), *key))?;
            Some(Described {
                name: (*key).to_owned(),
                value: Some(value.clone()),
                source: Source::Group,
                is_sensitive: false,
                is_read_only: true,
                synonyms: Vec::new(),
                value_type: 0,
                documentation: None,
            })
        };
        if resource.resource_type == GROUP_RESOURCE {
            [GROUP_KEY, TRANSACTION_KEY].iter().filter_map(entry).collect()
        } else {
            Vec::new()
        }
    }
}

fn names(resource: &DescribeConfigsResource, key: &str) -> bool {
    resource.configuration_keys.iter().flatten().any(|asked| asked.as_str() == key)
}
