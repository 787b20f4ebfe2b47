//! The clocks: one for what is written down, one for how long things take.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ottla_protocol::Timestamp;

/// Milliseconds since 1970 UTC, by the system's time: for records, and for what is kept by their age.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The system's time when it was first asked for, carried on by the monotonic clock. In-sync replicas, quotas and sessions go
/// by it: a step of the system's time must neither make every follower lag nor let a stuck one count for a day.
pub fn steady() -> Timestamp {
    static BEGIN: LazyLock<(Instant, Timestamp)> = LazyLock::new(|| (Instant::now(), now()));
    let elapsed_ms = i64::try_from(BEGIN.0.elapsed().as_millis()).unwrap_or(i64::MAX);
    Timestamp(BEGIN.1.0.saturating_add(elapsed_ms))
}
