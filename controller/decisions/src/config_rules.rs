//! What may be configured to what: the bridge to the table of all config keys.

use std::collections::BTreeMap;

use ottla_metadata::{ConfigKind, ConfigResource};

use crate::state::ControllerState;

/// One config of a topic as it will hold.
pub(crate) struct Effective {
    pub name: String,
    pub value: Option<String>,
    /// Kafka's source id: 1 topic, 3 cluster default, 4 properties file, 5 default.
    pub source: i8,
    pub sensitive: bool,
}

/// Whether a config is a comma separated list, which can be appended to.
pub(crate) fn is_list(_kind: ConfigKind, key: &str) -> bool {
    matches!(
        key,
        "cleanup.policy" | "leader.replication.throttled.replicas" | "follower.replication.throttled.replicas"
    )
}

impl ControllerState {
    /// All values of a resource together, after a change.
    pub(crate) fn check_all(
        &self,
        _resource: &ConfigResource,
        _values: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        Ok(())
    }

    /// Every topic config with where its value comes from, sorted by name.
    pub(crate) fn effective_topic_configs(&self, configs: &BTreeMap<String, String>) -> Vec<Effective> {
        configs
            .iter()
            .map(|(name, value)| Effective {
                name: name.clone(),
                value: Some(value.clone()),
                source: 1,
                sensitive: false,
            })
            .collect()
    }
}
