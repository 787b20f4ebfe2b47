//! Dynamic configs: single changes and whole replacements, checked before they are written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ottla_metadata::{ConfigKind, ConfigResource, MetadataRecord, config_def};
use ottla_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    alter_configs_response, incremental_alter_configs_response,
};
use ottla_protocol::{ErrorCode, StrBytes};

use crate::config_rules;
use crate::error::{ApiError, wire};
use crate::request::Decision;
use crate::state::ControllerState;
use ottla_protocol::topic_names::validate_topic_name;

/// A key and its new value; no value takes it away.
pub(crate) type Change = (Arc<str>, Option<Arc<str>>);

const VALUE_LENGTH_MAX: usize = i16::MAX as usize;
const MIN_ISR: &str = "min.insync.replicas";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Set,
    Delete,
    Append,
    Subtract,
}

impl Operation {
    const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }
}

/// One item of a request, whichever of the two APIs it came by.
struct Asked<'a> {
    kind: i8,
    name: &'a str,
}

type Answered<'a> = (&'a Asked<'a>, Result<(), ApiError>);

impl ControllerState {
    /// IncrementalAlterConfigs, all versions.
    pub(crate) fn incremental_alter_configs(
        &self,
        request: &IncrementalAlterConfigsRequest,
    ) -> Decision<IncrementalAlterConfigsResponse> {
        let asked: Vec<Asked<'_>> =
            request.resources.iter().map(|r| Asked { kind: r.resource_type, name: &r.resource_name }).collect();
        let (mut records, answers) = self.alter(&asked, |position, resource| {
            let mut changes = Vec::new();
            for config in &request.resources[position].configs {
                let operation = Operation::from_code(config.config_operation);
                let change = self.changed(resource, &config.name, operation, config.value.as_deref())?;
                let unchanged = self.image.configs.value(resource, &change.0) == change.1.as_ref();
                // A broker's value is written again even if it is the same: that is how it is told to look again.
                if !unchanged || resource.kind == ConfigKind::Broker {
                    changes.push(change);
                }
            }
            Ok(changes)
        });
        if request.validate_only {
            records.clear();
        }
        let responses = answers.into_iter().map(|(asked, result)| {
            let (error_code, error_message) = wire(&result);
            incremental_alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(error_code)
                .with_error_message(error_message)
                .with_resource_type(asked.kind)
                .with_resource_name(StrBytes::from_string(asked.name.to_owned()))
        });
        Decision { records, response: IncrementalAlterConfigsResponse::default().with_responses(responses.collect()) }
    }

    /// AlterConfigs, all versions: what is not named goes back to its default.
    pub(crate) fn alter_configs(&self, request: &AlterConfigsRequest) -> Decision<AlterConfigsResponse> {
        let asked: Vec<Asked<'_>> =
            request.resources.iter().map(|r| Asked { kind: r.resource_type, name: &r.resource_name }).collect();
        let (mut records, answers) = self.alter(&asked, |position, resource| {
            let wanted = &request.resources[position].configs;
            let mut changes: Vec<Change> = Vec::new();
            for config in wanted {
                let key: Arc<str> = config.name.as_str().into();
                let value: Option<Arc<str>> = config.value.as_ref().map(|value| value.as_str().into());
                let current = self.image.configs.value(resource, &key);
                if current != value.as_ref() || resource.kind == ConfigKind::Broker {
                    changes.push((key, value));
                }
            }
            if let Some(existing) = self.image.configs.get(resource) {
                let named: BTreeSet<&str> = wanted.iter().map(|config| config.name.as_str()).collect();
                let unnamed = existing.keys().filter(|key| !named.contains(&***key));
                changes.extend(unnamed.map(|key| (Arc::clone(key), None)));
            }
            Ok(changes)
        });
        if request.validate_only {
            records.clear();
        }
        let responses = answers.into_iter().map(|(asked, result)| {
            let (error_code, error_message) = wire(&result);
            alter_configs_response::AlterConfigsResourceResponse::default()
                .with_error_code(error_code)
                .with_error_message(error_message)
                .with_resource_type(asked.kind)
                .with_resource_name(StrBytes::from_string(asked.name.to_owned()))
        });
        Decision { records, response: AlterConfigsResponse::default().with_responses(responses.collect()) }
    }

    /// Each resource for itself: one that fails changes nothing and stops no other.
    fn alter<'a>(
        &self,
        asked: &'a [Asked<'a>],
        changes_of: impl Fn(usize, &ConfigResource) -> Result<Vec<Change>, ApiError>,
    ) -> (Vec<MetadataRecord>, Vec<Answered<'a>>) {
        let mut times: BTreeMap<(i8, &str), usize> = BTreeMap::new();
        for item in asked {
            *times.entry((item.kind, item.name)).or_default() += 1;
        }
        let mut records = Vec::new();
        let mut answers = Vec::new();
        for (position, item) in asked.iter().enumerate() {
            // Each is answered once, where it is first named.
            let Some(count) = times.remove(&(item.kind, item.name)) else { continue };
            let result = if count > 1 {
                Err(ApiError::new(ErrorCode::InvalidRequest, "Duplicate resource."))
            } else if let Some(kind) = ConfigKind::from_code(item.kind) {
                let resource = ConfigResource::new(kind, item.name);
                changes_of(position, &resource).and_then(|changes| {
                    self.check_config_changes(&resource, &changes, false)?;
                    Ok(self.config_records(&resource, changes))
                })
            } else {
                Err(ApiError::new(ErrorCode::UnsupportedVersion, format!("Unknown resource type {}.", item.kind)))
            };
            answers.push((item, result.map(|new| records.extend(new))));
        }
        (records, answers)
    }

    fn config_records(&self, resource: &ConfigResource, changes: Vec<Change>) -> Vec<MetadataRecord> {
        let mut records = Vec::new();
        let mut min_isr_changed = false;
        for (key, value) in changes {
            min_isr_changed |= &*key == MIN_ISR;
            records.push(MetadataRecord::Config { resource: resource.clone(), key, value });
        }
        // Who is eligible depends on how many replicas had to be in sync: with another number nobody is.
        if min_isr_changed && self.elr_enabled() {
            let topic = (resource.kind == ConfigKind::Topic).then(|| Arc::clone(&resource.name));
            records.push(MetadataRecord::ClearElr { topic });
        }
        records
    }

    fn changed(
        &self,
        resource: &ConfigResource,
        key: &str,
        operation: Option<Operation>,
        value: Option<&str>,
    ) -> Result<Change, ApiError> {
        let invalid = |message: String| ApiError::new(ErrorCode::InvalidConfig, message);
        let operation = operation.ok_or_else(|| invalid(format!("Unknown operation on key {key}")))?;
        let value_or_error = || {
            let message = format!("Null value not supported for : {key}");
            value.ok_or_else(|| ApiError::new(ErrorCode::InvalidRequest, message))
        };
        let value = match operation {
            Operation::Set => Some(value_or_error()?.to_owned()),
            Operation::Delete => None,
            Operation::Append | Operation::Subtract => {
                let name = if operation == Operation::Append { "APPEND" } else { "SUBTRACT" };
                if !config_rules::is_list(resource.kind, key) {
                    return Err(invalid(format!("Can't {name} to key {key} because its type is not LIST.")));
                }
                let (list, items) = (self.current_value(resource, key), value_or_error()?);
                Some(match operation {
                    Operation::Append => config_def::append_to_list(list, items),
                    _ => config_def::subtract_from_list(list, items),
                })
            }
        };
        Ok((key.into(), value.map(Into::into)))
    }

    /// What is appended to: the value set, or else the default.
    fn current_value(&self, resource: &ConfigResource, key: &str) -> &str {
        let set = self.image.configs.value(resource, key).map(|value| &**value);
        set.or_else(|| config_rules::default_value(resource.kind, key)).unwrap_or_default()
    }

    /// Whether the resource may take these changes, all together with what is set already.
    pub(crate) fn check_config_changes(
        &self,
        resource: &ConfigResource,
        changes: &[Change],
        is_new: bool,
    ) -> Result<(), ApiError> {
        let invalid = |message: &str| ApiError::new(ErrorCode::InvalidConfig, message);
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        if let Some(existing) = self.image.configs.get(resource) {
            values.extend(existing.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        }
        for (key, value) in changes {
            if resource.kind == ConfigKind::Broker && &**key == MIN_ISR && self.elr_enabled() {
                if !resource.name.is_empty() {
                    return Err(invalid("Broker-level min.insync.replicas cannot be altered while ELR is enabled."));
                }
                if value.is_none() {
                    return Err(invalid("Cluster-level min.insync.replicas cannot be removed while ELR is enabled."));
                }
            }
            match value {
                None => {
                    values.remove(&**key);
                }
                Some(value) if value.len() > VALUE_LENGTH_MAX => {
                    let message = format!(
                        "The configuration value cannot be added because it exceeds the maximum value size of \
                         {VALUE_LENGTH_MAX} bytes."
                    );
                    return Err(invalid(&message));
                }
                Some(value) => {
                    values.insert(key.to_string(), value.to_string());
                }
            }
        }
        check_resource_name(resource)?;
        self.check_all(resource, &values)?;
        if is_new { Ok(()) } else { self.check_exists(resource) }
    }

    fn check_exists(&self, resource: &ConfigResource) -> Result<(), ApiError> {
        match resource.kind {
            ConfigKind::Topic if self.image.topics.by_name(&resource.name).is_none() => Err(ApiError::new(
                ErrorCode::UnknownTopicOrPartition,
                format!("The topic '{}' does not exist.", resource.name),
            )),
            ConfigKind::Broker if !resource.name.is_empty() => {
                let id = resource.name.parse().map(ottla_protocol::BrokerId);
                if id.is_ok_and(|id| self.image.brokers.contains_key(&id) || self.controllers.contains(&id)) {
                    return Ok(());
                }
                let message = format!("No node with id {} found.", resource.name);
                Err(ApiError::new(ErrorCode::BrokerIdNotRegistered, message))
            }
            _ => Ok(()),
        }
    }
}

fn check_resource_name(resource: &ConfigResource) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::new(ErrorCode::InvalidRequest, message));
    match resource.kind {
        ConfigKind::Topic if resource.name.is_empty() => refuse("Default topic resources are not allowed."),
        ConfigKind::Topic => validate_topic_name(&resource.name)
            .map_err(|message| ApiError::new(ErrorCode::InvalidTopicException, message)),
        ConfigKind::Broker if resource.name.is_empty() => Ok(()),
        ConfigKind::Broker => match resource.name.parse::<i32>() {
            Err(_) => refuse("Unable to parse broker name as a base 10 number."),
            Ok(id) if id < 0 => refuse("Invalid negative broker ID."),
            Ok(_) => Ok(()),
        },
        ConfigKind::Group if resource.name.is_empty() => refuse("Default group resources are not allowed."),
        _ => Ok(()),
    }
}
