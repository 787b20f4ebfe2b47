//! DescribeCluster: v0-2. DescribeTopicPartitions: v0, in pages.

use std::collections::BTreeSet;
use std::sync::Arc;

use ottla_controller::Controller;
use ottla_metadata::{MetadataImage, TopicImage};
use ottla_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use ottla_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use ottla_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
};
use ottla_protocol::{BrokerId, ErrorCode};

use super::metadata::{PartitionView, id_or_nil};
use super::operations::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use super::topic_names;
use super::wire::{address_of, broker_ids, is_internal, text, topic_name};
use super::{ApiSpec, House, Reply, RequestContext};
use crate::metadata_cache::MetadataCache;

const ENDPOINT_BROKER: i8 = 1;
const ENDPOINT_CONTROLLER: i8 = 2;

/// Handler of DescribeCluster and DescribeTopicPartitions.
pub struct Cluster {
    metadata: MetadataCache,
    controller: Controller,
    cluster_id: Arc<str>,
    node_id: BrokerId,
    /// `max.request.partition.size.limit`
    partitions_max: i32,
}

impl Cluster {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(60), ApiSpec::of(75)];

    pub fn new(house: &House) -> Self {
        Self {
            metadata: house.metadata.clone(),
            controller: house.controller.clone(),
            cluster_id: Arc::clone(&house.cluster_id),
            node_id: house.settings.node_id,
            partitions_max: house.settings.i32("max.request.partition.size.limit"),
        }
    }

    pub async fn describe_cluster(&self, cx: &RequestContext, request: DescribeClusterRequest) -> Reply {
        if cx.listener.is_controller && request.endpoint_type == ENDPOINT_CONTROLLER {
            return self.describe_controllers(cx, request.include_cluster_authorized_operations);
        }
        if let Err((code, message)) = check_endpoint_type(cx, request.endpoint_type) {
            return cx.reply(
                &DescribeClusterResponse::default()
                    .with_error_code(code as i16)
                    .with_error_message(Some(text(&message)))
                    .with_controller_id((-1).into()),
            );
        }
        let image = self.metadata.load();
        let listed = image.brokers.values().filter(|broker| request.include_fenced_brokers || !broker.fenced);
        let brokers: Vec<DescribeClusterBroker> = listed
            .filter_map(|broker| {
                let (host, port) = address_of(cx, &image, broker)?;
                Some(
                    DescribeClusterBroker::default()
                        .with_broker_id(broker.id.0.into())
                        .with_host(text(host))
                        .with_port(i32::from(port))
                        .with_rack(broker.rack.as_deref().map(text))
                        .with_is_fenced(broker.fenced),
                )
            })
            .collect();
        let alive = || brokers.iter().filter(|broker| !broker.is_fenced).map(|broker| broker.broker_id.0);
        let controller = alive().find(|&id| id == self.node_id.0).or_else(|| alive().next()).unwrap_or(-1);
        let mut response = DescribeClusterResponse::default()
            .with_cluster_id(text(&self.cluster_id))
            .with_controller_id(controller.into())
            .with_endpoint_type(ENDPOINT_BROKER);
        if request.include_cluster_authorized_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        cx.reply(&response.with_brokers(brokers))
    }

    /// The voters, for `--bootstrap-controller`.
    fn describe_controllers(&self, cx: &RequestContext, include_operations: bool) -> Reply {
        let voters = self.controller.local_quorum().map(|quorum| quorum.voters).unwrap_or_default();
        let controllers = voters.iter().filter_map(|voter| {
            let endpoint = voter.endpoints.first()?;
            Some(
                DescribeClusterBroker::default()
                    .with_broker_id(voter.id.0.into())
                    .with_host(text(&endpoint.host))
                    .with_port(i32::from(endpoint.port))
                    .with_rack(None),
            )
        });
        let leader = self.controller.leader().map_or(-1, |leader| leader.0);
        let mut response = DescribeClusterResponse::default()
            .with_cluster_id(text(&self.cluster_id))
            .with_controller_id(leader.into())
            .with_endpoint_type(ENDPOINT_CONTROLLER);
        if include_operations {
            response.cluster_authorized_operations = CLUSTER_OPERATIONS;
        }
        cx.reply(&response.with_brokers(controllers.collect()))
    }

    pub async fn describe_topic_partitions(
        &self,
        cx: &RequestContext,
        request: DescribeTopicPartitionsRequest,
    ) -> Reply {
        let image = self.metadata.load();
        let limit = request.response_partition_limit.min(self.partitions_max).max(1);
        let limit = usize::try_from(limit).unwrap_or(1);
        match page(cx, &image, &request, limit) {
            Ok(response) => cx.reply(&response),
            // The answer has no field for an error of the whole request: every topic of it carries it.
            Err(code) => {
                let topics = request.topics.iter().map(|topic| {
                    DescribeTopicPartitionsResponseTopic::default()
                        .with_error_code(code as i16)
                        .with_name(Some(topic.name.clone()))
                });
                cx.reply(&DescribeTopicPartitionsResponse::default().with_topics(topics.collect()))
            }
        }
    }
}

/// Brokers are asked about brokers, controllers about controllers.
fn check_endpoint_type(cx: &RequestContext, asked: i8) -> Result<(), (ErrorCode, String)> {
    let (here, wanted) = match (cx.listener.is_controller, asked) {
        (false, ENDPOINT_BROKER) => return Ok(()),
        (false, ENDPOINT_CONTROLLER) => ("BROKER", "CONTROLLER"),
        (true, ENDPOINT_BROKER) => ("CONTROLLER", "BROKER"),
        (_, other) => {
            let code = if cx.version == 0 { ErrorCode::InvalidRequest } else { ErrorCode::UnsupportedEndpointType };
            return Err((code, format!("Unsupported endpoint type {other}")));
        }
    };
    // Version 0 does not know the code.
    let code = if cx.version == 0 { ErrorCode::InvalidRequest } else { ErrorCode::MismatchedEndpointType };
    let message =
        format!("The request was sent to an endpoint of type {here}, but we wanted an endpoint of type {wanted}");
    Err((code, message))
}

/// One page: topics in order of their names, from the cursor on, up to `limit` partitions.
fn page(
    cx: &RequestContext,
    image: &MetadataImage,
    request: &DescribeTopicPartitionsRequest,
    limit: usize,
) -> Result<DescribeTopicPartitionsResponse, ErrorCode> {
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (
            cursor.topic_name.as_str(),
            usize::try_from(cursor.partition_index).map_err(|_| ErrorCode::InvalidRequest)?,
        ),
        None => ("", 0),
    };
    let all = request.topics.is_empty();
    let names: BTreeSet<&str> =
        request.topics.iter().map(|topic| topic.name.as_str()).filter(|&name| name >= from_topic).collect();
    if !all && request.cursor.is_some() && !names.contains(from_topic) {
        return Err(ErrorCode::InvalidRequest);
    }
    let wanted: Box<dyn Iterator<Item = (&str, Option<&Arc<TopicImage>>)>> = if all {
        Box::new(image.topics.iter_from(from_topic).map(|topic| (&*topic.name, Some(topic))))
    } else {
        Box::new(names.into_iter().map(|name| (name, image.topics.by_name(name))))
    };
    let mut response = DescribeTopicPartitionsResponse::default();
    let mut left = limit;
    for (name, topic) in wanted {
        if left == 0 {
            response.next_cursor = Some(Cursor::default().with_topic_name(topic_name(name)).with_partition_index(0));
            break;
        }
        let described = DescribeTopicPartitionsResponseTopic::default()
            .with_name(Some(topic_name(name)))
            .with_topic_id(id_or_nil(image, name))
            .with_is_internal(is_internal(name))
            .with_topic_authorized_operations(TOPIC_OPERATIONS);
        let Some(topic) = topic else {
            response.topics.push(described.with_error_code(topic_names::missing(name) as i16));
            continue;
        };
        let first = if name == from_topic { from_partition } else { 0 };
        let partitions: Vec<_> = (0_i32..)
            .zip(&topic.partitions)
            .skip(first)
            .take(left)
            .map(|(index, partition)| {
                let view = PartitionView::new(image, partition, &cx.listener.name);
                DescribeTopicPartitionsResponsePartition::default()
                    .with_partition_index(index)
                    .with_leader_id(view.leader_or_error(cx.version).0.0.into())
                    .with_leader_epoch(partition.leader_epoch.0)
                    .with_replica_nodes(broker_ids(&partition.replicas))
                    .with_isr_nodes(broker_ids(&partition.isr))
                    .with_eligible_leader_replicas(Some(broker_ids(&partition.eligible_leader_replicas)))
                    .with_last_known_elr(Some(broker_ids(&partition.last_known_elr)))
                    .with_offline_replicas(broker_ids(&view.offline()))
            })
            .collect();
        let next = first + partitions.len();
        left -= partitions.len();
        response.topics.push(described.with_partitions(partitions));
        if next < topic.partitions.len() {
            let next = i32::try_from(next).unwrap_or(i32::MAX);
            response.next_cursor = Some(Cursor::default().with_topic_name(topic_name(name)).with_partition_index(next));
            break;
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_the_fields_that_clients_know() {
        assert_eq!(TOPIC_OPERATIONS, 3576);
        assert_eq!(CLUSTER_OPERATIONS, 8096);
    }
}
