//! InitProducerId v0-5, AddPartitionsToTxn v0-5, AddOffsetsToTxn v0-4, EndTxn v0-5.

use ottla_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest,
};

use super::{ApiSpec, House, Reply, RequestContext};

/// Handler of InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn.
pub struct Transactions {}

impl Transactions {
    /// What is advertised of this family: nothing until it is built.
    pub const APIS: &'static [ApiSpec] = &[];

    pub fn new(_house: &House) -> Self {
        Self {}
    }

    pub async fn init_producer_id(&self, _cx: &RequestContext, _request: InitProducerIdRequest) -> Reply {
        Reply::Close
    }

    pub async fn add_partitions_to_txn(&self, _cx: &RequestContext, _request: AddPartitionsToTxnRequest) -> Reply {
        Reply::Close
    }

    pub async fn add_offsets_to_txn(&self, _cx: &RequestContext, _request: AddOffsetsToTxnRequest) -> Reply {
        Reply::Close
    }

    pub async fn end_txn(&self, _cx: &RequestContext, _request: EndTxnRequest) -> Reply {
        Reply::Close
    }
}
