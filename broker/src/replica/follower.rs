//! The follower's side of a partition: where it asks its leader to go on, and what it does with the answer.
//!
//! Invariant: an answer is used only under the leader epoch it was asked under, and only where the log still ends at the
//! offset that was asked for. Cutting comes before everything else: a high watermark never points into what is cut.

use bytes::Bytes;
use ottla_protocol::{BrokerId, LeaderEpoch, Offset, Timestamp};
use ottla_replication::follower::{self, EpochEnd, OwnLog, Realignment};

use super::partition::{Partition, Role, State};

/// What a follower asks of its leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPosition {
    pub offset: Offset,
    pub log_start: Offset,
    /// Epoch of the last record here; -1 with an empty log.
    pub last_fetched_epoch: LeaderEpoch,
    pub high_watermark: Offset,
}

/// What a leader sent for one partition.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The offset that was asked for.
    pub offset: Offset,
    pub records: Bytes,
    pub high_watermark: Offset,
    pub log_start: Offset,
    pub now: Timestamp,
}

/// Why a follower could not use an answer.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The partition is led, followed under another epoch or gone since: the answer is nobody's any more.
    #[error("the partition moved on")]
    MovedOn,
    /// What came does not fit the log; it is asked for again.
    #[error("records do not fit the log: {0}")]
    Unfit(ottla_storage::AppendError),
    /// The log cannot be written or cut: not now where it is online, else not any more.
    #[error("log: {0}")]
    Storage(String),
}

impl From<std::io::Error> for FollowError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

impl Partition {
    /// Where the log ends and what it knows; `None` unless `leader` is followed under `epoch`.
    pub fn fetch_position(&self, leader: BrokerId, epoch: LeaderEpoch) -> Option<FetchPosition> {
        let state = self.state.lock();
        if !matches!(state.role, Role::Follower { epoch: own, leader: of } if own == epoch && of == Some(leader)) {
            return None;
        }
        let offsets = self.log().offsets();
        Some(FetchPosition {
            offset: offsets.log_end,
            log_start: offsets.log_start,
            last_fetched_epoch: self.log().latest_epoch().unwrap_or(LeaderEpoch::UNKNOWN),
            high_watermark: self.log().high_watermark(),
        })
    }

    /// Appends what the leader sent; the log's bytes, offsets and epochs become the leader's. True if the log grew.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn append_as_follower(&self, epoch: LeaderEpoch, fetched: Fetched) -> Result<bool, FollowError> {
        let _tenure = self.tenure.read();
        self.check_follows(epoch)?;
        let before = self.log().offsets().log_end;
        if fetched.offset != before {
            // An answer to an earlier question, overtaken by another: what it says of the log's end is old.
            return Ok(false);
        }
        if !fetched.records.is_empty()
            && let Err(error) = self.append_fetched(fetched.records, fetched.now)
        {
            // The log may have been cut for it.
            self.publish(&mut self.state.lock());
            return Err(error);
        }
        let end = self.log().offsets().log_end;
        self.log().set_high_watermark(follower::high_watermark(fetched.high_watermark, end));
        let log_start = fetched.log_start.min(self.log().high_watermark());
        if log_start > self.log().offsets().log_start {
            // Noted with the next checkpoint: should this replica lead before, the leader's own note is what counts.
            self.log().advance_log_start(log_start)?;
        }
        let mut state = self.state.lock();
        self.publish(&mut state);
        Ok(end > before)
    }

    fn append_fetched(&self, records: Bytes, now: Timestamp) -> Result<(), FollowError> {
        let log = self.log();
        match log.append_as_follower(records.clone(), now) {
            Ok(_) => Ok(()),
            // The leader's log starts within a batch: an empty follower takes the batch whole, and its log start comes
            // behind.
            Err(ottla_storage::AppendError::OutOfOrderOffsets { first, end })
                if first < end && end == log.offsets().log_start =>
            {
                log.truncate_fully_and_start_at(first)?;
                log.append_as_follower(records, now).map(drop).map_err(unfit)
            }
            Err(error) => Err(unfit(error)),
        }
    }

    /// The leader's history parts from this log's: its largest epoch up to the last one here, and where that ends.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn truncate_to_leader(&self, epoch: LeaderEpoch, leader: EpochEnd) -> Result<(), FollowError> {
        let _tenure = self.tenure.read();
        self.check_follows(epoch)?;
        let log = self.log();
        let log_end = log.offsets().log_end;
        let own_end = log.end_offset_for_epoch(leader.epoch, log_end).map(|(epoch, end)| EpochEnd { epoch, end });
        let own = OwnLog { high_watermark: log.high_watermark(), log_end, own_end };
        let cut = follower::truncation(Some(leader), own);
        self.cut(cut.to)
    }

    /// The leader does not have the offset that was asked for; its log reaches from `start` to `end`.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub fn realign(&self, epoch: LeaderEpoch, start: Offset, end: Offset) -> Result<(), FollowError> {
        let _tenure = self.tenure.read();
        self.check_follows(epoch)?;
        match follower::realign(start, end, self.log().offsets().log_end) {
            Realignment::TruncateTo(offset) => self.cut(offset),
            Realignment::StartAt(offset) => {
                tracing::warn!(partition = %self.id(), %offset, "behind the leader's log start, beginning there");
                self.log().truncate_fully_and_start_at(offset)?;
                self.publish(&mut self.state.lock());
                Ok(())
            }
            Realignment::None => Ok(()),
        }
    }

    fn cut(&self, to: Offset) -> Result<(), FollowError> {
        let high_watermark = self.log().high_watermark();
        if to < high_watermark {
            tracing::warn!(partition = %self.id(), %to, %high_watermark, "truncated below the high watermark");
        }
        self.log().truncate_to(to)?;
        self.publish(&mut self.state.lock());
        Ok(())
    }

    fn check_follows(&self, epoch: LeaderEpoch) -> Result<(), FollowError> {
        let state: &State = &self.state.lock();
        match state.role {
            Role::Follower { epoch: own, .. } if own == epoch => Ok(()),
            _ => Err(FollowError::MovedOn),
        }
    }
}

fn unfit(error: ottla_storage::AppendError) -> FollowError {
    match error {
        ottla_storage::AppendError::Io(_) | ottla_storage::AppendError::Offline => {
            FollowError::Storage(error.to_string())
        }
        // A full disk too: the log goes on when there is space again.
        other => FollowError::Unfit(other),
    }
}
