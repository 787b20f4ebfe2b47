//! A follower's side: fetches, and what it makes of the answers.

use bytes::Bytes;
use ottla_protocol::record_batch::batches;
use ottla_protocol::{ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_replication::follower::{EpochEnd, OwnLog, Realignment, high_watermark, realign, truncation};
use ottla_storage::Log;

use super::{Process, Role};
use crate::context::Context;
use crate::message::{FetchAnswer, FetchFailure, FetchRequest, Fetched, Message};
use crate::plan::REQUEST_TIMEOUT_MS;

/// Pause after a fetch that brought nothing, and after one that failed.
const IDLE_MS: i64 = 30;
const BACKOFF_MS: i64 = 40;

impl Process {
    pub(super) fn fetch_all(&mut self, cx: &mut Context) {
        let partitions: Vec<i32> = self.replicas.keys().copied().collect();
        for partition in partitions {
            self.fetch(partition, cx);
        }
    }

    fn fetch(&mut self, partition: i32, cx: &mut Context) {
        let (node, Some(broker_epoch)) = (self.node, self.epoch) else { return };
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let Role::Follower(following) = &mut replica.role else { return };
        let Some(leader) = following.leader else { return };
        let waits = following.outstanding.is_some_and(|(_, at)| cx.now - at < REQUEST_TIMEOUT_MS);
        if waits || cx.now < following.next_fetch || !replica.log.is_online() {
            return;
        }
        let id = cx.id();
        following.outstanding = Some((id, cx.now));
        let offsets = replica.log.offsets();
        let request = FetchRequest {
            id,
            partition,
            replica: i32::from(node),
            broker_epoch,
            current_epoch: following.epoch,
            offset: offsets.log_end.0,
            last_fetched_epoch: replica.log.latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN).0,
            log_start: offsets.log_start.0,
        };
        cx.send(node, leader.0 as u16, Message::Fetch(request));
    }

    pub(super) fn on_fetched(&mut self, answer: FetchAnswer, cx: &mut Context) {
        let FetchAnswer { id, partition, result } = answer;
        let Some(replica) = self.replicas.get_mut(&partition) else { return };
        let Role::Follower(following) = &mut replica.role else { return };
        // Of an earlier leader, or given up: the log may have changed since it was asked for (KAFKA-13207).
        if following.outstanding.is_none_or(|(asked, _)| asked != id) {
            return;
        }
        following.outstanding = None;
        self.touched.insert(partition);
        let node = self.node;
        let pause = match result {
            Ok(fetched) => {
                let had_records = !fetched.records.is_empty() || fetched.diverging.is_some();
                let log = &replica.log;
                let done = take(log, node, partition, fetched, Timestamp(1_000_000_000 + cx.now + self.skew), cx);
                match done {
                    Taken::Well if had_records => 0,
                    Taken::Well => IDLE_MS,
                    Taken::Cut => {
                        self.checkpoint();
                        0
                    }
                    Taken::Failed => BACKOFF_MS,
                }
            }
            Err(failure) => {
                let log = &replica.log;
                let end = log.offsets().log_end;
                cx.tell(|| format!("broker {node} fetches t-{partition} at {end} in vain: {failure:?}"));
                if realigned(log, node, partition, failure, cx) {
                    self.checkpoint();
                }
                BACKOFF_MS
            }
        };
        if let Some(super::Replica { role: Role::Follower(following), .. }) = self.replicas.get_mut(&partition) {
            following.next_fetch = cx.now + pause;
        }
        self.fetch(partition, cx);
    }
}

enum Taken {
    Well,
    Cut,
    Failed,
}

/// What a follower makes of an answer: cut first, then append, then move the high watermark (KAFKA-14704), then the start.
fn take(log: &Log, node: u16, partition: i32, fetched: Fetched, wall_clock: Timestamp, cx: &mut Context) -> Taken {
    if let Some((epoch, end)) = fetched.diverging {
        let leader = EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) };
        let log_end = log.offsets().log_end;
        let own_end = log.end_offset_for_epoch(LeaderEpoch(epoch), log_end);
        let own_end = own_end.map(|(epoch, end)| EpochEnd { epoch, end });
        let own = OwnLog { high_watermark: log.high_watermark(), log_end, own_end };
        let decided = truncation(Some(leader), own);
        return cut(log, node, partition, decided.to, cx);
    }
    if !fetched.records.is_empty() {
        let Some(whole) = whole_batches(&fetched.records) else { return Taken::Failed };
        if let Err(error) = log.append_as_follower(whole, wall_clock) {
            cx.tell(|| format!("broker {node} cannot append to t-{partition}: {error}"));
            return Taken::Failed;
        }
    }
    log.set_high_watermark(high_watermark(Offset(fetched.high_watermark), log.offsets().log_end));
    let start = Offset(fetched.log_start).min(log.high_watermark());
    if start > log.offsets().log_start && log.increment_log_start_offset(start).is_err() {
        return Taken::Failed;
    }
    Taken::Well
}

fn cut(log: &Log, node: u16, partition: i32, to: Offset, cx: &mut Context) -> Taken {
    let high_watermark = log.high_watermark().0;
    cx.tell(|| format!("broker {node} cuts t-{partition} to {to} (high watermark {high_watermark})"));
    match log.truncate_to(to) {
        Ok(()) => Taken::Cut,
        Err(_) => Taken::Failed,
    }
}

/// The leader does not have the offset; true if the log was changed.
fn realigned(log: &Log, node: u16, partition: i32, failure: FetchFailure, cx: &mut Context) -> bool {
    if failure.code != ErrorCode::OffsetOutOfRange {
        return false;
    }
    let own_end = log.offsets().log_end;
    match realign(Offset(failure.start), Offset(failure.end), own_end) {
        Realignment::TruncateTo(to) => matches!(cut(log, node, partition, to, cx), Taken::Cut),
        Realignment::StartAt(start) => {
            cx.tell(|| format!("broker {node} begins t-{partition} anew at {start}"));
            log.truncate_fully_and_start_at(start).is_ok()
        }
        Realignment::None => false,
    }
}

/// A fetch may end in the middle of a batch.
fn whole_batches(bytes: &Bytes) -> Option<Bytes> {
    let mut end = 0;
    for batch in batches(bytes) {
        match batch {
            Ok(batch) => end += batch.bytes().len(),
            Err(_) => break,
        }
    }
    (end > 0).then(|| bytes.slice(..end))
}
