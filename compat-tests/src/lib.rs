//! Stock Kafka clients and tools, held against Apache Kafka and Ottla side by side.
//!
//! Begin with [`story`]: a story is a closure that runs against one [`broker::Broker`]; it is run against Apache Kafka
//! and against Ottla, and what it wrote down is compared. [`tool`] runs Kafka's own command-line tools inside one
//! [`jvm`]; [`clients`] builds and runs the client programs below `clients/`; [`wire`] speaks raw frames.
//! What a machine lacks ([`toolchain`]) skips a story with a line that says so, and fails it under `CI=true`.
//!
//! Environment: `OTTLA_COMPAT_TARGETS=apache|ottla|apache,ottla` restricts the targets; `OTTLA_BINARY` names
//! the binary to test instead of the one that is built here.
//!
//! Invariant: everything fetched, built or written lies below `target/`; servers listen on loopback, on free ports, or in a
//! network of their own ([`network`]).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test harness fails by panicking")]

pub mod broker;
pub mod cache;
pub mod clients;
pub mod cluster;
pub mod connect;
pub mod docker;
pub mod jepsen;
pub mod jvm;
pub mod kafka;
pub mod kill_load;
pub mod network;
pub mod normalize;
pub mod ottla;
pub mod postgres;
pub mod power_disk;
pub mod process;
pub mod requests;
pub mod results;
pub mod story;
pub mod tool;
pub mod toolchain;
pub mod wire;
