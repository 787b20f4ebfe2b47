//! Who is asking, and may it: member epochs, static members, the size of the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_protocol::{ErrorCode, TopicId};

use super::draft::Draft;
use super::error::GroupError;
use super::state::ConsumerGroup;
use crate::group::records::{ConsumerMember, CurrentAssignment, Partitions};

/// Epoch of a static member that left for a while.
pub(crate) const STATIC_LEAVE_EPOCH: i32 = -2;

impl ConsumerGroup {
    /// A static member that is already there does not make the group larger.
    pub(crate) fn check_size(&self, member: &str, instance_id: Option<&str>, max: usize) -> Result<(), GroupError> {
        let is_known = self.members.contains_key(member)
            || instance_id.is_some_and(|instance| self.static_member(instance).is_some());
        if !is_known && self.members.len() >= max {
            let message = format!("the group has {max} members, which is as many as it may have");
            return Err(GroupError::new(ErrorCode::GroupMaxSizeReached, message));
        }
        Ok(())
    }

    /// A member is known by its id, and a static one also has to be the one that its instance id stands for.
    pub(crate) fn find_member(&self, id: &str, instance_id: Option<&str>) -> Result<Arc<str>, GroupError> {
        let unknown = || GroupError::new(ErrorCode::UnknownMemberId, format!("{id} is not a member of the group"));
        let Some(instance) = instance_id else {
            return self.members.get_key_value(id).map(|(id, _)| Arc::clone(id)).ok_or_else(unknown);
        };
        let existing = self.static_member(instance).ok_or_else(|| {
            GroupError::new(ErrorCode::UnknownMemberId, format!("the group has no member with instance id {instance}"))
        })?;
        if **existing == *id {
            Ok(Arc::clone(existing))
        } else {
            let message = format!("instance id {instance} belongs to {existing} now, {id} is fenced");
            Err(GroupError::new(ErrorCode::FencedInstanceId, message))
        }
    }

    /// The epoch a member says it is in has to be its own. The one before passes if what the member owns fits its new
    /// assignment: it may have lost the answer that told it.
    pub(crate) fn check_epoch(&self, member: &str, epoch: i32, owned: Option<&Partitions>) -> Result<(), GroupError> {
        let current = self.current_of(member);
        if epoch == 0 || epoch == current.member_epoch {
            return Ok(());
        }
        let is_previous = epoch == current.previous_member_epoch && epoch < current.member_epoch;
        if is_previous && owned.is_some_and(|owned| is_within(owned, &current.assigned)) {
            return Ok(());
        }
        let known = current.member_epoch;
        let message = format!("the member is in epoch {epoch}, known here in {known}; it has to join again");
        Err(GroupError::new(ErrorCode::FencedMemberEpoch, message))
    }
}

fn is_within(owned: &Partitions, assigned: &BTreeMap<TopicId, BTreeMap<i32, i32>>) -> bool {
    owned.iter().all(|(topic, owned)| {
        assigned.get(topic).is_some_and(|assigned| owned.iter().all(|partition| assigned.contains_key(partition)))
    })
}

impl Draft {
    /// A static member comes (back). Its predecessor's place, target and partitions are handed on; a predecessor that
    /// did not leave may only be pushed aside across protocols.
    pub(crate) fn join_static(&mut self, id: &Arc<str>, instance: &str, is_classic: bool) -> Result<(), GroupError> {
        let Some(old) = self.group.static_member(instance).cloned() else { return Ok(()) };
        let Some(predecessor) = self.group.members.get(&old).cloned() else { return Ok(()) };
        let current = self.group.current_of(&old);
        let has_left = current.member_epoch == STATIC_LEAVE_EPOCH;
        if !is_classic && predecessor.classic.is_none() && !has_left {
            let message = format!("instance id {instance} is still in use by {old}");
            return Err(GroupError::new(ErrorCode::UnreleasedInstanceId, message));
        }
        let target = (*self.group.target_of(&old)).clone();
        self.remove_member(&old);
        self.put_member(id, ConsumerMember::clone(&predecessor));
        self.put_target(id, target);
        let current = CurrentAssignment { member_epoch: 0, previous_member_epoch: 0, ..(*current).clone() };
        self.put_current(id, current);
        Ok(())
    }
}
