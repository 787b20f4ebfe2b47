//! Sockets: who may connect, how requests come in, and in which order answers go out.
//!
//! ```text
//!   Listener ─accept─► Connection ─Inbox─► frames ─► Api::dispatch ─► Reply ─► Pipeline ─writev─► socket
//!      Admission (how many, from where)       Memory (how many bytes)             in request order
//! ```
//!
//! A connection is one task. It handles one request after the other, as Kafka does; only produce requests right behind
//! produce requests are started while earlier ones wait for their replicas.

mod admission;
mod complaints;
mod connection;
pub mod dialled;
mod inbox;
pub mod limits;
mod listener;
mod memory;
mod moderation;
mod outlet;
mod pipeline;
pub mod reachable;
mod records;

pub use admission::Admission;
pub use complaints::Complaints;
pub use connection::{Connection, Door};
pub use listener::{BoundListener, bind};
pub use memory::{Memory, RequestMemory};
