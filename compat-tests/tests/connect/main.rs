//! Kafka Connect, Debezium and MirrorMaker 2 on Ottla.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod debezium;
mod files;
mod mirror;
mod nemesis;
