//! The in-sync set: what the controller committed, and what was proposed but not yet answered.

use ottla_protocol::BrokerId;

/// A change of the in-sync set that the controller is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IsrProposal {
    /// The whole new set.
    pub isr: Vec<BrokerId>,
    /// The partition epoch the proposal is based on.
    pub partition_epoch: i32,
}

/// The in-sync set of a partition, at the leader. At most one proposal is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isr {
    committed: Vec<BrokerId>,
    pending: Option<Pending>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pending {
    Expand(BrokerId),
    Shrink,
}

impl Isr {
    /// The set the controller committed.
    pub fn new(committed: Vec<BrokerId>) -> Self {
        Self { committed, pending: None }
    }

    /// The committed set. A proposed removal does not count: the controller may refuse it.
    pub fn committed(&self) -> &[BrokerId] {
        &self.committed
    }

    /// True for members of the largest set the controller may come to hold (KIP-497): the high watermark must wait for
    /// a proposed newcomer, for it may already be electable, and for a proposed leaver, for it may still be.
    pub fn is_in_maximal(&self, broker: BrokerId) -> bool {
        self.committed.contains(&broker) || self.pending == Some(Pending::Expand(broker))
    }

    /// True while a proposal waits for its answer.
    pub const fn is_proposal_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Proposes to add a broker; `None` when it is a member or another proposal is under way.
    pub fn propose_expand(&mut self, broker: BrokerId, partition_epoch: i32) -> Option<IsrProposal> {
        if self.pending.is_some() || self.committed.contains(&broker) {
            return None;
        }
        self.pending = Some(Pending::Expand(broker));
        let mut isr = self.committed.clone();
        isr.push(broker);
        Some(IsrProposal { isr, partition_epoch })
    }

    /// Proposes to remove brokers; `None` when none is a member or another proposal is under way.
    pub fn propose_shrink(&mut self, leavers: &[BrokerId], partition_epoch: i32) -> Option<IsrProposal> {
        if self.pending.is_some() || !self.committed.iter().any(|member| leavers.contains(member)) {
            return None;
        }
        self.pending = Some(Pending::Shrink);
        let isr = self.committed.iter().copied().filter(|member| !leavers.contains(member)).collect();
        Some(IsrProposal { isr, partition_epoch })
    }

    /// The controller committed this set; whatever was proposed is answered by it.
    pub fn on_committed(&mut self, isr: Vec<BrokerId>) {
        self.committed = isr;
        self.pending = None;
    }

    /// The controller refused the proposal for good: the committed set stands.
    pub fn on_refused(&mut self) {
        self.pending = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maximal_set_keeps_leavers_and_counts_newcomers() {
        let mut isr = Isr::new(vec![BrokerId(1), BrokerId(2)]);
        let proposal = isr.propose_shrink(&[BrokerId(2)], 4);
        assert_eq!(proposal, Some(IsrProposal { isr: vec![BrokerId(1)], partition_epoch: 4 }));
        assert!(isr.is_in_maximal(BrokerId(2)));
        assert_eq!(isr.propose_expand(BrokerId(3), 4), None, "one proposal at a time");
        isr.on_refused();
        assert!(isr.propose_expand(BrokerId(3), 4).is_some());
        assert!(isr.is_in_maximal(BrokerId(3)));
        assert_eq!(isr.committed(), [BrokerId(1), BrokerId(2)]);
        isr.on_committed(vec![BrokerId(1), BrokerId(2), BrokerId(3)]);
        assert!(!isr.is_proposal_pending());
        assert_eq!(isr.propose_expand(BrokerId(3), 5), None);
        assert_eq!(isr.propose_shrink(&[BrokerId(9)], 5), None);
    }
}
