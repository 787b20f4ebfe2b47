//! The coordinators' clock: milliseconds since 1970 that never jump.

use std::time::Duration;

use ottla_protocol::Timestamp;
use tokio::time::Instant;

/// Wall time read once, then carried on by the monotonic clock: a step of the system's time must not expire every session
/// at once. Follows tokio's clock, so that a test can pause it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
    start_ms: i64,
}

impl Clock {
    /// Starts at the system's time.
    pub fn system() -> Self {
        Self::starting_at(crate::clock::now())
    }

    /// Starts at a time of the caller's.
    pub fn starting_at(now: Timestamp) -> Self {
        Self { start: Instant::now(), start_ms: now.0 }
    }

    pub fn now(&self) -> Timestamp {
        let elapsed_ms = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.start_ms.saturating_add(elapsed_ms))
    }

    /// When this clock will show `at`. Far deadlines are cut to a day, after which the sleeper looks again.
    pub fn instant(&self, at: Timestamp) -> Instant {
        let wait_ms = at.0.saturating_sub(self.now().0).clamp(0, 86_400_000);
        // Rounded up: waking a fraction of a millisecond early would spin.
        Instant::now() + Duration::from_millis(wait_ms.unsigned_abs()) + Duration::from_micros(999)
    }
}
