//! What nodes tell each other.

use std::rc::Rc;

use bytes::Bytes;
use ottla_decisions::{ControllerRequest, ControllerResponse};
use ottla_metadata::MetadataRecord;
use ottla_protocol::ErrorCode;

/// A process in the world: brokers from 1, controllers from 101, clients from 201.
pub type Node = u16;

pub const FIRST_CONTROLLER: Node = 101;
pub const CONTROLLERS: Node = 3;
pub const FIRST_CLIENT: Node = 201;

/// One committed entry of the metadata log.
#[derive(Debug)]
pub struct Entry {
    pub epoch: i32,
    pub records: Vec<MetadataRecord>,
}

#[derive(Debug, Clone)]
pub enum Message {
    /// To the controller that the sender takes for the active one.
    Ask {
        id: u64,
        request: Rc<ControllerRequest>,
    },
    /// The error stands for "not the active one" and says nothing about what became of the request.
    Answer {
        id: u64,
        answer: Result<Rc<ControllerResponse>, ErrorCode>,
    },
    MetadataFetch {
        from: i64,
    },
    Metadata {
        first: i64,
        entries: Vec<Rc<Entry>>,
    },
    Snapshot(Rc<Vec<u8>>),
    Fetch(FetchRequest),
    Fetched(FetchAnswer),
    Produce(ProduceRequest),
    Produced {
        id: u64,
        answer: Result<i64, ErrorCode>,
    },
    Read(ReadRequest),
    ReadAnswer(ReadAnswer),
    DeleteRecords {
        partition: i32,
        before: i64,
    },
}

/// A follower's fetch of one partition.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest {
    pub id: u64,
    pub partition: i32,
    pub replica: i32,
    pub broker_epoch: i64,
    pub current_epoch: i32,
    pub offset: i64,
    pub last_fetched_epoch: i32,
    pub log_start: i64,
}

#[derive(Debug, Clone)]
pub struct FetchAnswer {
    pub id: u64,
    pub partition: i32,
    pub result: Result<Fetched, FetchFailure>,
}

#[derive(Debug, Clone)]
pub struct Fetched {
    pub records: Bytes,
    pub high_watermark: i64,
    pub log_start: i64,
    pub diverging: Option<(i32, i64)>,
}

#[derive(Debug, Clone, Copy)]
pub struct FetchFailure {
    pub code: ErrorCode,
    /// What ListOffsets would tell of the leader's log.
    pub start: i64,
    pub end: i64,
}

#[derive(Debug, Clone)]
pub struct ProduceRequest {
    pub id: u64,
    pub partition: i32,
    pub acks: i16,
    /// A transaction marker, as a coordinator writes it.
    pub is_marker: bool,
    pub records: Bytes,
}

#[derive(Debug, Clone, Copy)]
pub struct ReadRequest {
    pub id: u64,
    pub partition: i32,
    pub offset: i64,
    pub current_epoch: i32,
    pub committed_only: bool,
}

#[derive(Debug, Clone)]
pub struct ReadAnswer {
    pub id: u64,
    pub log_start: i64,
    /// The records, and the aborted transactions among them: producer id and first offset.
    pub result: Result<(Bytes, Vec<(i64, i64)>), ErrorCode>,
}
