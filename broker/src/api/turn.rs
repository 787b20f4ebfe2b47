//! One request may ask for much: the others of the broker have their turn in between.

use std::time::{Duration, Instant};

/// How long one request may work without letting others work.
const TURN: Duration = Duration::from_millis(10);

/// The time at which this request got the thread.
pub(super) struct Turn(Instant);

impl Turn {
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    /// To be called between any two things that may take long.
    pub(super) async fn pass(&mut self) {
        if self.0.elapsed() > TURN {
            tokio::task::yield_now().await;
            self.0 = Instant::now();
        }
    }
}
