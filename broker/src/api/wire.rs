//! Small turns between the wire's types and the house's.

use std::sync::Arc;

use ottla_metadata::{BrokerRegistration, Endpoint, MetadataImage};
use ottla_protocol::messages::TopicName;
use ottla_protocol::{BrokerId, LeaderEpoch, StrBytes};

use super::RequestContext;
use crate::coordinators::internal_topics::{GROUP_TOPIC, TRANSACTION_TOPIC};

/// Topics that belong to the broker itself: clients may read them, nobody but coordinators writes them.
pub const INTERNAL_TOPICS: [&str; 3] = [GROUP_TOPIC, TRANSACTION_TOPIC, "__share_group_state"];

/// True for a topic that belongs to the broker itself.
pub fn is_internal(topic: &str) -> bool {
    INTERNAL_TOPICS.contains(&topic)
}

/// The wire's string for a shared one.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The wire's topic name for a shared one.
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The wire's broker ids.
pub fn broker_ids(ids: &[BrokerId]) -> Vec<ottla_protocol::messages::BrokerId> {
    ids.iter().map(|id| id.0.into()).collect()
}

/// Where a broker is reached by clients of a listener; `None` when it is unknown, fenced or has no such listener.
pub fn endpoint_of<'a>(
    image: &'a MetadataImage,
    broker: BrokerId,
    listener: &str,
) -> Option<(&'a BrokerRegistration, &'a Endpoint)> {
    let registration = image.brokers.get(&broker).filter(|broker| !broker.fenced)?;
    Some((registration, registration.listener(listener)?))
}

/// Where clients of the request's listener reach a broker: host and port.
pub fn address_of<'a>(
    cx: &'a RequestContext,
    image: &MetadataImage,
    broker: &'a BrokerRegistration,
) -> Option<(&'a str, u16)> {
    let endpoint = broker.listener(&cx.listener.name)?;
    // Of several brokers each knows only by which address a client came to itself, and their answers have to agree.
    if cx.listener.follows_client && image.brokers.len() == 1 {
        return Some((&cx.listener.advertised_host, cx.listener.advertised_port));
    }
    Some((&endpoint.host, endpoint.port))
}

/// Who leads a partition now, for clients that came to the wrong broker: id and epoch (-1 when unknown).
pub fn current_leader(image: &MetadataImage, topic: &str, partition: i32) -> (BrokerId, LeaderEpoch) {
    match image.topics.partition(topic, partition) {
        Some(partition) => (partition.leader.unwrap_or(BrokerId(-1)), partition.leader_epoch),
        None => (BrokerId(-1), LeaderEpoch::UNKNOWN),
    }
}

/// A shared string from the wire's, without a copy where the image has it already.
pub fn shared(image: &MetadataImage, name: &str) -> Arc<str> {
    image.topics.by_name(name).map_or_else(|| Arc::from(name), |topic| Arc::clone(&topic.name))
}

/// Each of what is asked for once: an answer a thousand times as long as its request serves nobody.
pub(super) fn once<T: Clone + Eq + std::hash::Hash>(asked: Vec<T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::with_capacity(asked.len());
    asked.into_iter().filter(|one| seen.insert(one.clone())).collect()
}
