//! All shards of one kind of coordinator on this broker, by partition of their topic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ottla_coordinator::shard::{Producer, Shard};
use ottla_protocol::ErrorCode;
use ottla_protocol::compression::Codec;
use ottla_storage::VerificationGuard;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::log::{PartitionLog, TxnMarker};
use super::runtime::{Actions, Answer, Call, ProducerIdSource, QUEUE_MAX, Seat, SharedStatus, Status, World};

/// Partitions of one topic that load at a time: enough to keep a disk busy, few enough not to flood memory.
const LOADS_MAX: usize = 2;

/// The coordinators of one internal topic that this broker leads. Cheap to share behind an `Arc`.
pub struct Host<S: Shard> {
    topic: &'static str,
    clock: Clock,
    write_timeout: Duration,
    producer_ids: ProducerIdSource,
    codec: Codec,
    world: watch::Sender<World<S>>,
    shards: Mutex<HashMap<i32, Hosted<S>>>,
    loads: Arc<Semaphore>,
}

struct Hosted<S: Shard> {
    epoch: i32,
    calls: mpsc::Sender<Call<S>>,
    status: Arc<SharedStatus>,
    settled: watch::Receiver<bool>,
    cancel: CancellationToken,
}

impl<S: Shard> Host<S> {
    pub fn new(
        topic: &'static str,
        clock: Clock,
        world: World<S>,
        write_timeout: Duration,
        producer_ids: ProducerIdSource,
    ) -> Self {
        let (world, _) = watch::channel(world);
        let loads = Arc::new(Semaphore::new(LOADS_MAX));
        Self { topic, clock, write_timeout, producer_ids, codec: Codec::None, world, shards: Mutex::default(), loads }
    }

    /// Records are written in this codec; read they are in any.
    #[must_use]
    pub const fn compressed(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    pub const fn topic(&self) -> &'static str {
        self.topic
    }

    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// This broker leads `partition` since `epoch`: starts loading it. Of no effect when that is known already.
    pub fn elect(&self, partition: i32, epoch: i32, log: Arc<dyn PartitionLog>, actions: Actions<S>) {
        let mut shards = self.shards.lock();
        if shards.get(&partition).is_some_and(|hosted| hosted.epoch == epoch && !hosted.is_over()) {
            return;
        }
        let (calls, queue) = mpsc::channel(QUEUE_MAX);
        let (settled_sender, settled) = watch::channel(false);
        let status = Arc::new(SharedStatus::default());
        let cancel = CancellationToken::new();
        let seat = Seat {
            name: format!("{}-{partition}", self.topic).into(),
            log,
            calls: queue,
            world: self.world.subscribe(),
            clock: self.clock,
            actions,
            producer_ids: Arc::clone(&self.producer_ids),
            status: Arc::clone(&status),
            settled: settled_sender,
            cancel: cancel.clone(),
            loads: Arc::clone(&self.loads),
            write_timeout: self.write_timeout,
            codec: self.codec,
        };
        tokio::spawn(seat.run());
        if let Some(former) = shards.insert(partition, Hosted { epoch, calls, status, settled, cancel }) {
            former.cancel.cancel();
        }
    }

    /// True while `partition` is held since exactly this leader epoch.
    pub fn holds(&self, partition: i32, epoch: i32) -> bool {
        self.shards.lock().get(&partition).is_some_and(|hosted| hosted.epoch == epoch && !hosted.is_over())
    }

    /// This broker no longer leads `partition`.
    pub fn resign(&self, partition: i32) {
        if let Some(hosted) = self.shards.lock().remove(&partition) {
            hosted.cancel.cancel();
        }
    }

    /// Resigns everywhere.
    pub fn shutdown(&self) {
        for (_, hosted) in self.shards.lock().drain() {
            hosted.cancel.cancel();
        }
    }

    /// The metadata or the settings moved on.
    pub fn publish(&self, world: World<S>) {
        self.world.send_replace(world);
    }

    /// What decisions are made with.
    pub fn world(&self) -> World<S> {
        self.world.borrow().clone()
    }

    /// Partitions that are hosted here, with their leader epochs, in order.
    pub fn partitions(&self) -> Vec<(i32, i32)> {
        let mut partitions: Vec<_> = self.shards.lock().iter().map(|(id, hosted)| (*id, hosted.epoch)).collect();
        partitions.sort_unstable();
        partitions
    }

    /// `NOT_COORDINATOR` when the partition is not led here.
    pub fn status(&self, partition: i32) -> Option<Status> {
        self.shards.lock().get(&partition).map(|hosted| hosted.status.get())
    }

    /// Waits until the partition has been loaded; false when it is not led here, or not in time.
    pub async fn wait_loaded(&self, partition: i32, patience: Duration) -> bool {
        let Some(mut settled) = self.shards.lock().get(&partition).map(|hosted| hosted.settled.clone()) else {
            return false;
        };
        let waited = tokio::time::timeout(patience, settled.wait_for(|settled| *settled)).await;
        matches!(waited, Ok(Ok(_))) && self.status(partition) == Some(Status::Active)
    }

    /// Puts a request in the shard's queue: its order is fixed when this returns. The receiver yields the answer.
    ///
    /// # Errors
    /// `NotCoordinator` or `CoordinatorLoadInProgress`.
    pub async fn submit(&self, partition: i32, request: S::Request) -> Result<Waiting<S>, ErrorCode> {
        let (reply, answer) = oneshot::channel();
        self.send(partition, Call::Request { request, verified: None, reply }).await?;
        Ok(Waiting(answer))
    }

    /// Submits and waits; refused when the transaction has ended since it was admitted with `guard` (`None`: since it was
    /// found open).
    ///
    /// # Errors
    /// `InvalidTxnState`, else as [`Host::submit`], or what the shard refused it with.
    pub async fn call_in_transaction(
        &self,
        partition: i32,
        request: S::Request,
        producer: Producer,
        guard: Option<VerificationGuard>,
    ) -> Answer<S> {
        let (reply, answer) = oneshot::channel();
        self.send(partition, Call::Request { request, verified: Some((producer, guard)), reply }).await?;
        Waiting::<S>(answer).answer().await
    }

    /// Submits and waits.
    ///
    /// # Errors
    /// As [`Host::submit`], or what the shard refused it with.
    pub async fn call(&self, partition: i32, request: S::Request) -> Answer<S> {
        self.submit(partition, request).await?.answer().await
    }

    /// Ends a producer's transaction on a partition that is led here.
    ///
    /// # Errors
    /// `NotLeaderOrFollower` (retry elsewhere), `CoordinatorLoadInProgress`, or why the log refused the marker.
    pub async fn write_marker(&self, partition: i32, marker: TxnMarker) -> Result<(), ErrorCode> {
        let (reply, answer) = oneshot::channel();
        let call = Call::Marker { marker, reply };
        self.send(partition, call).await.map_err(|error| match error {
            ErrorCode::NotCoordinator => ErrorCode::NotLeaderOrFollower,
            other => other,
        })?;
        answer.await.unwrap_or(Err(ErrorCode::NotLeaderOrFollower))
    }

    async fn send(&self, partition: i32, call: Call<S>) -> Result<(), ErrorCode> {
        let calls = {
            let shards = self.shards.lock();
            let hosted = shards.get(&partition).ok_or(ErrorCode::NotCoordinator)?;
            match hosted.status.get() {
                Status::Active => hosted.calls.clone(),
                Status::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
                Status::Resigned => return Err(ErrorCode::NotCoordinator),
            }
        };
        calls.send(call).await.map_err(|_| ErrorCode::NotCoordinator)
    }
}

impl<S: Shard> Hosted<S> {
    fn is_over(&self) -> bool {
        self.status.get() == Status::Resigned || self.calls.is_closed()
    }
}

/// A request in a shard's queue.
pub struct Waiting<S: Shard>(oneshot::Receiver<Answer<S>>);

impl<S: Shard> Waiting<S> {
    /// The answer; `NotCoordinator` when the shard went away first.
    ///
    /// # Errors
    /// What the shard refused the request with.
    pub async fn answer(self) -> Answer<S> {
        self.0.await.unwrap_or(Err(ErrorCode::NotCoordinator))
    }
}
