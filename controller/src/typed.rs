//! `Controller::submit` once per request, by type.

use ottla_decisions::RequestOrigin;
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::{
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

use crate::controller::{Committed, Controller};

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
