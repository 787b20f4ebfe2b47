//! What can be asked of the controller: Kafka's own messages.

use std::sync::Arc;

use ottla_metadata::MetadataRecord;
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

/// Who asks, and in which version of the API: some answers depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOrigin {
    pub client_id: Arc<str>,
    /// `User:alice`.
    pub principal: Arc<str>,
    /// The version of the request as the client sent it.
    pub api_version: i16,
}

impl RequestOrigin {
    /// A request of this process, not of a client; the newest version of everything.
    pub fn internal() -> Self {
        Self { client_id: "".into(), principal: "User:ANONYMOUS".into(), api_version: i16::MAX }
    }
}

/// What a request decided: records to commit as one entry (maybe none), and the answer to give once they are.
#[derive(Debug, Clone)]
pub struct Decision<R> {
    pub records: Vec<MetadataRecord>,
    pub response: R,
}

impl<R> Decision<R> {
    /// An answer that changes nothing.
    pub const fn answer(response: R) -> Self {
        Self { records: Vec::new(), response }
    }

    /// The same decision with its answer turned into another type.
    pub fn map<T>(self, into: impl FnOnce(R) -> T) -> Decision<T> {
        Decision { records: self.records, response: into(self.response) }
    }
}

macro_rules! calls {
    ($( $(#[$doc:meta])* $name:ident: $request:ident => $response:ident; )*) => {
        /// A request to the active controller.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ControllerRequest { $( $(#[$doc])* $name($request), )* }

        /// The answer to the request of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ControllerResponse { $( $(#[$doc])* $name($response), )* }

        $(
            impl From<$request> for ControllerRequest {
                fn from(request: $request) -> Self {
                    Self::$name(request)
                }
            }

            impl TryFrom<ControllerResponse> for $response {
                type Error = ControllerResponse;
                fn try_from(response: ControllerResponse) -> Result<Self, ControllerResponse> {
                    match response {
                        ControllerResponse::$name(response) => Ok(response),
                        other => Err(other),
                    }
                }
            }
        )*
    };
}

calls! {
    /// A broker begins a life.
    RegisterBroker: BrokerRegistrationRequest => BrokerRegistrationResponse;
    /// A broker says that it lives, and how far it has read the metadata.
    BrokerHeartbeat: BrokerHeartbeatRequest => BrokerHeartbeatResponse;
    /// An operator takes a broker out.
    UnregisterBroker: UnregisterBrokerRequest => UnregisterBrokerResponse;
    /// New topics.
    CreateTopics: CreateTopicsRequest => CreateTopicsResponse;
    /// Topics go, by name or id.
    DeleteTopics: DeleteTopicsRequest => DeleteTopicsResponse;
    /// More partitions.
    CreatePartitions: CreatePartitionsRequest => CreatePartitionsResponse;
    /// Replaces all configs of resources.
    AlterConfigs: AlterConfigsRequest => AlterConfigsResponse;
    /// Sets, deletes, appends to and subtracts from single configs.
    IncrementalAlterConfigs: IncrementalAlterConfigsRequest => IncrementalAlterConfigsResponse;
    /// Preferred or unclean elections.
    ElectLeaders: ElectLeadersRequest => ElectLeadersResponse;
    /// Feature levels.
    UpdateFeatures: UpdateFeaturesRequest => UpdateFeaturesResponse;
    /// A block of producer ids.
    AllocateProducerIds: AllocateProducerIdsRequest => AllocateProducerIdsResponse;
    /// A leader changes its ISR.
    AlterPartition: AlterPartitionRequest => AlterPartitionResponse;
    /// Where partitions should live.
    AlterPartitionReassignments: AlterPartitionReassignmentsRequest => AlterPartitionReassignmentsResponse;
    /// What is on the move.
    ListPartitionReassignments: ListPartitionReassignmentsRequest => ListPartitionReassignmentsResponse;
    /// A broker says in which log directories replicas are.
    AssignReplicasToDirs: AssignReplicasToDirsRequest => AssignReplicasToDirsResponse;
    /// Quotas by user, client id, address.
    AlterClientQuotas: AlterClientQuotasRequest => AlterClientQuotasResponse;
    /// SCRAM credentials.
    AlterUserScramCredentials: AlterUserScramCredentialsRequest => AlterUserScramCredentialsResponse;
    /// Access rules.
    CreateAcls: CreateAclsRequest => CreateAclsResponse;
    /// Access rules go.
    DeleteAcls: DeleteAclsRequest => DeleteAclsResponse;
}
