//! The follower's end of an incremental fetch session (KIP-227): what the leader was told, and what it still has to be.

use std::collections::BTreeSet;

use ottla_protocol::ErrorCode;

use super::Key;

/// The first request of a session is complete.
const FULL: i32 = 0;

/// A session with one source broker.
#[derive(Debug, Default)]
pub(super) struct Session {
    id: i32,
    epoch: i32,
    /// Partitions the leader knows of.
    known: BTreeSet<Key>,
    /// Partitions of which something is to be said.
    changed: BTreeSet<Key>,
    /// Partitions the leader still has to forget.
    forgotten: BTreeSet<Key>,
}

/// What the next request says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub id: i32,
    pub epoch: i32,
    pub partitions: Vec<Key>,
    pub forgotten: Vec<Key>,
}

impl Next {
    pub(super) const fn is_full(&self) -> bool {
        self.epoch == FULL
    }
}

impl Session {
    /// A partition is to be fetched, or from another offset than before.
    pub(super) fn change(&mut self, key: Key) {
        self.forgotten.remove(&key);
        self.changed.insert(key);
    }

    /// A partition is not to be fetched any more, or not for a while.
    pub(super) fn forget(&mut self, key: Key) {
        self.changed.remove(&key);
        if self.known.remove(&key) {
            self.forgotten.insert(key);
        }
    }

    /// Partitions that are being fetched, or will be with the next request.
    pub(super) fn is_idle(&self) -> bool {
        self.known.is_empty() && self.changed.is_empty()
    }

    /// Composes the next request; what it says counts as said.
    pub(super) fn next(&mut self) -> Next {
        let changed = std::mem::take(&mut self.changed);
        let forgotten = std::mem::take(&mut self.forgotten);
        let (id, epoch) = (self.id, self.epoch);
        self.known.extend(changed.iter().copied());
        if epoch == FULL {
            return Next { id, epoch, partitions: self.known.iter().copied().collect(), forgotten: Vec::new() };
        }
        self.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        Next { id, epoch, partitions: changed.into_iter().collect(), forgotten: forgotten.into_iter().collect() }
    }

    /// The leader answered a complete request: 0 when it has no room for a session.
    pub(super) const fn opened(&mut self, id: i32) {
        self.id = id;
        self.epoch = if id == 0 { FULL } else { 1 };
    }

    /// The next request is complete again.
    pub(super) fn reset(&mut self, error: ErrorCode) {
        if error == ErrorCode::FetchSessionIdNotFound {
            self.id = 0;
        }
        // With the old id, so that the leader closes what there was.
        self.epoch = FULL;
        self.forgotten.clear();
    }

    /// While the answer to a complete request is not here there is no session to go on with.
    pub(super) const fn is_open(&self) -> bool {
        self.epoch != FULL
    }
}

#[cfg(test)]
mod tests {
    use ottla_protocol::TopicId;

    use super::*;

    const A: Key = (TopicId::ZERO, 1);
    const B: Key = (TopicId::ZERO, 2);

    #[test]
    fn only_changes_are_said() {
        let mut session = Session::default();
        session.change(A);
        session.change(B);
        assert_eq!(session.next(), Next { id: 0, epoch: 0, partitions: vec![A, B], forgotten: vec![] });
        session.opened(7);
        assert_eq!(session.next(), Next { id: 7, epoch: 1, partitions: vec![], forgotten: vec![] });
        session.change(B);
        session.forget(A);
        assert_eq!(session.next(), Next { id: 7, epoch: 2, partitions: vec![B], forgotten: vec![A] });
        session.reset(ErrorCode::InvalidFetchSessionEpoch);
        assert_eq!(session.next(), Next { id: 7, epoch: 0, partitions: vec![B], forgotten: vec![] });
    }

    #[test]
    fn a_partition_that_comes_back_before_the_next_request_is_not_forgotten() {
        let mut session = Session::default();
        session.change(A);
        let _ = session.next();
        session.opened(7);
        session.forget(A);
        session.change(A);
        assert_eq!(session.next(), Next { id: 7, epoch: 1, partitions: vec![A], forgotten: vec![] });
        session.forget(B);
        assert_eq!(session.next().forgotten, []);
    }

    #[test]
    fn without_room_for_a_session_every_request_is_complete() {
        let mut session = Session::default();
        session.change(A);
        let _ = session.next();
        session.opened(0);
        assert!(!session.is_open());
        assert_eq!(session.next(), Next { id: 0, epoch: 0, partitions: vec![A], forgotten: vec![] });
    }
}
