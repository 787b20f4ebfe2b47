//! Writes the markers that end a transaction, on every partition that took part, until each has one: here, or by the
//! leader on another broker.

mod couriers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_coordinator::group::GroupShard;
use ottla_coordinator::transaction::{Markers, TransactionAction, TransactionRequest, TransactionShard};
use ottla_protocol::{BrokerId, ErrorCode, TopicPartition};
use ottla_storage::AppendOrigin;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::host::Host;
use super::internal_topics::GROUP_TOPIC;
use super::log::TxnMarker;
use super::runtime::Actions;
use crate::metadata_cache::MetadataCache;
use crate::peer::Neighbours;
use crate::replica::{LeaderAppend, Partitions};

use self::couriers::{Couriers, Errand};

/// Between two tries of a marker that cannot be written yet.
const RETRY_AFTER: Duration = Duration::from_millis(20);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);
/// How long one marker waits to be on the whole in-sync set.
const MARKER_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes markers to the partitions of this broker, and has them written on others. Cheap to clone.
#[derive(Clone)]
pub struct MarkerWriter {
    local: BrokerId,
    partitions: Partitions,
    metadata: MetadataCache,
    groups: Arc<Host<GroupShard>>,
    transactions: Arc<Host<TransactionShard>>,
    couriers: Couriers,
}

/// What became of a marker that was not written.
enum Failure {
    /// Try again, perhaps elsewhere.
    Retry(ErrorCode),
    /// A later producer or coordinator has taken over: this transaction is no longer ours to end.
    Fenced(ErrorCode),
    /// The partition is gone, or never had anything of the transaction.
    Moot,
}

const fn judge(error: ErrorCode) -> Failure {
    match error {
        ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced | ErrorCode::TransactionCoordinatorFenced => {
            Failure::Fenced(error)
        }
        ErrorCode::UnsupportedForMessageFormat | ErrorCode::UnsupportedVersion => Failure::Moot,
        other => Failure::Retry(other),
    }
}

impl MarkerWriter {
    pub(super) fn new(
        local: BrokerId,
        partitions: Partitions,
        metadata: MetadataCache,
        groups: Arc<Host<GroupShard>>,
        transactions: Arc<Host<TransactionShard>>,
        neighbours: Neighbours,
    ) -> Self {
        Self { local, partitions, metadata, groups, transactions, couriers: Couriers::new(neighbours) }
    }

    /// Carries out what the coordinator of one partition, elected at `epoch`, asks for.
    pub(super) fn actions(&self, partition: i32, epoch: i32) -> Actions<TransactionShard> {
        let writer = self.clone();
        Arc::new(move |action| match action {
            TransactionAction::SendMarkers(markers) => {
                tokio::spawn(writer.clone().send(partition, epoch, markers));
            }
            TransactionAction::Fenced { transactional_id, producer, reason, started } => tracing::info!(
                transactional_id = ?transactional_id, producer_id = producer.id.0, epoch = producer.epoch.0,
                started_ms = started.0, reason, "transaction aborted"
            ),
        })
    }

    /// Writes one marker here.
    ///
    /// # Errors
    /// `NotLeaderOrFollower` or `UnknownTopicOrPartition` when the partition is not led here, else why the log refused.
    pub async fn write(&self, partition: &TopicPartition, marker: TxnMarker) -> Result<(), ErrorCode> {
        if &*partition.topic == GROUP_TOPIC {
            // The group coordinator is the only writer of its partitions, and has to see the marker.
            return self.groups.write_marker(partition.partition, marker).await;
        }
        let replica = self.partitions.get(&partition.topic, partition.partition)?;
        let now = self.groups.clock().now();
        let (batch, verification) = marker.batch(now);
        let how =
            LeaderAppend { required_acks: -1, origin: AppendOrigin::Coordinator, now, verification, only_at: None };
        let info = replica.append_as_leader(batch, &how).map_err(|error| error.error_code())?;
        let deadline = Instant::now() + MARKER_TIMEOUT;
        replica.wait_for_high_watermark(info.last_offset.plus(1), info.leader_epoch, deadline).await
    }

    /// Until all are written, or the coordinator has moved away: then its successor sends them again.
    async fn send(self, coordinator: i32, epoch: i32, markers: Markers) {
        let mut open: Vec<TopicPartition> = markers.partitions.to_vec();
        let mut wait = RETRY_AFTER;
        loop {
            let mut left = Vec::new();
            for (partition, written) in self.round(epoch, &markers, open).await {
                match written.map_err(judge) {
                    Ok(()) | Err(Failure::Moot) => {}
                    Err(Failure::Fenced(error)) => {
                        tracing::info!(transactional_id = ?markers.transactional_id, %partition, ?error, "marker refused for good");
                    }
                    Err(Failure::Retry(error)) => {
                        tracing::debug!(transactional_id = ?markers.transactional_id, %partition, ?error, "marker is tried again");
                        left.push(partition);
                    }
                }
            }
            open = left;
            if open.is_empty() && self.complete(coordinator, &markers).await {
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_AFTER_MAX);
            if !self.transactions.holds(coordinator, epoch) {
                return;
            }
        }
    }

    /// Tries all partitions at once, each at its leader of the moment; those that are gone are left out.
    async fn round(
        &self,
        epoch: i32,
        markers: &Markers,
        open: Vec<TopicPartition>,
    ) -> Vec<(TopicPartition, Result<(), ErrorCode>)> {
        let image = self.metadata.load();
        let marker = TxnMarker {
            producer: markers.producer,
            coordinator_epoch: epoch,
            commit: markers.commit,
            transaction_version: markers.client_version,
        };
        let mut elsewhere: BTreeMap<BrokerId, Vec<TopicPartition>> = BTreeMap::new();
        let mut tries: JoinSet<Vec<(TopicPartition, Result<(), ErrorCode>)>> = JoinSet::new();
        let mut done = Vec::new();
        for partition in open {
            match image.topics.partition(&partition.topic, partition.partition).map(|found| found.leader) {
                // The metadata knows no such partition (any more): nobody can read what it held.
                None => {}
                Some(None) => done.push((partition, Err(ErrorCode::LeaderNotAvailable))),
                Some(Some(leader)) if leader == self.local => {
                    let writer = self.clone();
                    tries.spawn(async move {
                        let written = writer.write(&partition, marker).await;
                        vec![(partition, written)]
                    });
                }
                Some(Some(leader)) => elsewhere.entry(leader).or_default().push(partition),
            }
        }
        for (leader, partitions) in elsewhere {
            let errand = Errand { marker, partitions: partitions.clone() };
            let couriers = self.couriers.clone();
            tries.spawn(async move {
                match couriers.send(leader, errand).await {
                    Ok(written) => written,
                    Err(error) => partitions.into_iter().map(|partition| (partition, Err(error))).collect(),
                }
            });
        }
        while let Some(tried) = tries.join_next().await {
            // A try that panicked is logged by the runtime; its partitions must not be taken for written.
            match tried {
                Ok(tried) => done.extend(tried),
                Err(error) => {
                    if let Ok(panic) = error.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
        done
    }

    async fn complete(&self, coordinator: i32, markers: &Markers) -> bool {
        let said = TransactionRequest::MarkersWritten {
            transactional_id: Arc::clone(&markers.transactional_id),
            producer: markers.producer,
        };
        match self.transactions.call(coordinator, said).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(transactional_id = ?markers.transactional_id, ?error, "completion is tried again");
                false
            }
        }
    }

    /// This broker.
    pub const fn local(&self) -> BrokerId {
        self.local
    }
}
