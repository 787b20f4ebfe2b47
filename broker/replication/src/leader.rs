//! The leader's side of a partition: follower progress, in-sync set, high watermark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp};

use crate::isr::{Isr, IsrProposal};
use crate::progress::FollowerProgress;

/// What a leader begins (or goes on) with; from the metadata image, the topic's configuration and the local log.
#[derive(Debug, Clone)]
pub struct LeaderStart {
    pub local: BrokerId,
    pub epoch: LeaderEpoch,
    pub partition_epoch: i32,
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    /// Brokers that may join the in-sync set: registered, not fenced, not shutting down (KIP-841).
    pub eligible: Arc<BTreeSet<BrokerId>>,
    /// `min.insync.replicas`; never asks for more replicas than there are.
    pub min_insync_replicas: usize,
    /// `replica.lag.time.max.ms`
    pub lag_max_ms: i64,
}

/// A follower's fetch, as far as progress is concerned.
#[derive(Debug, Clone, Copy)]
pub struct FollowerFetch {
    pub replica: BrokerId,
    pub fetch_offset: Offset,
    pub log_start: Offset,
    /// The follower's registration; -1 when it did not say.
    pub broker_epoch: i64,
}

/// What a follower's fetch brought about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progressed {
    pub high_watermark_advanced: bool,
    pub log_start_moved: bool,
    /// The follower caught up: ask the controller to add it.
    pub proposal: Option<IsrProposal>,
}

/// Why a follower's fetch was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedFetch {
    /// It is not (or not yet known to be) a replica of this partition.
    NotAReplica,
    /// A fetch of an earlier registration of that broker, overtaken by a later one (KIP-903).
    StaleBrokerEpoch,
}

/// Fewer replicas are in sync than `min.insync.replicas` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotEnoughReplicas {
    pub in_sync: usize,
    pub required: usize,
}

/// One leadership of one partition.
///
/// Invariants: the high watermark never moves back and never passes the log end; it never moves at all while fewer than
/// `min.insync.replicas` are in sync, whatever `acks` the producers asked for.
#[derive(Debug, Clone)]
pub struct Leader {
    local: BrokerId,
    epoch: LeaderEpoch,
    epoch_start: Offset,
    partition_epoch: i32,
    replica_count: usize,
    followers: BTreeMap<BrokerId, FollowerProgress>,
    isr: Isr,
    eligible: Arc<BTreeSet<BrokerId>>,
    min_insync_replicas: usize,
    lag_max_ms: i64,
    log_end: Offset,
    /// Up to where this replica itself counts: what lies behind is not yet on its disk, and `log.durability` asks for that.
    durable_end: Offset,
    high_watermark: Offset,
}

impl Leader {
    /// Becomes leader with a log that ends at `log_end` and was known to be committed up to `high_watermark`.
    pub fn new(start: LeaderStart, log_end: Offset, high_watermark: Offset, now: Timestamp) -> Self {
        Self::with_durable_end(start, log_end, log_end, high_watermark, now)
    }

    /// As [`Leader::new`], where only what lies before `durable_end` is on the disk.
    pub fn with_durable_end(
        start: LeaderStart,
        log_end: Offset,
        durable_end: Offset,
        high_watermark: Offset,
        now: Timestamp,
    ) -> Self {
        let followers = start
            .replicas
            .iter()
            .filter(|&&replica| replica != start.local)
            .map(|&replica| (replica, FollowerProgress::new(start.isr.contains(&replica), now)))
            .collect();
        let mut leader = Self {
            local: start.local,
            epoch: start.epoch,
            epoch_start: log_end,
            partition_epoch: start.partition_epoch,
            replica_count: start.replicas.len(),
            followers,
            isr: Isr::new(start.isr),
            eligible: start.eligible,
            min_insync_replicas: start.min_insync_replicas,
            lag_max_ms: start.lag_max_ms,
            log_end,
            durable_end: durable_end.min(log_end),
            high_watermark: high_watermark.min(log_end),
        };
        leader.advance(now);
        leader
    }

    /// Takes over a newer state of the same leadership (same epoch): in-sync set, replicas, configuration.
    /// True when the high watermark moved. An image older than what is known is ignored.
    pub fn update(&mut self, start: LeaderStart, now: Timestamp) -> bool {
        debug_assert_eq!(self.epoch, start.epoch);
        self.eligible = start.eligible;
        self.min_insync_replicas = start.min_insync_replicas;
        self.lag_max_ms = start.lag_max_ms;
        // A partition epoch that went back would bring a removed replica back to life.
        if start.partition_epoch > self.partition_epoch {
            self.partition_epoch = start.partition_epoch;
            self.replica_count = start.replicas.len();
            self.followers.retain(|replica, _| start.replicas.contains(replica));
            for &replica in start.replicas.iter().filter(|&&replica| replica != self.local) {
                let in_sync = start.isr.contains(&replica);
                self.followers.entry(replica).or_insert_with(|| FollowerProgress::new(in_sync, now));
            }
            self.isr.on_committed(start.isr);
        }
        self.advance(now)
    }

    /// The epoch of this leadership.
    pub const fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// Where the log ended when this leadership began.
    pub const fn epoch_start(&self) -> Offset {
        self.epoch_start
    }

    /// Version of the partition's state this leader knows.
    pub const fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// Where the local log ends, as far as was reported.
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Everything before it is committed.
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The in-sync set.
    pub const fn isr(&self) -> &Isr {
        &self.isr
    }

    /// What is known of the followers.
    pub fn followers(&self) -> impl Iterator<Item = (BrokerId, &FollowerProgress)> {
        self.followers.iter().map(|(&replica, progress)| (replica, progress))
    }

    /// The registration under which a follower last fetched from this leader; -1 while that is not known. What an in-sync
    /// set is proposed with: a broker that came back since must not be taken for the one that caught up (KIP-903).
    pub fn fetched_broker_epoch(&self, replica: BrokerId) -> i64 {
        self.followers.get(&replica).map_or(-1, |progress| progress.broker_epoch)
    }

    /// Followers that have `offset` and are in sync, so that they go on having what is read behind it.
    pub fn in_sync_with(&self, offset: Offset) -> impl Iterator<Item = (BrokerId, &FollowerProgress)> {
        self.followers().filter(move |(replica, progress)| {
            self.isr.committed().contains(replica)
                && progress.log_end.is_some_and(|end| end >= offset)
                && progress.log_start.is_some_and(|start| start <= offset)
        })
    }

    /// Whether the partition has no other replica.
    pub fn is_only_replica(&self) -> bool {
        self.followers.is_empty()
    }

    /// How many in-sync replicas an `acks=all` append needs: never more than there are replicas.
    pub fn required_in_sync(&self) -> usize {
        self.min_insync_replicas.min(self.replica_count)
    }

    /// An `acks=all` append must not begin (nor be called done) with too few replicas in sync.
    pub fn check_append(&self) -> Result<(), NotEnoughReplicas> {
        let (in_sync, required) = (self.isr.committed().len(), self.required_in_sync());
        if in_sync < required { Err(NotEnoughReplicas { in_sync, required }) } else { Ok(()) }
    }

    /// The local log now ends at `log_end`. True when that moved the high watermark.
    pub fn on_appended(&mut self, log_end: Offset, now: Timestamp) -> bool {
        self.on_progress(log_end, log_end, now)
    }

    /// The local log now ends at `log_end`, and is on the disk up to `durable_end`. True when that moved the high watermark.
    pub fn on_progress(&mut self, log_end: Offset, durable_end: Offset, now: Timestamp) -> bool {
        // Appends may report out of order when two of them raced to this lock.
        if log_end > self.log_end {
            self.log_end = log_end;
        }
        self.durable_end = self.durable_end.max(durable_end).min(self.log_end);
        self.advance(now)
    }

    /// A follower fetched: its log ends where it asks to go on.
    pub fn on_follower_fetch(&mut self, fetch: FollowerFetch, now: Timestamp) -> Result<Progressed, RefusedFetch> {
        // What a follower has the leader's log has, even if nobody reported it: an append may fail after it was written.
        let log_end = self.log_end.max(fetch.fetch_offset);
        let progress = self.followers.get_mut(&fetch.replica).ok_or(RefusedFetch::NotAReplica)?;
        if fetch.broker_epoch != -1 && fetch.broker_epoch < progress.broker_epoch {
            return Err(RefusedFetch::StaleBrokerEpoch);
        }
        let moved = progress.log_end != Some(fetch.fetch_offset);
        let log_start_moved = progress.log_start != Some(fetch.log_start);
        self.log_end = log_end;
        progress.on_fetch(fetch.fetch_offset, fetch.log_start, log_end, fetch.broker_epoch, now);
        let proposal = if self.may_join(fetch.replica, fetch.fetch_offset) {
            self.isr.propose_expand(fetch.replica, self.partition_epoch)
        } else {
            None
        };
        let high_watermark_advanced = moved && self.advance(now);
        Ok(Progressed { high_watermark_advanced, log_start_moved, proposal })
    }

    /// A follower that had everything fetched once more, at `at`, in a session that did not name this partition again. To be told
    /// before the log grows: from then on it may lag.
    pub fn on_same_fetch(&mut self, replica: BrokerId, at: Timestamp) {
        if let Some(progress) = self.followers.get_mut(&replica)
            && progress.log_end == Some(self.log_end)
        {
            progress.on_same_fetch(self.log_end, at);
        }
    }

    /// Followers that have lagged for too long: ask the controller to remove them.
    pub fn propose_shrink(&mut self, now: Timestamp) -> Option<IsrProposal> {
        let (log_end, lag_max_ms) = (self.log_end, self.lag_max_ms);
        let lagging: Vec<BrokerId> = self
            .followers
            .iter()
            .filter(|(_, progress)| !progress.is_caught_up(log_end, now, lag_max_ms))
            .map(|(&replica, _)| replica)
            .filter(|replica| self.isr.committed().contains(replica))
            .collect();
        if lagging.is_empty() { None } else { self.isr.propose_shrink(&lagging, self.partition_epoch) }
    }

    /// The controller answered a proposal with this set and epoch. True when the high watermark moved.
    pub fn on_isr_committed(&mut self, isr: Vec<BrokerId>, partition_epoch: i32, now: Timestamp) -> bool {
        if partition_epoch > self.partition_epoch {
            self.partition_epoch = partition_epoch;
            self.isr.on_committed(isr);
        }
        self.advance(now)
    }

    /// The controller refused a proposal. True when the high watermark moved: a refused newcomer no longer holds it.
    pub fn on_isr_refused(&mut self, now: Timestamp) -> bool {
        self.isr.on_refused();
        self.advance(now)
    }

    /// The lowest log start among the replicas whose brokers live, given the leader's own: what DeleteRecords waits for.
    pub fn low_watermark(&self, own_log_start: Offset) -> Offset {
        self.followers
            .iter()
            .filter(|(replica, _)| self.eligible.contains(replica))
            .map(|(_, progress)| progress.log_start.unwrap_or(Offset(-1)))
            .fold(own_log_start, Offset::min)
    }

    /// A follower may join once it has all that is committed and has reached the start of this leadership: before that
    /// the high watermark may lie behind what an earlier leader had acknowledged (KAFKA-7128).
    fn may_join(&self, replica: BrokerId, fetch_offset: Offset) -> bool {
        self.eligible.contains(&replica) && fetch_offset >= self.high_watermark && fetch_offset >= self.epoch_start
    }

    fn advance(&mut self, now: Timestamp) -> bool {
        if self.check_append().is_err() {
            return false;
        }
        let mut committed = self.durable_end;
        for (&replica, progress) in &self.followers {
            // A caught-up follower outside of the set is about to join it: passing it now would only delay that.
            let counts = self.isr.is_in_maximal(replica)
                || (self.eligible.contains(&replica) && progress.is_caught_up(self.log_end, now, self.lag_max_ms));
            if counts {
                committed = committed.min(progress.log_end.unwrap_or(Offset(-1)));
            }
        }
        if committed > self.high_watermark {
            self.high_watermark = committed;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn ids(ids: &[i32]) -> Vec<BrokerId> {
        ids.iter().copied().map(BrokerId).collect()
    }

    fn start(replicas: &[i32], isr: &[i32], min: usize) -> LeaderStart {
        LeaderStart {
            local: BrokerId(1),
            epoch: LeaderEpoch(3),
            partition_epoch: 7,
            replicas: ids(replicas),
            isr: ids(isr),
            eligible: Arc::new(ids(replicas).into_iter().collect()),
            min_insync_replicas: min,
            lag_max_ms: 30_000,
        }
    }

    fn fetch(replica: i32, offset: i64) -> FollowerFetch {
        FollowerFetch {
            replica: BrokerId(replica),
            fetch_offset: Offset(offset),
            log_start: Offset(0),
            broker_epoch: 1,
        }
    }

    #[test]
    fn a_single_replica_commits_what_it_appends() {
        let mut leader = Leader::new(start(&[1], &[1], 1), Offset(10), Offset(4), Timestamp(0));
        assert_eq!(leader.high_watermark(), Offset(10), "nobody else is to be asked");
        assert!(leader.on_appended(Offset(12), Timestamp(1)));
        assert!(!leader.on_appended(Offset(11), Timestamp(1)), "an overtaken report changes nothing");
        assert_eq!(leader.high_watermark(), Offset(12));
    }

    #[test]
    fn what_is_not_on_the_disk_is_not_committed() {
        let begun = start(&[1, 2], &[1, 2], 1);
        let mut leader = Leader::with_durable_end(begun, Offset(10), Offset(8), Offset(4), Timestamp(0));
        leader.on_follower_fetch(fetch(2, 10), Timestamp(1)).unwrap();
        assert_eq!(leader.high_watermark(), Offset(8), "the follower has more than this disk");
        assert!(!leader.on_progress(Offset(12), Offset(8), Timestamp(2)));
        assert!(leader.on_progress(Offset(12), Offset(12), Timestamp(3)));
        assert_eq!(leader.high_watermark(), Offset(10), "now the follower is behind");
    }

    #[test]
    fn min_insync_is_capped_by_the_replicas_there_are() {
        let leader = Leader::new(start(&[1], &[1], 2), Offset(0), Offset(0), Timestamp(0));
        assert_eq!(leader.check_append(), Ok(()));
    }

    #[test]
    fn the_high_watermark_stands_still_below_min_insync() {
        let mut leader = Leader::new(start(&[1, 2, 3], &[1], 2), Offset(10), Offset(4), Timestamp(90000));
        assert_eq!(leader.check_append(), Err(NotEnoughReplicas { in_sync: 1, required: 2 }));
        assert!(!leader.on_appended(Offset(20), Timestamp(90001)));
        assert_eq!(leader.high_watermark(), Offset(4));
        // A second member lets it move again.
        leader.on_follower_fetch(fetch(2, 20), Timestamp(90002)).unwrap();
        assert!(leader.on_isr_committed(ids(&[1, 2]), 8, Timestamp(90003)));
        assert_eq!(leader.high_watermark(), Offset(20));
    }

    #[test]
    fn the_slowest_in_sync_follower_sets_the_high_watermark() {
        let mut leader = Leader::new(start(&[1, 2, 3], &[1, 2, 3], 2), Offset(0), Offset(0), Timestamp(0));
        leader.on_appended(Offset(10), Timestamp(1));
        assert!(!leader.on_follower_fetch(fetch(2, 10), Timestamp(2)).unwrap().high_watermark_advanced);
        assert!(leader.on_follower_fetch(fetch(3, 6), Timestamp(3)).unwrap().high_watermark_advanced);
        assert_eq!(leader.high_watermark(), Offset(6));
        // 3 stops; past the lag allowance it is proposed to leave, and holds the mark until that is committed.
        let proposal = leader.propose_shrink(Timestamp(31_000)).unwrap();
        assert_eq!(proposal.isr, ids(&[1, 2]), "2 has fetched nothing for 30 s either, but has everything");
        assert_eq!(leader.high_watermark(), Offset(6));
        assert!(leader.on_isr_committed(ids(&[1, 2]), 8, Timestamp(31_001)));
        assert_eq!(leader.high_watermark(), Offset(10));
    }

    #[test]
    fn a_follower_with_nothing_to_fetch_is_counted_from_its_last_request() {
        let mut leader = Leader::new(start(&[1, 2, 3], &[1, 2, 3], 1), Offset(10), Offset(10), Timestamp(0));
        leader.on_follower_fetch(fetch(2, 10), Timestamp(1)).unwrap();
        leader.on_follower_fetch(fetch(3, 9), Timestamp(1)).unwrap();
        // For an hour nothing is written. Their sessions go on, and name nothing.
        let hour = 3_600_000;
        leader.on_same_fetch(BrokerId(2), Timestamp(hour));
        leader.on_same_fetch(BrokerId(3), Timestamp(hour));
        leader.on_appended(Offset(20), Timestamp(hour + 100));
        let shrunk = leader.propose_shrink(Timestamp(hour + 200)).unwrap();
        assert_eq!(shrunk.isr, ids(&[1, 2]), "3 never had everything, however often it asks");
        leader.on_isr_refused(Timestamp(hour + 201));
        // What is said after the log has grown says nothing.
        leader.on_same_fetch(BrokerId(2), Timestamp(hour + 40_000));
        assert_eq!(leader.propose_shrink(Timestamp(hour + 30_000)).unwrap().isr, ids(&[1, 2]));
        leader.on_isr_refused(Timestamp(hour + 30_000));
        assert_eq!(leader.propose_shrink(Timestamp(hour + 30_001)).unwrap().isr, ids(&[1]));
        // It asks for what was the end when it asked last: then it was there.
        leader.on_isr_refused(Timestamp(hour + 30_001));
        leader.on_follower_fetch(fetch(2, 10), Timestamp(hour + 30_002)).unwrap();
        assert_eq!(leader.followers().next().unwrap().1.last_caught_up, Timestamp(hour));
    }

    #[test]
    fn a_newcomer_must_reach_the_start_of_the_leadership() {
        let mut leader = Leader::new(start(&[1, 2], &[1], 1), Offset(100), Offset(100), Timestamp(50_000));
        assert_eq!(leader.on_follower_fetch(fetch(2, 99), Timestamp(50_001)).unwrap().proposal, None);
        let proposal = leader.on_follower_fetch(fetch(2, 100), Timestamp(50_002)).unwrap().proposal.unwrap();
        assert_eq!(proposal, IsrProposal { isr: ids(&[1, 2]), partition_epoch: 7 });
        // While the proposal is under way the newcomer already holds the mark.
        assert!(!leader.on_appended(Offset(110), Timestamp(50_003)));
        assert_eq!(leader.high_watermark(), Offset(100));
    }

    #[test]
    fn what_a_follower_has_counts_once_it_is_on_this_disk_too() {
        let mut leader = Leader::new(start(&[1, 2], &[1, 2], 2), Offset(0), Offset(0), Timestamp(0));
        // The append was written and then refused, for lack of space to sync it.
        leader.on_follower_fetch(fetch(2, 3), Timestamp(1)).unwrap();
        assert_eq!(leader.high_watermark(), Offset(0));
        // Nobody reports the log's end again: what is on the disk is enough.
        assert!(leader.on_progress(Offset(0), Offset(3), Timestamp(2)));
        assert_eq!(leader.high_watermark(), Offset(3));
    }

    #[test]
    fn strangers_and_overtaken_registrations_are_refused() {
        let mut leader = Leader::new(start(&[1, 2], &[1, 2], 1), Offset(0), Offset(0), Timestamp(0));
        assert_eq!(leader.on_follower_fetch(fetch(9, 0), Timestamp(1)), Err(RefusedFetch::NotAReplica));
        let later = FollowerFetch { broker_epoch: 5, ..fetch(2, 0) };
        leader.on_follower_fetch(later, Timestamp(1)).unwrap();
        assert_eq!(leader.on_follower_fetch(fetch(2, 0), Timestamp(1)), Err(RefusedFetch::StaleBrokerEpoch));
    }

    #[test]
    fn fenced_brokers_do_not_join_nor_hold_deletions_back() {
        let mut fenced = start(&[1, 2], &[1], 1);
        fenced.eligible = Arc::new(ids(&[1]).into_iter().collect());
        let mut leader = Leader::new(fenced, Offset(0), Offset(0), Timestamp(0));
        assert_eq!(leader.on_follower_fetch(fetch(2, 0), Timestamp(1)).unwrap().proposal, None);
        assert_eq!(leader.low_watermark(Offset(5)), Offset(5));
        leader.update(start(&[1, 2], &[1], 1), Timestamp(2));
        assert_eq!(leader.low_watermark(Offset(5)), Offset(0));
    }

    #[test]
    fn an_older_partition_epoch_is_ignored() {
        let mut leader = Leader::new(start(&[1, 2], &[1, 2], 1), Offset(0), Offset(0), Timestamp(0));
        leader.on_isr_committed(ids(&[1]), 9, Timestamp(1));
        leader.update(start(&[1, 2], &[1, 2], 1), Timestamp(2));
        assert_eq!(leader.isr().committed(), ids(&[1]));
        assert_eq!(leader.partition_epoch(), 9);
    }
}
