//! A rate over the last windows, and how long to wait until it is within its bound again. Time is an argument.

use std::collections::VecDeque;

/// How a rate is measured: `quota.window.num` windows of `quota.window.size.seconds`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    pub count: u32,
    pub size_ms: i64,
}

impl Windows {
    pub fn new(count: i64, size_seconds: i64) -> Self {
        Self {
            count: u32::try_from(count).unwrap_or(u32::MAX).max(1),
            size_ms: size_seconds.saturating_mul(1000).max(1),
        }
    }

    fn age_max_ms(self) -> i64 {
        self.size_ms.saturating_mul(i64::from(self.count))
    }

    /// Seconds of the windows behind the one that runs: a rate is measured over at least these.
    pub fn past_seconds(self) -> f64 {
        as_f64(self.size_ms.saturating_mul(i64::from(self.count) - 1).max(self.size_ms)) / 1000.0
    }
}

/// What was used in each of the last windows.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    /// Start of a window, and what was used in it; the oldest first.
    samples: VecDeque<(i64, f64)>,
}

impl Rate {
    /// Adds `amount`; a negative one takes back what was recorded before.
    pub fn record(&mut self, amount: f64, now_ms: i64, windows: Windows) {
        self.forget(now_ms, windows);
        match self.samples.back_mut() {
            Some((start, used)) if now_ms < *start + windows.size_ms => *used += amount,
            _ => self.samples.push_back((now_ms, amount)),
        }
    }

    /// Milliseconds until the rate is down at `bound` per second; 0 when it is not above it.
    pub fn excess_ms(&mut self, bound: f64, now_ms: i64, windows: Windows) -> i64 {
        self.forget(now_ms, windows);
        let used: f64 = self.samples.iter().map(|(_, used)| used).sum();
        let elapsed_ms = as_f64(self.elapsed_ms(now_ms, windows));
        let rate = used / (elapsed_ms / 1000.0);
        if rate <= bound {
            return 0;
        }
        // A bound of 0 lets nothing through; a day is as good as for ever, and the bound may be raised meanwhile.
        let wait_ms = if bound > 0.0 { (rate - bound) / bound * elapsed_ms } else { f64::INFINITY };
        as_i64(wait_ms.min(86_400_000.0))
    }

    /// True when nothing was used in any window that counts.
    pub fn is_idle(&self, now_ms: i64, windows: Windows) -> bool {
        self.samples.back().is_none_or(|(start, _)| now_ms - start >= windows.age_max_ms())
    }

    fn forget(&mut self, now_ms: i64, windows: Windows) {
        while self.samples.front().is_some_and(|(start, _)| now_ms - start >= windows.age_max_ms()) {
            self.samples.pop_front();
        }
    }

    /// The time that the samples stand for. Windows that have not been yet count as idle ones, or a client would be
    /// held up for its first second of work.
    fn elapsed_ms(&self, now_ms: i64, windows: Windows) -> i64 {
        let since = self.samples.front().map_or(0, |(start, _)| (now_ms - start).max(0));
        let missing = (i64::from(windows.count) - 1 - since / windows.size_ms).max(0);
        (since + missing * windows.size_ms).max(windows.size_ms)
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds and bytes of a few seconds")]
fn as_f64(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_possible_truncation, reason = "at most a day, never NaN")]
fn as_i64(ms: f64) -> i64 {
    ms.round().max(0.0) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows { count: 11, size_ms: 1000 };

    #[test]
    fn what_is_within_the_bound_is_let_through() {
        let mut rate = Rate::default();
        for second in 0..60 {
            rate.record(100.0, second * 1000, WINDOWS);
            // Eleven samples in just under eleven seconds are a hair over the bound.
            assert!(rate.excess_ms(100.0, second * 1000 + 999, WINDOWS) <= 1, "second {second}");
        }
    }

    #[test]
    fn the_wait_brings_the_rate_down_to_the_bound() {
        let mut rate = Rate::default();
        rate.record(3000.0, 0, WINDOWS);
        // 3000 in ten seconds (nine of them still to come) are 300 a second, three times 100.
        let wait = rate.excess_ms(100.0, 0, WINDOWS);
        assert_eq!(wait, 20_000);
        // Taken back, nothing was used.
        rate.record(-3000.0, 0, WINDOWS);
        assert_eq!(rate.excess_ms(100.0, 0, WINDOWS), 0);
        // Windows pass and are forgotten.
        rate.record(3000.0, 1, WINDOWS);
        assert!(rate.excess_ms(100.0, 10_900, WINDOWS) > 0);
        assert_eq!(rate.excess_ms(100.0, 11_001, WINDOWS), 0);
        assert!(rate.is_idle(11_001, WINDOWS));
    }

    #[test]
    fn in_the_long_run_a_throttled_client_gets_its_bound() {
        let (mut rate, mut now, mut used) = (Rate::default(), 0, 0.0);
        while now < 600_000 {
            rate.record(500.0, now, WINDOWS);
            used += 500.0;
            now += 1 + rate.excess_ms(1000.0, now, WINDOWS);
        }
        let per_second = used / 600.0;
        assert!((900.0..1150.0).contains(&per_second), "{per_second}");
    }

    #[test]
    fn as_much_as_the_past_windows_allow_may_be_taken_at_once() {
        for windows in [WINDOWS, Windows { count: 1, size_ms: 1000 }] {
            let mut rate = Rate::default();
            rate.record(100.0 * windows.past_seconds(), 0, windows);
            assert_eq!(rate.excess_ms(100.0, 0, windows), 0, "{windows:?}");
        }
    }

    #[test]
    fn a_bound_of_nothing_lets_nothing_through() {
        let mut rate = Rate::default();
        rate.record(1.0, 0, WINDOWS);
        assert_eq!(rate.excess_ms(0.0, 0, WINDOWS), 86_400_000);
    }
}
