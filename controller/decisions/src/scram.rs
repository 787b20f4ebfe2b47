//! SCRAM credentials.
use crate::request::Decision;
use crate::state::ControllerState;
use ottla_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
impl ControllerState {
    pub(crate) fn alter_user_scram_credentials(
        &self,
        _request: &AlterUserScramCredentialsRequest,
    ) -> Decision<AlterUserScramCredentialsResponse> {
        todo!()
    }
}
