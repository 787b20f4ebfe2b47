//! Which offset a follower cuts its log to when its leader's history differs (KIP-101, KIP-279).

use ottla_protocol::{LeaderEpoch, Offset};

/// Where an epoch ends in some log: the largest known epoch not above the one asked for, and its end (exclusive).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    pub epoch: LeaderEpoch,
    pub end: Offset,
}

/// What the follower does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    pub to: Offset,
    /// False when the logs may still differ before `to`: the leader must be asked again, for an older epoch.
    pub complete: bool,
}

/// What the follower's own log says.
#[derive(Debug, Clone, Copy)]
pub struct OwnLog {
    pub high_watermark: Offset,
    pub log_end: Offset,
    /// The follower's own answer for the leader's epoch; `None` when its log knows no epoch that old.
    pub own_end: Option<EpochEnd>,
}

/// Decides from the leader's answer; `None` means that the leader knows no epoch that old.
pub fn truncation(leader: Option<EpochEnd>, own: OwnLog) -> Truncation {
    let Some(leader) = leader else {
        // Only committed records are surely the leader's too.
        return Truncation { to: own.high_watermark, complete: true };
    };
    match own.own_end {
        None => Truncation { to: leader.end.min(own.log_end), complete: true },
        // The follower never saw the leader's epoch: it cuts to the end of its next smaller one and asks about that.
        Some(own_end) if own_end.epoch != leader.epoch => {
            Truncation { to: own_end.end.min(own.log_end), complete: false }
        }
        Some(own_end) => Truncation { to: own_end.end.min(leader.end).min(own.log_end), complete: true },
    }
}

/// What a follower does whose fetch offset the leader does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realignment {
    /// The leader's log ends before the follower's (after an unclean election): what is behind its end goes.
    TruncateTo(Offset),
    /// The leader's log starts behind the follower's end: nothing the follower has is of use any more.
    StartAt(Offset),
    /// The leader has the offset by now.
    None,
}

/// Decides from where the leader's log starts and ends.
pub fn realign(leader_start: Offset, leader_end: Offset, own_end: Offset) -> Realignment {
    if leader_end < own_end {
        Realignment::TruncateTo(leader_end)
    } else if leader_start > own_end {
        Realignment::StartAt(leader_start)
    } else {
        Realignment::None
    }
}

/// The high watermark of a follower: what the leader said, as far as the follower's own log goes.
pub fn high_watermark(leaders: Offset, own_end: Offset) -> Offset {
    leaders.min(own_end).max(Offset::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_out_of_range_goes_where_the_leaders_log_is() {
        assert_eq!(realign(Offset(0), Offset(50), Offset(60)), Realignment::TruncateTo(Offset(50)));
        assert_eq!(realign(Offset(70), Offset(90), Offset(60)), Realignment::StartAt(Offset(70)));
        assert_eq!(realign(Offset(0), Offset(90), Offset(60)), Realignment::None);
        assert_eq!(high_watermark(Offset(9), Offset(7)), Offset(7));
        assert_eq!(high_watermark(Offset(-1), Offset(7)), Offset(0));
    }

    fn end(epoch: i32, end: i64) -> Option<EpochEnd> {
        Some(EpochEnd { epoch: LeaderEpoch(epoch), end: Offset(end) })
    }

    #[test]
    fn a_follower_cuts_to_the_smaller_end_of_the_common_epoch() {
        let own = OwnLog { high_watermark: Offset(5), log_end: Offset(20), own_end: end(3, 20) };
        assert_eq!(truncation(end(3, 15), own), Truncation { to: Offset(15), complete: true });
        assert_eq!(truncation(end(3, 40), own), Truncation { to: Offset(20), complete: true });
        assert_eq!(truncation(None, own), Truncation { to: Offset(5), complete: true });
    }

    #[test]
    fn a_fast_double_failover_takes_a_second_round() {
        // The leader has epochs 1 and 4, the follower 1, 2 and 3.
        let own = OwnLog { high_watermark: Offset(5), log_end: Offset(20), own_end: end(1, 10) };
        assert_eq!(truncation(end(1, 12), own), Truncation { to: Offset(10), complete: true });
        let skipped = OwnLog { own_end: end(1, 10), ..own };
        assert_eq!(truncation(end(2, 12), skipped), Truncation { to: Offset(10), complete: false });
    }
}
