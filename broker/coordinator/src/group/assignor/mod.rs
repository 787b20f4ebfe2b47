//! Who gets which partition: pure functions from members and topics to an assignment.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::TopicId;

use super::records::Partitions;

/// Even and sticky; the default.
pub(crate) const UNIFORM: &str = "uniform";
/// Each topic cut into ranges, so that topics with the same number of partitions are cut alike (co-partitioned joins).
pub(crate) const RANGE: &str = "range";

/// A member as an assignor sees it.
#[derive(Debug, Clone)]
pub(crate) struct AssignorMember {
    pub(crate) id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    /// Topics that exist and that it is subscribed to.
    pub(crate) topics: Arc<BTreeSet<TopicId>>,
    /// What it was to own so far.
    pub(crate) assigned: Arc<Partitions>,
}

/// Every member with its partitions; `None` if there is no such assignor. `counts` has every subscribed topic.
pub(crate) fn assign(
    name: &str,
    members: &[AssignorMember],
    counts: &BTreeMap<TopicId, i32>,
) -> Option<BTreeMap<Arc<str>, Partitions>> {
    match name {
        UNIFORM => Some(uniform::assign(members, counts)),
        RANGE => Some(range::assign(members, counts)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
