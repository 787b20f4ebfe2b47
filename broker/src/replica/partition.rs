//! One replica of one partition on this broker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};
use ottla_replication::{IsrProposal, Leader, LeaderStart, LogOffsetSnapshot};
use ottla_state_machine::Purgatory;
use ottla_storage::{AppendContext, AppendInfo, AppendOrigin, DurabilityListener, Log, Verification};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::errors::AppendError;
use super::isr_change::{IsrChange, IsrProposals};
use super::throttle::Throttled;
use super::waiters::Waiters;
use crate::clock;

/// How a leader is asked to append.
#[derive(Debug, Clone, Copy)]
pub struct LeaderAppend {
    /// -1 (the whole in-sync set), 0 or 1.
    pub required_acks: i16,
    pub origin: AppendOrigin,
    pub now: Timestamp,
    /// Whether the transaction coordinator vouched for it that the partition belongs to the producer's open transaction.
    pub verification: Verification,
    /// Refuse unless the leadership is still this one.
    pub only_at: Option<LeaderEpoch>,
}

/// What the metadata says about this replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionState {
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// Brokers that are neither fenced nor shutting down.
    pub eligible: Arc<BTreeSet<BrokerId>>,
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`
    pub lag_max_ms: i64,
    pub throttled: Throttled,
}

/// A replica of a partition, led or followed from here.
///
/// The log orders appends under its own short lock; `state` is held only to look up or move offsets, never while the log
/// writes and never across an await. Whoever writes or cuts the log holds `tenure` shared, a change of role holds it
/// alone: so nothing that was begun under one leadership ends under another.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    topic_id: TopicId,
    local: BrokerId,
    log: Arc<Log>,
    /// Taken before `state`.
    pub(super) tenure: RwLock<()>,
    pub(super) state: Mutex<State>,
    snapshot: watch::Sender<LogOffsetSnapshot>,
    waiters: Waiters,
    /// Set with the role: asked where nobody may wait for `state`.
    gone: AtomicBool,
    proposals: IsrProposals,
}

/// What a replica became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Assumed {
    /// What it was.
    Unchanged,
    Leads,
    Follows(Option<BrokerId>, LeaderEpoch),
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) role: Role,
    pub(super) throttled: Throttled,
    /// Whether the metadata counts this replica as in sync.
    pub(super) is_in_sync: bool,
    /// Produce requests that wait for the high watermark.
    parked: Purgatory<oneshot::Sender<Result<(), ErrorCode>>>,
}

#[derive(Debug)]
pub(super) enum Role {
    Leader(Box<Leader>),
    Follower {
        epoch: LeaderEpoch,
        leader: Option<BrokerId>,
    },
    /// Deleted or taken away from this broker: whoever still holds the partition is refused.
    Gone,
}

impl State {
    /// The epoch this replica lives under.
    pub(super) fn epoch(&self) -> LeaderEpoch {
        match &self.role {
            Role::Leader(leader) => leader.epoch(),
            Role::Follower { epoch, .. } => *epoch,
            Role::Gone => LeaderEpoch::UNKNOWN,
        }
    }

    pub(super) fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower { .. } | Role::Gone => None,
        }
    }

    /// The leadership of this epoch, while it lasts.
    fn leader_at(&self, epoch: LeaderEpoch) -> Option<&Leader> {
        self.leader().filter(|leader| leader.epoch() == epoch)
    }
}

impl Partition {
    /// A replica that has no role yet; [`Partition::assume`] gives it one.
    pub(super) fn new(
        id: TopicPartition,
        topic_id: TopicId,
        local: BrokerId,
        log: Arc<Log>,
        proposals: IsrProposals,
    ) -> Self {
        let role = Role::Follower { epoch: LeaderEpoch::UNKNOWN, leader: None };
        let (snapshot, _) = watch::channel(LogOffsetSnapshot { leader_epoch: LeaderEpoch::UNKNOWN, ..offsets(&log) });
        let state = Mutex::new(State {
            role,
            throttled: Throttled::default(),
            is_in_sync: false,
            parked: Purgatory::default(),
        });
        Self {
            id,
            topic_id,
            local,
            log,
            tenure: RwLock::new(()),
            state,
            snapshot,
            waiters: Waiters::default(),
            gone: AtomicBool::new(false),
            proposals,
        }
    }

    /// Topic name and index.
    pub const fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// The topic's id.
    pub const fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// The log below.
    pub const fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// True when fetches of `replica` are to be held back to the leader's rate: it is being moved, and not in sync.
    pub fn throttles_as_leader(&self, replica: BrokerId) -> bool {
        let state = self.state.lock();
        state.throttled.as_leader && state.leader().is_some_and(|leader| !leader.isr().committed().contains(&replica))
    }

    /// True when what is sent of this partition counts against the leader's rate.
    pub fn counts_as_leader(&self) -> bool {
        self.state.lock().throttled.as_leader
    }

    /// As a follower: whether what it fetches counts, and whether it has to wait when there was too much.
    pub(super) fn throttles_as_follower(&self) -> (bool, bool) {
        let state = self.state.lock();
        (state.throttled.as_follower, state.throttled.as_follower && !state.is_in_sync)
    }

    pub(super) const fn local(&self) -> BrokerId {
        self.local
    }

    pub(super) const fn waiters(&self) -> &Waiters {
        &self.waiters
    }

    /// True while this broker leads the partition.
    pub fn is_leader(&self) -> bool {
        matches!(self.state.lock().role, Role::Leader(_))
    }

    /// Deleted, or taken away from this broker.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The epoch of the partition's leader, as this replica knows it.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.state.lock().epoch()
    }

    /// Who leads, as this replica knows it.
    pub fn leader_id(&self) -> Option<BrokerId> {
        match &self.state.lock().role {
            Role::Leader(_) => Some(self.local),
            Role::Follower { leader, .. } => *leader,
            Role::Gone => None,
        }
    }

    /// The offsets as last published; consistent with each other.
    pub fn snapshot(&self) -> LogOffsetSnapshot {
        *self.snapshot.borrow()
    }

    /// Every later snapshot.
    pub fn subscribe(&self) -> watch::Receiver<LogOffsetSnapshot> {
        self.snapshot.subscribe()
    }

    /// Appends a batch as the leader: when this returns, its place in the partition is fixed, for as long as the leadership
    /// of the epoch that is answered lasts.
    ///
    /// # Errors
    /// When this broker does not lead, when `acks=all` and too few replicas are in sync, or when the log refuses.
    pub fn append_as_leader(&self, records: Bytes, how: &LeaderAppend) -> Result<AppendInfo, AppendError> {
        let _tenure = self.tenure.read();
        let leader_epoch = {
            let state = self.state.lock();
            let leader = state.leader().ok_or(AppendError::NotLeader)?;
            if how.only_at.is_some_and(|epoch| epoch != leader.epoch()) {
                return Err(AppendError::NotLeader);
            }
            if how.required_acks == -1 {
                leader
                    .check_append()
                    .map_err(|few| AppendError::NotEnoughReplicas { in_sync: few.in_sync, required: few.required })?;
            }
            leader.epoch()
        };
        let context = AppendContext {
            leader_epoch,
            origin: how.origin,
            now: how.now,
            verification: how.verification,
            is_awaited: how.required_acks == -1,
        };
        let info = self.log.append_as_leader(records, &context)?;
        // Also for a retry: the first attempt may have failed after it was written.
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role
            && leader.epoch() == leader_epoch
        {
            self.progress(leader, info.last_offset.plus(1));
            self.publish(&mut state);
        }
        drop(state);
        // A batch that had been appended before is waited for under this leadership all the same.
        Ok(AppendInfo { leader_epoch, ..info })
    }

    /// Waits until everything before `offset`, appended at `epoch`, is on the whole in-sync set.
    ///
    /// # Errors
    /// `RequestTimedOut` after `deadline` (the records stay), `NotEnoughReplicasAfterAppend` when the in-sync set has
    /// meanwhile become too small, `NotLeaderOrFollower` when that leadership is over: whoever led since may have cut the
    /// records off and put others in their place.
    pub async fn wait_for_high_watermark(
        &self,
        offset: Offset,
        epoch: LeaderEpoch,
        deadline: Instant,
    ) -> Result<(), ErrorCode> {
        let committed = {
            let mut state = self.state.lock();
            let leader = state.leader_at(epoch).ok_or(ErrorCode::NotLeaderOrFollower)?;
            if leader.high_watermark() >= offset {
                return committed_answer(leader);
            }
            let (done, committed) = oneshot::channel();
            state.parked.park(offset, done);
            committed
        };
        match tokio::time::timeout_at(deadline, committed).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ErrorCode::NotLeaderOrFollower),
            Err(_) => Err(ErrorCode::RequestTimedOut),
        }
    }

    /// True when everything before `offset`, appended at `epoch`, is already committed: the common case on a single
    /// replica, without a wait.
    pub fn is_committed(&self, offset: Offset, epoch: LeaderEpoch) -> Option<Result<(), ErrorCode>> {
        let state = self.state.lock();
        match state.leader_at(epoch) {
            None => Some(Err(ErrorCode::NotLeaderOrFollower)),
            Some(leader) if leader.high_watermark() >= offset => Some(committed_answer(leader)),
            Some(_) => None,
        }
    }

    /// Whether this is the leader and the partition has no other replica: what is written is then readable at once, unless
    /// the disk is waited for.
    pub fn is_only_replica(&self) -> bool {
        self.state.lock().leader().is_some_and(Leader::is_only_replica)
    }

    /// Deletes records before `offset` (-1: before the high watermark). Returns the low watermark of the live replicas
    /// and the offset it has to reach. The log still has to note its start (`Log::note_log_start`), whether or not it moved
    /// now: whoever moved it may not have come to that.
    ///
    /// # Errors
    /// `PolicyViolation` on topics that are only compacted, `OffsetOutOfRange` beyond the high watermark,
    /// `NotLeaderOrFollower`, `KafkaStorageError`.
    pub fn delete_records_before(&self, offset: Offset) -> Result<(Offset, Offset), ErrorCode> {
        let high_watermark = self.state.lock().leader().ok_or(ErrorCode::NotLeaderOrFollower)?.high_watermark();
        let config = self.log.config();
        if config.is_compacted() && !config.has_retention() {
            return Err(ErrorCode::PolicyViolation);
        }
        let offset = if offset == Offset(-1) { high_watermark } else { offset };
        if offset.0 < 0 || offset > high_watermark {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        self.log.advance_log_start(offset).map_err(|error| {
            tracing::error!(partition = %self.id, %error, "records could not be deleted");
            ErrorCode::KafkaStorageError
        })?;
        let mut state = self.state.lock();
        self.publish(&mut state);
        let low = self.low_watermark_of(&state).ok_or(ErrorCode::NotLeaderOrFollower)?;
        Ok((low, offset))
    }

    /// The lowest log start of the live replicas; `None` when this broker does not lead.
    pub fn low_watermark(&self) -> Option<Offset> {
        self.low_watermark_of(&self.state.lock())
    }

    /// Waits until no live replica has anything before `offset`.
    ///
    /// # Errors
    /// `RequestTimedOut` after `deadline`, `NotLeaderOrFollower` when leadership was lost.
    pub async fn wait_for_low_watermark(&self, offset: Offset, deadline: Instant) -> Result<Offset, ErrorCode> {
        let mut moves = self.subscribe();
        let reached = async {
            loop {
                let low = self.low_watermark().ok_or(ErrorCode::NotLeaderOrFollower)?;
                if low >= offset {
                    return Ok(low);
                }
                moves.changed().await.map_err(|_| ErrorCode::NotLeaderOrFollower)?;
            }
        };
        tokio::time::timeout_at(deadline, reached).await.unwrap_or(Err(ErrorCode::RequestTimedOut))
    }

    fn low_watermark_of(&self, state: &State) -> Option<Offset> {
        Some(state.leader()?.low_watermark(self.log.offsets().log_start))
    }

    /// Asks for a change of the in-sync set. At most one is under way per partition, which bounds the channel.
    pub(super) fn propose(&self, state: &State, proposal: IsrProposal) {
        let change = IsrChange {
            partition: Arc::clone(&self.id.topic),
            index: self.id.partition,
            topic_id: self.topic_id,
            leader_epoch: state.epoch(),
            broker_epochs: proposal.isr.iter().map(|&member| self.broker_epoch(state, member)).collect(),
            proposal,
        };
        // Only closed while the broker goes down.
        let _ = self.proposals.send(change);
    }

    /// Proposes to remove followers that have lagged for too long.
    pub(super) fn check_lag(&self, now: Timestamp) {
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role
            && let Some(proposal) = leader.propose_shrink(now)
        {
            self.propose(&state, proposal);
        }
    }

    /// The controller committed an in-sync set.
    pub(super) fn on_isr_committed(&self, of: LeaderEpoch, isr: Vec<BrokerId>, partition_epoch: i32, now: Timestamp) {
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role
            && leader.epoch() == of
        {
            leader.on_isr_committed(isr, partition_epoch, now);
            self.publish(&mut state);
            // Another one may be proposed now.
            self.waiters.on_state_changed();
        }
    }

    /// The controller refused a proposal that was based on `partition_epoch`. One that was made since is not concerned.
    pub(super) fn on_isr_refused(&self, of: LeaderEpoch, partition_epoch: i32, now: Timestamp) {
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role
            && leader.epoch() == of
            && leader.partition_epoch() == partition_epoch
        {
            leader.on_isr_refused(now);
            self.publish(&mut state);
            self.waiters.on_state_changed();
        }
    }

    /// Whether a proposal still stands: nothing newer came from the controller.
    pub(super) fn is_still_proposed(&self, of: LeaderEpoch, partition_epoch: i32) -> bool {
        let state = self.state.lock();
        state.leader().is_some_and(|leader| leader.epoch() == of && leader.partition_epoch() == partition_epoch)
    }

    fn broker_epoch(&self, state: &State, member: BrokerId) -> i64 {
        // The own registration is known to whoever sends the proposal.
        state.leader().filter(|_| member != self.local).map_or(-1, |leader| leader.fetched_broker_epoch(member))
    }

    /// Takes the role that the metadata gives this replica.
    pub(super) fn assume(&self, assigned: PartitionState, now: Timestamp) -> std::io::Result<Assumed> {
        let _tenure = self.tenure.write();
        let mut state = self.state.lock();
        if assigned.leader_epoch < state.epoch() {
            return Ok(Assumed::Unchanged);
        }
        let mut assumed = Assumed::Unchanged;
        state.throttled = assigned.throttled;
        state.is_in_sync = assigned.isr.contains(&self.local);
        if assigned.leader == Some(self.local) {
            let epoch = assigned.leader_epoch;
            let start = LeaderStart {
                local: self.local,
                epoch,
                partition_epoch: assigned.partition_epoch,
                replicas: assigned.replicas,
                isr: assigned.isr,
                eligible: assigned.eligible,
                min_insync_replicas: assigned.min_insync_replicas,
                lag_max_ms: assigned.lag_max_ms,
            };
            match &mut state.role {
                Role::Leader(leader) if leader.epoch() == epoch => {
                    leader.update(start, now);
                }
                _ => {
                    let offsets = self.log.offsets();
                    // The start of an epoch is on disk before anything is written under it: followers cut by it.
                    self.log.assign_leader_epoch(epoch, offsets.log_end)?;
                    let durable = self.log.replicated_end();
                    let high_watermark = self.log.high_watermark();
                    let leader = Leader::with_durable_end(start, offsets.log_end, durable, high_watermark, now);
                    state.role = Role::Leader(Box::new(leader));
                    assumed = Assumed::Leads;
                }
            }
        } else {
            let (epoch, leader) = (assigned.leader_epoch, assigned.leader);
            if !matches!(state.role, Role::Follower { epoch: own, leader: of } if own == epoch && of == leader) {
                state.role = Role::Follower { epoch, leader };
                assumed = Assumed::Follows(leader, epoch);
            }
            for parked in state.parked.drain() {
                let _ = parked.send(Err(ErrorCode::NotLeaderOrFollower));
            }
        }
        self.publish(&mut state);
        // Replicas, who of them may join the in-sync set, throttles: a fetch at the same offset may come to something else.
        self.waiters.on_state_changed();
        Ok(assumed)
    }

    /// Ends this replica: everybody who waits is answered, later requests are refused.
    pub(super) fn leave(&self) {
        let _tenure = self.tenure.write();
        let mut state = self.state.lock();
        state.role = Role::Gone;
        self.gone.store(true, Ordering::Release);
        for parked in state.parked.drain() {
            let _ = parked.send(Err(ErrorCode::NotLeaderOrFollower));
        }
        self.snapshot.send_modify(|_| {});
        self.waiters.on_gone();
    }

    /// The log ends at `log_end` now, or did a moment ago.
    fn progress(&self, leader: &mut Leader, log_end: Offset) {
        if log_end > leader.log_end() {
            self.note_fetches(leader);
        }
        leader.on_progress(log_end, self.log.replicated_end(), clock::steady());
    }

    /// The last fetches of followers whose sessions have this partition at rest.
    pub(super) fn note_fetches(&self, leader: &mut Leader) {
        self.waiters.followers(|follower, at| leader.on_same_fetch(follower, at));
    }

    /// The log's disk has failed: nothing can be read or written here any more.
    pub(super) fn on_disk_failed(&self) {
        for parked in self.state.lock().parked.drain() {
            let _ = parked.send(Err(ErrorCode::KafkaStorageError));
        }
        self.on_unusable();
    }

    /// It stays here and cannot be used: whoever watches it is to look again.
    pub(super) fn on_unusable(&self) {
        self.waiters.on_gone();
    }

    /// Publishes where the offsets are now. Called with `state` held, so that snapshots follow each other in order.
    pub(super) fn publish(&self, state: &mut State) {
        if let Role::Leader(leader) = &state.role {
            let high_watermark = leader.high_watermark();
            self.log.set_high_watermark(high_watermark);
            if !state.parked.is_empty() {
                let answer = committed_answer(leader);
                for parked in state.parked.complete_up_to(high_watermark) {
                    // Whoever gave up waiting is not there any more.
                    let _ = parked.send(answer);
                }
            }
        }
        let new = LogOffsetSnapshot { leader_epoch: state.epoch(), ..offsets(&self.log) };
        let mut old = new;
        // Few partitions have somebody who waits for every change. Who subscribes now finds what is put here.
        self.snapshot.send_if_modified(|snapshot| {
            old = std::mem::replace(snapshot, new);
            self.snapshot.receiver_count() > 0
        });
        self.waiters.on_moved(&old, &new);
    }

    /// Whether all that was appended counts, or never will: its disk has failed.
    pub fn is_durable(&self) -> bool {
        self.log.replicated_end() >= self.log.offsets().log_end || !self.log.is_online()
    }

    /// Until all that was appended counts: on the disk, where `log.durability` asks for that. What a follower fetches next
    /// tells its leader that it has everything before.
    pub async fn wait_until_durable(&self) {
        let mut moves = self.subscribe();
        while !self.is_durable() {
            if moves.changed().await.is_err() {
                return;
            }
        }
    }

    /// The log moved by itself: retention deleted segments, or the log start went on.
    pub fn refresh(&self) {
        let mut state = self.state.lock();
        self.publish(&mut state);
    }
}

impl DurabilityListener for Partition {
    fn on_durable(&self) {
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role {
            self.progress(leader, self.log.offsets().log_end);
        }
        self.publish(&mut state);
    }

    fn on_failed(&self) {
        self.on_disk_failed();
    }
}

/// Records may have become committed by a shrinking in-sync set; their producer asked for more than that.
fn committed_answer(leader: &Leader) -> Result<(), ErrorCode> {
    leader.check_append().map_err(|_| ErrorCode::NotEnoughReplicasAfterAppend)
}

fn offsets(log: &Log) -> LogOffsetSnapshot {
    let offsets = log.offsets();
    LogOffsetSnapshot {
        log_start: offsets.log_start,
        last_stable: log.last_stable_offset(),
        high_watermark: log.high_watermark(),
        log_end: offsets.log_end,
        leader_epoch: LeaderEpoch::UNKNOWN,
    }
}
