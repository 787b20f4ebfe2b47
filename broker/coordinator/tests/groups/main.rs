//! The group coordinator from outside: stories as text, and random ones with invariants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod classic_random;
mod large;
mod many_offsets;
mod many_protocols;
mod nothing_subscribed;
mod print;
mod random;
mod rebalance_timeout;
mod scenarios;
mod world;
