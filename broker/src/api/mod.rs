//! The API layer: one file per family of requests, and one `match` that leads to it.
//!
//! Adding an API: write its handler in the family's file, list it in the family's `APIS`, give it a line in `Api::dispatch`.
//! An API that is listed nowhere is not advertised, and a request for it closes the connection as in Kafka.

mod acls;
mod api_versions;
pub mod auto_create;
mod broker_lifecycle;
mod classic_group;
mod client_quotas;
mod cluster;
mod config_changes;
mod configs;
mod consumer_group;
mod context;
mod coordinated;
mod credentials;
mod delete_records;
mod explain;
mod features;
mod fetch;
mod fetch_answers;
mod fetch_session;
mod find_coordinator;
mod gate;
mod group_admin;
mod leader_epochs;
mod list_offsets;
mod log_dirs;
mod metadata;
mod offset_fetch;
mod offsets;
mod operations;
mod produce;
mod quorum;
mod quorum_messages;
mod reassignments;
mod table;
mod throttle;
mod topic_names;
mod topics;
pub mod transaction_gate;
mod transactions;
mod turn;
mod txn_admin;
mod txn_markers;
pub mod wire;

use std::sync::Arc;

use ottla_controller::Controller;
use ottla_storage::LogDirs;

pub use context::{BoxFuture, Chunk, ConnectionId, ListenerInfo, Records, Reply, RequestContext, Response};
pub use gate::Gate;
pub use ottla_protocol::request::RequestBody;
pub use ottla_protocol::versions::ApiSpec;
pub use quorum_messages::QuorumMessages;
pub use table::ApiTable;

use self::transaction_gate::TransactionGate;
use crate::config::{Effective, Settings};
use crate::coordinators::Coordinators;
use crate::metadata_cache::MetadataCache;
use crate::publisher::Publisher;
use crate::quotas::Quotas;
use crate::replica::{LogDirMoves, Partitions};
use crate::telemetry::Loggers;

/// What the house offers its handlers. A handler takes from it the three to five things it needs and keeps clones of those.
#[derive(Clone)]
pub struct House {
    pub settings: Arc<Settings>,
    pub effective: Effective,
    pub loggers: Loggers,
    pub metadata: MetadataCache,
    pub cluster_id: Arc<str>,
    pub controller: Controller,
    pub publisher: Publisher,
    pub partitions: Partitions,
    pub log_dirs: Arc<LogDirs>,
    pub log_dir_moves: LogDirMoves,
    /// Without it transactional records are refused.
    pub transaction_gate: Option<Arc<dyn TransactionGate>>,
    pub coordinators: Coordinators,
    pub quotas: Quotas,
}

/// Every handler, each in its own room.
pub struct Api {
    pub produce: produce::Produce,
    pub fetch: fetch::Fetch,
    pub list_offsets: list_offsets::ListOffsets,
    pub leader_epochs: leader_epochs::LeaderEpochs,
    pub delete_records: delete_records::DeleteRecords,
    pub metadata: metadata::Metadata,
    pub cluster: cluster::Cluster,
    pub api_versions: api_versions::ApiVersions,
    pub offsets: offsets::Offsets,
    pub find_coordinator: find_coordinator::FindCoordinator,
    pub classic_group: classic_group::ClassicGroup,
    pub consumer_group: consumer_group::ConsumerGroup,
    pub group_admin: group_admin::GroupAdmin,
    pub transactions: transactions::Transactions,
    pub txn_markers: txn_markers::TxnMarkers,
    pub txn_admin: txn_admin::TxnAdmin,
    pub topics: topics::Topics,
    pub configs: configs::Configs,
    pub reassignments: reassignments::Reassignments,
    pub log_dirs: log_dirs::LogDirs,
    pub acls: acls::Acls,
    pub credentials: credentials::Credentials,
    pub client_quotas: client_quotas::ClientQuotas,
    pub features: features::Features,
    pub quorum: quorum::Quorum,
    pub broker_lifecycle: broker_lifecycle::BrokerLifecycle,
}

/// Handles requests: what a connection knows of the API layer.
pub trait Service: Send + Sync {
    /// Stage one of a request: what must happen in the order of the connection. Waiting is left to `Reply::Later`.
    fn call<'a>(&'a self, cx: &'a RequestContext, body: RequestBody) -> BoxFuture<'a, Reply>;

    /// Answers an ApiVersions request of an unknown version.
    fn unsupported_api_versions(&self, cx: &RequestContext) -> Reply;

    /// A connection on which another node of the cluster spoke has ended.
    fn peer_closed(&self, _connection: ConnectionId) {}
}

impl Service for Api {
    fn call<'a>(&'a self, cx: &'a RequestContext, body: RequestBody) -> BoxFuture<'a, Reply> {
        Box::pin(self.dispatch(cx, body))
    }

    fn unsupported_api_versions(&self, cx: &RequestContext) -> Reply {
        self.api_versions.unsupported(cx)
    }
}

impl Api {
    pub fn new(house: &House) -> Self {
        Self {
            produce: produce::Produce::new(house),
            fetch: fetch::Fetch::new(house),
            list_offsets: list_offsets::ListOffsets::new(house),
            leader_epochs: leader_epochs::LeaderEpochs::new(house),
            delete_records: delete_records::DeleteRecords::new(house),
            metadata: metadata::Metadata::new(house),
            cluster: cluster::Cluster::new(house),
            api_versions: api_versions::ApiVersions::new(house),
            offsets: offsets::Offsets::new(house),
            find_coordinator: find_coordinator::FindCoordinator::new(house),
            classic_group: classic_group::ClassicGroup::new(house),
            consumer_group: consumer_group::ConsumerGroup::new(house),
            group_admin: group_admin::GroupAdmin::new(house),
            transactions: transactions::Transactions::new(house),
            txn_markers: txn_markers::TxnMarkers::new(house),
            txn_admin: txn_admin::TxnAdmin::new(house),
            topics: topics::Topics::new(house),
            configs: configs::Configs::new(house),
            reassignments: reassignments::Reassignments::new(house),
            log_dirs: log_dirs::LogDirs::new(house),
            acls: acls::Acls::new(house),
            credentials: credentials::Credentials::new(house),
            client_quotas: client_quotas::ClientQuotas::new(house),
            features: features::Features::new(house),
            quorum: quorum::Quorum::new(house),
            broker_lifecycle: broker_lifecycle::BrokerLifecycle::new(house),
        }
    }

    /// Everything that is advertised, by key.
    pub fn specs() -> Vec<ApiSpec> {
        let families: &[&[ApiSpec]] = &[
            produce::Produce::APIS,
            fetch::Fetch::APIS,
            list_offsets::ListOffsets::APIS,
            leader_epochs::LeaderEpochs::APIS,
            delete_records::DeleteRecords::APIS,
            metadata::Metadata::APIS,
            cluster::Cluster::APIS,
            api_versions::ApiVersions::APIS,
            offsets::Offsets::APIS,
            find_coordinator::FindCoordinator::APIS,
            classic_group::ClassicGroup::APIS,
            consumer_group::ConsumerGroup::APIS,
            group_admin::GroupAdmin::APIS,
            transactions::Transactions::APIS,
            txn_markers::TxnMarkers::APIS,
            txn_admin::TxnAdmin::APIS,
            topics::Topics::APIS,
            configs::Configs::APIS,
            reassignments::Reassignments::APIS,
            log_dirs::LogDirs::APIS,
            acls::Acls::APIS,
            credentials::Credentials::APIS,
            client_quotas::ClientQuotas::APIS,
            features::Features::APIS,
            quorum::Quorum::APIS,
            quorum_messages::QuorumMessages::APIS,
            broker_lifecycle::BrokerLifecycle::APIS,
        ];
        let mut specs: Vec<ApiSpec> = families.iter().flat_map(|family| family.iter().copied()).collect();
        specs.sort_by_key(|spec| spec.key);
        specs
    }

    async fn dispatch(&self, cx: &RequestContext, body: RequestBody) -> Reply {
        match body {
            RequestBody::Produce(request) => self.produce.handle(cx, request).await,
            RequestBody::Fetch(request) => self.fetch.handle(cx, request).await,
            RequestBody::ListOffsets(request) => self.list_offsets.handle(cx, request).await,
            RequestBody::Metadata(request) => self.metadata.handle(cx, request).await,
            RequestBody::OffsetCommit(request) => self.offsets.offset_commit(cx, request).await,
            RequestBody::OffsetFetch(request) => self.offsets.offset_fetch(cx, request).await,
            RequestBody::FindCoordinator(request) => self.find_coordinator.handle(cx, request).await,
            RequestBody::JoinGroup(request) => self.classic_group.join_group(cx, request).await,
            RequestBody::Heartbeat(request) => self.classic_group.heartbeat(cx, request).await,
            RequestBody::LeaveGroup(request) => self.classic_group.leave_group(cx, request).await,
            RequestBody::SyncGroup(request) => self.classic_group.sync_group(cx, request).await,
            RequestBody::DescribeGroups(request) => self.group_admin.describe_groups(cx, request).await,
            RequestBody::ListGroups(request) => self.group_admin.list_groups(cx, request).await,
            RequestBody::ApiVersions(request) => self.api_versions.handle(cx, request).await,
            RequestBody::CreateTopics(request) => self.topics.create_topics(cx, request).await,
            RequestBody::DeleteTopics(request) => self.topics.delete_topics(cx, request).await,
            RequestBody::DeleteRecords(request) => self.delete_records.handle(cx, request).await,
            RequestBody::InitProducerId(request) => self.transactions.init_producer_id(cx, request).await,
            RequestBody::OffsetForLeaderEpoch(request) => self.leader_epochs.handle(cx, request).await,
            RequestBody::AddPartitionsToTxn(request) => self.transactions.add_partitions_to_txn(cx, request).await,
            RequestBody::AddOffsetsToTxn(request) => self.transactions.add_offsets_to_txn(cx, request).await,
            RequestBody::EndTxn(request) => self.transactions.end_txn(cx, request).await,
            RequestBody::WriteTxnMarkers(request) => self.txn_markers.handle(cx, request).await,
            RequestBody::TxnOffsetCommit(request) => self.offsets.txn_offset_commit(cx, request).await,
            RequestBody::DescribeAcls(request) => self.acls.describe_acls(cx, request).await,
            RequestBody::CreateAcls(request) => self.acls.create_acls(cx, request).await,
            RequestBody::DeleteAcls(request) => self.acls.delete_acls(cx, request).await,
            RequestBody::DescribeConfigs(request) => self.configs.describe_configs(cx, request).await,
            RequestBody::AlterConfigs(request) => self.configs.alter_configs(cx, request).await,
            RequestBody::AlterReplicaLogDirs(request) => self.log_dirs.alter_replica_log_dirs(cx, request).await,
            RequestBody::DescribeLogDirs(request) => self.log_dirs.describe_log_dirs(cx, request).await,
            RequestBody::CreatePartitions(request) => self.topics.create_partitions(cx, request).await,
            RequestBody::DeleteGroups(request) => self.group_admin.delete_groups(cx, request).await,
            RequestBody::ElectLeaders(request) => self.reassignments.elect_leaders(cx, request).await,
            RequestBody::IncrementalAlterConfigs(request) => self.configs.incremental_alter_configs(cx, request).await,
            RequestBody::AlterPartitionReassignments(request) => {
                self.reassignments.alter_partition_reassignments(cx, request).await
            }
            RequestBody::ListPartitionReassignments(request) => {
                self.reassignments.list_partition_reassignments(cx, request).await
            }
            RequestBody::OffsetDelete(request) => self.offsets.offset_delete(cx, request).await,
            RequestBody::DescribeClientQuotas(request) => self.client_quotas.describe_client_quotas(cx, request).await,
            RequestBody::AlterClientQuotas(request) => self.client_quotas.alter_client_quotas(cx, request).await,
            RequestBody::DescribeUserScramCredentials(request) => {
                self.credentials.describe_user_scram_credentials(cx, request).await
            }
            RequestBody::AlterUserScramCredentials(request) => {
                self.credentials.alter_user_scram_credentials(cx, request).await
            }
            RequestBody::DescribeQuorum(request) => self.quorum.describe_quorum(cx, request).await,
            RequestBody::AddRaftVoter(request) => self.quorum.add_raft_voter(cx, request).await,
            RequestBody::RemoveRaftVoter(request) => self.quorum.remove_raft_voter(cx, request).await,
            RequestBody::UpdateRaftVoter(request) => self.quorum.update_raft_voter(cx, request).await,
            RequestBody::UpdateFeatures(request) => self.features.handle(cx, request).await,
            RequestBody::DescribeCluster(request) => self.cluster.describe_cluster(cx, request).await,
            RequestBody::DescribeProducers(request) => self.txn_admin.describe_producers(cx, request).await,
            RequestBody::UnregisterBroker(request) => self.broker_lifecycle.unregister_broker(cx, request).await,
            RequestBody::DescribeTransactions(request) => self.txn_admin.describe_transactions(cx, request).await,
            RequestBody::ListTransactions(request) => self.txn_admin.list_transactions(cx, request).await,
            RequestBody::ConsumerGroupHeartbeat(request) => {
                self.consumer_group.consumer_group_heartbeat(cx, request).await
            }
            RequestBody::ConsumerGroupDescribe(request) => {
                self.consumer_group.consumer_group_describe(cx, request).await
            }
            RequestBody::ListConfigResources(request) => self.configs.list_config_resources(cx, request).await,
            RequestBody::DescribeTopicPartitions(request) => self.cluster.describe_topic_partitions(cx, request).await,
            _ => Reply::Close,
        }
    }
}
