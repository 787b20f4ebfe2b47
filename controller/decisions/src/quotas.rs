//! Client quotas.
use crate::request::Decision;
use crate::state::ControllerState;
use ottla_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};
impl ControllerState {
    pub(crate) fn alter_client_quotas(
        &self,
        _request: &AlterClientQuotasRequest,
    ) -> Decision<AlterClientQuotasResponse> {
        todo!()
    }
}
