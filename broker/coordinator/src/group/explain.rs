//! Why a group rebalanced, and who caused it: the last few reasons of each group, kept in memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ottla_protocol::Timestamp;

/// How many reasons are kept per group.
const REASONS_PER_GROUP_MAX: usize = 16;

/// One cause of a rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalanceReason {
    pub at: Timestamp,
    /// Generation (classic) or group epoch (consumer) that was left behind.
    pub epoch: i32,
    /// Who caused it; empty if nobody in particular (a topic grew, an operator acted).
    pub member_id: Arc<str>,
    pub client_id: Arc<str>,
    pub client_host: Arc<str>,
    /// In words.
    pub reason: String,
}

/// The reasons of every group of a shard.
#[derive(Debug, Default)]
pub(crate) struct Explain {
    groups: BTreeMap<Arc<str>, VecDeque<RebalanceReason>>,
}

impl Explain {
    pub(crate) fn note(&mut self, group: &Arc<str>, reason: RebalanceReason) {
        let reasons = self.groups.entry(Arc::clone(group)).or_default();
        if reasons.len() == REASONS_PER_GROUP_MAX {
            reasons.pop_front();
        }
        reasons.push_back(reason);
    }

    /// Oldest first.
    pub(crate) fn reasons(&self, group: &str) -> Vec<RebalanceReason> {
        self.groups.get(group).map(|reasons| reasons.iter().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn forget(&mut self, group: &str) {
        self.groups.remove(group);
    }
}
