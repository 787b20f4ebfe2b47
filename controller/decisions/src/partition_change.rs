//! One change of one partition: from the wished ISR, replicas and kind of election to the record that brings it about.
//!
//! Every change of a partition is decided here, so that reassignments complete, leaders are elected and eligible leader
//! replicas (KIP-966) are kept wherever the change came from.

use ottla_metadata::{PartitionChange, PartitionImage};
use ottla_protocol::{BrokerId, TopicId};
use uuid::Uuid;

/// How far an election may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Election {
    /// Move to the preferred leader if it can lead.
    Preferred,
    /// Keep the leader if it can lead.
    Online,
    /// As `Online`, and outside the ISR if it must be: records may be lost.
    Unclean,
}

struct Elected {
    leader: Option<BrokerId>,
    unclean: bool,
}

/// The wished state of a partition, changed field by field, then built into a record.
pub(crate) struct PartitionChangeBuilder<'a> {
    partition: &'a PartitionImage,
    topic_id: TopicId,
    index: i32,
    is_acceptable_leader: &'a dyn Fn(BrokerId) -> bool,
    default_dir: &'a dyn Fn(BrokerId) -> Uuid,
    min_isr: usize,
    elr_enabled: bool,
    election: Election,
    isr: Vec<BrokerId>,
    replicas: Vec<BrokerId>,
    adding: Vec<BrokerId>,
    removing: Vec<BrokerId>,
    elr: Vec<BrokerId>,
    recovering: bool,
    unclean_shutdown: Option<BrokerId>,
    directories: Vec<(BrokerId, Uuid)>,
}

impl<'a> PartitionChangeBuilder<'a> {
    /// Nothing wished yet: building now would still elect a leader where there is none.
    pub(crate) fn new(
        partition: &'a PartitionImage,
        topic_id: TopicId,
        index: i32,
        is_acceptable_leader: &'a dyn Fn(BrokerId) -> bool,
        default_dir: &'a dyn Fn(BrokerId) -> Uuid,
    ) -> Self {
        let directories = partition.replicas.iter().copied().zip(partition.directories.iter().copied()).collect();
        Self {
            partition,
            topic_id,
            index,
            is_acceptable_leader,
            default_dir,
            min_isr: 1,
            elr_enabled: false,
            election: Election::Online,
            isr: partition.isr.clone(),
            replicas: partition.replicas.clone(),
            adding: partition.adding_replicas.clone(),
            removing: partition.removing_replicas.clone(),
            elr: partition.eligible_leader_replicas.clone(),
            recovering: partition.recovering,
            unclean_shutdown: None,
            directories,
        }
    }

    pub(crate) fn elr(mut self, enabled: bool, min_isr: usize) -> Self {
        self.elr_enabled = enabled;
        self.min_isr = min_isr;
        self
    }

    pub(crate) fn election(mut self, election: Election) -> Self {
        self.election = election;
        self
    }

    pub(crate) fn isr(mut self, isr: Vec<BrokerId>) -> Self {
        self.isr = isr;
        self
    }

    pub(crate) fn replicas(mut self, replicas: Vec<BrokerId>) -> Self {
        self.replicas = replicas;
        self
    }

    pub(crate) fn adding(mut self, adding: Vec<BrokerId>) -> Self {
        self.adding = adding;
        self
    }

    pub(crate) fn removing(mut self, removing: Vec<BrokerId>) -> Self {
        self.removing = removing;
        self
    }

    pub(crate) fn recovering(mut self, recovering: bool) -> Self {
        self.recovering = recovering;
        self
    }

    /// The broker came back without having shut down cleanly: it may have lost what it had acknowledged.
    pub(crate) fn unclean_shutdown(mut self, broker: Option<BrokerId>) -> Self {
        self.unclean_shutdown = broker;
        self
    }

    pub(crate) fn directory(mut self, broker: BrokerId, dir: Uuid) -> Self {
        self.directories.retain(|(replica, _)| *replica != broker);
        self.directories.push((broker, dir));
        self
    }

    /// The record, or `None` when all is as wished already.
    pub(crate) fn build(mut self) -> Option<PartitionChange> {
        let mut change = PartitionChange::new(self.topic_id, self.index);
        self.complete_reassignment();
        self.track_eligible_leaders();
        self.elect(&mut change);
        // A replica that leaves must be fenced by a new epoch even if the leader stays.
        if change.leader.is_none() && !self.partition.replicas.iter().all(|replica| self.replicas.contains(replica)) {
            change.leader = Some(self.partition.leader);
        }
        if change.isr.is_some() || !self.elr_enabled {
            // After an unclean election nobody is known to hold everything.
            self.elr.clear();
        }
        if self.elr != self.partition.eligible_leader_replicas {
            change.eligible_leader_replicas = Some(self.elr.clone());
        }
        // Without eligible leaders the last ISR is kept: it is what a later election can go by.
        if change.isr.is_none() && (self.elr_enabled || !self.isr.is_empty()) && self.isr != self.partition.isr {
            change.isr = Some(self.isr.clone());
        }
        self.remember_last_leader(&mut change);
        self.assign(&mut change);
        if self.recovering != self.partition.recovering {
            change.recovering = Some(self.recovering);
        }
        (!change.is_empty()).then_some(change)
    }

    /// A reassignment is done once everything added is in sync and what stays can carry the partition.
    fn complete_reassignment(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let staying = |replicas: &[BrokerId]| -> Vec<BrokerId> {
            replicas.iter().copied().filter(|replica| !self.removing.contains(replica)).collect()
        };
        let (isr, replicas) = (staying(&self.isr), staying(&self.replicas));
        let in_sync = |replicas: &[BrokerId]| replicas.iter().all(|replica| isr.contains(replica));
        let nobody_left = !self.removing.is_empty() && (isr.is_empty() || replicas.is_empty());
        // With fewer replicas than before, all of them must be in sync, or the ISR could shrink for nothing.
        let fewer = self.adding.len() < self.removing.len();
        if nobody_left || !in_sync(&self.adding) || (fewer && !in_sync(&replicas)) {
            return;
        }
        self.isr = isr;
        self.replicas = replicas;
        self.adding.clear();
        self.removing.clear();
    }

    fn track_eligible_leaders(&mut self) {
        if !self.elr_enabled {
            return;
        }
        if self.isr.len() >= self.min_isr {
            self.elr.clear();
            return;
        }
        let mut eligible: Vec<BrokerId> = self.elr.iter().chain(&self.partition.isr).copied().collect();
        // A replica that is taken away is none any more: should it be added again one day, it will begin with nothing.
        eligible.retain(|replica| self.replicas.contains(replica) && !self.isr.contains(replica));
        eligible.retain(|replica| self.unclean_shutdown != Some(*replica));
        eligible.sort_unstable();
        eligible.dedup();
        self.elr = eligible;
    }

    fn elect(&mut self, change: &mut PartitionChange) {
        let Elected { leader, unclean } = self.choose_leader();
        if leader == self.partition.leader {
            return;
        }
        if let Some(leader) = leader.filter(|leader| self.elr.contains(leader)) {
            self.isr = vec![leader];
            self.elr.retain(|replica| *replica != leader);
        }
        change.leader = Some(leader);
        if let (true, Some(leader)) = (unclean, leader) {
            change.isr = Some(vec![leader]);
            if !self.partition.recovering {
                change.recovering = Some(true);
                self.recovering = true;
            }
        }
    }

    fn choose_leader(&self) -> Elected {
        let clean = |leader| Elected { leader: Some(leader), unclean: false };
        let current = self.partition.leader.filter(|leader| self.can_lead(*leader));
        let preferred = self.replicas.first().copied().filter(|leader| self.can_lead(*leader));
        let favourite = if self.election == Election::Preferred { preferred.or(current) } else { current };
        let online = || self.replicas.iter().copied().find(|replica| self.can_lead(*replica));
        if let Some(leader) = favourite.or_else(online) {
            return clean(leader);
        }
        if let Some(leader) = self.last_known_leader() {
            return Elected { leader: Some(leader), unclean: true };
        }
        if self.election == Election::Unclean {
            let anyone = self.replicas.iter().copied().find(|replica| (self.is_acceptable_leader)(*replica));
            return Elected { leader: anyone, unclean: anyone.is_some() };
        }
        Elected { leader: None, unclean: false }
    }

    /// In the ISR, or eligible while the ISR is empty; and up.
    fn can_lead(&self, replica: BrokerId) -> bool {
        let holds_everything = self.isr.contains(&replica) || (self.isr.is_empty() && self.elr.contains(&replica));
        holds_everything && (self.is_acceptable_leader)(replica)
    }

    /// The last resort of KIP-966: who led when both ISR and ELR became empty, if it is back.
    fn last_known_leader(&self) -> Option<BrokerId> {
        let nobody = self.elr_enabled && self.isr.is_empty() && self.elr.is_empty();
        match self.partition.last_known_elr.as_slice() {
            [last] if nobody && (self.is_acceptable_leader)(*last) => Some(*last),
            _ => None,
        }
    }

    fn remember_last_leader(&self, change: &mut PartitionChange) {
        if !self.elr_enabled {
            return;
        }
        let known = &self.partition.last_known_elr;
        match change.leader {
            Some(None) if known.is_empty() => change.last_known_elr = Some(self.partition.leader.into_iter().collect()),
            Some(Some(_)) if !known.is_empty() => change.last_known_elr = Some(Vec::new()),
            _ => {}
        }
    }

    fn assign(&self, change: &mut PartitionChange) {
        let directory = |replica: BrokerId| {
            let known = self.directories.iter().find(|(broker, _)| *broker == replica);
            known.map_or_else(|| (self.default_dir)(replica), |(_, dir)| *dir)
        };
        let directories: Vec<Uuid> = self.replicas.iter().map(|replica| directory(*replica)).collect();
        if directories != self.partition.directories {
            change.directories = Some(directories);
        }
        if self.replicas != self.partition.replicas {
            change.replicas = Some(self.replicas.clone());
        }
        if self.removing != self.partition.removing_replicas {
            change.removing_replicas = Some(self.removing.clone());
        }
        if self.adding != self.partition.adding_replicas {
            change.adding_replicas = Some(self.adding.clone());
        }
    }
}
