//! Ottla: a Kafka-wire-compatible broker.
//!
//! Where to begin: `server` builds the house, `network` reads requests, `api` answers them.
#![allow(clippy::todo)]

pub mod api;
pub mod cli;
pub mod config;
pub mod coordinators;
pub mod metadata_cache;
pub mod network;
pub mod security;
pub mod server;
pub mod telemetry;
