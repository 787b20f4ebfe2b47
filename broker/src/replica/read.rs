//! Reading from a partition: fetches, offsets by timestamp, ends of epochs.

use ottla_protocol::{BrokerId, ErrorCode, LeaderEpoch, Offset, Timestamp};
use ottla_replication::preferred::{Candidate, rack_aware};
use ottla_replication::{FollowerFetch, LogOffsetSnapshot, RefusedFetch};
use ottla_storage::{AbortedTxn, FileRecords};

use super::errors::ReadError;
use super::partition::{Partition, Role, State};

/// How far a reader may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Followers: everything.
    LogEnd,
    /// Plain consumers: what is on the whole in-sync set.
    HighWatermark,
    /// `read_committed` consumers: what is decided.
    LastStable,
}

impl Isolation {
    /// The end (exclusive) of what may be seen.
    pub const fn bound(self, snapshot: &LogOffsetSnapshot) -> Offset {
        match self {
            Self::LogEnd => snapshot.log_end,
            Self::HighWatermark => snapshot.high_watermark,
            Self::LastStable => snapshot.last_stable,
        }
    }
}

/// What a reader knows about epochs, and whether it insists on the leader.
#[derive(Debug, Clone, Copy)]
pub struct Epochs {
    /// The leader epoch the reader believes in; -1 when it does not say.
    pub current: LeaderEpoch,
    /// False for the debugging consumer, which reads any replica.
    pub leader_only: bool,
}

/// One read.
#[derive(Debug, Clone, Copy)]
pub struct ReadAt {
    pub offset: Offset,
    pub max_bytes: usize,
    /// Return a first batch even if it is larger than `max_bytes`.
    pub at_least_one: bool,
    pub isolation: Isolation,
    pub epochs: Epochs,
    /// Epoch of the last record the reader has; -1 when it does not say.
    pub last_fetched_epoch: LeaderEpoch,
    /// Set when a follower reads.
    pub follower: Option<FollowerRead>,
}

/// The follower behind a read.
#[derive(Debug, Clone, Copy)]
pub struct FollowerRead {
    pub replica: BrokerId,
    pub log_start: Offset,
    /// Registration of the follower; -1 when it did not say.
    pub broker_epoch: i64,
    pub now: Timestamp,
    /// False on a second look for the same request, which was counted already, and while this broker does not know the
    /// follower's registration yet.
    pub counts: bool,
}

/// What was read. No bytes have moved yet.
#[derive(Debug, Clone, Default)]
pub struct ReadAnswer {
    pub records: Vec<FileRecords>,
    /// Bytes in `records`.
    pub size: usize,
    pub offsets: LogOffsetSnapshot,
    /// Records that the reader may see follow in the next segment: it is read by the next request.
    pub has_more: bool,
    /// Where the reader's history parts from this one; then there are no records.
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Transactions in the range that were aborted; only for `read_committed`.
    pub aborted: Option<Vec<AbortedTxn>>,
}

/// What is looked for in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetQuery {
    /// The end of what the asker may see.
    Latest,
    /// The first offset that can be read.
    Earliest,
    /// The offset of the record with the largest timestamp.
    MaxTimestamp,
    /// The first record at or after a time.
    At(Timestamp),
}

/// An answer to an [`OffsetQuery`]. Without a timestamp it is -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetFound {
    pub offset: Offset,
    pub timestamp: Timestamp,
    /// Epoch of the record or of the leader; -1 when unknown.
    pub leader_epoch: LeaderEpoch,
}

impl Partition {
    /// Looks at the log from an offset on.
    ///
    /// # Errors
    /// The code to answer with: a stale or future epoch, not the leader, out of range, storage.
    pub fn read(&self, at: &ReadAt) -> Result<ReadAnswer, ReadError> {
        {
            // The lock is not held while the log is read: what lies before the bound stays true whoever leads next.
            let state = self.state.lock();
            check_epochs(&state, at.epochs)?;
            if let Some(follower) = &at.follower {
                check_follower(&state, follower.replica, at.epochs)?;
            }
        }
        if !self.log().is_online() {
            // Also where there is nothing to read: what comes next comes elsewhere.
            return Err(ReadError(ErrorCode::KafkaStorageError));
        }
        // Offsets from before the read: an append in between must not make a follower look late.
        let offsets = self.snapshot();
        if let Some(diverging) = self.diverging(at, &offsets)? {
            return Ok(ReadAnswer { offsets, diverging: Some(diverging), ..ReadAnswer::default() });
        }
        let mut answer = self.read_records(at, offsets)?;
        if let Some(follower) = at.follower.filter(|follower| follower.counts) {
            self.on_follower_read(at, &follower)?;
            answer.offsets.high_watermark = self.snapshot().high_watermark;
        }
        Ok(answer)
    }

    fn on_follower_read(&self, at: &ReadAt, follower: &FollowerRead) -> Result<(), ErrorCode> {
        let mut state = self.state.lock();
        // Once more: progress under an earlier leadership says nothing about this one's log (KIP-320).
        check_epochs(&state, at.epochs)?;
        let Role::Leader(leader) = &mut state.role else { return Err(ErrorCode::NotLeaderOrFollower) };
        let fetch = FollowerFetch {
            replica: follower.replica,
            fetch_offset: at.offset,
            log_start: follower.log_start,
            broker_epoch: follower.broker_epoch,
        };
        if fetch.fetch_offset > leader.log_end() {
            self.note_fetches(leader);
        }
        let progressed = leader.on_follower_fetch(fetch, follower.now).map_err(|refused| match refused {
            RefusedFetch::NotAReplica | RefusedFetch::StaleBrokerEpoch => ErrorCode::NotLeaderOrFollower,
        })?;
        // Whoever waits for a deletion waits for the followers' log starts.
        if progressed.high_watermark_advanced || progressed.log_start_moved {
            self.publish(&mut state);
        }
        if let Some(proposal) = progressed.proposal {
            self.propose(&state, proposal);
        }
        Ok(())
    }

    fn diverging(&self, at: &ReadAt, offsets: &LogOffsetSnapshot) -> Result<Option<(LeaderEpoch, Offset)>, ReadError> {
        if at.last_fetched_epoch == LeaderEpoch::UNKNOWN {
            return Ok(None);
        }
        let end = self.log().end_offset_for_epoch(at.last_fetched_epoch, offsets.log_end);
        let Some((epoch, end)) = end else { return Err(ReadError(ErrorCode::OffsetOutOfRange)) };
        // Below the log start there is nothing to compare: the reader must first come back into range.
        if at.offset < offsets.log_start {
            return Err(ReadError(ErrorCode::OffsetOutOfRange));
        }
        Ok((epoch < at.last_fetched_epoch || end < at.offset).then_some((epoch, end)))
    }

    fn read_records(&self, at: &ReadAt, offsets: LogOffsetSnapshot) -> Result<ReadAnswer, ReadError> {
        let bound = at.isolation.bound(&offsets);
        if at.offset < offsets.log_start || at.offset > offsets.log_end {
            return Err(ReadError(ErrorCode::OffsetOutOfRange));
        }
        let aborted = (at.isolation == Isolation::LastStable).then(Vec::new);
        if at.offset >= bound || (at.max_bytes == 0 && !at.at_least_one) {
            return Ok(ReadAnswer { offsets, aborted, ..ReadAnswer::default() });
        }
        let read = self.log().read(at.offset, at.max_bytes, bound, at.at_least_one).map_err(|error| match error {
            ottla_storage::ReadError::OutOfRange { .. } => ReadError(ErrorCode::OffsetOutOfRange),
            other => {
                tracing::error!(partition = %self.id(), error = %other, "read failed");
                ReadError(ErrorCode::KafkaStorageError)
            }
        })?;
        let size = read.records.iter().map(FileRecords::len).sum();
        let aborted = match aborted {
            None => None,
            Some(none) if size == 0 => Some(none),
            Some(_) => Some(self.log().aborted_transactions(at.offset, read.next_offset).map_err(|error| {
                tracing::error!(partition = %self.id(), %error, "aborted transactions could not be read");
                ReadError(ErrorCode::KafkaStorageError)
            })?),
        };
        let has_more = size > 0 && read.next_offset < bound;
        Ok(ReadAnswer { records: read.records, size, offsets, has_more, diverging: None, aborted })
    }

    /// The replica on another broker that a consumer in `rack` had better read from (KIP-392). `rack_of` tells the rack of
    /// a broker that the consumer can reach; `None` where it cannot.
    pub fn preferred_replica<'a>(
        &self,
        offset: Offset,
        rack: &str,
        rack_of: impl Fn(BrokerId) -> Option<Option<&'a str>>,
    ) -> Option<BrokerId> {
        let mut state = self.state.lock();
        if let Role::Leader(leader) = &mut state.role {
            self.note_fetches(leader);
        }
        let leader = state.leader()?;
        let candidates: Vec<Candidate<'_>> = leader
            .in_sync_with(offset)
            .filter_map(|(broker, progress)| {
                let rack = rack_of(broker)?;
                let log_end = progress.log_end?;
                Some(Candidate { broker, rack, log_end, last_caught_up: progress.last_caught_up })
            })
            .collect();
        rack_aware(rack, rack_of(self.local()).flatten(), &candidates)
    }

    /// Checks only what every read checks first.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub fn check_epochs(&self, epochs: Epochs) -> Result<(), ErrorCode> {
        check_epochs(&self.state.lock(), epochs)
    }

    /// The end of the largest epoch that is not above `epoch`; `None` when the log knows none.
    ///
    /// # Errors
    /// As [`Partition::read`].
    pub fn end_of_epoch(&self, epochs: Epochs, epoch: LeaderEpoch) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
        check_epochs(&self.state.lock(), epochs)?;
        Ok(self.log().end_offset_for_epoch(epoch, self.snapshot().log_end))
    }

    /// Finds an offset. `isolation` is that of the asking client, or `LogEnd` for a replica.
    ///
    /// # Errors
    /// As [`Partition::read`]; `OffsetNotAvailable` right after an election, while a client could be told an offset that
    /// lies before what it has already seen.
    pub fn find_offset(
        &self,
        query: OffsetQuery,
        isolation: Isolation,
        epochs: Epochs,
    ) -> Result<Option<OffsetFound>, ErrorCode> {
        let (epoch, epoch_start) = {
            let state = self.state.lock();
            check_epochs(&state, epochs)?;
            (state.epoch(), state.leader().map(|leader| leader.epoch_start()))
        };
        let offsets = self.snapshot();
        let last_fetchable = isolation.bound(&offsets);
        let lags = isolation != Isolation::LogEnd && epoch_start.is_some_and(|start| start > offsets.high_watermark);
        let found = match query {
            OffsetQuery::Latest if lags => return Err(ErrorCode::OffsetNotAvailable),
            OffsetQuery::Latest => {
                return Ok(Some(OffsetFound { offset: last_fetchable, timestamp: Timestamp(-1), leader_epoch: epoch }));
            }
            OffsetQuery::Earliest => {
                let leader_epoch = self.log().epoch_at(offsets.log_start).unwrap_or(LeaderEpoch::UNKNOWN);
                return Ok(Some(OffsetFound { offset: offsets.log_start, timestamp: Timestamp(-1), leader_epoch }));
            }
            OffsetQuery::MaxTimestamp => self.log().offset_of_max_timestamp(),
            OffsetQuery::At(timestamp) => self.log().offset_for_timestamp(timestamp),
        };
        let found = found.map_err(|error| {
            tracing::error!(partition = %self.id(), %error, "offsets could not be looked up");
            ErrorCode::KafkaStorageError
        })?;
        match found {
            Some(found) if found.offset < last_fetchable => Ok(Some(OffsetFound {
                offset: found.offset,
                timestamp: found.timestamp,
                leader_epoch: found.leader_epoch,
            })),
            _ if lags => Err(ErrorCode::OffsetNotAvailable),
            _ => Ok(None),
        }
    }
}

/// With an epoch that fits, a follower that is no replica here knows of a reassignment that has not come here yet.
fn check_follower(state: &State, replica: BrokerId, asked: Epochs) -> Result<(), ErrorCode> {
    let leader = state.leader().ok_or(ErrorCode::NotLeaderOrFollower)?;
    if leader.followers().any(|(id, _)| id == replica) {
        Ok(())
    } else if asked.current == LeaderEpoch::UNKNOWN {
        Err(ErrorCode::NotLeaderOrFollower)
    } else {
        Err(ErrorCode::UnknownLeaderEpoch)
    }
}

/// The reader must believe in the same leader epoch as this replica, and find here what it looks for.
fn check_epochs(state: &State, asked: Epochs) -> Result<(), ErrorCode> {
    let epoch = state.epoch();
    if matches!(state.role, Role::Gone) {
        return Err(ErrorCode::UnknownTopicOrPartition);
    }
    if asked.current != LeaderEpoch::UNKNOWN {
        if asked.current < epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if asked.current > epoch {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
    }
    if asked.leader_only && state.leader().is_none() {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    Ok(())
}
