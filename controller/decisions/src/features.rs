//! Feature levels: what a new cluster begins with, and how levels are changed.

use std::collections::BTreeMap;

use ottla_metadata::{ConfigResource, METADATA_VERSION, MetadataRecord};
use ottla_protocol::messages::update_features_response::UpdatableFeatureResult;
use ottla_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use ottla_protocol::{ErrorCode, StrBytes};

use crate::error::ApiError;
use crate::request::Decision;
use crate::state::{Context, ControllerState};

/// `metadata.version` levels that tools know, oldest and newest: 3.3-IV3 and 4.3-IV0.
const METADATA_LEVELS: std::ops::RangeInclusive<i16> = 7..=30;

/// Levels that brought new records or fields: going below one could lose what they hold.
const METADATA_CHANGED_AT: &[i16] = &[7, 8, 11, 13, 14, 15, 17, 23, 30];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    SafelyDown,
    UnsafelyDown,
}

impl ControllerState {
    /// What the first controller of a new cluster writes; empty once the cluster exists.
    pub fn bootstrap(&self) -> Vec<MetadataRecord> {
        if self.image.features.metadata_version() != 0 {
            return Vec::new();
        }
        let mut records: Vec<MetadataRecord> = self
            .defaults
            .bootstrap_features
            .iter()
            .map(|(name, level)| MetadataRecord::FeatureLevel { name: name.clone(), level: *level })
            .collect();
        let elr =
            |(name, level): &(std::sync::Arc<str>, i16)| &**name == "eligible.leader.replicas.version" && *level > 0;
        if self.defaults.bootstrap_features.iter().any(elr) {
            records.extend(self.cluster_min_isr());
        }
        records
    }

    /// With eligible leader replicas the number of replicas in sync is the cluster's affair, not each broker's.
    fn cluster_min_isr(&self) -> Vec<MetadataRecord> {
        let key = "min.insync.replicas";
        let mut records = Vec::new();
        if self.image.configs.value(&ConfigResource::cluster_default(), key).is_none() {
            let value = self.defaults.static_configs.get(key).map_or("1", String::as_str);
            let resource = ConfigResource::cluster_default();
            records.push(MetadataRecord::Config { resource, key: key.into(), value: Some(value.into()) });
        }
        for (resource, values) in self.image.configs.iter() {
            let of_one_broker = resource.kind == ottla_metadata::ConfigKind::Broker && !resource.name.is_empty();
            if of_one_broker && values.contains_key(key) {
                records.push(MetadataRecord::Config { resource: resource.clone(), key: key.into(), value: None });
            }
        }
        records
    }

    /// UpdateFeatures, all versions: all or nothing. v0-1 repeat the outcome for each feature.
    pub(crate) fn update_features(
        &self,
        request: &UpdateFeaturesRequest,
        cx: &Context<'_>,
    ) -> Decision<UpdateFeaturesResponse> {
        let mut levels: BTreeMap<String, i16> = self.image.features.iter().map(|(n, l)| (n.to_string(), l)).collect();
        levels.extend(request.feature_updates.iter().map(|u| (u.feature.to_string(), u.max_version_level)));
        let mut records = Vec::new();
        for update in &request.feature_updates {
            // v0 knew only "may go down"; since v1 the kind is named.
            let upgrade = match update.upgrade_type {
                _ if cx.origin.api_version == 0 && update.allow_downgrade => Some(Direction::SafelyDown),
                1 => Some(Direction::Up),
                2 => Some(Direction::SafelyDown),
                3 => Some(Direction::UnsafelyDown),
                _ if cx.origin.api_version == 0 => Some(Direction::Up),
                _ => None,
            };
            match self.update_feature(&update.feature, update.max_version_level, upgrade, &levels) {
                Ok(record) => records.extend(record),
                Err(error) => {
                    let message = format!(
                        "The update failed for all features since the following feature had an error: {}",
                        error.message.as_deref().unwrap_or_default()
                    );
                    let response = UpdateFeaturesResponse::default().with_error_code(error.code.code());
                    return Decision::answer(response.with_error_message(Some(StrBytes::from_string(message))));
                }
            }
        }
        let turns_elr_on = |record: &MetadataRecord| matches!(record, MetadataRecord::FeatureLevel { name, level: 1.. } if &**name == "eligible.leader.replicas.version");
        if !self.elr_enabled() && records.iter().any(turns_elr_on) {
            records.extend(self.cluster_min_isr());
        }
        let mut response = UpdateFeaturesResponse::default().with_error_message(None);
        if cx.origin.api_version <= 1 {
            let result = |feature: &StrBytes| {
                UpdatableFeatureResult::default().with_feature(feature.clone()).with_error_message(None)
            };
            response.results = request.feature_updates.iter().map(|update| result(&update.feature)).collect();
        }
        if request.validate_only {
            records.clear();
        }
        Decision { records, response }
    }

    fn update_feature(
        &self,
        name: &str,
        level: i16,
        upgrade: Option<Direction>,
        levels: &BTreeMap<String, i16>,
    ) -> Result<Option<MetadataRecord>, ApiError> {
        let invalid = |message: &str| {
            let message = format!("Invalid update version {level} for feature {name}. {message}");
            ApiError::new(ErrorCode::InvalidUpdateVersion, message)
        };
        let upgrade = upgrade.ok_or_else(|| invalid("The controller does not support the given upgrade type."))?;
        let current = self.image.features.level(name);
        if level < 0 {
            return Err(invalid("A feature version cannot be less than 0."));
        }
        self.check_level_supported(name, level).map_err(|message| invalid(&message))?;
        if level < current && upgrade == Direction::Up {
            return Err(invalid(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
                 downgrade.",
            ));
        }
        if level > current && upgrade != Direction::Up {
            return Err(invalid("Can't downgrade to a newer version."));
        }
        if name == METADATA_VERSION {
            if !METADATA_LEVELS.contains(&level) {
                let message = format!(
                    "Invalid metadata.version {level}. Valid versions are from {} to {}.",
                    METADATA_LEVELS.start(),
                    METADATA_LEVELS.end()
                );
                return Err(ApiError::new(ErrorCode::InvalidUpdateVersion, message));
            }
            let loses = METADATA_CHANGED_AT.iter().any(|changed| *changed > level && *changed <= current);
            if level < current && loses {
                let message = if upgrade == Direction::UnsafelyDown {
                    "Unsafe metadata downgrade is not supported in this version."
                } else {
                    "Refusing to perform the requested downgrade because it might delete metadata information."
                };
                let message = format!("Unsupported metadata.version downgrade from {current} to {level}. {message}");
                return Err(ApiError::new(ErrorCode::InvalidUpdateVersion, message));
            }
        } else if name == "kraft.version" && level < current {
            return Err(invalid("Can't downgrade the version of this feature."));
        } else if name == "kraft.version" && level > current {
            // A quorum founded with controller.quorum.voters keeps its voters: the feature stays at 0.
            return Err(invalid("The voters of this quorum cannot be changed."));
        } else {
            check_dependencies(name, level, levels).map_err(|message| invalid(&message))?;
        }
        Ok((level != current).then(|| MetadataRecord::FeatureLevel { name: name.into(), level }))
    }

    fn check_level_supported(&self, name: &str, level: i16) -> Result<(), String> {
        let check = |who: String, range: Option<(i16, i16)>| match range {
            Some((min, max)) if (min..=max).contains(&level) => Ok(()),
            None if level == 0 => Ok(()),
            None => Err(format!("{who} does not support this feature.")),
            Some((min, max)) if max != 0 => Err(format!("{who} only supports versions {}", describe_range(min, max))),
            Some(_) => Err(format!("{who} does not support this feature.")),
        };
        let local = self.defaults.supported_features.iter().find(|range| *range.name == *name);
        check(format!("Local controller {}", self.defaults.node_id), local.map(|range| (range.min, range.max)))?;
        for broker in self.image.brokers.values() {
            let range = broker.features.iter().find(|range| *range.name == *name);
            check(format!("Broker {}", broker.id), range.map(|range| (range.min, range.max)))?;
        }
        Ok(())
    }
}

fn describe_range(min: i16, max: i16) -> String {
    if min == max { min.to_string() } else { format!("{min}-{max}") }
}

/// What a level of one feature needs of `metadata.version`.
fn check_dependencies(name: &str, level: i16, levels: &BTreeMap<String, i16>) -> Result<(), String> {
    let needed = match (name, level) {
        ("transaction.version", 1..) => 22,
        ("group.version", 1..) => 22,
        ("eligible.leader.replicas.version", 1..) => 23,
        _ => return Ok(()),
    };
    let metadata = levels.get(METADATA_VERSION).copied().unwrap_or(0);
    if metadata >= needed {
        return Ok(());
    }
    Err(format!("{name} could not be set to {level} because it depends on metadata.version level {needed}"))
}
