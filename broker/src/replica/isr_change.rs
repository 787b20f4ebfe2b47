//! What a leader wants of the controller, on its way from the partition to those who ask.

use std::sync::Arc;

use ottla_protocol::{LeaderEpoch, TopicId};
use ottla_replication::IsrProposal;
use tokio::sync::mpsc;

/// A change of an in-sync set that the controller is to be asked for.
#[derive(Debug)]
pub struct IsrChange {
    pub partition: Arc<str>,
    pub index: i32,
    pub topic_id: TopicId,
    pub leader_epoch: LeaderEpoch,
    pub proposal: IsrProposal,
    /// The registration of each member of the proposed set as it last fetched; -1 where that is not known.
    pub broker_epochs: Vec<i64>,
}

/// Where leaders leave their proposals.
pub type IsrProposals = mpsc::UnboundedSender<IsrChange>;
