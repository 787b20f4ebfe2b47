//! What may be configured to what, and what holds: the table of all config keys seen from the controller.

use std::collections::BTreeMap;

use ottla_metadata::config_def::{self, InvalidSubscription, Negative, Table, ValueType, in_ms};
use ottla_metadata::{ConfigKind, ConfigResource};
use ottla_protocol::ErrorCode;

use crate::error::ApiError;
use crate::state::ControllerState;

/// One config of a topic as it will hold.
pub(crate) struct Effective {
    pub name: String,
    pub value: Option<String>,
    /// Kafka's source id: 1 topic, 2 broker, 3 cluster default, 4 properties file, 5 default.
    pub source: i8,
    pub sensitive: bool,
}

fn definition(kind: ConfigKind, key: &str) -> Option<&'static config_def::ConfigDef> {
    match kind {
        ConfigKind::Topic => config_def::topic(key),
        ConfigKind::Broker => config_def::broker(key),
        ConfigKind::ClientMetrics => config_def::client_metrics(key),
        ConfigKind::Group => config_def::group(key),
    }
}

/// Whether a config is a comma separated list, which can be appended to.
pub(crate) fn is_list(kind: ConfigKind, key: &str) -> bool {
    definition(kind, key).is_some_and(|definition| definition.value_type == ValueType::List)
}

/// What a config is where nobody set it.
pub(crate) fn default_value(kind: ConfigKind, key: &str) -> Option<&'static str> {
    definition(kind, key)?.default
}

impl ControllerState {
    /// All values of a resource together, after a change.
    pub(crate) fn check_all(
        &self,
        resource: &ConfigResource,
        values: &BTreeMap<String, String>,
    ) -> Result<(), ApiError> {
        let invalid = |message: String| ApiError::new(ErrorCode::InvalidConfig, message);
        let values: BTreeMap<&str, &str> = values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let fallback = |key: &str| self.broker_value(key).map(|(value, _)| value);
        match resource.kind {
            ConfigKind::Topic => {
                let before = self.image.configs.get(resource);
                let before = before.map(|set| set.iter().map(|(key, value)| (&**key, &**value)).collect());
                config_def::validate_topic_configs(&values, &before.unwrap_or_default(), fallback, false)
                    .map_err(invalid)
            }
            // A broker judges its own configs before it passes them on: only it knows its listeners and directories.
            ConfigKind::Broker => Ok(()),
            ConfigKind::Group => config_def::validate_group(&values, fallback).map_err(invalid),
            ConfigKind::ClientMetrics => {
                config_def::validate_client_metrics(&resource.name, &values).map_err(|error| match error {
                    InvalidSubscription::Config(message) => invalid(message),
                    InvalidSubscription::Request(message) => ApiError::new(ErrorCode::InvalidRequest, message),
                })
            }
        }
    }

    /// What a broker key is set to for this node, and where: as a dynamic value or in the file.
    pub(crate) fn broker_value(&self, key: &str) -> Option<(&str, i8)> {
        let configs = &self.image.configs;
        let own = configs.value(&ConfigResource::broker(self.defaults.node_id), key).map(|value| (&**value, 2));
        let cluster = || configs.value(&ConfigResource::cluster_default(), key).map(|value| (&**value, 3));
        let file = || self.defaults.static_configs.get(key).map(|value| (value.as_str(), 4));
        own.or_else(cluster).or_else(file)
    }

    /// The value a topic lives by: its own, or a broker's, or the default.
    pub(crate) fn topic_config(&self, topic: &str, key: &str) -> String {
        if let Some(value) = self.image.configs.value(&ConfigResource::topic(topic), key) {
            return value.to_string();
        }
        self.inherited_topic_config(key).map(|(value, _)| value).unwrap_or_default()
    }

    fn inherited_topic_config(&self, key: &str) -> Option<(String, i8)> {
        for broker_key in config_def::topic_broker_synonyms(key) {
            if let Some((value, source)) = self.broker_value(broker_key) {
                return Some((in_ms(broker_key, value, Negative::Multiplied), source));
            }
        }
        default_value(ConfigKind::Topic, key).map(|value| (value.to_owned(), 5))
    }

    /// Every topic config with where its value comes from, sorted by name.
    pub(crate) fn effective_topic_configs(&self, configs: &BTreeMap<String, String>) -> Vec<Effective> {
        let effective = |definition: &config_def::ConfigDef| {
            let own = configs.get(definition.name).map(|value| (value.clone(), 1));
            let found = own.or_else(|| self.inherited_topic_config(definition.name));
            let (value, source) = found.map_or((None, 5), |(value, source)| (Some(value), source));
            Effective { name: definition.name.to_owned(), value, source, sensitive: definition.is_sensitive() }
        };
        Table::topic().shown().map(effective).collect()
    }
}
