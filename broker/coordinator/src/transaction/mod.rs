//! The transaction coordinator of one partition of `__transaction_state` (KIP-98, KIP-360, KIP-447, KIP-890).
//!
//! ```text
//!             AddPartitions            EndTxn                     markers written
//!   Empty ────────────────► Ongoing ──────────► PrepareCommit ──────────────────► CompleteCommit ─┐
//!     ▲                      │   ▲ └──────────► PrepareAbort  ──────────────────► CompleteAbort  ─┤
//!     │                      └───┘  timeout, new producer                                         │
//!     └──────────────── InitProducerId ◄──────────────────────────────────────────────────────────┘
//! ```
//! A transaction is decided when its Prepare record is committed: from then on its markers are sent until every partition
//! has one, over any number of restarts.
//!
//! With transaction version 2 each end of a transaction also bumps the producer's epoch, so that nothing of it that
//! arrives late can touch the next one; when the epochs of an id are used up the end moves the producer to a new id.
//!
//! Unlike in Kafka there is no "pending" state: a record is replayed when it is decided, and whoever depends on it is
//! answered once it is committed.

mod add_partitions;
mod end_txn;
mod explain;
mod init_producer_id;
mod message;
mod queries;
mod record;
mod shard;
mod state;
mod timeouts;

#[cfg(test)]
mod scenario_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod test_world;

pub use explain::Fence;
pub use message::{
    Listing, Markers, TransactionAction, TransactionConfig, TransactionFilter, TransactionRequest, TransactionResponse,
};
pub use record::TransactionRecord;
pub use shard::TransactionShard;
pub use state::{Transaction, TransactionState, Transactions};

/// The feature that `transaction.version` finalizes.
pub const TRANSACTION_VERSION: &str = "transaction.version";
