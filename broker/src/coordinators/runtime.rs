//! Runs one shard on one partition of its topic: load, then requests, timers and metadata until resignation.
//!
//! ```text
//!   queue ─► handle ─► records ─► replay into hard ─► open batch ─► one append ─► park effects at its end
//!                                                                                        │
//!   clients ◄──────────────────────────────────── effects, in order ◄── high watermark ──┘
//! ```
//! Whatever is queued when a decision is made joins the same append.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ottla_coordinator::shard::{Context, Decision, Effect, Ids, Producer, Shard, Stored, Token};
use ottla_protocol::compression::Codec;
use ottla_protocol::{ErrorCode, Offset, ProducerId, Timestamp};
use ottla_replication::LogOffsetSnapshot;
use ottla_state_machine::{Purgatory, StateMachine};
use ottla_storage::{Verification, VerificationGuard};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::batch::{Encoded, OpenBatch};
use super::clock::Clock;
use super::loader::{self, Loaded};
use super::log::{PartitionLog, TxnMarker};

/// Requests that wait for one shard.
pub const QUEUE_MAX: usize = 1024;
/// Decisions that may join one append.
const COMBINE_MAX: usize = 256;
/// Before a partition that failed to load, or whose log failed twice, is loaded again.
const RELOAD_AFTER: Duration = Duration::from_millis(500);
/// The pause doubles up to this while loading fails.
const RELOAD_AFTER_MAX: Duration = Duration::from_secs(10);

/// An answer, or the error for the whole request.
pub type Answer<S> = Result<<S as Shard>::Response, ErrorCode>;
type EffectOf<S> = Effect<<S as Shard>::Response, <S as Shard>::Action>;
/// What carries out the shard's actions; must not block.
pub type Actions<S> = Arc<dyn Fn(<S as Shard>::Action) + Send + Sync>;

/// Where a shard gets producer ids from: `None` when none is at hand.
pub type ProducerIdSource = Arc<dyn Fn() -> Option<ProducerId> + Send + Sync>;

/// What reaches a shard from outside.
pub(super) enum Call<S: Shard> {
    Request {
        request: S::Request,
        /// The transaction it writes in, and what it was admitted with.
        verified: Option<(Producer, Option<VerificationGuard>)>,
        reply: oneshot::Sender<Answer<S>>,
    },
    /// Ends a producer's transaction on this partition.
    Marker { marker: TxnMarker, reply: oneshot::Sender<Result<(), ErrorCode>> },
}

/// The metadata and the settings that decisions are made with.
pub struct World<S: Shard> {
    pub image: Arc<S::Image>,
    pub config: Arc<S::Config>,
}

impl<S: Shard> Clone for World<S> {
    fn clone(&self) -> Self {
        Self { image: Arc::clone(&self.image), config: Arc::clone(&self.config) }
    }
}

/// How far a shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Loading,
    Active,
    Resigned,
}

/// A status shared between a shard's task and its handle.
#[derive(Debug, Default)]
pub(super) struct SharedStatus(AtomicU8);

impl SharedStatus {
    pub(super) fn get(&self) -> Status {
        match self.0.load(Ordering::Acquire) {
            0 => Status::Loading,
            1 => Status::Active,
            _ => Status::Resigned,
        }
    }

    fn set(&self, status: Status) {
        self.0.store(status as u8, Ordering::Release);
    }
}

/// What a shard's task is made of.
pub(super) struct Seat<S: Shard> {
    /// `__consumer_offsets-7`, for the log.
    pub(super) name: Arc<str>,
    pub(super) log: Arc<dyn PartitionLog>,
    pub(super) calls: mpsc::Receiver<Call<S>>,
    pub(super) world: watch::Receiver<World<S>>,
    pub(super) clock: Clock,
    pub(super) actions: Actions<S>,
    pub(super) producer_ids: ProducerIdSource,
    pub(super) status: Arc<SharedStatus>,
    /// Tells waiters that the status moved.
    pub(super) settled: watch::Sender<bool>,
    pub(super) cancel: CancellationToken,
    /// How many partitions load at a time.
    pub(super) loads: Arc<Semaphore>,
    /// How long a client waits for its records to be committed (`offsets.commit.timeout.ms` and its like).
    pub(super) write_timeout: Duration,
    /// What its records are written in.
    pub(super) codec: Codec,
}

enum End {
    Resigned,
    /// State in memory and log have parted: load again.
    Reload,
}

impl<S: Shard> Seat<S> {
    /// Loads and serves until resignation.
    pub(super) async fn run(mut self) {
        let mut pause = RELOAD_AFTER;
        while !self.cancel.is_cancelled() {
            let end = match self.load().await {
                Some(loaded) => {
                    pause = RELOAD_AFTER;
                    Running::start(&mut self, loaded).run().await
                }
                None => End::Reload,
            };
            match end {
                End::Resigned => break,
                End::Reload => {
                    self.status.set(Status::Loading);
                    tokio::select! {
                        () = self.cancel.cancelled() => break,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(RELOAD_AFTER_MAX);
                }
            }
        }
        self.status.set(Status::Resigned);
        self.settled.send_replace(true);
        tracing::debug!(partition = %self.name, "coordinator resigned");
    }

    async fn load(&self) -> Option<Loaded<S::Hard>> {
        let started = Instant::now();
        let _permit = self.loads.acquire().await.ok()?;
        match loader::load::<S>(Arc::clone(&self.log), self.cancel.clone()).await {
            Ok(loaded) => {
                if let Some(error) = &loaded.first_skipped {
                    tracing::error!(partition = %self.name, records = loaded.skipped, %error, "records that cannot be read were passed over");
                }
                if loaded.records > 0 {
                    tracing::info!(
                        partition = %self.name, records = loaded.records, end = loaded.end.0,
                        elapsed_ms = started.elapsed().as_millis() as u64, "coordinator partition loaded"
                    );
                }
                Some(loaded)
            }
            Err(loader::LoadError::Cancelled) => None,
            Err(error) => {
                tracing::error!(partition = %self.name, %error, "coordinator partition cannot be loaded, trying again");
                None
            }
        }
    }
}

struct HostIds<'a>(&'a ProducerIdSource);

impl Ids for HostIds<'_> {
    fn uuid(&mut self) -> Uuid {
        Uuid::new_v4()
    }

    fn producer_id(&mut self) -> Option<ProducerId> {
        (self.0)()
    }
}

/// Answers that a client may stop waiting for.
struct InDoubt {
    since: Instant,
    until: Offset,
    tokens: Vec<Token>,
}

/// A loaded shard at work.
struct Running<'a, S: Shard> {
    seat: &'a mut Seat<S>,
    snapshots: watch::Receiver<LogOffsetSnapshot>,
    hard: S::Hard,
    soft: S,
    waiting: HashMap<Token, oneshot::Sender<Answer<S>>>,
    markers: HashMap<Token, oneshot::Sender<Result<(), ErrorCode>>>,
    next_token: u64,
    batch: OpenBatch<S>,
    parked: Purgatory<Parked<S>>,
    in_doubt: VecDeque<InDoubt>,
    /// Behind the last record that was appended or loaded.
    end: Offset,
    ending: Option<End>,
    /// The last append failed in the log; a second failure in a row loads anew.
    failed: bool,
}

enum Parked<S: Shard> {
    Effects(Vec<EffectOf<S>>),
    Marker(Token),
}

impl<'a, S: Shard> Running<'a, S> {
    fn start(seat: &'a mut Seat<S>, loaded: Loaded<S::Hard>) -> Self {
        let world = seat.world.borrow_and_update().clone();
        let producer_ids = Arc::clone(&seat.producer_ids);
        let mut cx = Context {
            now: seat.clock.now(),
            image: &*world.image,
            config: &*world.config,
            ids: &mut HostIds(&producer_ids),
        };
        let (soft, decision) = S::loaded(&loaded.hard, &mut cx);
        let snapshots = seat.log.snapshots();
        let mut running = Self {
            seat,
            snapshots,
            hard: loaded.hard,
            soft,
            waiting: HashMap::new(),
            markers: HashMap::new(),
            next_token: 0,
            batch: OpenBatch::new(),
            parked: Purgatory::default(),
            in_doubt: VecDeque::new(),
            end: loaded.end,
            ending: None,
            failed: false,
        };
        running.apply(decision);
        running
    }

    async fn run(mut self) -> End {
        self.settle();
        self.seat.status.set(Status::Active);
        self.seat.settled.send_replace(true);
        let end = loop {
            if let Some(end) = self.ending.take() {
                break end;
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = self.seat.cancel.cancelled() => break End::Resigned,
                moved = self.snapshots.changed() => if moved.is_err() { break End::Resigned },
                // Before the queue: a queue that is never empty must not stop the timers.
                () = sleep_until(wake) => self.on_deadline(),
                changed = self.seat.world.changed() => match changed {
                    Ok(()) => self.decide(|soft, hard, cx| soft.on_image(hard, cx)),
                    Err(_) => break End::Resigned,
                },
                call = self.seat.calls.recv() => match call {
                    Some(call) => self.accept_all(call),
                    None => break End::Resigned,
                },
            }
            self.settle();
        };
        let error = match end {
            End::Resigned => ErrorCode::NotCoordinator,
            End::Reload => ErrorCode::CoordinatorLoadInProgress,
        };
        self.refuse_everyone(error);
        end
    }

    fn accept_all(&mut self, first: Call<S>) {
        self.accept(first);
        for _ in 1..COMBINE_MAX {
            match self.seat.calls.try_recv() {
                Ok(call) if self.ending.is_none() => self.accept(call),
                _ => break,
            }
        }
    }

    fn accept(&mut self, call: Call<S>) {
        let token = Token(self.next_token);
        self.next_token += 1;
        match call {
            Call::Request { verified: Some((producer, guard)), reply, .. }
                if !self.seat.log.is_verified(producer, guard) =>
            {
                // A marker has come between: what is written now would hang without one.
                let _ = reply.send(Err(ErrorCode::InvalidTxnState));
            }
            Call::Request { request, reply, .. } => {
                self.waiting.insert(token, reply);
                self.decide(|soft, hard, cx| soft.handle(hard, token, request, cx));
            }
            Call::Marker { marker, reply } => {
                self.markers.insert(token, reply);
                self.append_marker(token, &marker);
            }
        }
    }

    fn decide(&mut self, decide: impl FnOnce(&mut S, &S::Hard, &mut Context<'_, S>) -> Decision<S>) {
        let world = self.seat.world.borrow().clone();
        let producer_ids = Arc::clone(&self.seat.producer_ids);
        let mut cx = Context {
            now: self.seat.clock.now(),
            image: &*world.image,
            config: &*world.config,
            ids: &mut HostIds(&producer_ids),
        };
        let decision = decide(&mut self.soft, &self.hard, &mut cx);
        self.apply(decision);
    }

    /// Replays what was decided and adds it to the open batch.
    fn apply(&mut self, decision: Decision<S>) {
        if !decision.records.is_empty() {
            let max_bytes = self.seat.log.max_batch_bytes();
            let Some(encoded) = Encoded::new::<S>(&decision.records) else {
                tracing::error!(partition = %self.seat.name, records = ?decision.records, "a decision mixes producers");
                return self.fail(decision.effects, ErrorCode::UnknownServerError);
            };
            if !self.batch.takes(&encoded, max_bytes) && !self.flush() {
                // What this decision was based on has been rolled back.
                return self.refuse(decision.effects, ErrorCode::CoordinatorNotAvailable);
            }
            if self.batch.checkpoint.is_none() {
                self.batch.checkpoint = Some(self.hard.clone());
            }
            for record in &decision.records {
                self.hard.replay(record);
            }
            self.batch.push(&encoded, self.seat.clock.now());
        }
        self.batch.effects.extend(decision.effects);
    }

    /// Appends the open batch. False when it could not be written, and everything in it is undone.
    fn flush(&mut self) -> bool {
        if !self.batch.has_records() {
            let effects = std::mem::take(&mut self.batch.effects);
            self.park(effects);
            return true;
        }
        let mut batch = self.batch.take();
        let Some(bytes) = batch.build(self.seat.codec) else { return true };
        match self.seat.log.append(bytes, Verification::NotNeeded, self.seat.clock.now()) {
            Ok(end) => {
                self.end = end;
                self.failed = false;
                self.park(batch.effects);
                true
            }
            Err(error) => {
                tracing::warn!(partition = %self.seat.name, ?error, "coordinator records were not appended");
                if let Some(checkpoint) = batch.checkpoint {
                    self.hard = checkpoint;
                }
                self.fail(batch.effects, error);
                false
            }
        }
    }

    fn append_marker(&mut self, token: Token, marker: &TxnMarker) {
        if !self.flush() {
            return self.answer_marker(token, Err(ErrorCode::CoordinatorNotAvailable));
        }
        let now = self.seat.clock.now();
        let (bytes, verification) = marker.batch(now);
        match self.seat.log.append(bytes, verification, now) {
            Ok(end) => {
                self.end = end;
                self.parked.park(end, Parked::Marker(token));
                let &TxnMarker { producer, coordinator_epoch, commit, .. } = marker;
                match S::decode(Stored::Marker { producer, coordinator_epoch, commit }) {
                    Ok(Some(record)) => self.hard.replay(&record),
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(partition = %self.seat.name, %error, "a marker means nothing to its coordinator");
                        self.ending = Some(End::Reload);
                    }
                }
            }
            Err(error) => self.answer_marker(token, Err(error)),
        }
    }

    fn park(&mut self, effects: Vec<EffectOf<S>>) {
        if effects.is_empty() {
            return;
        }
        if self.parked.is_empty() && self.committed().is_some_and(|high_watermark| high_watermark >= self.end) {
            return self.carry_out(effects);
        }
        let tokens = effects.iter().filter_map(token_of::<S>).collect();
        self.in_doubt.push_back(InDoubt { since: Instant::now(), until: self.end, tokens });
        self.parked.park(self.end, Parked::Effects(effects));
    }

    /// Appends what is open, then releases what is committed.
    fn settle(&mut self) {
        self.flush();
        // An append that failed may have left decisions of its own.
        self.flush();
        self.snapshots.mark_unchanged();
        let Some(high_watermark) = self.committed() else {
            // What was appended may be cut off by now, whatever the high watermark says.
            let is_over = self.snapshots.borrow().leader_epoch > self.seat.log.epoch();
            self.ending = Some(if is_over { End::Resigned } else { End::Reload });
            return;
        };
        for parked in self.parked.complete_up_to(high_watermark) {
            match parked {
                Parked::Effects(effects) => self.carry_out(effects),
                Parked::Marker(token) => self.answer_marker(token, Ok(())),
            }
        }
        while self.in_doubt.front().is_some_and(|oldest| oldest.until <= high_watermark) {
            self.in_doubt.pop_front();
        }
        self.soft.committed(high_watermark.min(self.end));
    }

    /// The high watermark of the leadership that the shard was loaded under; `None` while it is not that one's.
    fn committed(&self) -> Option<Offset> {
        let snapshot = self.snapshots.borrow();
        (snapshot.leader_epoch == self.seat.log.epoch()).then_some(snapshot.high_watermark)
    }

    fn carry_out(&mut self, effects: Vec<EffectOf<S>>) {
        for effect in effects {
            match effect {
                Effect::Reply(token, response) => self.answer(token, Ok(response)),
                Effect::Refuse(token, error) => self.answer(token, Err(error)),
                Effect::Act(action) => (self.seat.actions)(action),
            }
        }
    }

    fn answer(&mut self, token: Token, answer: Answer<S>) {
        if let Some(reply) = self.waiting.remove(&token) {
            // The client may have gone; that is its affair.
            let _ = reply.send(answer);
        }
    }

    fn answer_marker(&mut self, token: Token, answer: Result<(), ErrorCode>) {
        if let Some(reply) = self.markers.remove(&token) {
            let _ = reply.send(answer);
        }
    }

    fn refuse(&mut self, effects: Vec<EffectOf<S>>, error: ErrorCode) {
        for token in effects.iter().filter_map(token_of::<S>) {
            self.answer(token, Err(error));
        }
    }

    /// Decisions came to nothing; `hard` is already as it was before them.
    fn fail(&mut self, effects: Vec<EffectOf<S>>, error: ErrorCode) {
        let told = client_error(error);
        self.refuse(effects, told);
        if error == ErrorCode::NotLeaderOrFollower {
            self.ending = Some(End::Resigned);
        } else if !leaves_log_alone(error) && std::mem::replace(&mut self.failed, true) {
            self.ending = Some(End::Reload);
        } else {
            self.decide(|soft, hard, cx| soft.append_failed(hard, told, cx));
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let deadline = self.soft.next_deadline(&self.hard).map(|at| self.seat.clock.instant(at));
        let doubt = self.in_doubt.front().map(|oldest| oldest.since + self.seat.write_timeout);
        [deadline, doubt].into_iter().flatten().min()
    }

    fn on_deadline(&mut self) {
        let now: Timestamp = self.seat.clock.now();
        if self.soft.next_deadline(&self.hard).is_some_and(|at| at <= now) {
            self.decide(|soft, hard, cx| soft.on_deadline(hard, cx));
        }
        // The records may still be committed: clients have to ask again, as after any timeout.
        while let Some(oldest) = self.in_doubt.front()
            && oldest.since + self.seat.write_timeout <= Instant::now()
        {
            let tokens = self.in_doubt.pop_front().map(|oldest| oldest.tokens).unwrap_or_default();
            for token in tokens {
                self.answer(token, Err(client_error(ErrorCode::RequestTimedOut)));
            }
        }
    }

    fn refuse_everyone(&mut self, error: ErrorCode) {
        for (_, reply) in self.waiting.drain() {
            let _ = reply.send(Err(error));
        }
        for (_, reply) in self.markers.drain() {
            let _ = reply.send(Err(ErrorCode::NotLeaderOrFollower));
        }
    }
}

fn token_of<S: Shard>(effect: &EffectOf<S>) -> Option<Token> {
    match effect {
        Effect::Reply(token, _) | Effect::Refuse(token, _) => Some(*token),
        Effect::Act(_) => None,
    }
}

/// Refusals before anything is tried, as often as they come: log and state are as they were. Loading anew would not help,
/// and would take the coordinator from those who only ask.
const fn leaves_log_alone(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::NotEnoughReplicas | ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge)
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// A client of a coordinator knows the coordinator's errors, not those of the log under it.
pub(super) const fn client_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::UnknownTopicId
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => ErrorCode::UnknownServerError,
        other => other,
    }
}
