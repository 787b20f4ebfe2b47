//! A node for tests: a folder, and how to start a controller in it.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::sync::Arc;
use std::time::Duration;

use ottla_controller::{
    Controller, ControllerDefaults, ControllerOptions, NoTransport, RequestOrigin, StartError, VoterInfo,
};
use ottla_metadata::FeatureRange;
use ottla_protocol::messages::broker_registration_request::Feature;
use ottla_protocol::messages::create_topics_request::CreatableTopic;
use ottla_protocol::messages::create_topics_response::CreatableTopicResult;
use ottla_protocol::messages::{BrokerHeartbeatRequest, BrokerRegistrationRequest, CreateTopicsRequest};
use ottla_protocol::{BrokerId, StrBytes};
use tempfile::TempDir;
use uuid::Uuid;

pub const CLUSTER_ID: &str = "5L6g3nShT-eMCtK--X86sw";

pub struct Node {
    pub dir: TempDir,
    pub snapshot_bytes: u64,
}

pub fn defaults() -> ControllerDefaults {
    let features = [("metadata.version", 7, 30), ("group.version", 0, 1), ("transaction.version", 0, 2)];
    ControllerDefaults {
        node_id: BrokerId(1),
        cluster_id: CLUSTER_ID.into(),
        num_partitions: 1,
        default_replication_factor: 1,
        delete_topic_enable: true,
        broker_session_timeout_ms: 9000,
        cluster_session_timeout_ms: None,
        mutation_burst_seconds: 11.0,
        internal_topics: Default::default(),
        static_configs: Arc::default(),
        supported_features: features
            .iter()
            .map(|(n, min, max)| FeatureRange { name: (*n).into(), min: *min, max: *max })
            .collect(),
        bootstrap_features: features.iter().map(|(name, _, max)| ((*name).into(), *max)).collect(),
    }
}

impl Node {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), snapshot_bytes: 20 << 20 }
    }

    pub fn options(&self) -> ControllerOptions {
        let voter = VoterInfo { id: BrokerId(1), directory_id: Uuid::from_u128(1000), endpoints: Vec::new() };
        ControllerOptions {
            node_id: BrokerId(1),
            directory_id: voter.directory_id,
            log_dir: self.dir.path().to_owned(),
            voters: vec![voter],
            bootstrap: Vec::new(),
            joining: None,
            request_timeout: Duration::from_secs(20),
            disconnect_grace: Duration::from_millis(250),
            leader_grace: Duration::from_millis(200),
            leader_silence_max: Duration::from_millis(700),
            leader_session_grace: Duration::from_millis(600),
            fetch_bytes_max: 1 << 20,
            snapshot_bytes: self.snapshot_bytes,
            election_timeout: Duration::from_millis(1000),
            leader_balance_interval: None,
            defaults: Arc::new(defaults()),
        }
    }

    pub async fn start(&self) -> Controller {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&self) -> Result<Controller, StartError> {
        Controller::start(self.options(), Arc::new(NoTransport)).await
    }

    /// Registers broker 1 in a new life and has it unfenced.
    pub async fn register(&self, controller: &Controller) -> i64 {
        register(controller, 1).await
    }
}

pub async fn register(controller: &Controller, id: i32) -> i64 {
    let feature = |(name, max): (&'static str, i16)| {
        let base = Feature::default().with_name(StrBytes::from_static_str(name));
        base.with_min_supported_version(0).with_max_supported_version(max)
    };
    let features = [("metadata.version", 30), ("group.version", 1), ("transaction.version", 2), ("kraft.version", 1)];
    let request = BrokerRegistrationRequest::default()
        .with_broker_id(id.into())
        .with_cluster_id(StrBytes::from_static_str(CLUSTER_ID))
        .with_incarnation_id(Uuid::new_v4())
        .with_features(features.into_iter().map(feature).collect())
        .with_log_dirs(vec![Uuid::from_u128(1000 + id as u128)]);
    let registered = controller.register_broker(RequestOrigin::internal(), request).await.unwrap();
    assert_eq!(registered.response.error_code, 0);
    let epoch = registered.response.broker_epoch;
    assert_eq!(epoch, registered.offset.0);
    let request = BrokerHeartbeatRequest::default()
        .with_broker_id(id.into())
        .with_broker_epoch(epoch)
        .with_current_metadata_offset(registered.offset.0);
    let beat = controller.heartbeat(RequestOrigin::internal(), request).await.unwrap();
    assert_eq!((beat.response.error_code, beat.response.is_fenced), (0, false));
    epoch
}

pub async fn create_topic(controller: &Controller, name: &str, partitions: i32) -> CreatableTopicResult {
    let topic = CreatableTopic::default()
        .with_name(StrBytes::from_string(name.to_owned()).into())
        .with_num_partitions(partitions)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    let created = controller.create_topics(RequestOrigin::internal(), request).await.unwrap();
    created.response.topics[0].clone()
}
