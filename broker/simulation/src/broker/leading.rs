//! A leader's side: appends, fetches of followers and consumers, proposals of in-sync sets.

use std::io;

use bytes::Bytes;
use ottla_decisions::ControllerResponse;
use ottla_protocol::messages::AlterPartitionRequest;
use ottla_protocol::messages::alter_partition_request::{BrokerState, PartitionData, TopicData};
use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_replication::{FollowerFetch, IsrProposal, Leader};
use ottla_storage::{AppendContext, AppendOrigin, Log, LogRead, Verification};

use super::{Ask, Process, Role};
use crate::context::Context;
use crate::message::{
    FetchAnswer, FetchFailure, FetchRequest, Fetched, Message, Node, ProduceRequest, ReadAnswer, ReadRequest,
};
use crate::observation::Observation;
use crate::plan::REQUEST_TIMEOUT_MS;

/// One leadership of one partition, with those who wait for it.
#[derive(Debug)]
pub struct Leading {
    pub leader: Leader,
    parked: Vec<Parked>,
    proposal: Option<Proposed>,
}

/// A produce that waits for the high watermark.
#[derive(Debug)]
struct Parked {
    from: Node,
    id: u64,
    first_offset: Offset,
    until: Offset,
}

/// What the controller was asked for, until it is known what became of it.
#[derive(Debug)]
struct Proposed {
    proposal: IsrProposal,
    broker_epochs: Vec<i64>,
    sent_at: i64,
}

impl Leading {
    pub const fn new(leader: Leader) -> Self {
        Self { leader, parked: Vec::new(), proposal: None }
    }

    /// Leadership is lost: whoever waits must ask the next leader.
    pub fn give_up(&mut self, node: Node, cx: &mut Context) {
        for parked in self.parked.drain(..) {
            let answer = Err(ErrorCode::NotLeaderOrFollower);
            cx.send(node, parked.from, Message::Produced { id: parked.id, answer });
        }
    }
}

impl Process {
    fn leading(&mut self, partition: i32) -> Result<(&Log, &mut Leading), ErrorCode> {
        let replica = self.replicas.get_mut(&partition).ok_or(ErrorCode::NotLeaderOrFollower)?;
        if !replica.log.is_online() {
            return Err(ErrorCode::KafkaStorageError);
        }
        match &mut replica.role {
            Role::Leader(leading) => Ok((&replica.log, leading)),
            _ => Err(ErrorCode::NotLeaderOrFollower),
        }
    }

    /// The high watermark reaches the log and releases who waited for it.
    pub(super) fn publish(&mut self, partition: i32, cx: &mut Context) {
        let node = self.node;
        self.touched.insert(partition);
        let Ok((log, leading)) = self.leading(partition) else { return };
        let high_watermark = leading.leader.high_watermark();
        log.set_high_watermark(high_watermark);
        let enough = leading.leader.check_append().is_ok();
        leading.parked.retain(|parked| {
            if parked.until > high_watermark {
                return true;
            }
            let answer = if enough { Ok(parked.first_offset.0) } else { Err(ErrorCode::NotEnoughReplicasAfterAppend) };
            cx.send(node, parked.from, Message::Produced { id: parked.id, answer });
            false
        });
    }

    pub(super) fn on_produce(&mut self, from: Node, request: ProduceRequest, cx: &mut Context) {
        let id = request.id;
        match self.append(from, request, cx) {
            Ok(None) => {}
            Ok(Some(offset)) => cx.send(self.node, from, Message::Produced { id, answer: Ok(offset) }),
            Err(code) => cx.send(self.node, from, Message::Produced { id, answer: Err(code) }),
        }
    }

    /// Appends; the first offset if the producer need not wait.
    fn append(&mut self, from: Node, request: ProduceRequest, cx: &mut Context) -> Result<Option<i64>, ErrorCode> {
        let wall_clock = Timestamp(self.wall_clock(cx));
        let partition = request.partition;
        self.touched.insert(partition);
        let (log, leading) = self.leading(partition)?;
        if request.acks == -1 {
            leading.leader.check_append().map_err(|_| ErrorCode::NotEnoughReplicas)?;
        }
        let context = AppendContext {
            leader_epoch: leading.leader.epoch(),
            origin: if request.is_marker { AppendOrigin::Coordinator } else { AppendOrigin::Client },
            now: wall_clock,
            verification: Verification::NotNeeded,
            is_awaited: request.acks == -1,
        };
        let info = log.append_as_leader(request.records, &context).map_err(|error| error.error_code())?;
        // Also for a retry: the first attempt may have failed after it was written.
        leading.leader.on_appended(info.last_offset.plus(1), Timestamp(cx.now));
        let until = info.last_offset.plus(1);
        let waits = request.acks == -1;
        if waits {
            leading.parked.push(Parked { from, id: request.id, first_offset: info.first_offset, until });
        }
        self.publish(partition, cx);
        Ok((!waits).then_some(info.first_offset.0))
    }

    pub(super) fn on_fetch(&mut self, from: Node, request: FetchRequest, cx: &mut Context) {
        let (id, partition) = (request.id, request.partition);
        let result = self.answer_fetch(&request, cx).map_err(|code| {
            let offsets = self.replicas.get(&partition).map(|replica| replica.log.offsets());
            let (start, end) = offsets.map_or((0, 0), |offsets| (offsets.log_start.0, offsets.log_end.0));
            FetchFailure { code, start, end }
        });
        cx.send(self.node, from, Message::Fetched(FetchAnswer { id, partition, result }));
    }

    fn answer_fetch(&mut self, request: &FetchRequest, cx: &mut Context) -> Result<Fetched, ErrorCode> {
        let partition = request.partition;
        let max_bytes = 150 + cx.below(600);
        self.check_epoch(partition, request.current_epoch)?;
        let (log, leading) = self.leading(partition)?;
        let offsets = log.offsets();
        let offset = Offset(request.offset);
        let diverging = diverging(log, LeaderEpoch(request.last_fetched_epoch), offset)?;
        let records = match diverging {
            Some(_) => Bytes::new(),
            None => {
                let read = log.read(offset, max_bytes, Offset(i64::MAX), true).map_err(|error| error.error_code())?;
                bytes_of(&read).map_err(|_| ErrorCode::KafkaStorageError)?
            }
        };
        if diverging.is_none() {
            let fetch = FollowerFetch {
                replica: BrokerId(request.replica),
                fetch_offset: offset,
                log_start: Offset(request.log_start),
                broker_epoch: request.broker_epoch,
            };
            let progressed = leading
                .leader
                .on_follower_fetch(fetch, Timestamp(cx.now))
                .map_err(|_| ErrorCode::NotLeaderOrFollower)?;
            let leader_epoch = leading.leader.epoch().0;
            if let Some(proposal) = progressed.proposal {
                self.propose(partition, proposal, cx);
            }
            cx.observe(Observation::FollowerHeard {
                broker: self.node,
                partition,
                replica: request.replica,
                leader_epoch,
                follower_epoch: request.current_epoch,
                offset: request.offset,
            });
        }
        self.publish(partition, cx);
        let (log, _) = self.leading(partition)?;
        Ok(Fetched {
            records,
            high_watermark: log.high_watermark().0,
            log_start: offsets.log_start.0,
            diverging: diverging.map(|(epoch, end)| (epoch.0, end.0)),
        })
    }

    fn check_epoch(&mut self, partition: i32, given: i32) -> Result<(), ErrorCode> {
        let (_, leading) = self.leading(partition)?;
        match given.cmp(&leading.leader.epoch().0) {
            std::cmp::Ordering::Less => Err(ErrorCode::FencedLeaderEpoch),
            std::cmp::Ordering::Greater => Err(ErrorCode::UnknownLeaderEpoch),
            std::cmp::Ordering::Equal => Ok(()),
        }
    }

    pub(super) fn on_read(&mut self, from: Node, request: ReadRequest, cx: &mut Context) {
        let (id, partition) = (request.id, request.partition);
        let result = self.answer_read(&request);
        let log_start = self.replicas.get(&partition).map_or(0, |replica| replica.log.offsets().log_start.0);
        cx.send(self.node, from, Message::ReadAnswer(ReadAnswer { id, log_start, result }));
    }

    fn answer_read(&mut self, request: &ReadRequest) -> Result<(Bytes, Vec<(i64, i64)>), ErrorCode> {
        if request.current_epoch >= 0 {
            self.check_epoch(request.partition, request.current_epoch)?;
        }
        let (log, _) = self.leading(request.partition)?;
        let bound = if request.committed_only { log.last_stable_offset() } else { log.high_watermark() };
        let offset = Offset(request.offset);
        let read = log.read(offset, 900, bound, true).map_err(|error| error.error_code())?;
        let records = bytes_of(&read).map_err(|_| ErrorCode::KafkaStorageError)?;
        let mut aborted = Vec::new();
        if request.committed_only && !records.is_empty() {
            let found = log.aborted_transactions(offset, read.next_offset).map_err(|_| ErrorCode::KafkaStorageError)?;
            aborted = found.iter().map(|txn| (txn.producer_id.0, txn.first_offset.0)).collect();
        }
        Ok((records, aborted))
    }

    pub(super) fn on_delete_records(&mut self, partition: i32, before: i64, cx: &mut Context) {
        let Ok((log, leading)) = self.leading(partition) else { return };
        let before = Offset(before).min(leading.leader.high_watermark());
        if log.increment_log_start_offset(before).is_ok() {
            let before = log.offsets().log_start.0;
            cx.tell(|| format!("records of t-{partition} before {before} are deleted"));
            // As the real host does: what was deleted stays deleted.
            self.checkpoint();
            self.publish(partition, cx);
        }
    }

    pub(super) fn check_lag(&mut self, cx: &mut Context) {
        let partitions: Vec<i32> = self.replicas.keys().copied().collect();
        for partition in partitions {
            let Ok((log, leading)) = self.leading(partition) else { continue };
            let proposal = leading.leader.propose_shrink(Timestamp(cx.now));
            let has_proposal = leading.proposal.is_some() || proposal.is_some();
            let (epoch, log_end) = (leading.leader.epoch().0, log.offsets().log_end.0);
            if let Some(proposal) = proposal {
                self.propose(partition, proposal, cx);
            }
            let (broker, now) = (self.node, cx.now);
            cx.observe(Observation::LagChecked { broker, partition, now, epoch, log_end, has_proposal });
        }
    }

    fn propose(&mut self, partition: i32, proposal: IsrProposal, cx: &mut Context) {
        let own = BrokerId(i32::from(self.node));
        let own_epoch = self.epoch.unwrap_or(-1);
        let Ok((_, leading)) = self.leading(partition) else { return };
        // The registration that caught up, not the one that the metadata shows by now (KIP-903).
        let epoch_of = |member: &BrokerId| {
            if *member == own { own_epoch } else { leading.leader.fetched_broker_epoch(*member) }
        };
        let broker_epochs = proposal.isr.iter().map(epoch_of).collect();
        let isr = proposal.isr.iter().map(|member| member.0).collect();
        leading.proposal = Some(Proposed { proposal, broker_epochs, sent_at: i64::MIN / 2 });
        cx.observe(Observation::Proposes { broker: self.node, partition, isr });
        self.propose_again(cx);
    }

    /// Sends proposals that were not sent, or to which nobody answered for certain.
    pub(super) fn propose_again(&mut self, cx: &mut Context) {
        let partitions: Vec<i32> = self.replicas.keys().copied().collect();
        let topic_id = self.applied.topics.by_name("t").map(|topic| topic.id.0);
        for partition in partitions {
            let (node, own_epoch) = (self.node, self.epoch.unwrap_or(-1));
            let Ok((_, leading)) = self.leading(partition) else { continue };
            let current = leading.leader.partition_epoch();
            let Some(proposed) = &mut leading.proposal else { continue };
            // Newer metadata has overtaken it.
            if proposed.proposal.partition_epoch != current {
                leading.proposal = None;
                continue;
            }
            if cx.now - proposed.sent_at < REQUEST_TIMEOUT_MS {
                continue;
            }
            let again = proposed.sent_at >= 0;
            proposed.sent_at = cx.now;
            let members = proposed.proposal.isr.iter().zip(&proposed.broker_epochs);
            let members = members.map(|(member, epoch)| {
                BrokerState::default().with_broker_id(member.0.into()).with_broker_epoch(*epoch)
            });
            let leader_epoch = leading.leader.epoch().0;
            let data = PartitionData::default()
                .with_partition_index(partition)
                .with_leader_epoch(leader_epoch)
                .with_partition_epoch(current)
                .with_new_isr_with_epochs(members.collect());
            let topic = TopicData::default().with_topic_id(topic_id.unwrap_or_default()).with_partitions(vec![data]);
            let request = AlterPartitionRequest::default()
                .with_broker_id(i32::from(node).into())
                .with_broker_epoch(own_epoch)
                .with_topics(vec![topic]);
            if again {
                self.try_another_controller(cx);
            }
            let ask = Ask::AlterPartition { partition, leader_epoch, partition_epoch: current };
            self.ask(ask, request.into(), cx);
        }
    }

    pub(super) fn on_alter_partition(
        &mut self,
        partition: i32,
        leader_epoch: i32,
        partition_epoch: i32,
        answer: Result<&ControllerResponse, &ErrorCode>,
        cx: &mut Context,
    ) {
        let Ok((_, leading)) = self.leading(partition) else { return };
        if leading.leader.epoch().0 != leader_epoch {
            return;
        }
        // No answer that counts: it stays open and is sent again.
        let Ok(ControllerResponse::AlterPartition(response)) = answer else { return };
        let code = ErrorCode::from_code(response.error_code);
        let answered = response.topics.first().and_then(|topic| topic.partitions.first());
        let now = Timestamp(cx.now);
        match (code, answered) {
            (Some(ErrorCode::None), Some(answered)) if answered.error_code == 0 => {
                let isr = answered.isr.iter().map(|id| BrokerId(id.0)).collect();
                leading.leader.on_isr_committed(isr, answered.partition_epoch, now);
                // A later proposal, made on newer metadata while this answer was on its way, is not answered by it.
                let is_answered = |open: &Proposed| open.proposal.partition_epoch == partition_epoch;
                if leading.proposal.as_ref().is_some_and(is_answered) {
                    leading.proposal = None;
                }
            }
            (Some(ErrorCode::None), Some(answered)) => match ErrorCode::from_code(answered.error_code) {
                // Surely not done, and not to be asked for again before something changes.
                Some(ErrorCode::IneligibleReplica) if leading.leader.partition_epoch() == partition_epoch => {
                    leading.leader.on_isr_refused(now);
                    leading.proposal = None;
                }
                Some(ErrorCode::NotController) => {}
                // The metadata that is on its way says what holds. Until then the proposal stays open.
                _ => {}
            },
            _ => {}
        }
        self.publish(partition, cx);
    }
}

/// Where a reader's history parts from this log.
fn diverging(log: &Log, last: LeaderEpoch, offset: Offset) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    if last == LeaderEpoch::UNKNOWN {
        return Ok(None);
    }
    let offsets = log.offsets();
    let Some((epoch, end)) = log.end_offset_for_epoch(last, offsets.log_end) else {
        return Err(ErrorCode::OffsetOutOfRange);
    };
    if offset < offsets.log_start {
        return Err(ErrorCode::OffsetOutOfRange);
    }
    Ok((epoch < last || end < offset).then_some((epoch, end)))
}

pub fn bytes_of(read: &LogRead) -> io::Result<Bytes> {
    match read.records.first() {
        Some(records) => records.read_all().map(Bytes::from),
        None => Ok(Bytes::new()),
    }
}
