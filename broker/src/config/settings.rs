//! The static configuration: what was given at start, over Kafka's defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ottla_metadata::Endpoint;
use ottla_metadata::config_def::{self, Value, split_list};
use ottla_protocol::BrokerId;

use super::declared_topics::{self, DeclaredTopic};
use super::listeners::{ListenerSettings, read_listeners};
use super::quorum::{self, Voter};
use super::{checks, sources};

/// Why a configuration cannot be started with. The text names the key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// The static configuration, checked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// `node.id`
    pub node_id: BrokerId,
    /// From `CLUSTER_ID` or `cluster.id`; `None`: that of the data, or a new one.
    pub cluster_id: Option<String>,
    /// `log.dirs`, or else `log.dir`.
    pub log_dirs: Vec<PathBuf>,
    pub listeners: Vec<ListenerSettings>,
    /// `controller.quorum.voters`
    pub voters: Vec<Voter>,
    /// `controller.quorum.bootstrap.servers`
    pub bootstrap: Vec<Endpoint>,
    /// Started with `--join`.
    pub joins: bool,
    /// Keys that are in `explicit` because of where the node starts, not because somebody gave them.
    pub presumed: BTreeSet<String>,
    /// Keys that were given, with the text they were given, unknown keys included.
    pub explicit: BTreeMap<String, String>,
    /// Given keys that are no configuration of Kafka's; one warning names them all.
    pub unknown: Vec<String>,
    /// What is accepted and means something else than it did: a warning each.
    pub warnings: Vec<String>,
    /// Started as the images start it.
    pub in_container: bool,
    /// ZooKeeper is named.
    pub is_of_zookeeper_age: bool,
    /// `create.topics`
    pub declared_topics: Vec<DeclaredTopic>,
    /// Where the values came from, in words, for the log.
    pub origin: String,
}

impl Settings {
    /// Checks and types what `sources` gathered.
    ///
    /// # Errors
    /// When a value does not fit its key, keys contradict each other, or something is asked for that is not built.
    pub fn new(mut given: sources::Given) -> Result<Self, ConfigError> {
        let places = std::mem::take(&mut given.sources);
        Self::judge(given, &places).map_err(|error| sources::with_places(error, &places))
    }

    fn judge(given: sources::Given, places: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let sources::Given { mut values, cluster_id, origin, in_container, presumed, joins, sources: _ } = given;
        checks::alias_broker_id(&mut values)?;
        let declared_topics = declared_topics::read(&values.remove(declared_topics::KEY).unwrap_or_default())?;
        let is_of_zookeeper_age = values.contains_key("zookeeper.connect");
        let mut warnings = checks::removed_keys(&mut values);
        warnings.extend(checks::classes(&values));
        let unknown = checks::unknown_keys(&values, places)?;
        for (key, value) in &values {
            if let Some(definition) = config_def::broker(config_def::listener_key(key).unwrap_or(key)) {
                definition.check(Some(value)).map_err(|error| ConfigError::new(error.0))?;
            }
        }
        let mut settings = Self { cluster_id, explicit: values, unknown, warnings, declared_topics, ..Self::default() };
        (settings.origin, settings.in_container) = (origin, in_container);
        (settings.presumed, settings.joins) = (presumed, joins);
        settings.is_of_zookeeper_age = is_of_zookeeper_age;
        settings.node_id = BrokerId(settings.i32("node.id"));
        settings.log_dirs = checks::log_dirs(&settings)?;
        settings.listeners = read_listeners(&settings)?;
        settings.voters = quorum::read_voters(&settings)?;
        settings.bootstrap = quorum::read_bootstrap(&settings)?;
        checks::together(&settings)?;
        settings.warnings.extend(checks::open_doors(&settings));
        Ok(settings)
    }

    /// Whether this node has a role: both when `process.roles` is not given.
    fn has_role(&self, role: &str) -> bool {
        let roles = self.list("process.roles");
        roles.is_empty() || roles.iter().any(|other| other == role)
    }

    /// Whether this node keeps data and serves clients.
    pub fn is_broker(&self) -> bool {
        self.has_role("broker")
    }

    /// Whether this node votes on the metadata.
    pub fn is_controller(&self) -> bool {
        self.has_role("controller")
    }

    /// What was given for exactly this key.
    pub fn given(&self, key: &str) -> Option<&str> {
        self.explicit.get(key).map(String::as_str)
    }

    /// Whether somebody gave this key: what is presumed of a node alone does not count.
    pub fn is_asked_for(&self, key: &str) -> bool {
        self.explicit.contains_key(key) && !self.presumed.contains(key)
    }

    /// The value of a broker key as text, default included; `None` when it has neither.
    pub fn text(&self, key: &str) -> Option<&str> {
        debug_assert!(config_def::broker(key).is_some() || key.starts_with("listener.name."), "no such key: {key}");
        self.given(key).or_else(|| config_def::broker_default(key)).map(str::trim)
    }

    fn read(&self, key: &str) -> Option<Value> {
        let definition = config_def::broker(key)?;
        Value::read(definition.value_type, self.text(key)?).ok()
    }

    /// An INT or SHORT key; 0 when it is not set and has no default.
    pub fn i32(&self, key: &str) -> i32 {
        i32::try_from(self.i64(key)).unwrap_or(i32::MAX)
    }

    /// The name of the listener that brokers reach each other on.
    pub fn listener_between_brokers(&self) -> &str {
        let named = self.text("inter.broker.listener.name");
        named.or_else(|| self.text("security.inter.broker.protocol")).unwrap_or("PLAINTEXT")
    }

    /// A LONG (or smaller) key; 0 when it is not set and has no default.
    pub fn i64(&self, key: &str) -> i64 {
        match self.read(key) {
            Some(Value::Integer(number)) => number,
            _ => 0,
        }
    }

    /// A DOUBLE key.
    pub fn f64(&self, key: &str) -> f64 {
        match self.read(key) {
            Some(Value::Double(number)) => number,
            _ => 0.0,
        }
    }

    /// A BOOLEAN key.
    pub fn bool(&self, key: &str) -> bool {
        matches!(self.read(key), Some(Value::Bool(true)))
    }

    /// A LIST key.
    pub fn list(&self, key: &str) -> Vec<String> {
        self.text(key).map(split_list).unwrap_or_default()
    }

    /// A size or a count: negative values become 0.
    pub fn usize(&self, key: &str) -> usize {
        usize::try_from(self.i64(key)).unwrap_or(0)
    }
}
