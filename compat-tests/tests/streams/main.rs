//! Kafka Streams on Ottla: word count, windowed count and windowed join, under both guarantees, with everything dying, and over rolling restarts
//! of a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod application;
mod deaths;
mod rolling;
mod topics;
