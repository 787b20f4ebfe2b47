//! What the broker says of itself.

mod logging;
mod repeats;

pub use logging::{LEVELS, LogFormat, Loggers, start_logging};
pub use repeats::Repeats;
