//! What is particular to hosting groups.

use std::sync::Arc;

use ottla_coordinator::group::{GroupAction, GroupRequest, GroupResponse, GroupShard};
use ottla_metadata::MetadataImage;
use ottla_protocol::TopicId;

use super::host::Host;

/// Carries out what a group coordinator asks for.
pub(super) fn carry_out(action: GroupAction) {
    match action {
        GroupAction::Rebalancing { group, reason } => tracing::info!(
            group = ?group, epoch = reason.epoch, member = ?reason.member_id, client_id = ?reason.client_id,
            host = ?reason.client_host, reason = ?reason.reason, "group rebalances"
        ),
        GroupAction::Expired { tombstones, .. } => tracing::info!(tombstones, "offsets or groups expired"),
    }
}

/// Offsets of topics that are gone go with them.
pub(super) fn forget_deleted_topics(host: &Arc<Host<GroupShard>>, old: &MetadataImage, new: &MetadataImage) {
    let gone = |id: TopicId| new.topics.by_id(id).is_none();
    let deleted: Vec<(TopicId, Arc<str>)> =
        old.topics.iter().filter(|topic| gone(topic.id)).map(|topic| (topic.id, Arc::clone(&topic.name))).collect();
    if deleted.is_empty() {
        return;
    }
    let host = Arc::clone(host);
    tokio::spawn(async move {
        for (partition, _) in host.partitions() {
            loop {
                match host.call(partition, GroupRequest::TopicsDeleted(deleted.clone())).await {
                    Ok(GroupResponse::TopicsDeleted { left: true }) => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(partition, ?error, "offsets of deleted topics stay until they expire");
                        break;
                    }
                }
            }
        }
    });
}
