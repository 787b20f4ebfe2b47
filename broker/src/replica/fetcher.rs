//! Follows leaders on other brokers: one task per source broker (and per shard of it, `num.replica.fetchers`).
//!
//! ```text
//!   assignment ──follow / forget──► Fetchers ──► Fetcher of broker 2 ──Fetch──► broker 2
//!                                      │                └─ append, truncate, high watermark: Partition (follower)
//!                                      └──────► Fetcher of broker 3 ──Fetch──► broker 3
//! ```
//!
//! Requests go in one incremental fetch session (KIP-227): what did not change is not said again. A partition that fails
//! waits by itself; the others go on. When partitions are added while a request waits at the leader, the next one is sent
//! behind it at once, and the leader ends the one that waits.

mod session;
mod task;

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::messages::{FetchRequest, FetchResponse};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, TopicId};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::partition::Partition;
use super::throttle::Throttle;
use crate::config::Settings;

/// A partition as fetchers know it.
type Key = (TopicId, i32);

/// What a call to a leader comes to.
pub type Called<T> = Pin<Box<dyn Future<Output = Result<T, ErrorCode>> + Send>>;

/// The way to leaders on other brokers.
pub trait Leaders: Send + Sync + 'static {
    /// Sends a fetch. Requests to one broker and shard arrive in the order of the calls.
    fn fetch(&self, source: BrokerId, shard: usize, request: FetchRequest) -> Called<FetchResponse>;

    /// Where a leader's log starts and ends.
    fn log_range(
        &self,
        source: BrokerId,
        topic: Arc<str>,
        partition: i32,
        epoch: LeaderEpoch,
    ) -> Called<(Offset, Offset)>;

    /// The registration of this broker, which its fetches name; `None` while it has none.
    fn own_epoch(&self) -> Option<i64>;
}

/// Kafka's `replica.fetch.*`.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    pub local: BrokerId,
    /// `num.replica.fetchers`
    pub shards: usize,
    /// `replica.fetch.wait.max.ms`
    pub wait_max_ms: i32,
    /// `replica.fetch.min.bytes`
    pub min_bytes: i32,
    /// `replica.fetch.response.max.bytes`
    pub response_max_bytes: i32,
    /// `replica.fetch.max.bytes`: of one partition.
    pub partition_max_bytes: i32,
    /// `replica.fetch.backoff.ms`: the longest pause after failures; the first ones are short.
    pub backoff_max: Duration,
}

impl FetchOptions {
    pub fn new(settings: &Settings) -> Self {
        Self {
            local: settings.node_id,
            shards: settings.usize("num.replica.fetchers").max(1),
            wait_max_ms: settings.i32("replica.fetch.wait.max.ms"),
            min_bytes: settings.i32("replica.fetch.min.bytes"),
            response_max_bytes: settings.i32("replica.fetch.response.max.bytes"),
            partition_max_bytes: settings.i32("replica.fetch.max.bytes"),
            backoff_max: Duration::from_millis(u64::try_from(settings.i64("replica.fetch.backoff.ms")).unwrap_or(0)),
        }
    }
}

enum Command {
    Follow { partition: Arc<Partition>, epoch: LeaderEpoch },
    Forget(Key),
}

/// All fetchers of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Fetchers(Arc<Inner>);

struct Inner {
    leaders: Arc<dyn Leaders>,
    options: FetchOptions,
    throttle: Arc<Throttle>,
    state: Mutex<State>,
    cancel: CancellationToken,
}

#[derive(Default)]
struct State {
    tasks: HashMap<(BrokerId, usize), mpsc::UnboundedSender<Command>>,
    /// Who fetches what.
    places: HashMap<Key, (BrokerId, usize)>,
}

impl Fetchers {
    /// `throttle` is the rate at which replicas that are being moved may fetch.
    pub fn new(leaders: Arc<dyn Leaders>, options: FetchOptions, throttle: Throttle) -> Self {
        let throttle = Arc::new(throttle);
        Self(Arc::new(Inner { leaders, options, throttle, state: Mutex::default(), cancel: CancellationToken::new() }))
    }

    /// From now on `partition` follows `leader` under `epoch`. Needs tokio's runtime.
    pub fn follow(&self, partition: Arc<Partition>, leader: BrokerId, epoch: LeaderEpoch) {
        let key = (partition.topic_id(), partition.id().partition);
        let place = (leader, self.shard_of(key));
        let state = &mut *self.0.state.lock();
        if !partition.log().is_online() {
            // Fetches would say that it keeps up. Whoever hears of the failure later forgets it.
            return;
        }
        if let Some(former) = state.places.insert(key, place).filter(|&former| former != place)
            && let Some(task) = state.tasks.get(&former)
        {
            let _ = task.send(Command::Forget(key));
        }
        let task = state.tasks.entry(place).or_insert_with(|| self.spawn(place));
        // Only closed while the broker goes down.
        let _ = task.send(Command::Follow { partition, epoch });
    }

    /// Nobody fetches the partition any more.
    pub fn forget(&self, topic: TopicId, partition: i32) {
        let state = &mut *self.0.state.lock();
        if let Some(place) = state.places.remove(&(topic, partition))
            && let Some(task) = state.tasks.get(&place)
        {
            let _ = task.send(Command::Forget((topic, partition)));
        }
    }

    /// Ends all fetchers.
    pub fn shutdown(&self) {
        self.0.cancel.cancel();
    }

    fn spawn(&self, (source, shard): (BrokerId, usize)) -> mpsc::UnboundedSender<Command> {
        let (commands, queue) = mpsc::unbounded_channel();
        let fetcher = task::Fetcher::new((source, shard), &self.0, queue);
        let cancel = self.0.cancel.clone();
        tokio::spawn(async move { cancel.run_until_cancelled(fetcher.run()).await });
        commands
    }

    fn shard_of(&self, (topic, partition): Key) -> usize {
        let spread = topic.0.as_u128() as usize;
        spread.wrapping_mul(31).wrapping_add(usize::try_from(partition).unwrap_or(0)) % self.0.options.shards
    }
}
