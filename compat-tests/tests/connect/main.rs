//! Kafka Connect, Debezium and MirrorMaker 2 on Ottla.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod debezium;
mod files;
mod mirror;
mod nemesis;

/// Each of these stories keeps several JVMs busy: side by side they would only wait for each other.
static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn take_turns() -> std::sync::MutexGuard<'static, ()> {
    // A story that failed is no reason for the next to.
    ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
