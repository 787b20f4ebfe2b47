//! What can be asked of the controller: Kafka's own messages.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
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
use ottla_protocol::{Decodable, Encodable, Message, RequestMessage, skeleton};

/// Who asks, and in which version of the API: some answers depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOrigin {
    pub client_id: Arc<str>,
    /// `User:alice`. Empty for a request of the nodes themselves, for which no quota holds.
    pub principal: Arc<str>,
    /// The version of the request as the client sent it.
    pub api_version: i16,
}

impl RequestOrigin {
    /// A request of this process, not of a client; the newest version of everything.
    pub fn internal() -> Self {
        Self { client_id: "".into(), principal: "".into(), api_version: i16::MAX }
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

/// A request or an answer on its way between nodes, in Kafka's own encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub api_key: i16,
    pub version: i16,
    pub body: Bytes,
}

/// Bytes that are no message, or a message that is no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(Arc<str>);

impl CodecError {
    fn new(reason: impl std::fmt::Display) -> Self {
        Self(reason.to_string().into())
    }
}

/// The version of the API nearest to the one asked for.
fn version_of<R: RequestMessage>(api_version: i16) -> i16 {
    let (request, response) = (R::VERSIONS, <R::Response as Message>::VERSIONS);
    api_version.clamp(request.min.max(response.min), request.max.min(response.max))
}

fn write(api_key: i16, version: i16, message: &impl Encodable) -> Result<Encoded, CodecError> {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).map_err(CodecError::new)?;
    Ok(Encoded { api_key, version, body: body.freeze() })
}

macro_rules! calls {
    ($( $(#[$doc:meta])* $name:ident: $request:ident => $response:ident; )*) => {
        /// A request to the active controller.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ControllerRequest { $( $(#[$doc])* $name($request), )* }

        /// The answer to the request of the same name.
        #[derive(Debug, Clone, PartialEq)]
        pub enum ControllerResponse { $( $(#[$doc])* $name($response), )* }

        impl ControllerRequest {
            /// The request as bytes for the active controller. A client's request keeps the version it came in, where
            /// nothing can be missing; one of a node's own is written in the newest.
            ///
            /// # Errors
            /// When a field does not fit the version.
            pub fn encode(&self, api_version: i16) -> Result<Encoded, CodecError> {
                match self {
                    $( Self::$name(request) => write($request::KEY, version_of::<$request>(api_version), request), )*
                }
            }

            /// Reads what `encode` wrote. What another process sent is checked before memory is reserved for it.
            ///
            /// # Errors
            /// When the bytes are not such a request.
            pub fn decode(encoded: Encoded) -> Result<Self, CodecError> {
                let Encoded { api_key, version, mut body } = encoded;
                skeleton::check_request(api_key, version, &body).map_err(CodecError::new)?;
                $( if api_key == $request::KEY {
                    return $request::decode(&mut body, version).map(Self::$name).map_err(CodecError::new);
                } )*
                Err(CodecError::new("no request to a controller"))
            }
        }

        impl ControllerResponse {
            /// The answer as bytes for who forwarded the request, in the request's version where it fits.
            ///
            /// # Errors
            /// When a field fits no version.
            pub fn encode(&self, api_version: i16) -> Result<Encoded, CodecError> {
                match self {
                    $( Self::$name(response) => {
                        write($request::KEY, version_of::<$request>(api_version), response)
                            .or_else(|_| write($request::KEY, version_of::<$request>(i16::MAX), response))
                    } )*
                }
            }

            /// Reads what `encode` wrote.
            ///
            /// # Errors
            /// When the bytes are not such an answer.
            pub fn decode(encoded: Encoded) -> Result<Self, CodecError> {
                let Encoded { api_key, version, mut body } = encoded;
                skeleton::check_response(api_key, version, &body).map_err(CodecError::new)?;
                $( if api_key == $request::KEY {
                    return $response::decode(&mut body, version).map(Self::$name).map_err(CodecError::new);
                } )*
                Err(CodecError::new("no answer of a controller"))
            }
        }

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
