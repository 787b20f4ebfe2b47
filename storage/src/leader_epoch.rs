//! Which leader wrote what: epoch to start offset, and its file `leader-epoch-checkpoint`.
//!
//! Invariant: epochs and start offsets ascend strictly from entry to entry.
//!
//! The file is written when the log is flushed, truncated or closed, not at every new epoch: batches carry their epoch,
//! so what lies behind the recovery point is found again from the log itself.

use ottla_protocol::{LeaderEpoch, Offset};

/// An epoch and the first offset written under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    pub epoch: LeaderEpoch,
    pub start: Offset,
}

/// All epochs of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    /// Without room for more: most logs have one or two, and stay as they are.
    entries: Box<[EpochEntry]>,
}

impl LeaderEpochs {
    /// From entries in any order; those that break the invariant are dropped, the later epoch wins.
    pub fn new(mut entries: Vec<EpochEntry>) -> Self {
        entries.sort_by_key(|entry| entry.epoch);
        let mut kept = Vec::new();
        for entry in entries {
            assign(&mut kept, entry);
        }
        Self { entries: kept.into() }
    }

    /// Records that `epoch` begins at `start`; true if that was news. An epoch under which nothing was written gives way.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        self.change(|entries| assign(entries, EpochEntry { epoch, start }))
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Vec<EpochEntry>) -> T) -> T {
        let mut entries = std::mem::take(&mut self.entries).into_vec();
        let changed = change(&mut entries);
        self.entries = entries.into();
        changed
    }

    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The epoch under which the record at `offset` was or will be written.
    pub fn at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].epoch)
    }

    /// The largest epoch that is not above `asked`, and where it ends. `None` if the log knows none, or none that late.
    pub fn end_offset_for(&self, asked: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        let latest = self.latest()?;
        if asked.0 < 0 || asked > latest {
            return None;
        }
        if asked == latest {
            return Some((asked, log_end));
        }
        let after = self.entries.partition_point(|entry| entry.epoch <= asked);
        let end = self.entries[after].start;
        // Before the first known epoch: the answer is the asked epoch itself, ending where the first one begins.
        Some((after.checked_sub(1).map_or(asked, |at| self.entries[at].epoch), end))
    }

    /// Forgets what begins at or behind `end`; true if there was anything.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|entry| entry.start < end);
            before != entries.len()
        })
    }

    /// Forgets what ends before `start`: the epoch at `start` then begins there. True if anything changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let after = self.entries.partition_point(|entry| entry.start <= start);
        let Some(covering) = after.checked_sub(1) else { return false };
        if covering == 0 && self.entries[0].start == start {
            return false;
        }
        self.change(|entries| drop(entries.drain(..covering)));
        self.entries[0].start = start;
        true
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        use std::fmt::Write;
        let mut text = format!("0\n{}\n", self.entries.len());
        for entry in &*self.entries {
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start);
        }
        text
    }

    /// From the file's text; `None` if it is damaged.
    pub fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut entries = Vec::new();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            entries.push(EpochEntry { epoch: LeaderEpoch(epoch.parse().ok()?), start: Offset(start.parse().ok()?) });
        }
        (entries.len() == count).then(|| Self::new(entries))
    }
}

fn assign(entries: &mut Vec<EpochEntry>, entry: EpochEntry) -> bool {
    if entry.epoch.0 < 0 || entry.start.0 < 0 || entries.last().is_some_and(|latest| entry.epoch <= latest.epoch) {
        return false;
    }
    while entries.last().is_some_and(|last| last.start >= entry.start) {
        entries.pop();
    }
    entries.push(entry);
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::new(
            entries
                .iter()
                .map(|&(epoch, start)| EpochEntry { epoch: LeaderEpoch(epoch), start: Offset(start) })
                .collect(),
        )
    }

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let epochs = epochs(&[(0, 0), (2, 10), (5, 20)]);
        let end = |epoch| epochs.end_offset_for(LeaderEpoch(epoch), Offset(30)).map(|(e, o)| (e.0, o.0));
        assert_eq!(end(0), Some((0, 10)));
        assert_eq!(end(1), Some((0, 10)));
        assert_eq!(end(2), Some((2, 20)));
        assert_eq!(end(4), Some((2, 20)));
        assert_eq!(end(5), Some((5, 30)));
        assert_eq!(end(6), None);
        assert_eq!(end(-1), None);
        assert_eq!(epochs.at(Offset(10)), Some(LeaderEpoch(2)));
        assert_eq!(epochs.at(Offset(9)), Some(LeaderEpoch(0)));
    }

    #[test]
    fn epoch_zero_and_empty_epochs_are_kept_right() {
        let mut epochs = epochs(&[(0, 0)]);
        assert_eq!(epochs.latest(), Some(LeaderEpoch(0)));
        assert!(epochs.assign(LeaderEpoch(1), Offset(7)));
        // Nothing was written under epoch 1.
        assert!(epochs.assign(LeaderEpoch(3), Offset(7)));
        assert!(!epochs.assign(LeaderEpoch(3), Offset(9)));
        assert_eq!(epochs.entries.len(), 2);
        assert!(epochs.truncate_from_end(Offset(7)));
        assert_eq!(epochs.latest(), Some(LeaderEpoch(0)));
    }

    #[test]
    fn the_start_moves_and_the_text_survives() {
        let mut epochs = epochs(&[(0, 0), (2, 10), (5, 20)]);
        assert!(epochs.truncate_from_start(Offset(15)));
        assert_eq!(epochs.entries[0], EpochEntry { epoch: LeaderEpoch(2), start: Offset(15) });
        assert_eq!(epochs.to_text(), "0\n2\n2 15\n5 20\n");
        assert_eq!(LeaderEpochs::from_text(&epochs.to_text()).unwrap(), epochs);
        assert_eq!(LeaderEpochs::from_text("0\n3\n2 15\n"), None);
    }
}
