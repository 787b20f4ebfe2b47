//! The machine itself: the image that requests decide on, the facts of configuration, and what is known of brokers'
//! heartbeats.

use std::collections::BTreeMap;
use std::sync::Arc;

use ottla_metadata::{FeatureRange, MetadataImage, MetadataRecord};
use ottla_protocol::Timestamp;
use ottla_state_machine::StateMachine;
use uuid::Uuid;

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
    /// The properties file of this node: what topic configs fall back to.
    pub static_configs: Arc<BTreeMap<String, String>>,
    /// Every feature this build can run.
    pub supported_features: Vec<FeatureRange>,
    /// Levels that a new cluster begins with.
    pub bootstrap_features: Vec<(Arc<str>, i16)>,
}

/// What the active controller knows beyond the log; gone when it resigns.
#[derive(Debug, Clone, Default)]
pub struct SoftState {}

/// The controller machine.
#[derive(Debug, Clone)]
pub struct ControllerState {
    pub image: MetadataImage,
    pub defaults: Arc<ControllerDefaults>,
}

impl ControllerState {
    /// Decides on the image as it is now. Nothing has happened until the records are committed and replayed.
    pub fn decide(
        &self,
        _soft: &mut SoftState,
        _origin: &RequestOrigin,
        _request: &ControllerRequest,
        _now: Timestamp,
        _ids: &mut dyn IdSource,
    ) -> Decision<ControllerResponse> {
        todo!()
    }
}

impl StateMachine for ControllerState {
    type Record = MetadataRecord;

    fn replay(&mut self, record: &MetadataRecord) {
        self.image.replay(record);
    }
}
