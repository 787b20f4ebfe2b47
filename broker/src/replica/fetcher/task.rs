//! The loop of one fetcher.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ottla_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic, ReplicaState};
use ottla_protocol::messages::fetch_response::PartitionData;
use ottla_protocol::messages::{FetchRequest, FetchResponse};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset};
use ottla_replication::follower::EpochEnd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::session::{Next, Session};
use super::{Command, FetchOptions, Inner, Key, Leaders};
use crate::clock;
use crate::replica::follower::{Fetched, FollowError};
use crate::replica::partition::Partition;
use crate::replica::throttle::Throttle;

/// How long a partition is left out of requests whose records are not on the disk yet.
const NOT_DURABLE_FOR: Duration = Duration::from_millis(10);
/// How long a disk may take before the next fetch is sent all the same: the leader would take this replica for dead.
const DURABLE_PATIENCE: Duration = Duration::from_secs(5);

/// The pause after the first failure; it doubles up to `replica.fetch.backoff.ms`.
const BACKOFF_FIRST: Duration = Duration::from_millis(10);

/// Until this broker's registration is looked for again.
const UNREGISTERED_FOR: Duration = Duration::from_millis(20);
/// Partitions of an answer before others on this thread get their turn.
const HANDLED_AT_ONCE: usize = 64;

/// How long a partition that is fetched too fast is left alone.
const THROTTLED_FOR: Duration = Duration::from_millis(100);

/// Fetches from one broker.
pub(super) struct Fetcher {
    source: BrokerId,
    shard: usize,
    leaders: Arc<dyn Leaders>,
    options: FetchOptions,
    throttle: Arc<Throttle>,
    commands: mpsc::UnboundedReceiver<Command>,
    followed: HashMap<Key, Followed>,
    session: Session,
    /// Requests whose answers are awaited, the oldest first: at most two.
    in_flight: VecDeque<InFlight>,
    /// Partitions were added since the last request.
    is_urgent: bool,
    /// Partitions that wait after a failure, by the end of their wait.
    delayed: BTreeMap<Instant, Vec<Key>>,
    /// The whole broker failed: nothing is sent before.
    paused_until: Option<Instant>,
    failures: u32,
}

struct Followed {
    partition: Arc<Partition>,
    epoch: LeaderEpoch,
    /// The offset that the leader was last asked for under this epoch, as of the answer that is being read; `None` until
    /// such an answer comes.
    asked: Option<Offset>,
    failures: u32,
}

struct InFlight {
    is_full: bool,
    asked: Vec<(Key, LeaderEpoch, Offset)>,
    answer: JoinHandle<Result<FetchResponse, ErrorCode>>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.answer.abort();
    }
}

enum Event {
    Command(Option<Command>),
    Answer(Result<FetchResponse, ErrorCode>),
    Due,
}

impl Fetcher {
    pub(super) fn new(
        (source, shard): (BrokerId, usize),
        of: &Inner,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self {
            source,
            shard,
            leaders: Arc::clone(&of.leaders),
            options: of.options.clone(),
            throttle: Arc::clone(&of.throttle),
            commands,
            followed: HashMap::new(),
            session: Session::default(),
            in_flight: VecDeque::new(),
            is_urgent: false,
            delayed: BTreeMap::new(),
            paused_until: None,
            failures: 0,
        }
    }

    /// Until the handles are gone.
    pub(super) async fn run(mut self) {
        loop {
            if self.may_send() {
                self.send();
            }
            match self.event().await {
                Event::Command(None) => return,
                Event::Command(Some(command)) => {
                    self.obey(command);
                    while let Ok(command) = self.commands.try_recv() {
                        self.obey(command);
                    }
                }
                Event::Answer(answer) => {
                    let Some(request) = self.in_flight.pop_front() else { continue };
                    match answer {
                        Ok(response) => self.on_answer(&request, response).await,
                        Err(error) => self.on_failure(error),
                    }
                }
                Event::Due => self.on_due(),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let due = [self.delayed.keys().next().copied(), self.paused_until].into_iter().flatten().min();
        tokio::select! {
            biased;
            command = self.commands.recv() => Event::Command(command),
            answer = first_answer(&mut self.in_flight) => Event::Answer(answer),
            () = sleep_until(due) => Event::Due,
        }
    }

    fn may_send(&self) -> bool {
        if self.paused_until.is_some() || self.session.is_idle() {
            return false;
        }
        match self.in_flight.len() {
            0 => true,
            1 => self.is_urgent && self.session.is_open(),
            _ => false,
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Follow { partition, epoch } => {
                let key = (partition.topic_id(), partition.id().partition);
                // What was delayed under an earlier epoch is tried at once under the new one.
                self.followed.insert(key, Followed { partition, epoch, asked: None, failures: 0 });
                self.session.change(key);
                self.is_urgent = true;
            }
            Command::Forget(key) => {
                self.followed.remove(&key);
                self.session.forget(key);
            }
        }
    }

    fn on_due(&mut self) {
        let now = Instant::now();
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        let later = self.delayed.split_off(&(now + Duration::from_nanos(1)));
        for key in std::mem::replace(&mut self.delayed, later).into_values().flatten() {
            if self.followed.contains_key(&key) {
                self.session.change(key);
                self.is_urgent = true;
            }
        }
    }

    fn send(&mut self) {
        let Some(broker_epoch) = self.leaders.own_epoch() else {
            // Not registered yet, which is soon over.
            self.paused_until = Some(Instant::now() + UNREGISTERED_FOR);
            return;
        };
        self.is_urgent = false;
        let next = self.session.next();
        let is_full = next.is_full();
        let (request, asked) = self.request(next, broker_epoch);
        let call = self.leaders.fetch(self.source, self.shard, request);
        self.in_flight.push_back(InFlight { is_full, asked, answer: tokio::spawn(call) });
    }

    fn request(&mut self, next: Next, broker_epoch: i64) -> (FetchRequest, Vec<(Key, LeaderEpoch, Offset)>) {
        let mut asked = Vec::with_capacity(next.partitions.len());
        let mut topics: Vec<FetchTopic> = Vec::new();
        // Keys come in order, so partitions of a topic are neighbours.
        for key in next.partitions {
            let position = self.followed.get(&key).and_then(|followed| {
                Some((followed.partition.fetch_position(self.source, followed.epoch)?, followed.epoch))
            });
            let Some((position, epoch)) = position else {
                // Its role changed; whoever changed it says what comes next.
                self.followed.remove(&key);
                self.session.forget(key);
                continue;
            };
            if self.is_held_back(key) {
                self.session.forget(key);
                self.delayed.entry(Instant::now() + THROTTLED_FOR).or_default().push(key);
                continue;
            }
            if !self.is_durable(key) {
                self.session.forget(key);
                self.delayed.entry(Instant::now() + NOT_DURABLE_FOR).or_default().push(key);
                continue;
            }
            asked.push((key, epoch, position.offset));
            let partition = FetchPartition::default()
                .with_partition(key.1)
                .with_current_leader_epoch(epoch.0)
                .with_fetch_offset(position.offset.0)
                .with_last_fetched_epoch(position.last_fetched_epoch.0)
                .with_log_start_offset(position.log_start.0)
                .with_partition_max_bytes(self.options.partition_max_bytes)
                .with_high_watermark(position.high_watermark.0);
            match topics.last_mut() {
                Some(topic) if topic.topic_id == key.0.0 => topic.partitions.push(partition),
                _ => topics.push(FetchTopic::default().with_topic_id(key.0.0).with_partitions(vec![partition])),
            }
        }
        let mut forgotten: Vec<ForgottenTopic> = Vec::new();
        for key in next.forgotten {
            match forgotten.last_mut() {
                Some(topic) if topic.topic_id == key.0.0 => topic.partitions.push(key.1),
                _ => forgotten.push(ForgottenTopic::default().with_topic_id(key.0.0).with_partitions(vec![key.1])),
            }
        }
        let replica =
            ReplicaState::default().with_replica_id(self.options.local.0.into()).with_replica_epoch(broker_epoch);
        let request = FetchRequest::default()
            .with_replica_state(replica)
            .with_max_wait_ms(self.options.wait_max_ms)
            .with_min_bytes(self.options.min_bytes)
            .with_max_bytes(self.options.response_max_bytes)
            .with_session_id(next.id)
            .with_session_epoch(next.epoch)
            .with_topics(topics)
            .with_forgotten_topics_data(forgotten);
        (request, asked)
    }

    /// The partition is being moved, and more was fetched lately than such partitions may.
    fn is_held_back(&self, key: Key) -> bool {
        let followed = self.followed.get(&key);
        followed.is_some_and(|followed| followed.partition.throttles_as_follower().1)
            && self.throttle.is_exceeded(clock::steady())
    }

    /// The offset that is asked for tells the leader that everything before is here to stay. What this broker appended as the
    /// leader until now, or found when it started, may still be on its way to the disk.
    fn is_durable(&self, key: Key) -> bool {
        self.followed.get(&key).is_none_or(|followed| followed.partition.is_durable())
    }

    async fn on_answer(&mut self, request: &InFlight, response: FetchResponse) {
        for &(key, epoch, offset) in &request.asked {
            if let Some(followed) = self.followed.get_mut(&key).filter(|followed| followed.epoch == epoch) {
                followed.asked = Some(offset);
            }
        }
        if let Some(error) = ErrorCode::from_code(response.error_code).filter(|&error| error != ErrorCode::None) {
            tracing::debug!(source = self.source.0, ?error, "fetch refused");
            // What was sent behind it belongs to the session that is no more.
            self.in_flight.clear();
            self.session.reset(error);
            if !matches!(error, ErrorCode::FetchSessionIdNotFound | ErrorCode::InvalidFetchSessionEpoch) {
                self.pause();
            }
            return;
        }
        if request.is_full {
            self.session.opened(response.session_id);
        }
        self.failures = 0;
        let mut grown = Vec::new();
        let mut handled = 0;
        for topic in response.responses {
            let id = ottla_protocol::TopicId(topic.topic_id);
            for data in topic.partitions {
                let key = (id, data.partition_index);
                self.on_partition(key, data).await;
                handled += 1;
                if handled % HANDLED_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
                grown.extend(self.followed.get(&key).map(|followed| Arc::clone(&followed.partition)));
            }
        }
        // One sync makes all of them durable.
        for partition in grown {
            if tokio::time::timeout(DURABLE_PATIENCE, partition.wait_until_durable()).await.is_err() {
                tracing::warn!(partition = %partition.id(), "what was fetched is slow to reach the disk");
            }
        }
    }

    async fn on_partition(&mut self, key: Key, data: PartitionData) {
        let Some(followed) = self.followed.get_mut(&key) else { return };
        // What was asked under an earlier epoch says nothing now (KAFKA-13207).
        let Some(asked) = followed.asked else { return };
        let (partition, epoch) = (Arc::clone(&followed.partition), followed.epoch);
        let handled = match ErrorCode::from_code(data.error_code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None if data.diverging_epoch.end_offset >= 0 => {
                let (of, end) = (data.diverging_epoch.epoch, data.diverging_epoch.end_offset);
                partition
                    .truncate_to_leader(epoch, EpochEnd { epoch: LeaderEpoch(of), end: Offset(end) })
                    .map(|()| true)
            }
            ErrorCode::None => {
                let before = partition.log().offsets().log_start;
                let bytes = data.records.as_ref().map_or(0, bytes::Bytes::len);
                if bytes > 0 && partition.throttles_as_follower().0 {
                    self.throttle.record(bytes, clock::steady());
                }
                let fetched = Fetched {
                    offset: asked,
                    records: data.records.unwrap_or_default(),
                    high_watermark: Offset(data.high_watermark),
                    log_start: Offset(data.log_start_offset),
                    now: clock::now(),
                };
                let appended = partition.append_as_follower(epoch, fetched);
                // The leader waits for the log start of its followers when records are deleted.
                appended.map(|grown| grown || partition.log().offsets().log_start != before)
            }
            ErrorCode::OffsetOutOfRange => return self.realign(key, &partition, epoch).await,
            error => {
                tracing::debug!(partition = %partition.id(), source = self.source.0, ?error, "not fetched");
                return self.delay(key);
            }
        };
        match handled {
            Ok(has_moved) => {
                followed.failures = 0;
                if has_moved {
                    self.session.change(key);
                }
            }
            Err(error) => self.on_error(key, &partition, &error),
        }
    }

    async fn realign(&mut self, key: Key, partition: &Partition, epoch: LeaderEpoch) {
        let topic = Arc::clone(&partition.id().topic);
        match self.leaders.log_range(self.source, topic, key.1, epoch).await {
            Ok((start, end)) => match partition.realign(epoch, start, end) {
                Ok(()) => self.session.change(key),
                Err(error) => self.on_error(key, partition, &error),
            },
            Err(error) => {
                tracing::debug!(partition = %partition.id(), ?error, "the leader does not say where its log is");
                self.delay(key);
            }
        }
    }

    fn on_error(&mut self, key: Key, partition: &Partition, error: &FollowError) {
        match error {
            FollowError::MovedOn => {
                // Its new role was given to somebody, perhaps to this fetcher: that command is on its way.
                self.session.forget(key);
            }
            FollowError::Unfit(_) => {
                tracing::warn!(partition = %partition.id(), source = self.source.0, %error, "asked for again");
                self.delay(key);
            }
            // A want of space or of file descriptors: the log goes on when that has passed.
            FollowError::Storage(_) if partition.log().is_online() => {
                tracing::warn!(partition = %partition.id(), source = self.source.0, %error, "tried again");
                self.delay(key);
            }
            FollowError::Storage(_) => {
                tracing::error!(partition = %partition.id(), %error, "no longer fetched");
                self.followed.remove(&key);
                self.session.forget(key);
            }
        }
    }

    /// The partition waits a while by itself.
    fn delay(&mut self, key: Key) {
        let Some(followed) = self.followed.get_mut(&key) else { return };
        followed.failures = followed.failures.saturating_add(1);
        let pause = backoff(followed.failures, self.options.backoff_max);
        self.session.forget(key);
        self.delayed.entry(Instant::now() + pause).or_default().push(key);
    }

    /// Nobody knows what the leader saw of the request.
    fn on_failure(&mut self, error: ErrorCode) {
        tracing::debug!(source = self.source.0, ?error, "fetch failed");
        self.in_flight.clear();
        self.session.reset(error);
        self.pause();
    }

    fn pause(&mut self) {
        self.failures = self.failures.saturating_add(1);
        self.paused_until = Some(Instant::now() + backoff(self.failures, self.options.backoff_max));
    }
}

fn backoff(failures: u32, most: Duration) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(most)
}

async fn first_answer(in_flight: &mut VecDeque<InFlight>) -> Result<FetchResponse, ErrorCode> {
    match in_flight.front_mut() {
        // A call that panicked counts as lost.
        Some(request) => (&mut request.answer).await.unwrap_or(Err(ErrorCode::NetworkException)),
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
