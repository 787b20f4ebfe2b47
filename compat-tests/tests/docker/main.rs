//! The image in a Docker Engine: what it does by itself, with the environments and scripts of other images, and under
//! Testcontainers. Run by hand: `OTTLA_DOCKER=1 cargo test -p ottla-compat-tests --test docker`, with a Docker Engine.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod compose;
mod contracts;
mod image;
mod modules;
