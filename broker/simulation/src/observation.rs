//! What nodes say about themselves to those who watch over the invariants.

use std::rc::Rc;

use ottla_decisions::{ControllerRequest, ControllerResponse};
use ottla_metadata::{MetadataImage, PartitionImage};

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
    /// A broker has opened a log that an earlier life of it left.
    Opened { broker: Node, partition: i32 },
    /// A controller has decided on a request. It is not committed yet, and may never be.
    Decided(Box<Decided>),
    /// A registration is unfenced in a newly committed image.
    Unfenced { broker: i32, epoch: i64 },
    /// A leader took a follower's fetch, made under an epoch, for progress.
    FollowerHeard { broker: Node, partition: i32, replica: i32, leader_epoch: i32, follower_epoch: i32, offset: i64 },
    /// A leader asked for an in-sync set.
    Proposes { broker: Node, partition: i32, isr: Vec<i32> },
    /// A leader looked for followers that lag.
    LagChecked { broker: Node, partition: i32, now: i64, epoch: i32, log_end: i64, has_proposal: bool },
    /// An operation on the disk of a broker has failed, and the broker goes on.
    OutlivesItsDisk { broker: Node },
    /// A broker does not run for long, and a controller could have noticed.
    Silent { broker: Node, for_ms: i64 },
}

/// A request to the controller, and what it is to lead to.
#[derive(Debug, Clone)]
pub struct Decided {
    pub now: i64,
    pub controller: Node,
    pub term: i32,
    /// What was decided on.
    pub image: MetadataImage,
    pub request: Rc<ControllerRequest>,
    pub response: Rc<ControllerResponse>,
    /// How many records are to be committed.
    pub records: usize,
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
