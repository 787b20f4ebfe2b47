//! The one task that decides: while this node leads the quorum it takes what is asked, decides on the committed image,
//! proposes the records and answers once they are committed and replayed.
//!
//! ```text
//!   requests ──► round: decide, decide, decide ──► one raft entry ──► committed, image published ──► answers
//! ```
//!
//! There is one entry in flight at a time and everything asked meanwhile goes into the next, so one sync carries many
//! requests, and what a round decides on is always the committed image: if an entry is lost, nothing was built on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::error::{Fatal, RaftError};
use ottla_decisions::{
    Context, ControllerDefaults, ControllerRequest, ControllerResponse, ControllerState, IdSource, RequestOrigin,
    SoftState,
};
use ottla_metadata::{MetadataImage, MetadataRecord};
use ottla_protocol::{BrokerId, ErrorCode, Offset, Timestamp};
use ottla_state_machine::StateMachine;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use crate::audit;
use crate::controller::{Committed, broker_id};
use crate::elections::Heard;
use crate::long::long;
use crate::raft::types::{Batch, Raft};
use crate::voters::{KRAFT_VERSION, Members, is_nil};

/// What one round may take: an entry stays well below what a replica must hold in memory at once.
const REQUESTS_PER_ROUND_MAX: usize = 512;
const RECORDS_PER_ROUND_MAX: usize = 10_000;
/// Elections of one balancing run.
const ELECTIONS_PER_RUN_MAX: usize = 1_000;

/// A timer this late shows that the process did not run.
const STALL: Duration = Duration::from_millis(100);
/// How long heartbeats that wait unread may take to be read then.
const STALL_GRACE: Duration = Duration::from_millis(500);
/// A broker that was the only one said that it lives every two seconds.
const SHORTER_SESSIONS_GRACE: Duration = Duration::from_secs(3);
/// Between two looks at how far internal topics have grown.
const GROWTH_PAUSE: Duration = Duration::from_secs(1);

pub(crate) type Answer = Result<Committed<ControllerResponse>, ErrorCode>;

/// One request on its way.
pub(crate) struct Submission {
    pub origin: RequestOrigin,
    pub request: ControllerRequest,
    pub answer: oneshot::Sender<Answer>,
}

/// What the task needs.
pub(crate) struct Driver {
    pub raft: Raft,
    pub images: watch::Receiver<Arc<MetadataImage>>,
    pub requests: mpsc::Receiver<Submission>,
    /// Brokers that are known to be gone, with their epochs.
    pub lost: mpsc::Receiver<(BrokerId, i64)>,
    pub defaults: Arc<ControllerDefaults>,
    pub bytes_since_snapshot: Arc<AtomicU64>,
    pub snapshot_bytes: u64,
    /// How often leaders are moved back to preferred replicas; `None` for never.
    pub balance_interval: Option<Duration>,
    /// The term this node leads in, once it may decide; for those who wait for it.
    pub active: watch::Sender<Option<u64>>,
    /// See `Voters::entries`.
    pub entries: Arc<tokio::sync::Mutex<()>>,
    /// From which leader this node heard last, and when.
    pub heard: Heard,
    /// How long a leader that went silent may take to report as a broker to the next one.
    pub leader_session_grace: Duration,
    /// The quorum was not founded from a configuration that names its voters.
    pub voters_change: bool,
}

/// In office.
struct Office {
    term: u64,
    soft: SoftState,
    next_balance: Option<Instant>,
    /// No session ends before: this process itself had no time to hear of heartbeats, or sessions became shorter.
    sessions_hold_until: Instant,
    session_timeout_ms: i64,
    next_growth: Option<Instant>,
}

impl Office {
    /// The timer has gone off that was set for `at`. Late: this process was frozen or starved, and heartbeats wait unread in its
    /// sockets. What else is due is done all the same: what stayed overdue would make every later timer look late, too, and no
    /// session would ever end.
    fn wakes(&mut self, at: Instant, now: Instant) {
        if now.saturating_duration_since(at) > STALL {
            self.sessions_hold_until = now + STALL_GRACE;
        }
    }

    /// Whether to look at the internal topics; the next time is set.
    fn is_growth_due(&mut self, now: Instant) -> bool {
        let is_due = self.next_growth.is_some_and(|at| at <= now);
        if is_due {
            self.next_growth = Some(now + GROWTH_PAUSE);
        }
        is_due
    }

    /// Whether to balance leaders; the next time is set.
    fn is_balance_due(&mut self, now: Instant, interval: Option<Duration>) -> bool {
        let is_due = self.next_balance.is_some_and(|at| at <= now);
        if is_due {
            self.next_balance = interval.map(|interval| now + interval);
        }
        is_due
    }

    /// When there is something to do next. `session`: when the first one ends.
    fn next_wake(&self, session: Option<Instant>) -> Option<Instant> {
        let session = session.map(|at| at.max(self.sessions_hold_until));
        session.into_iter().chain(self.next_balance).chain(self.next_growth).min()
    }
}

struct RandomIds;

impl IdSource for RandomIds {
    fn uuid(&mut self) -> uuid::Uuid {
        loop {
            let id = uuid::Uuid::new_v4();
            // Kafka gives out no id whose text begins with a dash: tools would take it for an option.
            if !ottla_protocol::ids::encode_uuid(id).starts_with('-') {
                return id;
            }
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        rand::random_range(0..bound)
    }
}

impl Driver {
    /// Runs until every handle is gone or raft has stopped.
    pub(crate) async fn run(mut self) {
        let started = Instant::now();
        let mut metrics = self.raft.metrics();
        let mut office: Option<Office> = None;
        loop {
            let leads = leading_term(&metrics.borrow_and_update());
            if office.as_ref().map(|office| office.term) != leads {
                office = match leads {
                    Some(term) => Some(self.take_office(term, started).await),
                    None => None,
                };
                self.active.send_replace(office.as_ref().map(|office| office.term));
            }
            if let Some(office) = &mut office {
                self.note_image(office);
            }
            let wake_at = office.as_ref().and_then(|office| self.wake_at(office, started));
            tokio::select! {
                // What is asked comes before what is overdue: a heartbeat may be among it.
                biased;
                changed = metrics.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
                _ = self.images.changed() => {}
                first = self.requests.recv() => match (first, &mut office) {
                    (None, _) => break,
                    (Some(first), None) => drop(first.answer.send(Err(ErrorCode::NotController))),
                    (Some(first), Some(office)) => self.round(office, first, started).await,
                },
                lost = self.lost.recv() => {
                    if let (Some((broker, epoch)), Some(_)) = (lost, &office) {
                        self.fence_lost(broker, epoch).await;
                    }
                }
                () = sleep_until(wake_at) => {
                    if let Some(office) = &mut office {
                        self.on_wake(office, started).await;
                    }
                }
            }
            self.snapshot_if_due().await;
        }
        self.active.send_replace(None);
    }

    fn state(&mut self) -> ControllerState {
        let image = self.images.borrow_and_update().as_ref().clone();
        ControllerState { image, defaults: Arc::clone(&self.defaults), controllers: BTreeSet::new() }
    }

    async fn take_office(&mut self, term: u64, started: Instant) -> Office {
        let state = self.state();
        tracing::info!(epoch = term, offset = state.image.offset.0, "this node is the active controller");
        let bootstrap = state.bootstrap();
        if !bootstrap.is_empty() {
            // A failure shows as lost leadership; the next controller finds the log empty and does the same.
            let _ = self.propose(&bootstrap).await;
        } else if self.voters_change && state.image.features.level(KRAFT_VERSION) == 0 && self.knows_directories() {
            // Founded by a build that could not change voters; nothing else was missing.
            let level = MetadataRecord::FeatureLevel { name: KRAFT_VERSION.into(), level: 1 };
            let _ = self.propose(&[level]).await;
        }
        let mut soft = SoftState::activate(&state.image, now(started));
        if let Some((leader, at)) = *self.heard.lock() {
            // It was silent towards this voter, so its broker was: what is left of its session is not a whole one.
            let session = Duration::from_millis(u64::try_from(state.session_timeout_ms()).unwrap_or(0));
            let latest = (Instant::now() + self.leader_session_grace).checked_sub(session);
            let contact = latest.map_or(at, |latest| latest.max(at)).saturating_duration_since(started);
            soft.backdate(broker_id(leader), Timestamp(contact.as_millis() as i64));
        }
        Office {
            term,
            soft,
            next_balance: self.balance_interval.map(|interval| Instant::now() + interval),
            sessions_hold_until: Instant::now(),
            session_timeout_ms: self.state().session_timeout_ms(),
            next_growth: None,
        }
    }

    /// What the newest image changes for this office.
    fn note_image(&mut self, office: &mut Office) {
        let state = self.state();
        let timeout = state.session_timeout_ms();
        if timeout < office.session_timeout_ms {
            let hold = Instant::now() + SHORTER_SESSIONS_GRACE;
            office.sessions_hold_until = office.sessions_hold_until.max(hold);
        }
        office.session_timeout_ms = timeout;
        if !state.internal_topics_can_grow() {
            office.next_growth = None;
        } else if office.next_growth.is_none() {
            office.next_growth = Some(Instant::now() + GROWTH_PAUSE);
        }
    }

    fn controllers(&self) -> BTreeSet<BrokerId> {
        let metrics = self.raft.metrics();
        let membership = Arc::clone(&metrics.borrow_watched().membership_config);
        membership.membership().nodes().map(|(id, _)| broker_id(*id)).collect()
    }

    /// Whether every voter is known by its directory.
    fn knows_directories(&self) -> bool {
        let metrics = self.raft.metrics();
        let members = Members::of(&metrics.borrow_watched());
        members.voters.iter().all(|id| members.voter_directory(*id).is_some_and(|directory| !is_nil(directory)))
    }

    /// Decides on everything that waits and answers it together.
    async fn round(&mut self, office: &mut Office, first: Submission, started: Instant) {
        let entries = Arc::clone(&self.entries);
        let _no_entry_between = entries.lock().await;
        let mut state = self.state();
        state.controllers = self.controllers();
        let mut records: Vec<MetadataRecord> = Vec::new();
        let mut decided: Vec<(oneshot::Sender<Answer>, ControllerResponse)> = Vec::new();
        let mut origins: Vec<(RequestOrigin, std::ops::Range<usize>)> = Vec::new();
        let before = self.images.borrow().clone();
        let next_offset = Offset(state.image.offset.0 + 1);
        let mut next = Some(first);
        while let Some(Submission { origin, request, answer }) = next.take() {
            let mut cx = Context { origin: &origin, now: now(started), next_offset, ids: &mut RandomIds };
            // Most heartbeats change nothing, and there are many of them.
            let reach = if is_mere_heartbeat(&request, &state.image) { 0 } else { state.partitions() };
            let decision = long(reach, || {
                let decision = state.decide(&mut office.soft, &request, &mut cx);
                decision.records.iter().for_each(|record| state.replay(record));
                decision
            });
            let begin = records.len();
            records.extend(decision.records);
            if records.len() > begin {
                origins.push((origin, begin..records.len()));
            }
            decided.push((answer, decision.response));
            // A broker epoch is the offset of the entry: two lives of one broker may not share one.
            let registers = matches!(request, ControllerRequest::RegisterBroker(_));
            if !registers && decided.len() < REQUESTS_PER_ROUND_MAX && records.len() < RECORDS_PER_ROUND_MAX {
                next = self.requests.try_recv().ok();
            }
        }
        let committed = if records.is_empty() { Ok(state.image.offset) } else { self.propose(&records).await };
        for (answer, response) in decided {
            // Nobody waits any more: what was decided holds all the same.
            let _ = answer.send(committed.map(|offset| Committed { response, offset }));
        }
        if committed.is_ok() {
            origins.iter().for_each(|(origin, range)| audit::log(origin, &records[range.clone()], &before));
        }
    }

    /// Returns once the records are committed and this node's image shows them.
    async fn propose(&self, records: &[MetadataRecord]) -> Result<Offset, ErrorCode> {
        match self.raft.client_write(Batch::encode(records)).await {
            Ok(written) => Ok(Offset(written.log_id.index as i64)),
            Err(error) if error.api_error().is_some() => Err(ErrorCode::NotController),
            // This node stops.
            Err(RaftError::Fatal(Fatal::Stopped)) => Err(ErrorCode::NotController),
            Err(error) => {
                tracing::error!(%error, "the metadata log failed");
                Err(ErrorCode::UnknownServerError)
            }
        }
    }

    /// As [`Self::propose`], in entries of at most [`RECORDS_PER_ROUND_MAX`] records. For changes whose last record is the one
    /// that makes them whole: where the office ends in between, the next controller finds that one missing and goes on.
    async fn propose_in_parts(&self, records: &[MetadataRecord]) -> Result<(), ErrorCode> {
        for part in records.chunks(RECORDS_PER_ROUND_MAX) {
            self.propose(part).await?;
        }
        Ok(())
    }

    fn wake_at(&self, office: &Office, started: Instant) -> Option<Instant> {
        let session = office.soft.next_deadline(&self.images.borrow(), office.session_timeout_ms);
        let session = session.map(|at| started + Duration::from_millis(at.0.max(0) as u64));
        office.next_wake(session)
    }

    async fn fence_lost(&mut self, broker: BrokerId, epoch: i64) {
        let state = self.state();
        if let Some(records) = long(state.partitions(), || state.fence_lost(broker, epoch)) {
            tracing::warn!(broker = broker.0, "fencing a broker: its connections are closed and nobody listens there");
            let _ = self.propose_in_parts(&records).await;
        }
    }

    async fn on_wake(&mut self, office: &mut Office, started: Instant) {
        if let Some(at) = self.wake_at(office, started) {
            office.wakes(at, Instant::now());
        }
        while Instant::now() >= office.sessions_hold_until {
            let state = self.state();
            let expired = long(state.partitions(), || state.fence_expired(&office.soft, now(started)));
            let Some((broker, records)) = expired else { break };
            tracing::warn!(broker = broker.0, "fencing a broker: no heartbeat within broker.session.timeout.ms");
            if self.propose_in_parts(&records).await.is_err() {
                return;
            }
        }
        if office.is_growth_due(Instant::now()) {
            let records = self.state().grow_internal_topics();
            if !records.is_empty() {
                tracing::info!(changes = records.len(), "internal topics grow: there are brokers for more replicas");
                let _ = self.propose(&records).await;
            }
        }
        if office.is_balance_due(Instant::now(), self.balance_interval) {
            let state = self.state();
            let records = long(state.partitions(), || state.balance_leaders(ELECTIONS_PER_RUN_MAX));
            let is_full = records.len() >= ELECTIONS_PER_RUN_MAX;
            if !records.is_empty() && self.propose(&records).await.is_ok() && is_full {
                // There may be more: as in Kafka the next run does not wait.
                office.next_balance = Some(Instant::now());
            }
        }
    }

    async fn snapshot_if_due(&self) {
        // Each node snapshots its own log, leader or not.
        if self.bytes_since_snapshot.load(Ordering::Relaxed) >= self.snapshot_bytes {
            self.bytes_since_snapshot.store(0, Ordering::Relaxed);
            let _ = self.raft.trigger().snapshot().await;
        }
    }
}

/// The term this node may decide in: it leads, and has applied an entry of its own term, so that nothing committed before
/// is missing from its image.
fn leading_term(metrics: &openraft::RaftMetrics<crate::raft::types::TypeConfig>) -> Option<u64> {
    let applied = metrics.last_applied.as_ref().map(|id| id.leader_id.term);
    let leads = metrics.running_state.is_ok() && metrics.state == ServerState::Leader;
    (leads && applied == Some(metrics.current_term)).then_some(metrics.current_term)
}

fn now(started: Instant) -> Timestamp {
    Timestamp(started.elapsed().as_millis() as i64)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// A broker that serves says that it still does.
fn is_mere_heartbeat(request: &ControllerRequest, image: &MetadataImage) -> bool {
    let ControllerRequest::BrokerHeartbeat(beat) = request else { return false };
    let serves = image.brokers.get(&BrokerId(beat.broker_id.0)).is_some_and(|broker| !broker.fenced);
    serves && !beat.want_shut_down && !beat.want_fence && beat.offline_log_dirs.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frozen just when leaders were to be balanced and topics to grow, a controller ended no session any more, and did not sleep.
    #[tokio::test(start_paused = true)]
    async fn after_a_wake_that_came_late_nothing_stays_overdue() {
        let begun = Instant::now();
        let interval = Some(Duration::from_secs(300));
        let mut office = Office {
            term: 1,
            soft: SoftState::activate(&MetadataImage::default(), Timestamp(0)),
            next_balance: Some(begun),
            sessions_hold_until: begun,
            session_timeout_ms: 9000,
            next_growth: Some(begun),
        };
        let session = Some(begun + Duration::from_millis(50));
        assert_eq!(office.next_wake(session), Some(begun));
        tokio::time::advance(Duration::from_millis(200)).await;
        let now = Instant::now();
        office.wakes(begun, now);
        assert!(office.is_growth_due(now) && office.is_balance_due(now, interval));
        // What was unread is read first, then the session ends.
        let next = office.next_wake(session);
        assert_eq!(next, Some(now + STALL_GRACE));
        tokio::time::advance(STALL_GRACE).await;
        let now = Instant::now();
        office.wakes(now, now);
        assert!(now >= office.sessions_hold_until, "sessions end");
        assert!(!office.is_growth_due(now) && !office.is_balance_due(now, interval));
    }
}
