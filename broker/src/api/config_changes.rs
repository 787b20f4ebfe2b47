//! What this broker checks, and does itself, before changes of configs go to the controller: its own configs must be
//! ones that can change while it runs, and log levels never leave it.

use std::collections::BTreeMap;
use std::collections::HashSet;

use ottla_metadata::config_def::{self, UpdateMode, ValueType, append_to_list, split_list, subtract_from_list};
use ottla_metadata::{ConfigResource, MetadataImage};
use ottla_protocol::messages::{
    AlterConfigsRequest, IncrementalAlterConfigsRequest, incremental_alter_configs_request,
};
use ottla_protocol::{BrokerId, ErrorCode, StrBytes};

use super::configs::Refusal;
use crate::config::Effective;
use crate::metadata_cache::MetadataCache;
use crate::telemetry::{LEVELS, Loggers};

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// The kinds of resource that the controller keeps, besides brokers.
const PASSED_ON: [i8; 3] = [2, 16, 32];
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;

/// Keys that Kafka lets change while it runs and this broker does not (yet): what cannot be done is refused.
const NOT_WHILE_RUNNING: &[&str] = &["listeners", "listener.security.protocol.map"];

/// `Some`: decided here; `None`: for the controller to decide.
pub(super) type Decided = Option<Result<(), Refusal>>;

/// What the checks look at.
pub struct Changes<'a> {
    pub effective: &'a Effective,
    pub metadata: &'a MetadataCache,
    pub loggers: &'a Loggers,
    /// Asked by `--bootstrap-controller`: controllers take changes for every broker, also for one that is down.
    pub at_controller: bool,
}

/// A broker's id from a resource's name.
pub fn broker_id(name: &str) -> Result<BrokerId, Refusal> {
    name.parse().map(BrokerId).map_err(|_| invalid(format!("Broker id must be an integer, but it is: {name}")))
}

fn invalid(message: impl Into<String>) -> Refusal {
    (ErrorCode::InvalidRequest, message.into())
}

impl Changes<'_> {
    /// Checks a request that replaces everything set on its resources, one result per resource.
    pub fn check_replacements(&self, request: &AlterConfigsRequest) -> Vec<Decided> {
        let image = self.metadata.load();
        let repeated = repeated(request.resources.iter().map(|one| (one.resource_type, &one.resource_name)));
        let check =
            |resource: &ottla_protocol::messages::alter_configs_request::AlterConfigsResource| -> Result<(), Refusal> {
                check_keys(resource.configs.iter().map(|config| (&config.name, config.value.is_none())))?;
                match resource.resource_type {
                    BROKER => {
                        self.check_name(&resource.resource_name)?;
                        let values = resource.configs.iter().map(|config| {
                            (
                                config.name.to_string(),
                                config.value.as_ref().map(StrBytes::to_string).unwrap_or_default(),
                            )
                        });
                        self.check_broker(&resource.resource_name, values.collect(), &image)
                    }
                    kind if PASSED_ON.contains(&kind) => Ok(()),
                    // Log levels have never been part of this API.
                    kind => Err(invalid(format!("Unknown resource type {kind}"))),
                }
            };
        request
            .resources
            .iter()
            .zip(repeated)
            .map(
                |(resource, repeated)| {
                    if repeated { Some(Err(appears_twice())) } else { check(resource).err().map(Err) }
                },
            )
            .collect()
    }

    /// Checks a request of single changes, one result per resource. Log levels are changed at once.
    pub fn check_increments(&self, request: &IncrementalAlterConfigsRequest) -> Vec<Decided> {
        let image = self.metadata.load();
        let repeated = repeated(request.resources.iter().map(|one| (one.resource_type, &one.resource_name)));
        let check = |resource: &incremental_alter_configs_request::AlterConfigsResource| -> Result<bool, Refusal> {
            check_keys(
                resource
                    .configs
                    .iter()
                    .map(|config| (&config.name, config.config_operation != DELETE && config.value.is_none())),
            )?;
            match resource.resource_type {
                BROKER_LOGGER => {
                    self.alter_loggers(resource, request.validate_only)?;
                    Ok(true)
                }
                BROKER => {
                    self.check_name(&resource.resource_name)?;
                    let values = self.after(resource, &image)?;
                    self.check_broker(&resource.resource_name, values, &image)?;
                    Ok(false)
                }
                kind if PASSED_ON.contains(&kind) => Ok(false),
                kind => Err(invalid(format!("Unknown resource type {kind}"))),
            }
        };
        let decide = |resource, repeated| {
            if repeated {
                return Some(Err(appears_twice()));
            }
            match check(resource) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(refusal) => Some(Err(refusal)),
            }
        };
        request.resources.iter().zip(repeated).map(|(resource, repeated)| decide(resource, repeated)).collect()
    }

    /// The empty name is every broker; any other must be this one. Whether there is such a broker is the controller's to
    /// say.
    fn check_name(&self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() || self.at_controller {
            return Ok(());
        }
        let own = self.effective.settings.node_id;
        let asked: i32 = name.parse().map_err(|_| invalid(format!("Node id must be an integer, but it is: {name}")))?;
        if asked != own.0 {
            return Err(invalid(format!("Unexpected broker id, expected {own}, but received {name}")));
        }
        Ok(())
    }

    /// What would be set on a broker resource after the changes.
    fn after(
        &self,
        resource: &incremental_alter_configs_request::AlterConfigsResource,
        image: &MetadataImage,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let target = target(&resource.resource_name);
        let set = image.configs.get(&target).into_iter().flatten();
        let mut values: BTreeMap<String, String> =
            set.map(|(key, value)| (key.to_string(), value.to_string())).collect();
        for config in &resource.configs {
            let (name, value) = (config.name.as_str(), config.value.as_deref().unwrap_or_default());
            match config.config_operation {
                SET => drop(values.insert(name.to_owned(), value.to_owned())),
                DELETE => drop(values.remove(name)),
                APPEND | SUBTRACT => {
                    let is_append = config.config_operation == APPEND;
                    let refuse = |message: String| Err((ErrorCode::InvalidConfig, message));
                    match config_def::broker(name) {
                        None => return refuse(format!("Unknown config name: {name}")),
                        Some(definition) if definition.value_type != ValueType::List => {
                            let verb = if is_append { "append" } else { "subtract" };
                            return refuse(format!("Config value {verb} is not allowed for config key: {name}"));
                        }
                        Some(_) => {}
                    }
                    let before = values.get(name).map(String::as_str).or_else(|| config_def::broker_default(name));
                    let change = if is_append { append_to_list } else { subtract_from_list };
                    let after = change(before.unwrap_or_default(), value);
                    values.insert(name.to_owned(), after);
                }
                other => return Err(invalid(format!("Unknown operations type {other}"))),
            }
        }
        Ok(values)
    }

    /// Whether this broker can run with what would be set.
    fn check_broker(&self, name: &str, values: BTreeMap<String, String>, image: &MetadataImage) -> Result<(), Refusal> {
        let names = |wrong: Vec<&str>, message: &str| {
            if wrong.is_empty() { Ok(()) } else { Err(invalid(format!("{message}: [{}]", wrong.join(", ")))) }
        };
        let all_defined =
            || values.keys().filter_map(|key| config_def::broker(key).map(|definition| (key, definition)));
        names(
            all_defined()
                .filter(|(key, definition)| {
                    !definition.update.is_dynamic() || NOT_WHILE_RUNNING.contains(&key.as_str())
                })
                .map(|(key, _)| key.as_str())
                .collect(),
            "Cannot update these configs dynamically",
        )?;
        names(
            all_defined().filter(|(key, _)| is_key_material(key)).map(|(key, _)| key.as_str()).collect(),
            "These security configs can be dynamically updated only per-listener using the listener prefix",
        )?;
        for (key, value) in &values {
            if let Some(definition) = config_def::broker(config_def::listener_key(key).unwrap_or(key)) {
                definition.check(Some(value)).map_err(|error| invalid(error.0))?;
            }
        }
        if name.is_empty() {
            let per_broker = |key: &&String| {
                let base = config_def::listener_key(key).unwrap_or(key);
                config_def::broker(base).is_some_and(|definition| definition.update == UpdateMode::PerBroker)
                    || (base != key.as_str() && !CLUSTER_LEVEL_OF_LISTENERS.contains(&base))
            };
            names(
                values.keys().filter(per_broker).map(String::as_str).collect(),
                "Cannot update these configs at default cluster level, broker id must be specified",
            )?;
        }
        // How many threads another broker has, and which directories, is not known here.
        if self.at_controller {
            check_uncordons(name, &values, image)?;
        } else {
            self.check_threads(name, &values, image)?;
            self.check_cordons(&values)?;
        }
        check_together(&values)
    }

    fn check_cordons(&self, values: &BTreeMap<String, String>) -> Result<(), Refusal> {
        let known = &self.effective.settings.log_dirs;
        let is_known = |name: &String| {
            let path = std::path::absolute(name).ok();
            name == "*" || known.iter().any(|dir| std::path::absolute(dir).ok() == path)
        };
        let cordoned = split_list(values.get("cordoned.log.dirs").map_or("", String::as_str));
        let missing: Vec<String> = cordoned.into_iter().filter(|name| !is_known(name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(invalid(format!(
            "requirement failed: All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : {}",
            missing.join(", ")
        )))
    }

    /// Kafka changes the size of a pool by no more than twice or half at a time.
    fn check_threads(
        &self,
        name: &str,
        values: &BTreeMap<String, String>,
        image: &MetadataImage,
    ) -> Result<(), Refusal> {
        const CLEANERS: &str = "log.cleaner.threads";
        const POOLS: &[&str] = &[
            CLEANERS,
            "background.threads",
            "num.io.threads",
            "num.network.threads",
            "num.replica.fetchers",
            "num.recovery.threads.per.data.dir",
        ];
        let at = self.effective.at(image);
        for pool in POOLS {
            let Some(new) = values.get(*pool).and_then(|value| value.trim().parse::<i64>().ok()) else { continue };
            // What is set on the broker itself hides what is set for all.
            let hidden = name.is_empty()
                && image.configs.value(&ConfigResource::broker(self.effective.settings.node_id), pool).is_some();
            let Some(old) = at.broker_text(pool).and_then(|value| value.trim().parse::<i64>().ok()) else { continue };
            if hidden || new == old {
                continue;
            }
            let message = format!("Dynamic thread count update validation failed for {pool}={new}");
            let of_cleaners = *pool == CLEANERS;
            let refused = if new <= 0 && of_cleaners {
                "Log cleaner threads should be at least 1".to_owned()
            } else if new <= 0 {
                format!("{message}, value should be at least 1")
            } else if new < old / 2 && of_cleaners {
                format!("Log cleaner threads cannot be reduced to less than half the current value {old}")
            } else if new < old / 2 {
                format!("{message}, value should be at least half the current value {old}")
            } else if new > old * 2 && of_cleaners {
                format!("Log cleaner threads cannot be increased to more than double the current value {old}")
            } else if new > old * 2 {
                format!("{message}, value should not be greater than double the current value {old}")
            } else {
                continue;
            };
            // One message inside the other: that is how Kafka's tools show it.
            return Err(invalid(format!(
                "Invalid value org.apache.kafka.common.config.ConfigException: {refused} for configuration Invalid dynamic \
                 configuration"
            )));
        }
        Ok(())
    }

    fn alter_loggers(
        &self,
        resource: &incremental_alter_configs_request::AlterConfigsResource,
        validate_only: bool,
    ) -> Result<(), Refusal> {
        let (name, own) = (resource.resource_name.as_str(), self.effective.settings.node_id);
        let asked: i32 = name.parse().map_err(|_| invalid(format!("Node id must be an integer, but it is: {name}")))?;
        if asked != own.0 {
            return Err(invalid(format!("Unexpected node id. Expected {own}, but received {asked}")));
        }
        for config in &resource.configs {
            let (logger, level) = (config.name.as_str(), config.value.as_deref().unwrap_or_default());
            let exists = || {
                if self.loggers.exists(logger) {
                    return Ok(());
                }
                Err((ErrorCode::InvalidConfig, format!("Logger {logger} does not exist!")))
            };
            match config.config_operation {
                SET => {
                    exists()?;
                    if !LEVELS.contains(&level) {
                        let levels = LEVELS.join(", ");
                        let message = format!(
                            "Cannot set the log level of {logger} to {level} as it is not a supported log level. \
                             Valid log levels are {levels}"
                        );
                        return Err((ErrorCode::InvalidConfig, message));
                    }
                }
                DELETE => {
                    exists()?;
                    if Loggers::is_root(logger) {
                        return Err(invalid("Removing the log level of the root logger is not allowed"));
                    }
                }
                APPEND => return Err(invalid("APPEND operation is not allowed for the BROKER_LOGGER resource")),
                SUBTRACT => return Err(invalid("SUBTRACT operation is not allowed for the BROKER_LOGGER resource")),
                other => {
                    let message =
                        format!("Unknown operation type {other} is not allowed for the BROKER_LOGGER resource");
                    return Err(invalid(message));
                }
            }
        }
        if !validate_only {
            for config in &resource.configs {
                let level = config.value.as_deref().filter(|_| config.config_operation == SET);
                self.loggers.set(&config.name, level);
                tracing::warn!(logger = ?config.name.as_str(), level = level.unwrap_or("inherited"), "log level changed");
            }
        }
        Ok(())
    }
}

/// Keys that may be set per listener for all brokers.
const CLUSTER_LEVEL_OF_LISTENERS: [&str; 3] =
    ["max.connections", "max.connection.creation.rate", "num.network.threads"];

/// Where keys and certificates are: changed per listener only.
fn is_key_material(key: &str) -> bool {
    key.starts_with("ssl.keystore.") || key.starts_with("ssl.truststore.") || key == "ssl.key.password"
}

fn target(name: &str) -> ConfigResource {
    ConfigResource::new(ottla_metadata::ConfigKind::Broker, name)
}

/// What a broker's keys may say together.
fn check_together(values: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let number = |key: &str| values.get(key).and_then(|value| value.trim().parse::<i64>().ok());
    let require =
        |is_met: bool, what: &str| if is_met { Ok(()) } else { Err(invalid(format!("requirement failed: {what}"))) };
    require(number("log.roll.ms").is_none_or(|ms| ms >= 1), "log.roll.ms must be greater than or equal to 1")?;
    require(
        number("log.roll.jitter.ms").is_none_or(|ms| ms >= 0),
        "log.roll.jitter.ms must be greater than or equal to 0",
    )?;
    require(
        number("log.retention.ms") != Some(0),
        "log.retention.ms must be unlimited (-1) or, greater than or equal to 1",
    )?;
    let min = number("log.cleaner.min.compaction.lag.ms");
    if let (Some(min), Some(max)) = (min, number("log.cleaner.max.compaction.lag.ms"))
        && min > max
    {
        return Err(invalid(format!(
            "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
        )));
    }
    Ok(())
}

fn appears_twice() -> Refusal {
    invalid("Each resource must appear at most once.")
}

/// Which directories a broker has is not known at a controller: there they can only be taken from the list.
fn check_uncordons(name: &str, values: &BTreeMap<String, String>, image: &MetadataImage) -> Result<(), Refusal> {
    const KEY: &str = "cordoned.log.dirs";
    let before = split_list(image.configs.value(&target(name), KEY).map_or("", |value| &**value));
    let after = split_list(values.get(KEY).map_or("", String::as_str));
    if after.iter().all(|dir| before.contains(dir)) {
        return Ok(());
    }
    let message = format!(
        "When updating {KEY} via controllers,  the new value must be a subset of the current configuration value."
    );
    Err((ErrorCode::InvalidConfig, message))
}

/// For each resource whether it is named more than once.
fn repeated<'a>(resources: impl Iterator<Item = (i8, &'a StrBytes)> + Clone) -> Vec<bool> {
    let all: Vec<(i8, &StrBytes)> = resources.collect();
    let (mut seen, mut twice) = (HashSet::new(), HashSet::new());
    for resource in &all {
        if !seen.insert(*resource) {
            twice.insert(*resource);
        }
    }
    all.iter().map(|resource| twice.contains(resource)).collect()
}

/// No key twice, and a value where one is needed.
fn check_keys<'a>(keys: impl Iterator<Item = (&'a StrBytes, bool)>) -> Result<(), Refusal> {
    let (mut seen, mut without_value) = (HashSet::new(), Vec::new());
    for (key, lacks_value) in keys {
        if !seen.insert(key) {
            return Err(invalid("Error due to duplicate config keys"));
        }
        if lacks_value {
            without_value.push(key.as_str());
        }
    }
    if !without_value.is_empty() {
        return Err(invalid(format!("Null value not supported for : {}", without_value.join(", "))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use ottla_metadata::MetadataRecord;
    use ottla_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    use ottla_state_machine::StateMachine as _;

    use super::*;
    use crate::config::Settings;
    use crate::config::sources::Given;

    fn set_on(broker: &'static str, key: &'static str, value: &'static str) -> IncrementalAlterConfigsRequest {
        let config = AlterableConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_config_operation(SET)
            .with_value(Some(StrBytes::from_static_str(value)));
        let resource = AlterConfigsResource::default()
            .with_resource_type(BROKER)
            .with_resource_name(StrBytes::from_static_str(broker))
            .with_configs(vec![config]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    }

    /// What a new node says of a request with one resource.
    fn decided(at_controller: bool, request: &IncrementalAlterConfigsRequest) -> Decided {
        decided_with(at_controller, request, MetadataImage::default())
    }

    fn decided_with(at_controller: bool, request: &IncrementalAlterConfigsRequest, image: MetadataImage) -> Decided {
        let values = [("node.id", "1"), ("log.dirs", "/tmp/x")];
        let values = values.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let settings = Arc::new(Settings::new(Given { values, ..Given::default() }).unwrap());
        let metadata = MetadataCache::new(Arc::new(image));
        let effective = Effective::new(settings, metadata.clone());
        let loggers = Loggers::default();
        let changes = Changes { effective: &effective, metadata: &metadata, loggers: &loggers, at_controller };
        changes.check_increments(request).remove(0)
    }

    #[test]
    fn what_a_broker_could_not_run_with_is_refused_in_kafkas_words() {
        let told = |key, value| match decided(false, &set_on("1", key, value)) {
            Some(Err((ErrorCode::InvalidRequest, message))) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(told("log.roll.ms", "0"), "requirement failed: log.roll.ms must be greater than or equal to 1");
        assert_eq!(
            told("log.retention.ms", "0"),
            "requirement failed: log.retention.ms must be unlimited (-1) or, greater than or equal to 1"
        );
        assert_eq!(
            told("num.io.threads", "17"),
            "Invalid value org.apache.kafka.common.config.ConfigException: Dynamic thread count update validation failed \
             for num.io.threads=17, value should not be greater than double the current value 8 for configuration Invalid \
             dynamic configuration"
        );
        assert_eq!(
            told("log.cleaner.threads", "3"),
            "Invalid value org.apache.kafka.common.config.ConfigException: Log cleaner threads cannot be increased to more \
             than double the current value 1 for configuration Invalid dynamic configuration"
        );
        assert_eq!(
            told("cordoned.log.dirs", "/tmp/x,/nowhere"),
            "requirement failed: All entries in cordoned.log.dirs must be present in log.dirs or log.dir. Missing entries : \
             /nowhere"
        );
        assert_eq!(decided(false, &set_on("1", "cordoned.log.dirs", "*")), None);
        assert_eq!(decided(false, &set_on("1", "num.io.threads", "16")), None);
    }

    #[test]
    fn at_a_controller_directories_can_be_uncordoned_only() {
        let mut image = MetadataImage::default();
        let (resource, key) = (ConfigResource::broker(BrokerId(2)), "cordoned.log.dirs".into());
        image.replay(&MetadataRecord::Config { resource, key, value: Some("/a,/b".into()) });
        let set = |broker, value| decided_with(true, &set_on(broker, "cordoned.log.dirs", value), image.clone());
        assert_eq!(set("2", "/b"), None);
        assert_eq!(set("2", ""), None);
        let message = "When updating cordoned.log.dirs via controllers,  the new value must be a subset of the current \
             configuration value.";
        let refused = Some(Err((ErrorCode::InvalidConfig, message.to_owned())));
        assert_eq!(set("2", "/a,/c"), refused);
        assert_eq!(set("3", "/nowhere"), refused);
    }

    #[test]
    fn a_broker_judges_the_list_that_will_be_stored() {
        let subtract = |key, value| {
            let mut request = set_on("1", key, value);
            request.resources[0].configs[0].config_operation = SUBTRACT;
            decided(false, &request)
        };
        let refused = |message: &str| Some(Err((ErrorCode::InvalidConfig, message.to_owned())));
        assert_eq!(subtract("log.cleanup.policy", "compact,"), None);
        assert_eq!(subtract("nope", "a"), refused("Unknown config name: nope"));
        assert_eq!(
            subtract("log.retention.ms", "1"),
            refused("Config value subtract is not allowed for config key: log.retention.ms")
        );
    }

    #[test]
    fn brokers_change_themselves_and_controllers_every_broker() {
        let is_passed_on =
            |at_controller, broker, value| decided(at_controller, &set_on(broker, "log.retention.ms", value)).is_none();
        assert!(is_passed_on(false, "1", "1000") && is_passed_on(false, "", "1000"));
        assert!(!is_passed_on(false, "2", "1000"));
        assert!(is_passed_on(true, "2", "1000"));
        assert!(!is_passed_on(true, "2", "soon"), "what no broker could use is refused all the same");
    }
}
