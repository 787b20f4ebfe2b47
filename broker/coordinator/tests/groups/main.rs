//! The group coordinator from outside: stories as text, and random ones with invariants.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod classic_random;
mod large;
mod print;
mod random;
mod scenarios;
mod world;
