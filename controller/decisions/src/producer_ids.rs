//! Blocks of producer ids for brokers to give out (KIP-730).

use ottla_metadata::MetadataRecord;
use ottla_protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse};
use ottla_protocol::{BrokerId, ErrorCode, ProducerId};

use crate::request::Decision;
use crate::state::ControllerState;

/// How many ids a block holds.
const BLOCK_SIZE: i32 = 1000;

impl ControllerState {
    /// AllocateProducerIds, all versions.
    pub(crate) fn allocate_producer_ids(
        &self,
        request: &AllocateProducerIdsRequest,
    ) -> Decision<AllocateProducerIdsResponse> {
        let refuse =
            |code: ErrorCode| Decision::answer(AllocateProducerIdsResponse::default().with_error_code(code.code()));
        let broker = BrokerId(request.broker_id.0);
        if let Err(error) = self.check_broker_epoch(broker, request.broker_epoch) {
            return refuse(error.code);
        }
        let start = self.image.next_producer_id;
        let Some(next) = start.0.checked_add(i64::from(BLOCK_SIZE)) else {
            return refuse(ErrorCode::UnknownServerError);
        };
        let record = MetadataRecord::ProducerIds { broker, broker_epoch: request.broker_epoch, next: ProducerId(next) };
        let response = AllocateProducerIdsResponse::default()
            .with_producer_id_start(start.0.into())
            .with_producer_id_len(BLOCK_SIZE);
        Decision { records: vec![record], response }
    }
}
