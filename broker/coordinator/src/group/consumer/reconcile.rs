//! From what a member owns to what it should own, one safe step at a time.
//!
//! ```text
//!                  ┌── owns what it must give up ──► UnrevokedPartitions (epoch stays) ──gave it up──┐
//!   next target ───┤                                                                                 ▼
//!                  └────────────────────────► target epoch: UnreleasedPartitions while somebody else still owns
//!                                                           something of it, Stable once it has all
//! ```

use std::collections::{BTreeMap, BTreeSet};

use ottla_protocol::{ErrorCode, TopicId};

use super::error::GroupError;
use super::state::ConsumerGroup;
use crate::group::records::{CurrentAssignment, MemberState, Partitions};

type WithEpochs = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// All that a step depends on.
pub(crate) struct Reconciliation<'a> {
    pub(crate) group: &'a ConsumerGroup,
    pub(crate) current: &'a CurrentAssignment,
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a Partitions,
    /// The member's topics that exist.
    pub(crate) topics: &'a BTreeSet<TopicId>,
    pub(crate) subscription_changed: bool,
    /// What the member says it owns; `None` if it did not say.
    pub(crate) owned: Option<&'a Partitions>,
}

impl Reconciliation<'_> {
    /// The member's next current assignment, which may be the one it has.
    pub(crate) fn step(&self) -> Result<CurrentAssignment, GroupError> {
        let current = self.current;
        match current.state {
            MemberState::Stable if current.member_epoch != self.target_epoch => Ok(self.next(current.member_epoch)),
            MemberState::Stable if self.subscription_changed => Ok(self.shrink()),
            MemberState::Stable => Ok(current.clone()),
            MemberState::UnrevokedPartitions if self.still_owns(&current.pending_revocation) => {
                Ok(if self.subscription_changed { self.shrink() } else { current.clone() })
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => Ok(self.next(current.member_epoch)),
            // Written by a later version: only a member that owns nothing can go on from here.
            MemberState::Unknown if self.owned.is_some_and(BTreeMap::is_empty) => Ok(self.next(self.target_epoch)),
            MemberState::Unknown => Err(GroupError::new(
                ErrorCode::FencedMemberEpoch,
                "the member's state is not known here; it has to give up its partitions and join again",
            )),
        }
    }

    /// A member that does not say what it owns may own all of it.
    fn still_owns(&self, partitions: &WithEpochs) -> bool {
        let Some(owned) = self.owned else { return true };
        owned.iter().any(|(topic, owned)| {
            partitions.get(topic).is_some_and(|partitions| owned.iter().any(|p| partitions.contains_key(p)))
        })
    }

    /// Takes topics away that the member no longer subscribes to, within its epoch.
    fn shrink(&self) -> CurrentAssignment {
        let mut assigned = self.current.assigned.clone();
        let mut revoked = self.current.pending_revocation.clone();
        assigned.retain(|topic, partitions| {
            let keep = self.topics.contains(topic);
            if !keep {
                revoked.entry(*topic).or_default().append(partitions);
            }
            keep
        });
        if assigned.len() == self.current.assigned.len() {
            return self.current.clone();
        }
        let epoch = self.current.member_epoch;
        if self.still_owns(&revoked) {
            self.with(epoch, MemberState::UnrevokedPartitions, assigned, revoked)
        } else {
            self.with(epoch, self.current.state, assigned, self.current.pending_revocation.clone())
        }
    }

    fn next(&self, epoch: i32) -> CurrentAssignment {
        let mut assigned = WithEpochs::new();
        let mut revoked = WithEpochs::new();
        let mut added: Vec<(TopicId, i32)> = Vec::new();
        let mut has_unreleased = false;
        let nothing = BTreeSet::new();
        let target_of =
            |topic: &TopicId| self.target.get(topic).filter(|_| self.topics.contains(topic)).unwrap_or(&nothing);
        for (topic, partitions) in &self.current.assigned {
            let target = target_of(topic);
            for (partition, since) in partitions {
                let side = if target.contains(partition) { &mut assigned } else { &mut revoked };
                side.entry(*topic).or_default().insert(*partition, *since);
            }
        }
        for topic in self.target.keys() {
            for partition in target_of(topic) {
                let contains = |set: &WithEpochs| set.get(topic).is_some_and(|set| set.contains_key(partition));
                if contains(&assigned) {
                    continue;
                }
                // What the member itself is about to give up is free for it.
                if self.group.owner(*topic, *partition).is_some() && !contains(&self.current.pending_revocation) {
                    has_unreleased = true;
                } else {
                    added.push((*topic, *partition));
                }
            }
        }
        if !revoked.is_empty() && self.still_owns(&revoked) {
            return self.with(epoch, MemberState::UnrevokedPartitions, assigned, revoked);
        }
        for (topic, partition) in added {
            assigned.entry(topic).or_default().insert(partition, self.target_epoch);
        }
        let state = if has_unreleased { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        self.with(self.target_epoch, state, assigned, WithEpochs::new())
    }

    fn with(
        &self,
        member_epoch: i32,
        state: MemberState,
        assigned: WithEpochs,
        pending_revocation: WithEpochs,
    ) -> CurrentAssignment {
        let same = |epoch: i32| {
            epoch == self.current.member_epoch
                && state == self.current.state
                && assigned == self.current.assigned
                && pending_revocation == self.current.pending_revocation
        };
        // Nothing new: the previous epoch stays valid, so that a lost answer can still be asked for again.
        if same(member_epoch) {
            return self.current.clone();
        }
        let previous_member_epoch = self.current.member_epoch;
        CurrentAssignment { member_epoch, previous_member_epoch, state, assigned, pending_revocation }
    }
}
