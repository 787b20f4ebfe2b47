//! Coordinators at work: hosts any [`ottla_coordinator::shard::Shard`] on the partitions of its internal topic.
//!
//! Invariant: a shard's state is touched by its own task only; nobody is answered before what the answer tells is
//! committed. Where to begin: [`runtime`] is the loop, [`host`] finds the loop of a partition, [`log`] is all that they
//! need of a partition.

mod batch;
mod clock;
mod host;
mod loader;
mod log;
mod partition_log;
mod runtime;
#[cfg(test)]
mod test_log;
#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use host::{Host, Waiting};
pub use log::PartitionLog;
pub use partition_log::LedPartition;
pub use runtime::{Actions, Answer, Status, World};
