//! Access rules.
use crate::request::Decision;
use crate::state::{Context, ControllerState};
use ottla_protocol::messages::{CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse};
impl ControllerState {
    pub(crate) fn create_acls(
        &self,
        _request: &CreateAclsRequest,
        _cx: &mut Context<'_>,
    ) -> Decision<CreateAclsResponse> {
        todo!()
    }
    pub(crate) fn delete_acls(&self, _request: &DeleteAclsRequest) -> Decision<DeleteAclsResponse> {
        todo!()
    }
}
