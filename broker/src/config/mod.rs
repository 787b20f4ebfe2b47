//! The broker's configuration under Kafka's names.
//!
//! ```text
//!   defaults < file (server.properties or ottla.toml) < KAFKA_* < --override   =  Settings   (fixed at start)
//!   Settings < cluster-wide dynamic < per-broker dynamic (< topic, group)      =  Effective  (read from the image)
//! ```
//!
//! In a container (`container`) the variables of other images are understood too, and every key keeps its default.

mod checks;
pub mod container;
pub mod declared_topics;
pub mod effective;
mod listeners;
mod log_config;
mod quorum;
mod settings;
pub mod sources;

pub use effective::Effective;
pub use listeners::ListenerSettings;
pub use log_config::log_config;
pub use quorum::{Session, Voter, sessions, split_address};
pub use settings::{ConfigError, Settings};
