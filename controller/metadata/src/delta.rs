//! What is different between two images. Persistent maps share what did not change, so the cost follows the change.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::configs::{ConfigResource, ConfigsImage};
use crate::topics::{TopicImage, TopicsImage};

/// One topic that is not the same in both images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicChange {
    Created(Arc<TopicImage>),
    /// The same topic id with other partitions.
    Changed {
        old: Arc<TopicImage>,
        new: Arc<TopicImage>,
    },
    Removed(Arc<TopicImage>),
}

impl TopicsImage {
    /// Every topic that differs, removals first: a topic deleted and created again under its name is both.
    pub fn changes_since(&self, old: &Self) -> Vec<TopicChange> {
        let mut removed = Vec::new();
        let mut others = Vec::new();
        for item in old.ids().diff(self.ids()) {
            match item {
                DiffItem::Add(_, topic) => others.push(TopicChange::Created(Arc::clone(topic))),
                DiffItem::Update { old: (_, old), new: (_, new) } => {
                    others.push(TopicChange::Changed { old: Arc::clone(old), new: Arc::clone(new) });
                }
                DiffItem::Remove(_, topic) => removed.push(TopicChange::Removed(Arc::clone(topic))),
            }
        }
        removed.extend(others);
        removed
    }
}

impl ConfigsImage {
    /// Every resource whose values differ, sorted.
    pub fn changes_since(&self, old: &Self) -> Vec<ConfigResource> {
        old.resources()
            .diff(self.resources())
            .map(|item| match item {
                DiffItem::Add(resource, _) | DiffItem::Remove(resource, _) => resource.clone(),
                DiffItem::Update { new: (resource, _), .. } => resource.clone(),
            })
            .collect()
    }
}
