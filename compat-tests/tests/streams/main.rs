//! Kafka Streams on Ottla: word count, windowed count and windowed join, under both guarantees, with everything dying.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod application;
mod deaths;
mod topics;
