//! The machine itself: the image that requests decide on, the facts of configuration, and what is known of brokers'
//! heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_metadata::{FeatureRange, MetadataImage, MetadataRecord};
use ottla_protocol::{BrokerId, Offset, Timestamp};
use ottla_state_machine::StateMachine;
use uuid::Uuid;

use crate::heartbeats::SoftState;
use crate::mutations::MutationQuota;
use crate::request::{ControllerRequest, ControllerResponse, Decision, RequestOrigin};

/// Where ids and random choices come from; a test hands in a seeded one.
pub trait IdSource {
    /// A random UUID (version 4).
    fn uuid(&mut self) -> Uuid;
    /// A number below `bound`, which is at least 1.
    fn below(&mut self, bound: usize) -> usize;
}

/// What decisions need of the static configuration.
#[derive(Debug, Clone)]
pub struct ControllerDefaults {
    /// This node: its own dynamic configs are part of what topics fall back to.
    pub node_id: BrokerId,
    /// Registrations of another cluster's brokers are refused.
    pub cluster_id: Arc<str>,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `delete.topic.enable`
    pub delete_topic_enable: bool,
    /// `broker.session.timeout.ms`
    pub broker_session_timeout_ms: i64,
    /// The same where several brokers are registered; `None` where the key was set, and holds for any number.
    pub cluster_session_timeout_ms: Option<i64>,
    /// `controller.quota.window.num` times `controller.quota.window.size.seconds`: how many seconds' worth of a quota of changes
    /// may be used at once.
    pub mutation_burst_seconds: f64,
    /// How internal topics that were made on fewer brokers grow.
    pub internal_topics: InternalTopicGrowth,
    /// The properties file of this node: what topic configs fall back to.
    pub static_configs: Arc<BTreeMap<String, String>>,
    /// Every feature this build can run.
    pub supported_features: Vec<FeatureRange>,
    /// Levels that a new cluster begins with.
    pub bootstrap_features: Vec<(Arc<str>, i16)>,
}

/// Internal topics that get the replicas they would have had, had there been enough brokers when they were made.
#[derive(Debug, Clone, Default)]
pub struct InternalTopicGrowth {
    /// `internal.topics.grow.partitions.max`: partitions that grow at one time; 0 for never.
    pub partitions_max: usize,
    /// Each topic with its replication factor and, where it is to have one, its `min.insync.replicas`.
    pub topics: Vec<(Arc<str>, usize, Option<u16>)>,
}

/// All that a decision may know besides the state.
pub struct Context<'a> {
    pub origin: &'a RequestOrigin,
    /// Milliseconds of a clock that only goes forward.
    pub now: Timestamp,
    /// Where the records decided on will lie in the log: a registration's broker epoch.
    pub next_offset: Offset,
    pub ids: &'a mut dyn IdSource,
}

/// The controller machine.
#[derive(Debug, Clone)]
pub struct ControllerState {
    pub image: MetadataImage,
    pub defaults: Arc<ControllerDefaults>,
    /// The controllers of the quorum: they need not be brokers.
    pub controllers: BTreeSet<BrokerId>,
}

impl ControllerState {
    /// Decides on the image as it is now. Nothing has happened until the records are committed and replayed.
    pub fn decide(
        &self,
        soft: &mut SoftState,
        request: &ControllerRequest,
        cx: &mut Context<'_>,
    ) -> Decision<ControllerResponse> {
        use ControllerRequest as Q;
        use ControllerResponse as R;
        match request {
            Q::RegisterBroker(request) => self.register_broker(soft, request, cx).map(R::RegisterBroker),
            Q::BrokerHeartbeat(request) => self.broker_heartbeat(soft, request, cx).map(R::BrokerHeartbeat),
            Q::UnregisterBroker(request) => self.unregister_broker(soft, request).map(R::UnregisterBroker),
            // From these versions on a change over the quota is refused (KIP-599).
            Q::CreateTopics(request) => {
                let mut quota = self.mutation_quota(soft, cx, 6);
                let decision = self.create_topics(request, cx, &mut quota);
                decision.map(|response| R::CreateTopics(response.with_throttle_time_ms(quota.throttle_ms())))
            }
            Q::DeleteTopics(request) => {
                let mut quota = self.mutation_quota(soft, cx, 5);
                let decision = self.delete_topics(request, cx, &mut quota);
                decision.map(|response| R::DeleteTopics(response.with_throttle_time_ms(quota.throttle_ms())))
            }
            Q::CreatePartitions(request) => {
                let mut quota = self.mutation_quota(soft, cx, 3);
                let decision = self.create_partitions(request, cx, &mut quota);
                decision.map(|response| R::CreatePartitions(response.with_throttle_time_ms(quota.throttle_ms())))
            }
            Q::AlterConfigs(request) => self.alter_configs(request).map(R::AlterConfigs),
            Q::IncrementalAlterConfigs(request) => {
                self.incremental_alter_configs(request).map(R::IncrementalAlterConfigs)
            }
            Q::ElectLeaders(request) => self.elect_leaders(request).map(R::ElectLeaders),
            Q::UpdateFeatures(request) => self.update_features(request, cx).map(R::UpdateFeatures),
            Q::AllocateProducerIds(request) => self.allocate_producer_ids(request).map(R::AllocateProducerIds),
            Q::AlterPartition(request) => self.alter_partition(request, cx).map(R::AlterPartition),
            Q::AlterPartitionReassignments(request) => {
                self.alter_partition_reassignments(request).map(R::AlterPartitionReassignments)
            }
            Q::ListPartitionReassignments(request) => {
                Decision::answer(R::ListPartitionReassignments(self.list_partition_reassignments(request)))
            }
            Q::AssignReplicasToDirs(request) => self.assign_replicas_to_dirs(request).map(R::AssignReplicasToDirs),
            Q::AlterClientQuotas(request) => self.alter_client_quotas(request).map(R::AlterClientQuotas),
            Q::AlterUserScramCredentials(request) => {
                self.alter_user_scram_credentials(request).map(R::AlterUserScramCredentials)
            }
            Q::CreateAcls(request) => self.create_acls(request, cx).map(R::CreateAcls),
            Q::DeleteAcls(request) => self.delete_acls(request).map(R::DeleteAcls),
        }
    }

    fn mutation_quota<'a>(&self, soft: &'a mut SoftState, cx: &Context<'_>, strict_since: i16) -> MutationQuota<'a> {
        let burst_seconds = self.defaults.mutation_burst_seconds;
        soft.mutations.quota_of(&self.image.client_quotas, burst_seconds, cx, strict_since)
    }

    /// How many partitions a decision may have to look at.
    pub const fn partitions(&self) -> usize {
        self.image.topics.partition_count()
    }

    /// After which silence a broker is fenced.
    pub fn session_timeout_ms(&self) -> i64 {
        match self.defaults.cluster_session_timeout_ms {
            Some(timeout) if self.image.brokers.len() > 1 => timeout,
            _ => self.defaults.broker_session_timeout_ms,
        }
    }

    /// `min.insync.replicas` of a topic, never more than its replication factor.
    pub(crate) fn effective_min_isr(&self, topic: &str) -> usize {
        let configured = self.topic_config(topic, "min.insync.replicas");
        let configured = configured.trim().parse().unwrap_or(1);
        let first = self.image.topics.partition(topic, 0);
        first.map_or(configured, |partition| configured.min(partition.replicas.len()))
    }

    pub(crate) fn unclean_election_enabled(&self, topic: &str) -> bool {
        self.topic_config(topic, "unclean.leader.election.enable").trim().eq_ignore_ascii_case("true")
    }

    pub(crate) fn elr_enabled(&self) -> bool {
        self.image.features.level("eligible.leader.replicas.version") > 0
    }

    pub(crate) fn default_dir(&self, broker: BrokerId) -> Uuid {
        let broker = self.image.brokers.get(&broker);
        broker.map_or(ottla_metadata::topics::DIR_UNASSIGNED, ottla_metadata::BrokerRegistration::default_dir)
    }
}

impl StateMachine for ControllerState {
    type Record = MetadataRecord;

    fn replay(&mut self, record: &MetadataRecord) {
        self.image.replay(record);
    }
}
