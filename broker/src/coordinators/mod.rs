//! Coordinators at work: hosts any [`ottla_coordinator::shard::Shard`] on the partitions of its internal topic.
//!
//! Invariant: a shard's state is touched by its own task only; nobody is answered before what the answer tells is
//! committed. Where to begin: [`runtime`] is the loop, [`host`] finds the loop of a partition, [`log`] is all that they
//! need of a partition.

mod batch;
mod clock;
mod group;
mod host;
pub mod internal_topics;
mod loader;
mod log;
mod markers;
mod partition_log;
mod placement;
mod producer_ids;
mod remote_gate;
mod runtime;
mod service;
mod settings;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use host::{Host, Waiting};
pub use log::{PartitionLog, TxnMarker};
pub use markers::MarkerWriter;
pub use partition_log::LedPartition;
pub use placement::partition_for;
pub use producer_ids::ProducerIds;
pub use runtime::{Actions, Answer, ProducerIdSource, Status, World};
pub use service::{Coordinators, Kind, Needs};
