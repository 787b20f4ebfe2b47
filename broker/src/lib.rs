//! Ottla: a Kafka-wire-compatible broker.
//!
//! Where to begin: `server` builds the house, `network` reads requests, `api` answers them.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinators;
pub mod cordons;
pub mod declared_topics;
pub mod fatal;
pub mod features;
pub mod join;
pub mod metadata_cache;
pub mod network;
pub mod node;
pub mod offline_dirs;
pub mod peer;
pub mod publisher;
pub mod quotas;
pub mod registration;
pub mod replica;
pub mod resident;
pub mod security;
pub mod server;
pub mod startup;
pub mod telemetry;
pub mod upkeep;
