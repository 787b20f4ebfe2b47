#![allow(clippy::unwrap_used, clippy::expect_used)]
//! The runtime over a log in memory, with a shard that sums numbers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ottla_coordinator::shard::{BadRecord, Context, Decision, Effect, Producer, Shard, Stored, Token};
use ottla_protocol::record_batch::batches;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use ottla_state_machine::{Outcome, StateMachine};
use parking_lot::Mutex;

use super::test_log::MemoryLog;
use super::{Clock, Host, Status, TxnMarker, World};

/// `sum` counts what is decided; a pending number joins it when its producer's transaction commits.
#[derive(Debug, Clone, Default, PartialEq)]
struct Sum {
    sum: i64,
    pending: Vec<(Producer, i64)>,
}

#[derive(Debug, Clone)]
enum Number {
    Add(i64),
    Pending(Producer, i64),
    Ended(Producer, bool),
}

impl StateMachine for Sum {
    type Record = Number;
    fn replay(&mut self, record: &Number) {
        match record {
            Number::Add(number) => self.sum += number,
            Number::Pending(producer, number) => self.pending.push((*producer, *number)),
            Number::Ended(producer, commit) => {
                let mut pending = std::mem::take(&mut self.pending);
                pending.retain(|(owner, number)| {
                    if owner != producer {
                        return true;
                    }
                    self.sum += if *commit { *number } else { 0 };
                    false
                });
                self.pending = pending;
            }
        }
    }
}

enum Ask {
    Add(i64),
    AddPending(Producer, i64),
    Read,
    /// Answers after so many milliseconds.
    Wait(i64),
    Act(&'static str),
}

#[derive(Default)]
struct Adder {
    alarms: Vec<(Timestamp, Token)>,
    failures: usize,
}

impl Shard for Adder {
    type Hard = Sum;
    type Record = Number;
    type Request = Ask;
    type Response = i64;
    type Action = &'static str;
    type Image = ();
    type Config = ();

    fn encode(record: &Number) -> Stored {
        let data = |number: i64, producer| Stored::Data {
            key: Bytes::from_static(b"key"),
            value: Some(Bytes::copy_from_slice(&number.to_be_bytes())),
            producer,
        };
        match record {
            Number::Add(number) => data(*number, None),
            Number::Pending(producer, number) => data(*number, Some(*producer)),
            Number::Ended(producer, commit) => {
                Stored::Marker { producer: *producer, coordinator_epoch: 0, commit: *commit }
            }
        }
    }

    fn decode(stored: Stored) -> Result<Option<Number>, BadRecord> {
        Ok(Some(match stored {
            Stored::Data { value, producer, .. } => {
                let value = value.ok_or_else(|| BadRecord("no value".into()))?;
                let number = i64::from_be_bytes(value[..].try_into().unwrap());
                producer.map_or(Number::Add(number), |producer| Number::Pending(producer, number))
            }
            Stored::Marker { producer, commit, .. } => Number::Ended(producer, commit),
        }))
    }

    fn loaded(_hard: &Sum, _cx: &mut Context<'_, Self>) -> (Self, Decision<Self>) {
        (Self::default(), Outcome::nothing())
    }

    fn handle(&mut self, hard: &Sum, token: Token, request: Ask, cx: &mut Context<'_, Self>) -> Decision<Self> {
        match request {
            Ask::Add(number) => {
                Outcome { records: vec![Number::Add(number)], effects: vec![Effect::Reply(token, hard.sum + number)] }
            }
            Ask::AddPending(producer, number) => Outcome {
                records: vec![Number::Pending(producer, number)],
                effects: vec![Effect::Reply(token, hard.sum)],
            },
            Ask::Read => Outcome::effect(Effect::Reply(token, hard.sum)),
            Ask::Wait(wait_ms) => {
                self.alarms.push((Timestamp(cx.now.0 + wait_ms), token));
                Outcome::nothing()
            }
            Ask::Act(what) => Outcome {
                records: vec![Number::Add(0)],
                effects: vec![Effect::Act(what), Effect::Reply(token, hard.sum)],
            },
        }
    }

    fn next_deadline(&self, _hard: &Sum) -> Option<Timestamp> {
        self.alarms.iter().map(|(at, _)| *at).min()
    }

    fn on_deadline(&mut self, hard: &Sum, cx: &mut Context<'_, Self>) -> Decision<Self> {
        let now = cx.now;
        let (due, rest): (Vec<_>, Vec<_>) = self.alarms.drain(..).partition(|(at, _)| *at <= now);
        self.alarms = rest;
        Outcome {
            records: Vec::new(),
            effects: due.into_iter().map(|(_, token)| Effect::Reply(token, hard.sum)).collect(),
        }
    }

    fn append_failed(&mut self, _hard: &Sum, _error: ErrorCode, _cx: &mut Context<'_, Self>) -> Decision<Self> {
        self.failures += 1;
        Outcome::nothing()
    }
}

struct Stage {
    host: Host<Adder>,
    log: Arc<MemoryLog>,
    acted: Arc<Mutex<Vec<&'static str>>>,
}

impl Stage {
    async fn new() -> Self {
        Self::over(MemoryLog::new()).await
    }

    async fn over(log: Arc<MemoryLog>) -> Self {
        let world = World { image: Arc::new(()), config: Arc::new(()) };
        let clock = Clock::starting_at(Timestamp(1_000));
        let host = Host::new("sums", clock, world, Duration::from_secs(5), Arc::new(|| None));
        let acted = Arc::new(Mutex::new(Vec::new()));
        let actions = Arc::clone(&acted);
        host.elect(0, 7, log.clone(), Arc::new(move |action| actions.lock().push(action)));
        assert!(host.wait_loaded(0, Duration::from_secs(1)).await);
        Self { host, log, acted }
    }

    async fn ask(&self, ask: Ask) -> Result<i64, ErrorCode> {
        self.host.call(0, ask).await
    }
}

const PRODUCER: Producer = Producer { id: ProducerId(9), epoch: ProducerEpoch(1) };

#[tokio::test(start_paused = true)]
async fn requests_are_answered_and_survive_a_restart() {
    let stage = Stage::new().await;
    for number in 1..=20 {
        stage.ask(Ask::Add(number)).await.unwrap();
    }
    stage.host.shutdown();
    assert_eq!(stage.ask(Ask::Read).await, Err(ErrorCode::NotCoordinator));
    let again = Stage::over(stage.log).await;
    assert_eq!(again.ask(Ask::Read).await, Ok(210));
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_together_is_appended_together() {
    let stage = Stage::new().await;
    let mut waiting = Vec::new();
    for number in 1..=5 {
        waiting.push(stage.host.submit(0, Ask::Add(number)).await.unwrap());
    }
    for waiting in waiting {
        waiting.answer().await.unwrap();
    }
    let appended = stage.log.batches();
    assert_eq!(appended.len(), 1);
    assert_eq!(batches(&appended[0]).next().unwrap().unwrap().record_count, 5);
}

#[tokio::test(start_paused = true)]
async fn a_batch_never_outgrows_what_the_log_takes() {
    let stage = Stage::new().await;
    let mut waiting = Vec::new();
    for number in 1..=40 {
        waiting.push(stage.host.submit(0, Ask::Add(number)).await.unwrap());
    }
    for waiting in waiting {
        waiting.answer().await.unwrap();
    }
    let appended = stage.log.batches();
    assert!(appended.len() > 1 && appended.iter().all(|batch| batch.len() <= 400), "{}", appended.len());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_answered_before_the_high_watermark_and_readers_wait_too() {
    let stage = Stage::new().await;
    stage.log.hold(true);
    let written = stage.host.submit(0, Ask::Add(5)).await.unwrap();
    let read = stage.host.submit(0, Ask::Read).await.unwrap();
    let (mut written, mut read) = (Box::pin(written.answer()), Box::pin(read.answer()));
    let patience = Duration::from_secs(1);
    assert!(tokio::time::timeout(patience, &mut written).await.is_err());
    assert!(tokio::time::timeout(patience, &mut read).await.is_err());
    stage.log.hold(false);
    assert_eq!((written.await, read.await), (Ok(5), Ok(5)));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_not_committed_in_time_is_told_so() {
    let stage = Stage::new().await;
    stage.log.hold(true);
    assert_eq!(stage.ask(Ask::Add(5)).await, Err(ErrorCode::CoordinatorNotAvailable));
    stage.log.hold(false);
    assert_eq!(stage.ask(Ask::Read).await, Ok(5));
}

#[tokio::test(start_paused = true)]
async fn actions_wait_for_the_high_watermark() {
    let stage = Stage::new().await;
    stage.log.hold(true);
    let waiting = stage.host.submit(0, Ask::Act("markers")).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stage.acted.lock().is_empty());
    stage.log.hold(false);
    waiting.answer().await.unwrap();
    assert_eq!(*stage.acted.lock(), ["markers"]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_append_undoes_its_decisions_only() {
    let stage = Stage::new().await;
    stage.ask(Ask::Add(1)).await.unwrap();
    stage.log.refuse(Some(ErrorCode::NotEnoughReplicas));
    assert_eq!(stage.ask(Ask::Add(10)).await, Err(ErrorCode::CoordinatorNotAvailable));
    stage.log.refuse(None);
    assert_eq!(stage.ask(Ask::Add(2)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn two_failures_in_a_row_load_anew() {
    let stage = Stage::new().await;
    stage.ask(Ask::Add(1)).await.unwrap();
    stage.log.refuse(Some(ErrorCode::KafkaStorageError));
    for _ in 0..2 {
        assert_eq!(stage.ask(Ask::Add(10)).await, Err(ErrorCode::NotCoordinator));
    }
    assert_eq!(stage.ask(Ask::Add(10)).await, Err(ErrorCode::CoordinatorLoadInProgress));
    stage.log.refuse(None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(stage.ask(Ask::Add(2)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn while_writes_are_refused_questions_are_answered() {
    let stage = Stage::new().await;
    stage.ask(Ask::Add(1)).await.unwrap();
    let refusals = [
        (ErrorCode::NotEnoughReplicas, ErrorCode::CoordinatorNotAvailable),
        (ErrorCode::MessageTooLarge, ErrorCode::UnknownServerError),
    ];
    for (refused, told) in refusals {
        stage.log.refuse(Some(refused));
        for _ in 0..3 {
            assert_eq!(stage.ask(Ask::Add(10)).await, Err(told));
            assert_eq!(stage.ask(Ask::Read).await, Ok(1));
        }
    }
    stage.log.refuse(None);
    assert_eq!(stage.ask(Ask::Add(2)).await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn lost_leadership_ends_the_shard() {
    let stage = Stage::new().await;
    let waiting = stage.host.submit(0, Ask::Wait(60_000)).await.unwrap();
    stage.log.refuse(Some(ErrorCode::NotLeaderOrFollower));
    assert_eq!(stage.ask(Ask::Add(1)).await, Err(ErrorCode::NotCoordinator));
    assert_eq!(waiting.answer().await, Err(ErrorCode::NotCoordinator));
    assert_eq!(stage.host.status(0), Some(Status::Resigned));
}

/// A follower's high watermark says nothing about what it had appended as the leader.
#[tokio::test(start_paused = true)]
async fn what_the_next_leader_committed_answers_nobody() {
    let stage = Stage::new().await;
    stage.log.hold(true);
    let asked = stage.host.submit(0, Ask::Act("send markers")).await.unwrap();
    let marker = TxnMarker { producer: PRODUCER, coordinator_epoch: 3, commit: true, transaction_version: 1 };
    let (marked, ()) = tokio::join!(stage.host.write_marker(0, marker), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stage.log.follow(LeaderEpoch(1), Offset(100));
    });
    assert_eq!(asked.answer().await, Err(ErrorCode::NotCoordinator));
    assert_eq!(marked, Err(ErrorCode::NotLeaderOrFollower));
    assert!(stage.acted.lock().is_empty(), "nothing is sent for records that are gone");
    assert_eq!(stage.host.status(0), Some(Status::Resigned));
}

#[tokio::test(start_paused = true)]
async fn deadlines_are_kept_while_requests_pour_in() {
    let stage = Stage::new().await;
    let begun = tokio::time::Instant::now();
    let waiting = stage.host.submit(0, Ask::Wait(250)).await.unwrap();
    for _ in 0..50 {
        stage.ask(Ask::Add(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    waiting.answer().await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(520));
}

#[tokio::test(start_paused = true)]
async fn transactional_records_count_once_their_marker_commits() {
    let stage = Stage::new().await;
    stage.ask(Ask::AddPending(PRODUCER, 40)).await.unwrap();
    stage.ask(Ask::Add(2)).await.unwrap();
    let again = Stage::over(stage.log).await;
    assert_eq!(again.ask(Ask::Read).await, Ok(2));
    let marker = TxnMarker { producer: PRODUCER, coordinator_epoch: 3, commit: true, transaction_version: 1 };
    again.host.write_marker(0, marker).await.unwrap();
    assert_eq!(again.ask(Ask::Read).await, Ok(42));
    let once_more = Stage::over(again.log).await;
    assert_eq!(once_more.ask(Ask::Read).await, Ok(42));
}
