//! What must hold in every world, one file each.

mod a_finished_reassignment_is_in_sync;
mod aborted_records_are_never_read;
mod acknowledged_records_are_committed;
mod batches_in;
mod eligible_replicas_come_second;
mod eligible_replicas_hold_all_committed;
mod exactly_once_and_in_order;
mod failed_disks_are_not_written_on;
mod high_watermark_never_moves_back;
mod images_are_deterministic;
mod in_sync_replicas_hold_all_committed;
mod laggards_are_proposed_to_leave;
mod leader_is_in_sync_and_not_fenced;
mod leaders_and_followers_are_of_one_epoch;
mod leaders_never_unlearn;
mod ledger;
mod logs_agree_in_the_end;
mod logs_agree_with_themselves;
mod nobody_is_proposed_in_vain;
mod offsets_keep_their_order;
mod one_leader_per_epoch;
mod only_those_with_a_say_are_heeded;
mod open_transactions_are_not_stable;
mod partition_epochs_only_grow;
mod readers_never_travel_in_time;
mod silence_ends_a_session;
mod snapshot_and_tail_equal_replay;
mod unfenced_brokers_know_of_their_life;
mod who_leaves_is_followed_by_nobody;

use std::collections::BTreeMap;

use ottla_metadata::PartitionImage;

use crate::broker::Broker;
use crate::message::Node;
use crate::observation::Observation;
use crate::plan::Plan;
use crate::quorum::Quorum;

pub use ledger::Ledger;

/// What an invariant may look at.
pub struct View<'a> {
    pub brokers: &'a BTreeMap<Node, Broker>,
    pub quorum: &'a Quorum,
    pub plan: &'a Plan,
    /// Every partition as last committed.
    pub partitions: &'a BTreeMap<i32, PartitionImage>,
    /// What was committed where, as leaders showed it.
    pub ledger: &'a Ledger,
}

/// Something that must hold.
pub trait Invariant: std::fmt::Debug {
    fn name(&self) -> &'static str;

    /// After each thing that was seen.
    fn on(&mut self, _seen: &Observation, _view: &View<'_>) -> Result<(), String> {
        Ok(())
    }

    /// When all is well again.
    fn at_end(&mut self, _view: &View<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
#[derive(Debug)]
pub struct Watch {
    ledger: Ledger,
    partitions: BTreeMap<i32, PartitionImage>,
    invariants: Vec<Box<dyn Invariant>>,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            ledger: Ledger::default(),
            partitions: BTreeMap::new(),
            invariants: vec![
                Box::new(offsets_keep_their_order::OffsetsKeepTheirOrder),
                Box::new(high_watermark_never_moves_back::HighWatermarkNeverMovesBack::default()),
                Box::new(one_leader_per_epoch::OneLeaderPerEpoch::default()),
                Box::new(partition_epochs_only_grow::PartitionEpochsOnlyGrow::default()),
                Box::new(leader_is_in_sync_and_not_fenced::LeaderIsInSyncAndNotFenced),
                Box::new(in_sync_replicas_hold_all_committed::InSyncReplicasHoldAllCommitted),
                Box::new(acknowledged_records_are_committed::AcknowledgedRecordsAreCommitted),
                Box::new(readers_never_travel_in_time::ReadersNeverTravelInTime),
                Box::new(aborted_records_are_never_read::AbortedRecordsAreNeverRead::default()),
                Box::new(exactly_once_and_in_order::ExactlyOnceAndInOrder),
                Box::new(logs_agree_in_the_end::LogsAgreeInTheEnd),
                Box::new(images_are_deterministic::ImagesAreDeterministic::default()),
                Box::new(snapshot_and_tail_equal_replay::SnapshotAndTailEqualReplay),
                Box::new(eligible_replicas_hold_all_committed::EligibleReplicasHoldAllCommitted),
                Box::new(eligible_replicas_come_second::EligibleReplicasComeSecond::default()),
                Box::new(open_transactions_are_not_stable::OpenTransactionsAreNotStable::default()),
                Box::new(logs_agree_with_themselves::LogsAgreeWithThemselves::default()),
                Box::new(a_finished_reassignment_is_in_sync::AFinishedReassignmentIsInSync::default()),
                Box::new(unfenced_brokers_know_of_their_life::UnfencedBrokersKnowOfTheirLife),
                Box::new(only_those_with_a_say_are_heeded::OnlyThoseWithASayAreHeeded::default()),
                Box::new(who_leaves_is_followed_by_nobody::WhoLeavesIsFollowedByNobody::default()),
                Box::new(silence_ends_a_session::SilenceEndsASession),
                Box::new(leaders_never_unlearn::LeadersNeverUnlearn::default()),
                Box::new(leaders_and_followers_are_of_one_epoch::LeadersAndFollowersAreOfOneEpoch),
                Box::new(nobody_is_proposed_in_vain::NobodyIsProposedInVain),
                Box::new(laggards_are_proposed_to_leave::LaggardsAreProposedToLeave::default()),
                Box::new(failed_disks_are_not_written_on::FailedDisksAreNotWrittenOn),
            ],
        }
    }
}

/// The parts of the world that the invariants look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    pub brokers: &'a BTreeMap<Node, Broker>,
    pub quorum: &'a Quorum,
    pub plan: &'a Plan,
}

impl Watch {
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub fn on(&mut self, seen: &Observation, scene: Scene<'_>) -> Result<(), String> {
        if let Observation::Partition { index, image, .. } = seen {
            self.partitions.insert(*index, image.clone());
        }
        self.ledger
            .on(seen, scene, &self.partitions)
            .map_err(|what| format!("committed records never change: {what}"))?;
        let Scene { brokers, quorum, plan } = scene;
        let view = View { brokers, quorum, plan, partitions: &self.partitions, ledger: &self.ledger };
        for invariant in &mut self.invariants {
            invariant.on(seen, &view).map_err(|what| format!("{}: {what}", invariant.name()))?;
        }
        Ok(())
    }

    pub fn at_end(&mut self, scene: Scene<'_>) -> Result<(), String> {
        let Scene { brokers, quorum, plan } = scene;
        let view = View { brokers, quorum, plan, partitions: &self.partitions, ledger: &self.ledger };
        for invariant in &mut self.invariants {
            invariant.at_end(&view).map_err(|what| format!("{}: {what}", invariant.name()))?;
        }
        Ok(())
    }
}
