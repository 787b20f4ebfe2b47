//! How a consumer sits out that brokers are out of reach: they come and go, and whoever reads waits for them.

use std::time::Duration;

use super::Failure;

/// Between attempts while a broker is out of reach, as Kafka's clients wait (`retry.backoff.ms`, `retry.backoff.max.ms`).
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A time in which brokers are out of reach: told once, with growing pauses between attempts.
pub struct Outage {
    told: String,
    pause: Duration,
}

impl Default for Outage {
    fn default() -> Self {
        Self { told: String::new(), pause: PAUSE_MIN }
    }
}

impl Outage {
    /// Tells of it, if that is new, and pauses.
    pub fn wait_out(&mut self, failure: &Failure) {
        let text = failure.as_java();
        if self.told != text {
            eprintln!("WARN {text}; trying again");
            self.told = text;
        }
        std::thread::sleep(self.next_pause());
    }

    fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_second() {
        let mut outage = Outage::default();
        let pauses: Vec<u128> = (0..6).map(|_| outage.next_pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
    }
}
