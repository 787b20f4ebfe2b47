//! Why a group rebalanced or lost offsets, and who caused it: the last few reasons of each group, kept in memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ottla_protocol::{Timestamp, TopicPartition};

/// How many reasons are kept per group.
const REASONS_PER_GROUP_MAX: usize = 16;
/// Groups that are gone and whose reasons are still kept: "where are my offsets" is asked afterwards.
const GONE_MAX: usize = 256;

/// One cause of a rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalanceReason {
    pub at: Timestamp,
    /// Generation (classic) or group epoch (consumer) that was left behind; -1 when it was no rebalance.
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
    gone: VecDeque<Arc<str>>,
}

impl Explain {
    pub(crate) fn note(&mut self, group: &Arc<str>, reason: RebalanceReason) {
        self.gone.retain(|gone| gone != group);
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

    /// Offsets of the group went away without a consumer's asking: whoever comes back begins anew.
    pub(crate) fn note_lost_offsets(&mut self, group: &Arc<str>, at: Timestamp, lost: &[TopicPartition], why: &str) {
        const SHOWN_MAX: usize = 8;
        if lost.is_empty() {
            return;
        }
        let mut names: Vec<String> = lost.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
        if lost.len() > SHOWN_MAX {
            names.push(format!("{} more", lost.len() - SHOWN_MAX));
        }
        let nobody: Arc<str> = Arc::from("");
        let reason =
            format!("offsets of {} are gone: {why}; consumers begin where auto.offset.reset says", names.join(", "));
        let by = (Arc::clone(&nobody), Arc::clone(&nobody), nobody);
        let reason = RebalanceReason { at, epoch: -1, member_id: by.0, client_id: by.1, client_host: by.2, reason };
        self.note(group, reason);
    }

    /// The group is gone. Its reasons stay for a while.
    pub(crate) fn forget(&mut self, group: &Arc<str>) {
        if !self.groups.contains_key(group) {
            return;
        }
        self.gone.retain(|gone| gone != group);
        self.gone.push_back(Arc::clone(group));
        if self.gone.len() > GONE_MAX
            && let Some(oldest) = self.gone.pop_front()
        {
            self.groups.remove(&oldest);
        }
    }
}
