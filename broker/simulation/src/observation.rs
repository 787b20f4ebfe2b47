//! What nodes say about themselves to those who watch over the invariants.

use ottla_metadata::PartitionImage;

use crate::message::Node;

#[derive(Debug, Clone)]
pub enum Observation {
    /// A replica after an event that may have moved it.
    Replica(ReplicaState),
    /// A broker began to lead.
    Leads { broker: Node, partition: i32, epoch: i32, log_end: i64 },
    /// A producer was told that its records are safe.
    Acknowledged { producer: Node, partition: i32, first_offset: i64, values: Vec<u64>, acks: i16 },
    /// A reader was shown a record.
    Read { partition: i32, offset: i64, value: u64 },
    /// A reader of committed records was shown one of a transaction.
    ReadCommitted { partition: i32, offset: i64, value: u64 },
    /// A transaction was aborted: these values must not be shown.
    Aborts { values: Vec<u64> },
    /// A partition in a newly committed image.
    Partition { index: i32, image: PartitionImage, fenced: Vec<i32> },
    /// A node's image at an offset, as bytes.
    Image { node: Node, offset: i64, bytes: Vec<u8> },
    /// Data on this broker's disk was lost.
    Damaged { broker: Node },
}

#[derive(Debug, Clone, Copy)]
pub struct ReplicaState {
    pub broker: Node,
    pub life: u64,
    pub partition: i32,
    pub leads: bool,
    pub epoch: i32,
    pub log_start: i64,
    pub last_stable: i64,
    pub high_watermark: i64,
    pub log_end: i64,
}
