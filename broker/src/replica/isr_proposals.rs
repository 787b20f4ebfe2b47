//! Asks the controller for the in-sync sets that leaders propose (AlterPartition), and looks for followers that lag.

use std::sync::Arc;
use std::time::Duration;

use ottla_controller::{Controller, RequestOrigin};
use ottla_protocol::messages::AlterPartitionRequest;
use ottla_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use ottla_protocol::{BrokerId, ErrorCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::partition::IsrChange;
use super::registry::Partitions;
use crate::clock;
use crate::metadata_cache::MetadataCache;

/// Who proposes, and how often lagging followers are looked for.
#[derive(Debug, Clone)]
pub struct Proposer {
    pub local: BrokerId,
    pub broker_epoch: i64,
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
    let work = Arc::new(Work { controller, partitions, metadata, proposer });
    tokio::spawn(async move {
        let mut lag_check = tokio::time::interval(work.proposer.lag_check);
        lag_check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Some(change) => work.propose(change).await,
                    None => return,
                },
                _ = lag_check.tick() => work.check_lag(),
            }
        }
    })
}

struct Work {
    controller: Controller,
    partitions: Partitions,
    metadata: MetadataCache,
    proposer: Proposer,
}

impl Work {
    /// Followers that lag are proposed to leave.
    fn check_lag(&self) {
        // A cluster of one has nobody to wait for.
        if self.metadata.load().brokers.len() < 2 {
            return;
        }
        let now = clock::now();
        for partition in self.partitions.iter() {
            partition.check_lag(now);
        }
    }

    async fn propose(&self, change: IsrChange) {
        let image = self.metadata.load();
        let epoch_of = |broker: &BrokerId| image.brokers.get(broker).map_or(-1, |broker| broker.epoch);
        let isr =
            change.proposal.isr.iter().map(|broker| {
                BrokerState::default().with_broker_id(broker.0.into()).with_broker_epoch(epoch_of(broker))
            });
        let data = PartitionData::default()
            .with_partition_index(change.index)
            .with_leader_epoch(change.leader_epoch.0)
            .with_partition_epoch(change.proposal.partition_epoch)
            .with_new_isr_with_epochs(isr.collect());
        let request = AlterPartitionRequest::default()
            .with_broker_id(self.proposer.local.0.into())
            .with_broker_epoch(self.proposer.broker_epoch)
            .with_topics(vec![TopicData::default().with_topic_id(change.topic_id.0).with_partitions(vec![data])]);
        let answer = self.controller.alter_partition(RequestOrigin::internal(), request).await;
        let Ok(partition) = self.partitions.get_by_id(change.topic_id, change.index) else { return };
        let answered = answer.ok().map(|committed| committed.response).and_then(|response| {
            let of_topic = response.topics.into_iter().find(|topic| topic.topic_id == change.topic_id.0)?;
            of_topic.partitions.into_iter().find(|answer| answer.partition_index == change.index)
        });
        match answered {
            Some(answer) if answer.error_code == ErrorCode::None as i16 => {
                let isr = answer.isr.iter().map(|broker| BrokerId(broker.0)).collect();
                partition.on_isr_committed(change.leader_epoch, isr, answer.partition_epoch, clock::now());
            }
            // Refused, or nobody knows: the metadata tells what holds, and a follower's next fetch proposes again.
            _ => partition.on_isr_refused(change.leader_epoch, clock::now()),
        }
    }
}
