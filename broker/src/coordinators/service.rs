//! The coordinators of this broker: which partitions they hold, and how a request finds its own.

use std::sync::Arc;
use std::time::Duration;

use ottla_controller::Controller;
use ottla_coordinator::group::GroupShard;
use ottla_coordinator::shard::{Producer, Shard};
use ottla_coordinator::transaction::{TransactionRequest, TransactionResponse, TransactionShard};
use ottla_decisions::RequestOrigin;
use ottla_metadata::MetadataImage;
use ottla_protocol::messages::{self, AllocateProducerIdsRequest};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, TopicPartition};
use ottla_storage::VerificationGuard;

use super::clock::Clock;
use super::host::Host;
use super::internal_topics::{GROUP_TOPIC, InternalTopics, TRANSACTION_TOPIC, led_here, partition_count};
use super::markers::MarkerWriter;
use super::partition_log::LedPartition;
use super::placement::partition_for;
use super::producer_ids::{FetchBlock, ProducerIds};
use super::remote_gate::RemoteGate;
use super::runtime::{Actions, World};
use super::{group, settings};
use crate::config::Effective;
use crate::metadata_cache::MetadataCache;
use crate::peer::Neighbours;
use crate::publisher::Publisher;
use crate::replica::Partitions;

/// How long FindCoordinator waits for a new topic's leader, or for a partition to be loaded, before the client has to ask
/// again.
const FIND_PATIENCE: Duration = Duration::from_secs(5);
/// How long a record may take to be committed before its client is told to try again.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The kinds of coordinators. The numbers are FindCoordinator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Group = 0,
    Transaction = 1,
}

impl Kind {
    /// From FindCoordinator's key type; share coordinators are not built.
    pub const fn from_key_type(key_type: i8) -> Option<Self> {
        match key_type {
            0 => Some(Self::Group),
            1 => Some(Self::Transaction),
            _ => None,
        }
    }

    /// The coordinators that keep their state in a topic.
    pub fn of_topic(topic: &str) -> Option<Self> {
        [Self::Group, Self::Transaction].into_iter().find(|kind| kind.topic() == topic)
    }

    const fn topic(self) -> &'static str {
        match self {
            Self::Group => GROUP_TOPIC,
            Self::Transaction => TRANSACTION_TOPIC,
        }
    }
}

/// What the coordinators need of the house.
#[derive(Clone)]
pub struct Needs {
    pub controller: Controller,
    pub publisher: Publisher,
    pub metadata: MetadataCache,
    pub effective: Effective,
    pub partitions: Partitions,
}

/// All coordinators of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Coordinators(Arc<Inner>);

struct Inner {
    needs: Needs,
    local: BrokerId,
    groups: Arc<Host<GroupShard>>,
    transactions: Arc<Host<TransactionShard>>,
    producer_ids: ProducerIds,
    topics: InternalTopics,
    markers: MarkerWriter,
    gate: RemoteGate,
}

impl Coordinators {
    /// Starts following the metadata: what this broker leads of the internal topics is loaded from now on.
    pub fn start(needs: Needs) -> Self {
        let local = needs.effective.settings.node_id;
        let clock = Clock::system();
        let image = needs.metadata.load();
        let of_logs = needs.partitions.clone();
        let producer_ids = ProducerIds::new(block_fetcher(&needs, local), move || {
            let known = of_logs.iter().into_iter().filter_map(|partition| partition.log().last_producer_id());
            known.max().map_or(0, |last| last.0 + 1)
        });
        let ids = producer_ids.clone();
        let groups = Host::new(
            GROUP_TOPIC,
            clock,
            World { image: Arc::clone(&image), config: Arc::new(settings::group_config(&needs.effective, &image)) },
            WRITE_TIMEOUT,
            Arc::new(|| None),
        );
        let groups = Arc::new(groups.compressed(settings::offsets_codec(&needs.effective, &image)));
        let transactions = Arc::new(Host::new(
            TRANSACTION_TOPIC,
            clock,
            World {
                image: Arc::clone(&image),
                config: Arc::new(settings::transaction_config(&needs.effective, &image)),
            },
            WRITE_TIMEOUT,
            Arc::new(move || ids.take()),
        ));
        let topics = InternalTopics::new(
            needs.controller.clone(),
            needs.publisher.clone(),
            needs.metadata.clone(),
            needs.effective.clone(),
        );
        let settings = &needs.effective.settings;
        let request_timeout =
            Duration::from_millis(u64::try_from(settings.i64("request.timeout.ms")).unwrap_or(30_000));
        let (id, listener) = (settings.node_id, settings.listener_between_brokers());
        let neighbours = |purpose| Neighbours::new(id, listener, needs.metadata.clone(), purpose, request_timeout);
        let markers = MarkerWriter::new(
            local,
            needs.partitions.clone(),
            needs.metadata.clone(),
            Arc::clone(&groups),
            Arc::clone(&transactions),
            neighbours("markers"),
        );
        let gate = RemoteGate::new(neighbours("transactions"));
        let coordinators =
            Self(Arc::new(Inner { needs, local, groups, transactions, producer_ids, topics, markers, gate }));
        coordinators.apply(&Arc::new(MetadataImage::default()), &image);
        tokio::spawn(coordinators.clone().follow(image));
        coordinators
    }

    /// Resigns from everything.
    pub fn shutdown(&self) {
        self.0.groups.shutdown();
        self.0.transactions.shutdown();
    }

    pub fn groups(&self) -> &Arc<Host<GroupShard>> {
        &self.0.groups
    }

    pub fn transactions(&self) -> &Arc<Host<TransactionShard>> {
        &self.0.transactions
    }

    pub fn producer_ids(&self) -> &ProducerIds {
        &self.0.producer_ids
    }

    pub fn markers(&self) -> &MarkerWriter {
        &self.0.markers
    }

    /// The partition of the internal topic that a key belongs to.
    pub fn partition_for(&self, kind: Kind, key: &str) -> i32 {
        let image = self.0.needs.metadata.load();
        partition_for(key, partition_count(kind.topic(), &image, &self.0.needs.effective))
    }

    /// The partition of `__consumer_offsets` that holds a group.
    pub fn group_partition(&self, group: &str) -> TopicPartition {
        TopicPartition::new(GROUP_TOPIC, self.partition_for(Kind::Group, group))
    }

    /// Before the transaction coordinator is asked whether a transaction may commit offsets of a group: the guard for
    /// [`Host::call_in_transaction`], `None` when the transaction is open on the group's partition.
    ///
    /// # Errors
    /// `NotCoordinator` when the group is not held here.
    pub fn start_verification(
        &self,
        group_partition: &TopicPartition,
        producer: Producer,
        adds_partitions: bool,
    ) -> Result<Option<VerificationGuard>, ErrorCode> {
        let replica = self.0.needs.partitions.get(&group_partition.topic, group_partition.partition);
        let replica = replica.map_err(|_| ErrorCode::NotCoordinator)?;
        // Coordinators' records have no sequence.
        let now = self.0.groups.clock().now();
        Ok(replica.log().start_verification((producer.id, producer.epoch), -1, adds_partitions, now))
    }

    /// Returns once the topic of these coordinators can be used here, having created it if need be.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn ensure_topic(&self, kind: Kind) -> Result<(), ErrorCode> {
        self.0.topics.ensure(kind.topic()).await
    }

    /// Finds the broker that coordinates `key`, making the internal topic if there is none. Where that is this broker,
    /// its partition is loaded on return, so that the client's next request is served.
    ///
    /// # Errors
    /// `CoordinatorNotAvailable` when there is none just now.
    pub async fn find(&self, kind: Kind, key: &str) -> Result<BrokerId, ErrorCode> {
        self.ensure_topic(kind).await.map_err(|_| ErrorCode::CoordinatorNotAvailable)?;
        let partition = self.partition_for(kind, key);
        let mut applied = self.0.needs.publisher.applied();
        let led = applied.wait_for(|image| {
            image.topics.partition(kind.topic(), partition).is_some_and(|partition| partition.leader.is_some())
        });
        let leader = match tokio::time::timeout(FIND_PATIENCE, led).await {
            Ok(Ok(image)) => image.topics.partition(kind.topic(), partition).and_then(|partition| partition.leader),
            _ => None,
        };
        let leader = leader.ok_or(ErrorCode::CoordinatorNotAvailable)?;
        if leader == self.0.local {
            // The election follows the image within the same moment; it may not have been seen yet.
            self.elect_led(&self.0.needs.metadata.load());
            let loaded = match kind {
                Kind::Group => self.0.groups.wait_loaded(partition, FIND_PATIENCE).await,
                Kind::Transaction => self.0.transactions.wait_loaded(partition, FIND_PATIENCE).await,
            };
            if !loaded {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
        }
        Ok(leader)
    }

    /// Asks the transaction coordinator on this broker.
    ///
    /// # Errors
    /// What the request is refused with; `NotCoordinator` when its partition is not led here.
    pub async fn transaction(
        &self,
        transactional_id: &str,
        request: TransactionRequest,
    ) -> Result<TransactionResponse, ErrorCode> {
        // A shard cannot wait for ids. Everything else goes on while there is no controller that hands them out.
        if request.may_take_producer_id() {
            self.0.producer_ids.ensure().await;
        }
        let partition = self.partition_for(Kind::Transaction, transactional_id);
        self.0.transactions.call(partition, request).await
    }

    /// Checks that partitions belong to the producer's open transaction, adding them if the client's transaction version
    /// leaves that to the broker (KIP-890). `None` is as good as `ErrorCode::None` for each.
    ///
    /// # Errors
    /// What to refuse all of them with.
    pub async fn verify_or_add(
        &self,
        transactional_id: &str,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        add: bool,
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode> {
        let partition = self.partition_for(Kind::Transaction, transactional_id);
        let image = self.0.needs.metadata.load();
        match image.topics.partition(TRANSACTION_TOPIC, partition).and_then(|partition| partition.leader) {
            None => return Err(ErrorCode::CoordinatorNotAvailable),
            Some(leader) if leader != self.0.local => {
                return self.0.gate.ask(leader, transactional_id, producer, partitions, add).await;
            }
            Some(_) => {}
        }
        let id: Arc<str> = transactional_id.into();
        let all: Vec<_> = partitions.iter().cloned().map(|partition| (partition, ErrorCode::None)).collect();
        let request = if add {
            TransactionRequest::AddPartitions { transactional_id: id, producer, partitions, client_version: 2 }
        } else {
            TransactionRequest::VerifyPartitions { transactional_id: id, producer, partitions }
        };
        match self.transaction(transactional_id, request).await? {
            TransactionResponse::Verified(verified) => Ok(verified),
            _ => Ok(all),
        }
    }

    /// As [`Coordinators::verify_or_add`] with `add`, asking again for a moment while the transaction before is being completed.
    ///
    /// # Errors
    /// What to refuse all of them with.
    pub async fn add_when_complete(
        &self,
        transactional_id: &str,
        producer: Producer,
        partitions: Vec<TopicPartition>,
    ) -> Result<Vec<(TopicPartition, ErrorCode)>, ErrorCode> {
        let image = self.0.needs.metadata.load();
        let (pause, patience) = settings::add_partitions_retry(&self.0.needs.effective, &image);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let answer = self.verify_or_add(transactional_id, producer, partitions.clone(), true).await;
            let is_busy = match &answer {
                Err(error) => *error == ErrorCode::ConcurrentTransactions,
                Ok(partitions) => partitions.iter().any(|(_, error)| *error == ErrorCode::ConcurrentTransactions),
            };
            if !is_busy || tokio::time::Instant::now() + pause >= deadline {
                return answer;
            }
            tokio::time::sleep(pause).await;
        }
    }

    async fn follow(self, mut seen: Arc<MetadataImage>) {
        let mut applied = self.0.needs.publisher.applied();
        while applied.changed().await.is_ok() {
            let image = applied.borrow_and_update().clone();
            self.apply(&seen, &image);
            seen = image;
        }
        self.shutdown();
    }

    fn apply(&self, old: &Arc<MetadataImage>, new: &Arc<MetadataImage>) {
        let effective = &self.0.needs.effective;
        self.0
            .groups
            .publish(World { image: Arc::clone(new), config: Arc::new(settings::group_config(effective, new)) });
        self.0
            .transactions
            .publish(World { image: Arc::clone(new), config: Arc::new(settings::transaction_config(effective, new)) });
        for (topic, host) in [(GROUP_TOPIC, &*self.0.groups as &dyn Holds), (TRANSACTION_TOPIC, &*self.0.transactions)]
        {
            let led = led_here(new, topic, self.0.local);
            for (partition, _) in host.held() {
                if !led.iter().any(|(index, _)| *index == partition) {
                    host.resign(partition);
                }
            }
        }
        self.elect_led(new);
        group::forget_deleted_topics(&self.0.groups, old, new);
    }

    fn elect_led(&self, image: &MetadataImage) {
        for (partition, epoch) in led_here(image, GROUP_TOPIC, self.0.local) {
            self.elect(&self.0.groups, partition, epoch, || Arc::new(group::carry_out));
        }
        for (partition, epoch) in led_here(image, TRANSACTION_TOPIC, self.0.local) {
            let markers = self.0.markers.clone();
            self.elect(&self.0.transactions, partition, epoch, || markers.actions(partition, epoch));
        }
    }

    fn elect<S: Shard>(&self, host: &Host<S>, partition: i32, epoch: i32, actions: impl FnOnce() -> Actions<S>) {
        if host.holds(partition, epoch) {
            return;
        }
        match self.0.needs.partitions.get(host.topic(), partition) {
            Ok(replica) => {
                host.elect(partition, epoch, Arc::new(LedPartition::new(replica, LeaderEpoch(epoch))), actions());
            }
            Err(error) => {
                tracing::error!(
                    topic = host.topic(),
                    partition,
                    ?error,
                    "the metadata names this broker, but there is no replica"
                );
            }
        }
    }
}

/// The part of a host that does not depend on what it hosts.
trait Holds {
    fn held(&self) -> Vec<(i32, i32)>;
    fn resign(&self, partition: i32);
}

impl<S: Shard> Holds for Host<S> {
    fn held(&self) -> Vec<(i32, i32)> {
        self.partitions()
    }

    fn resign(&self, partition: i32) {
        Host::resign(self, partition);
    }
}

fn block_fetcher(needs: &Needs, local: BrokerId) -> FetchBlock {
    let (controller, metadata) = (needs.controller.clone(), needs.metadata.clone());
    Arc::new(move || {
        let (controller, metadata) = (controller.clone(), metadata.clone());
        Box::pin(async move {
            let broker_epoch = metadata.load().brokers.get(&local).map_or(-1, |broker| broker.epoch);
            let request = AllocateProducerIdsRequest::default()
                .with_broker_id(messages::BrokerId(local.0))
                .with_broker_epoch(broker_epoch);
            let answer = controller.allocate_producer_ids(RequestOrigin::internal(), request).await?.response;
            match ErrorCode::from_code(answer.error_code) {
                Some(ErrorCode::None) => Ok((answer.producer_id_start.0, answer.producer_id_len)),
                Some(error) => Err(error),
                None => Err(ErrorCode::UnknownServerError),
            }
        })
    })
}
