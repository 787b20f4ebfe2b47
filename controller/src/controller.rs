//! The handle that the rest of a node holds.

use std::sync::Arc;

use kafka_protocol::messages::{
    AllocateProducerIdsRequest, AllocateProducerIdsResponse, AlterClientQuotasRequest, AlterClientQuotasResponse,
    AlterConfigsRequest, AlterConfigsResponse, AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    AlterPartitionRequest, AlterPartitionResponse, AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    AssignReplicasToDirsRequest, AssignReplicasToDirsResponse, BrokerHeartbeatRequest, BrokerHeartbeatResponse,
    BrokerRegistrationRequest, BrokerRegistrationResponse, CreateAclsRequest, CreateAclsResponse,
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteAclsRequest,
    DeleteAclsResponse, DeleteTopicsRequest, DeleteTopicsResponse, ElectLeadersRequest, ElectLeadersResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, UnregisterBrokerRequest, UnregisterBrokerResponse, UpdateFeaturesRequest,
    UpdateFeaturesResponse,
};
use ottla_metadata::MetadataImage;
use ottla_protocol::{ErrorCode, Offset};
use tokio::sync::watch;

use crate::options::ControllerOptions;
use crate::quorum::QuorumInfo;
use ottla_decisions::{ControllerRequest, ControllerResponse, RequestOrigin};

/// Why a controller did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("metadata log: {0}")]
    Io(#[from] std::io::Error),
    #[error("raft: {0}")]
    Raft(String),
}

/// An answer whose records are committed and replayed on this node.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed<R> {
    pub response: R,
    /// The image that first shows what was decided: wait for it before telling a client.
    pub offset: Offset,
}

/// The controller of this node. Cheap to clone.
#[derive(Clone)]
pub struct Controller {
    images: watch::Receiver<Arc<MetadataImage>>,
}

impl Controller {
    /// Opens the log, recovers, and on a single voter leads within milliseconds.
    ///
    /// # Errors
    /// When the log cannot be opened or is damaged, or raft refuses to start.
    pub async fn start(_options: ControllerOptions) -> Result<Self, StartError> {
        todo!()
    }

    /// Committed images, in order.
    pub fn images(&self) -> watch::Receiver<Arc<MetadataImage>> {
        self.images.clone()
    }

    /// Asks the active controller; answers once what it decided is committed and replayed here.
    ///
    /// # Errors
    /// `NotController` when another node leads or leadership was lost on the way (retry), `UnknownServerError` when the
    /// controller has stopped.
    pub async fn submit(
        &self,
        _origin: RequestOrigin,
        _request: ControllerRequest,
    ) -> Result<Committed<ControllerResponse>, ErrorCode> {
        todo!()
    }

    /// The quorum as this node sees it.
    pub fn quorum(&self) -> QuorumInfo {
        todo!()
    }

    /// Stops raft and closes the log.
    pub async fn shutdown(&self) {
        todo!()
    }

    async fn call<Q, R>(&self, origin: RequestOrigin, request: Q) -> Result<Committed<R>, ErrorCode>
    where
        ControllerRequest: From<Q>,
        R: TryFrom<ControllerResponse>,
    {
        let Committed { response, offset } = self.submit(origin, request.into()).await?;
        let response = R::try_from(response).map_err(|_| ErrorCode::UnknownServerError)?;
        Ok(Committed { response, offset })
    }
}

macro_rules! typed {
    ($( $method:ident: $request:ident => $response:ident; )*) => {
        /// `submit` by type: same errors.
        impl Controller {
            $(
                #[doc = concat!("Submits a `", stringify!($request), "`.")]
                ///
                /// # Errors
                /// As `submit`.
                pub async fn $method(
                    &self,
                    origin: RequestOrigin,
                    request: $request,
                ) -> Result<Committed<$response>, ErrorCode> {
                    self.call(origin, request).await
                }
            )*
        }
    };
}

typed! {
    register_broker: BrokerRegistrationRequest => BrokerRegistrationResponse;
    heartbeat: BrokerHeartbeatRequest => BrokerHeartbeatResponse;
    unregister_broker: UnregisterBrokerRequest => UnregisterBrokerResponse;
    create_topics: CreateTopicsRequest => CreateTopicsResponse;
    delete_topics: DeleteTopicsRequest => DeleteTopicsResponse;
    create_partitions: CreatePartitionsRequest => CreatePartitionsResponse;
    alter_configs: AlterConfigsRequest => AlterConfigsResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    elect_leaders: ElectLeadersRequest => ElectLeadersResponse;
    update_features: UpdateFeaturesRequest => UpdateFeaturesResponse;
    allocate_producer_ids: AllocateProducerIdsRequest => AllocateProducerIdsResponse;
    alter_partition: AlterPartitionRequest => AlterPartitionResponse;
    alter_partition_reassignments: AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    list_partition_reassignments: ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    assign_replicas_to_dirs: AssignReplicasToDirsRequest => AssignReplicasToDirsResponse;
    alter_client_quotas: AlterClientQuotasRequest => AlterClientQuotasResponse;
    alter_user_scram_credentials: AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse;
    create_acls: CreateAclsRequest => CreateAclsResponse;
    delete_acls: DeleteAclsRequest => DeleteAclsResponse;
}
