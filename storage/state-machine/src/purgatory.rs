//! Where answers wait for an offset.

use std::collections::BTreeMap;

use ottla_protocol::Offset;

/// Values parked until a log has reached an offset, released in offset order and, within one offset, in parking order.
#[derive(Debug)]
pub struct Purgatory<T> {
    waiting: BTreeMap<Offset, Vec<T>>,
    len: usize,
}

impl<T> Default for Purgatory<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), len: 0 }
    }
}

impl<T> Purgatory<T> {
    /// Parks `value` until everything before `offset` is committed.
    pub fn park(&mut self, offset: Offset, value: T) {
        self.waiting.entry(offset).or_default().push(value);
        self.len += 1;
    }

    /// Takes all that waited for `high_watermark` or less.
    pub fn complete_up_to(&mut self, high_watermark: Offset) -> Vec<T> {
        let still_waiting = self.waiting.split_off(&high_watermark.plus(1));
        let done = std::mem::replace(&mut self.waiting, still_waiting);
        let done: Vec<T> = done.into_values().flatten().collect();
        self.len -= done.len();
        done
    }

    /// Takes everything, in order: the log will not get there.
    pub fn drain(&mut self) -> Vec<T> {
        self.len = 0;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// How many values wait.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_their_offsets() {
        let mut purgatory = Purgatory::default();
        purgatory.park(Offset(5), "b");
        purgatory.park(Offset(3), "a");
        purgatory.park(Offset(5), "c");
        assert_eq!(purgatory.complete_up_to(Offset(2)), Vec::<&str>::new());
        assert_eq!(purgatory.complete_up_to(Offset(4)), vec!["a"]);
        assert_eq!(purgatory.len(), 2);
        assert_eq!(purgatory.complete_up_to(Offset(5)), vec!["b", "c"]);
        assert!(purgatory.is_empty());
        purgatory.park(Offset(9), "d");
        assert_eq!(purgatory.drain(), vec!["d"]);
        assert!(purgatory.is_empty());
    }
}
