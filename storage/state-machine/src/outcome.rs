//! What a request decides, and the state that only records change.

/// State rebuilt by replaying a log: the same records always give the same state.
pub trait StateMachine: Clone {
    type Record;

    /// Applies one record. The only way this state ever changes.
    fn replay(&mut self, record: &Self::Record);
}

/// What a request decided: records to append, and effects to release once those are committed.
///
/// Effects are values (a reply to a token, markers to send, ...) carried out in order by the host. An outcome without
/// records releases its effects as soon as everything decided before it is committed, so that a reader never sees state
/// that could still be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome<Record, Effect> {
    pub records: Vec<Record>,
    pub effects: Vec<Effect>,
}

impl<Record, Effect> Outcome<Record, Effect> {
    /// Nothing to write and nothing to say.
    pub const fn nothing() -> Self {
        Self { records: Vec::new(), effects: Vec::new() }
    }

    /// One effect and no records.
    pub fn effect(effect: Effect) -> Self {
        Self { records: Vec::new(), effects: vec![effect] }
    }

    /// Appends what `later` decided after this.
    pub fn extend(&mut self, later: Self) {
        self.records.extend(later.records);
        self.effects.extend(later.effects);
    }

    /// True when there is neither a record nor an effect.
    pub fn is_nothing(&self) -> bool {
        self.records.is_empty() && self.effects.is_empty()
    }
}

impl<Record, Effect> Default for Outcome<Record, Effect> {
    fn default() -> Self {
        Self::nothing()
    }
}
