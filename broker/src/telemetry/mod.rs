//! What the broker says of itself.

mod logging;

pub use logging::{LEVELS, LogFormat, Loggers, start_logging};
