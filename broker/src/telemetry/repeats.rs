//! Lines that anybody who can connect causes: a log must not be filled by them.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Of one kind at most one line is written in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// The lines of one kind. Cheap to clone: clones count together.
#[derive(Debug, Clone, Default)]
pub struct Repeats(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// No further line before this.
    quiet_until: Option<Instant>,
    left_out: u64,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Written,
    /// The first of its interval: whoever is told so tells the count once the interval is over.
    FirstLeftOut {
        until: Instant,
    },
    LeftOut,
}

impl Repeats {
    /// Writes the line, or counts it; `told` writes how many were left out, at the latest one interval later.
    pub fn say(&self, line: impl FnOnce(), told: impl FnOnce(u64) + Send + 'static) {
        match self.record(Instant::now()) {
            Verdict::Written => line(),
            Verdict::LeftOut => {}
            Verdict::FirstLeftOut { until } => {
                let this = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep_until(until).await;
                    told(this.settle(Instant::now()));
                });
            }
        }
    }

    fn record(&self, now: Instant) -> Verdict {
        let mut state = self.0.lock();
        match state.quiet_until {
            // Those that were left out are told first, however late: their line is the next one.
            Some(until) if now < until || state.left_out > 0 => {
                state.left_out += 1;
                if state.left_out == 1 { Verdict::FirstLeftOut { until } } else { Verdict::LeftOut }
            }
            _ => {
                state.quiet_until = Some(now + INTERVAL);
                Verdict::Written
            }
        }
    }

    /// The count to be told now; that is a line, too, so the next interval begins.
    fn settle(&self, now: Instant) -> u64 {
        let mut state = self.0.lock();
        state.quiet_until = Some(now + INTERVAL);
        std::mem::take(&mut state.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_one_line_a_second_is_left_and_every_other_is_counted() {
        let (repeats, began) = (Repeats::default(), Instant::now());
        let (mut written, mut told, mut settle_at) = (0_u64, Vec::new(), None);
        // A thousand a second for five seconds.
        for millis in 0..5_000 {
            let now = began + Duration::from_millis(millis);
            if settle_at.is_some_and(|at| now >= at) {
                told.push(repeats.settle(now));
                settle_at = None;
            }
            match repeats.record(now) {
                Verdict::Written => written += 1,
                Verdict::FirstLeftOut { until } => settle_at = Some(until),
                Verdict::LeftOut => {}
            }
        }
        told.push(repeats.settle(began + INTERVAL * 5));
        assert_eq!(written, 1, "the first; after it there is a count to tell each second");
        assert_eq!(told, [999, 1000, 1000, 1000, 1000]);
    }

    #[test]
    fn lines_a_second_apart_are_all_written() {
        let (repeats, began) = (Repeats::default(), Instant::now());
        for second in 0..5 {
            assert_eq!(repeats.record(began + INTERVAL * second), Verdict::Written);
        }
    }

    #[test]
    fn a_count_is_told_before_the_next_line_and_begins_an_interval() {
        let (repeats, began) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.record(began), Verdict::Written);
        assert_eq!(repeats.record(began), Verdict::FirstLeftOut { until: began + INTERVAL });
        // Whoever tells the count comes late: what happens meanwhile is in it.
        let late = began + INTERVAL * 2;
        assert_eq!(repeats.record(late), Verdict::LeftOut);
        assert_eq!(repeats.settle(late), 2);
        assert_eq!(repeats.record(late), Verdict::FirstLeftOut { until: late + INTERVAL });
        assert_eq!(repeats.settle(late + INTERVAL), 1);
        assert_eq!(repeats.record(late + INTERVAL * 2), Verdict::Written);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_left_out_is_told_when_the_interval_ends() {
        let (repeats, lines) = (Repeats::default(), Arc::new(Mutex::new(Vec::new())));
        for number in 0..100_u64 {
            let (whole, count) = (Arc::clone(&lines), Arc::clone(&lines));
            repeats.say(
                || whole.lock().push(format!("line {number}")),
                move |left_out| count.lock().push(format!("{left_out} more")),
            );
        }
        assert_eq!(*lines.lock(), ["line 0"]);
        tokio::time::sleep(INTERVAL * 2).await;
        assert_eq!(*lines.lock(), ["line 0", "99 more"]);
    }
}
