//! Asks the controller for the in-sync sets that leaders propose (AlterPartition), and looks for followers that lag.
//!
//! A proposal stays open until the controller has answered it for certain or newer metadata has overtaken it: as long as
//! the controller may have committed it, the high watermark waits for the larger set (KIP-497).

use std::collections::BTreeMap;
use std::time::Duration;

use ottla_controller::{Controller, RequestOrigin};
use ottla_protocol::messages::AlterPartitionRequest;
use ottla_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use ottla_protocol::messages::alter_partition_response::PartitionData as Answer;
use ottla_protocol::{BrokerId, ErrorCode, TopicId};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::isr_change::IsrChange;
use super::registry::Partitions;
use crate::clock;
use crate::metadata_cache::MetadataCache;

/// Proposals that travel together.
const BATCH_MAX: usize = 1000;
/// Partitions that are checked before others on this thread get their turn.
const CHECKED_AT_ONCE: usize = 512;
/// In-sync sets that are told one by one in the log; of more only the number is.
const TOLD_ONE_BY_ONE_MAX: usize = 20;
/// Before proposals are sent again of which nobody knows what became.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Who proposes, and how often lagging followers are looked for.
#[derive(Debug, Clone)]
pub struct Proposer {
    pub local: BrokerId,
    /// Half of `replica.lag.time.max.ms`, as in Kafka.
    pub lag_check: Duration,
}

/// Starts the task; it ends when every partition is gone.
pub fn start(
    controller: Controller,
    partitions: Partitions,
    metadata: MetadataCache,
    proposer: Proposer,
    mut changes: mpsc::UnboundedReceiver<IsrChange>,
) -> JoinHandle<()> {
    let work = Work { controller, partitions, metadata, local: proposer.local };
    tokio::spawn(async move {
        let mut lag_check = tokio::time::interval(proposer.lag_check);
        lag_check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut open = Vec::new();
        loop {
            tokio::select! {
                received = changes.recv_many(&mut open, BATCH_MAX) => if received == 0 { return },
                () = tokio::time::sleep(RETRY_AFTER), if !open.is_empty() => {}
                _ = lag_check.tick() => {
                    work.check_lag().await;
                    continue;
                }
            }
            open = work.propose(open).await;
        }
    })
}

struct Work {
    controller: Controller,
    partitions: Partitions,
    metadata: MetadataCache,
    local: BrokerId,
}

/// What an answer means for a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// It will never be committed.
    Refused,
    /// Something newer holds at the controller, and is on its way here: until it comes the proposal counts.
    Overtaken,
    /// Nobody knows: ask again.
    Unknown,
}

const fn judge(code: ErrorCode) -> Fate {
    match code {
        ErrorCode::None => Fate::Committed,
        ErrorCode::IneligibleReplica | ErrorCode::OperationNotAttempted => Fate::Refused,
        ErrorCode::InvalidUpdateVersion
        | ErrorCode::FencedLeaderEpoch
        | ErrorCode::NewLeaderElected
        | ErrorCode::InvalidRequest
        | ErrorCode::UnknownTopicId
        | ErrorCode::UnknownTopicOrPartition => Fate::Overtaken,
        _ => Fate::Unknown,
    }
}

impl Work {
    /// Followers that lag are proposed to leave.
    async fn check_lag(&self) {
        // A cluster of one has nobody to wait for.
        if self.metadata.load().brokers.len() < 2 {
            return;
        }
        for some in self.partitions.iter().chunks(CHECKED_AT_ONCE) {
            let now = clock::steady();
            some.iter().for_each(|partition| partition.check_lag(now));
            tokio::task::yield_now().await;
        }
    }

    /// Sends what still stands of the proposals; those that nobody knows the fate of come back.
    async fn propose(&self, mut changes: Vec<IsrChange>) -> Vec<IsrChange> {
        changes.retain(|change| {
            let partition = self.partitions.get_by_id(change.topic_id, change.index);
            partition.is_ok_and(|partition| {
                partition.is_still_proposed(change.leader_epoch, change.proposal.partition_epoch)
            })
        });
        if changes.is_empty() {
            return changes;
        }
        let broker_epoch = self.metadata.load().brokers.get(&self.local).map_or(-1, |broker| broker.epoch);
        let request = request(self.local, broker_epoch, &changes);
        let answer = self.controller.alter_partition(RequestOrigin::internal(), request).await;
        let response = match answer {
            Ok(committed) if committed.response.error_code == ErrorCode::None.code() => committed.response,
            Ok(committed) => {
                tracing::debug!(error = committed.response.error_code, "in-sync sets are proposed again");
                return changes;
            }
            Err(error) => {
                tracing::debug!(?error, "in-sync sets are proposed again");
                return changes;
            }
        };
        let mut answers: BTreeMap<(TopicId, i32), Answer> = BTreeMap::new();
        for topic in response.topics {
            let id = TopicId(topic.topic_id);
            answers.extend(topic.partitions.into_iter().map(|answer| ((id, answer.partition_index), answer)));
        }
        let asked = changes.len();
        let is_many = asked > TOLD_ONE_BY_ONE_MAX;
        changes.retain(|change| match answers.remove(&(change.topic_id, change.index)) {
            Some(answer) => self.settle(change, &answer, is_many),
            None => true,
        });
        if is_many {
            tracing::info!(partitions = asked - changes.len(), "in-sync sets");
        }
        changes
    }

    /// Tells the partition what became of its proposal; true when that is not known yet.
    fn settle(&self, change: &IsrChange, answer: &Answer, is_one_of_many: bool) -> bool {
        let code = ErrorCode::from_code(answer.error_code).unwrap_or(ErrorCode::UnknownServerError);
        let Ok(partition) = self.partitions.get_by_id(change.topic_id, change.index) else { return false };
        let fate = judge(code);
        if fate != Fate::Committed {
            tracing::debug!(partition = %partition.id(), ?code, isr = ?change.proposal.isr, "in-sync set was not taken");
        }
        match fate {
            Fate::Committed => {
                let isr: Vec<BrokerId> = answer.isr.iter().map(|broker| BrokerId(broker.0)).collect();
                let epoch = answer.partition_epoch;
                let ids: Vec<i32> = isr.iter().map(|broker| broker.0).collect();
                if is_one_of_many {
                    tracing::debug!(partition = %partition.id(), isr = ?ids, partition_epoch = epoch, "in-sync set");
                } else {
                    tracing::info!(partition = %partition.id(), isr = ?ids, partition_epoch = epoch, "in-sync set");
                }
                partition.on_isr_committed(change.leader_epoch, isr, answer.partition_epoch, clock::steady());
            }
            Fate::Refused => {
                partition.on_isr_refused(change.leader_epoch, change.proposal.partition_epoch, clock::steady());
            }
            Fate::Overtaken => {}
            Fate::Unknown => return true,
        }
        false
    }
}

fn request(local: BrokerId, broker_epoch: i64, changes: &[IsrChange]) -> AlterPartitionRequest {
    let mut topics: BTreeMap<TopicId, Vec<PartitionData>> = BTreeMap::new();
    for change in changes {
        let isr = change.proposal.isr.iter().zip(&change.broker_epochs).map(|(&broker, &epoch)| {
            let epoch = if broker == local { broker_epoch } else { epoch };
            BrokerState::default().with_broker_id(broker.0.into()).with_broker_epoch(epoch)
        });
        let data = PartitionData::default()
            .with_partition_index(change.index)
            .with_leader_epoch(change.leader_epoch.0)
            .with_partition_epoch(change.proposal.partition_epoch)
            .with_new_isr_with_epochs(isr.collect());
        topics.entry(change.topic_id).or_default().push(data);
    }
    let topics = topics.into_iter().map(|(id, data)| TopicData::default().with_topic_id(id.0).with_partitions(data));
    AlterPartitionRequest::default()
        .with_broker_id(local.0.into())
        .with_broker_epoch(broker_epoch)
        .with_topics(topics.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_that_may_have_been_committed_stays_open() {
        assert_eq!(judge(ErrorCode::RequestTimedOut), Fate::Unknown);
        assert_eq!(judge(ErrorCode::NotController), Fate::Unknown);
        // The answer to an earlier try was lost: its outcome comes with the metadata.
        assert_eq!(judge(ErrorCode::InvalidUpdateVersion), Fate::Overtaken);
        assert_eq!(judge(ErrorCode::IneligibleReplica), Fate::Refused);
    }
}
