//! Clocks that are far off: nothing here goes by another node's time, but the records that it stamps, what it deletes by age and
//! the transactions that it gives up do, once it leads.

use std::collections::HashSet;
use std::time::Duration;

use ottla_protocol::{BrokerId, Timestamp};
use parking_lot::Mutex;

/// A message may have waited for its connection, for a leader, or in the queue of a process that was frozen.
const TOLERANCE_MS: u64 = 60_000;

/// Brokers whose clock was off when they were heard last.
#[derive(Default)]
pub(crate) struct Clocks {
    off: Mutex<HashSet<BrokerId>>,
}

impl Clocks {
    /// A registered broker sent something when its clock showed `sent`. Says it once when a clock is off, and when it is right again.
    pub(crate) fn heard(&self, broker: BrokerId, sent: Timestamp, now: Timestamp) {
        let mut off = self.off.lock();
        // Half of it on the way back: a clock at the limit is not told of with every heartbeat.
        let tolerated_ms = if off.contains(&broker) { TOLERANCE_MS / 2 } else { TOLERANCE_MS };
        match skew(sent, now, tolerated_ms) {
            Some(skew) => {
                if off.insert(broker) {
                    tracing::warn!(
                        broker = broker.0,
                        "the clock of broker {} is {skew} this controller's: timestamps, retention and transaction timeouts \
                         of the partitions that it leads go by it. Correct the one of the two that is wrong",
                        broker.0
                    );
                }
            }
            None => {
                if off.remove(&broker) {
                    tracing::info!(broker = broker.0, "the clock of broker {} agrees again", broker.0);
                }
            }
        }
    }
}

/// How far, and in which direction.
fn skew(sent: Timestamp, now: Timestamp, tolerated_ms: u64) -> Option<String> {
    let difference = sent.0.saturating_sub(now.0);
    if difference.unsigned_abs() <= tolerated_ms {
        return None;
    }
    let seconds = Duration::from_millis(difference.unsigned_abs()).as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let direction = if difference > 0 { "ahead of" } else { "behind" };
    Some(format!("{days} d {hours} h {minutes} min {direction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn a_clock_is_off_beyond_a_minute() {
        let now = Timestamp(1_000 * MINUTE);
        let skew = |sent, now| skew(sent, now, TOLERANCE_MS);
        assert_eq!(skew(Timestamp(now.0 + MINUTE), now), None);
        assert_eq!(skew(Timestamp(now.0 - MINUTE), now), None);
        assert_eq!(skew(Timestamp(now.0 + 4_400 * MINUTE), now).as_deref(), Some("3 d 1 h 20 min ahead of"));
        assert_eq!(skew(Timestamp(now.0 - 2 * MINUTE), now).as_deref(), Some("0 d 0 h 2 min behind"));
        assert!(skew(Timestamp(i64::MAX), Timestamp(-1)).is_some());
        assert!(skew(Timestamp(i64::MIN), now).is_some());
    }

    #[test]
    fn whoever_is_off_is_kept_until_it_is_right_again() {
        let (clocks, now) = (Clocks::default(), Timestamp(0));
        clocks.heard(BrokerId(1), Timestamp(10 * MINUTE), now);
        clocks.heard(BrokerId(2), now, now);
        assert_eq!(*clocks.off.lock(), HashSet::from([BrokerId(1)]));
        clocks.heard(BrokerId(1), Timestamp(MINUTE), now);
        assert!(clocks.off.lock().contains(&BrokerId(1)), "not yet");
        clocks.heard(BrokerId(1), now, now);
        assert!(clocks.off.lock().is_empty());
    }
}
