//! A live classic group: its members and who of them waits for what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use ottla_protocol::{ErrorCode, Timestamp};

use super::subscription::parse_topics;
use crate::group::records::{ClassicGroupRecord, ClassicMemberRecord};
use crate::shard::Token;

/// The protocol type whose metadata the coordinator may read; all others are opaque.
pub(crate) const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClassicState {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl ClassicState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// A join that waits for the join phase to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WaitingJoin {
    pub(crate) token: Token,
    pub(crate) version: i16,
}

#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// Name and opaque metadata, most preferred first.
    pub(crate) protocols: Vec<(Arc<str>, Bytes)>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<WaitingJoin>,
    pub(crate) awaiting_sync: Option<Token>,
    /// Has not been through a whole join phase: it cannot heartbeat yet, so its time runs even while it waits.
    pub(crate) is_new: bool,
}

impl Member {
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| &**name == protocol).map(|(_, data)| data.clone()).unwrap_or_default()
    }

    /// A member whose answer the coordinator holds back cannot be asked to heartbeat.
    pub(crate) const fn is_excused(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LiveGroup {
    pub(crate) id: Arc<str>,
    pub(crate) state: ClassicState,
    /// The state before this one.
    pub(crate) previous_state: ClassicState,
    pub(crate) state_timestamp: Option<Timestamp>,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    pub(crate) static_members: BTreeMap<Arc<str>, Arc<str>>,
    /// Were told their id and have not joined with it yet.
    pub(crate) pending_join: BTreeSet<Arc<str>>,
    /// Were told the generation and have not synced yet.
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    /// Somebody arrived while the first join phase was being held open.
    pub(crate) new_member_added: bool,
    /// Topics of a group of type "consumer"; `None` if its metadata cannot be read or is not ours to read.
    pub(crate) subscribed_topics: Option<BTreeSet<Arc<str>>>,
    /// The last record written for this group.
    pub(crate) written: Option<Arc<ClassicGroupRecord>>,
}

impl LiveGroup {
    pub(crate) fn new(id: &Arc<str>, now: Timestamp) -> Self {
        Self {
            id: Arc::clone(id),
            state: ClassicState::Empty,
            previous_state: ClassicState::Empty,
            state_timestamp: Some(now),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            new_member_added: false,
            subscribed_topics: None,
            written: None,
        }
    }

    /// The group as it was written: stable if it had members.
    pub(crate) fn from_record(id: &Arc<str>, record: &Arc<ClassicGroupRecord>) -> Self {
        let mut group = Self::new(id, Timestamp(0));
        group.state = if record.members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        group.state_timestamp = record.current_state_timestamp;
        group.protocol_type = Some(&record.protocol_type).filter(|name| !name.is_empty()).cloned();
        group.protocol.clone_from(&record.protocol);
        group.generation = record.generation;
        group.leader.clone_from(&record.leader);
        group.written = Some(Arc::clone(record));
        for member in &record.members {
            let timeout = member.rebalance_timeout_ms;
            group.add(Member {
                id: Arc::clone(&member.member_id),
                instance_id: member.group_instance_id.clone(),
                client_id: Arc::clone(&member.client_id),
                client_host: Arc::clone(&member.client_host),
                rebalance_timeout_ms: if timeout == -1 { member.session_timeout_ms } else { timeout },
                session_timeout_ms: member.session_timeout_ms,
                protocols: vec![(record.protocol.clone().unwrap_or_default(), member.subscription.clone())],
                assignment: member.assignment.clone(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            });
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    /// The group as it is now, to be written.
    pub(crate) fn to_record(&self) -> Arc<ClassicGroupRecord> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self
            .members
            .values()
            .map(|member| ClassicMemberRecord {
                member_id: Arc::clone(&member.id),
                group_instance_id: member.instance_id.clone(),
                client_id: Arc::clone(&member.client_id),
                client_host: Arc::clone(&member.client_host),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                subscription: member.metadata(protocol),
                assignment: member.assignment.clone(),
            })
            .collect();
        Arc::new(ClassicGroupRecord {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_timestamp,
            members,
        })
    }

    pub(crate) fn transition(&mut self, to: ClassicState, now: Timestamp) {
        self.previous_state = self.state;
        self.state = to;
        self.state_timestamp = Some(now);
    }

    pub(crate) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    /// Empty, and nobody is on the way in.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == ClassicState::Empty && self.members.is_empty() && self.pending_join.is_empty()
    }

    pub(crate) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER_PROTOCOL_TYPE)
    }

    /// Whether offsets of a topic are in use. A consumer group whose metadata is unreadable uses every topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub(crate) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance_id {
            self.static_members.insert(Arc::clone(instance), Arc::clone(&member.id));
        }
        if self.leader.is_none() {
            self.leader = Some(Arc::clone(&member.id));
        }
        self.pending_join.remove(&member.id);
        self.members.insert(Arc::clone(&member.id), member);
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(instance) = removed.as_ref().and_then(|member| member.instance_id.as_ref()) {
            self.static_members.remove(instance);
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
        removed
    }

    pub(crate) fn awaiting_join_count(&self) -> usize {
        self.members.values().filter(|member| member.awaiting_join.is_some()).count()
    }

    pub(crate) fn has_all_members_joined(&self) -> bool {
        self.pending_join.is_empty() && self.members.values().all(|member| member.awaiting_join.is_some())
    }

    /// The longest time that a member wants for rejoining.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0).max(0)
    }

    /// A leader that waits for the join to complete; if the old one did not come, another takes over.
    pub(crate) fn elect_joined_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|leader| leader.awaiting_join.is_some()) {
            return true;
        }
        match self.members.values().find(|member| member.awaiting_join.is_some()) {
            Some(member) => {
                self.leader = Some(Arc::clone(&member.id));
                true
            }
            None => false,
        }
    }

    /// How many members know each protocol.
    fn supporters(&self) -> BTreeMap<&str, usize> {
        let mut supporters: BTreeMap<&str, usize> = BTreeMap::new();
        for (name, _) in self.members.values().flat_map(|member| &member.protocols) {
            *supporters.entry(&**name).or_default() += 1;
        }
        supporters
    }

    /// Whether a member with these protocols fits in: one of them must be known to every member.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[(Arc<str>, Bytes)]) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let supporters = self.supporters();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|(name, _)| supporters.get(&**name).copied().unwrap_or(0) == self.members.len())
    }

    /// Each member votes for the protocol it likes best among those that all know; the most votes win.
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let supporters = self.supporters();
        let mut votes: Vec<(Arc<str>, usize)> = Vec::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(|(name, _)| supporters.get(&**name) == Some(&self.members.len()));
            let Some((name, _)) = choice else { continue };
            match votes.iter_mut().find(|(voted, _)| voted == name) {
                Some((_, count)) => *count += 1,
                None => votes.push((Arc::clone(name), 1)),
            }
        }
        // The first of those with the most votes.
        votes.into_iter().rev().max_by_key(|(_, count)| *count).map(|(name, _)| name)
    }

    pub(crate) fn compute_subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            topics.extend(parse_topics(&member.metadata(protocol))?);
        }
        Some(topics)
    }

    /// Closes the join phase: a new generation with the members that are left.
    pub(crate) fn init_next_generation(&mut self, now: Timestamp) {
        self.generation = self.generation.wrapping_add(1).max(0);
        let next = if self.members.is_empty() { ClassicState::Empty } else { ClassicState::CompletingRebalance };
        self.protocol = if self.members.is_empty() { None } else { self.select_protocol() };
        self.subscribed_topics = self.compute_subscribed_topics();
        self.transition(next, now);
        self.pending_sync.clear();
    }

    /// Is the caller who it says it is?
    pub(crate) fn validate_member(&self, id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.static_members.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(existing) if **existing != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// May these offsets be committed?
    pub(crate) fn validate_offset_commit(
        &self,
        member: &str,
        instance_id: Option<&str>,
        generation: i32,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == ClassicState::Empty {
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance_id.is_some() {
            self.validate_member(member, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional && self.state != ClassicState::Empty {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !transactional && self.state == ClassicState::CompletingRebalance {
            // The member has the generation from its join answer, but the assignment is not out yet.
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}
