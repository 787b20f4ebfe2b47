//! How far one follower has come, as seen from the leader.

use ottla_protocol::{Offset, Timestamp};

/// What the leader learned from a follower's fetches. A fetch at offset `n` says that everything before `n` is on its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerProgress {
    /// Where the follower's log ends; `None` until it fetched from this leader.
    pub log_end: Option<Offset>,
    /// Where the follower's log starts; `None` until it fetched from this leader.
    pub log_start: Option<Offset>,
    /// The moment until which the follower had everything the leader had.
    pub last_caught_up: Timestamp,
    /// The registration of the follower that sent the last fetch; -1 when it did not say.
    pub broker_epoch: i64,
    last_fetch: Timestamp,
    leader_end_at_last_fetch: Offset,
}

impl FollowerProgress {
    /// A follower that has not fetched yet. One in the in-sync set gets the lag allowance from `now` on.
    pub fn new(in_sync: bool, now: Timestamp) -> Self {
        Self {
            log_end: None,
            log_start: None,
            last_caught_up: if in_sync { now } else { Timestamp(0) },
            broker_epoch: -1,
            last_fetch: Timestamp(0),
            leader_end_at_last_fetch: Offset(-1),
        }
    }

    /// Records a fetch at `offset` while the leader's log ended at `leader_end`.
    ///
    /// A follower that asks for what was the leader's end at its previous fetch was caught up at that earlier moment:
    /// under constant load it never sees the very end, yet does not lag.
    pub fn on_fetch(
        &mut self,
        offset: Offset,
        log_start: Offset,
        leader_end: Offset,
        broker_epoch: i64,
        now: Timestamp,
    ) {
        if offset >= leader_end {
            self.last_caught_up = self.last_caught_up.max(now);
        } else if offset >= self.leader_end_at_last_fetch {
            self.last_caught_up = self.last_caught_up.max(self.last_fetch);
        }
        self.log_end = Some(offset);
        self.log_start = Some(log_start);
        self.broker_epoch = broker_epoch;
        self.last_fetch = now;
        self.leader_end_at_last_fetch = leader_end;
    }

    /// Records a fetch at the offset of the one before, while the leader's log still ended there.
    pub(crate) fn on_same_fetch(&mut self, leader_end: Offset, now: Timestamp) {
        if now > self.last_fetch {
            self.last_caught_up = self.last_caught_up.max(now);
            self.last_fetch = now;
            self.leader_end_at_last_fetch = leader_end;
        }
    }

    /// True when the follower has all the leader has, or had it within the last `lag_max_ms`.
    pub fn is_caught_up(&self, leader_end: Offset, now: Timestamp, lag_max_ms: i64) -> bool {
        self.log_end == Some(leader_end) || now.0 - self.last_caught_up.0 <= lag_max_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_one_fetch_behind_a_busy_leader_does_not_lag() {
        let mut progress = FollowerProgress::new(false, Timestamp(0));
        for round in 0..100 {
            // Each time it asks for what was the end one round ago.
            progress.on_fetch(Offset(round * 10), Offset(0), Offset(round * 10 + 10), 1, Timestamp(round * 500));
        }
        assert!(progress.is_caught_up(Offset(5_000), Timestamp(99 * 500), 1_000));
        assert!(!progress.is_caught_up(Offset(5_000), Timestamp(99 * 500 + 1_000), 1_000));
    }

    #[test]
    fn a_follower_that_falls_back_lags_from_its_last_good_moment() {
        let mut progress = FollowerProgress::new(true, Timestamp(0));
        progress.on_fetch(Offset(100), Offset(0), Offset(100), 1, Timestamp(1_000));
        progress.on_fetch(Offset(150), Offset(0), Offset(400), 1, Timestamp(2_000));
        progress.on_fetch(Offset(160), Offset(0), Offset(800), 1, Timestamp(3_000));
        assert_eq!(progress.last_caught_up, Timestamp(1_000));
    }
}
