//! The image in a Docker Engine: what it does by itself, with the environments and scripts of other images, and under
//! Testcontainers. Needs a Docker Engine, docker-compose and debootstrap; `OTTLA_DOCKER=dist` takes the binary of releases.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod arm64;
mod compose;
mod contracts;
mod figures;
mod image;
mod modules;
