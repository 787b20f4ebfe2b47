//! Two views of one state: what has been decided, and what is safe to show.

use crate::StateMachine;

/// ```text
///   committed ──────────► latest
///   readers see this      requests decide on this
/// ```
///
/// `latest` is ahead by the records that were appended but are not yet committed. With persistent maps inside the state
/// a clone is cheap, so a failed append simply drops `latest` back to `committed`.
#[derive(Debug, Clone)]
pub struct Timeline<S: StateMachine> {
    committed: S,
    latest: S,
}

impl<S: StateMachine> Timeline<S> {
    /// Both views start at `state`.
    pub fn new(state: S) -> Self {
        Self { committed: state.clone(), latest: state }
    }

    /// What requests decide on.
    pub const fn latest(&self) -> &S {
        &self.latest
    }

    /// What readers may see.
    pub const fn committed(&self) -> &S {
        &self.committed
    }

    /// A record was decided and handed to the log.
    pub fn replay_latest(&mut self, record: &S::Record) {
        self.latest.replay(record);
    }

    /// The same record is now committed.
    pub fn replay_committed(&mut self, record: &S::Record) {
        self.committed.replay(record);
    }

    /// Everything decided is committed: the committed view takes over the latest one.
    pub fn commit_all(&mut self) {
        self.committed = self.latest.clone();
    }

    /// The append failed: forget what was decided but never committed.
    pub fn roll_back(&mut self) {
        self.latest = self.committed.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Sum(i64);

    impl StateMachine for Sum {
        type Record = i64;
        fn replay(&mut self, record: &i64) {
            self.0 += record;
        }
    }

    #[test]
    fn a_failed_append_forgets_only_what_was_not_committed() {
        let mut timeline = Timeline::new(Sum(0));
        timeline.replay_latest(&5);
        timeline.replay_committed(&5);
        timeline.replay_latest(&7);
        assert_eq!((timeline.committed(), timeline.latest()), (&Sum(5), &Sum(12)));
        timeline.roll_back();
        assert_eq!(timeline.latest(), &Sum(5));
        timeline.replay_latest(&1);
        timeline.commit_all();
        assert_eq!(timeline.committed(), &Sum(6));
    }
}
