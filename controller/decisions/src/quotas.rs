//! Client quotas: by user, client id, both, or address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ottla_metadata::{MetadataRecord, QuotaEntity};
use ottla_protocol::ErrorCode;
use ottla_protocol::messages::alter_client_quotas_request::EntryData as Asked;
use ottla_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use ottla_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse};

use crate::error::{ApiError, wire};
use crate::request::Decision;
use crate::state::ControllerState;

#[derive(Clone, Copy, PartialEq)]
enum Unit {
    Double,
    Int,
    Long,
}

const CLIENT_KEYS: &[(&str, Unit)] = &[
    ("producer_byte_rate", Unit::Long),
    ("consumer_byte_rate", Unit::Long),
    ("request_percentage", Unit::Double),
    ("controller_mutation_rate", Unit::Double),
];
const IP_KEYS: &[(&str, Unit)] = &[("connection_creation_rate", Unit::Int)];

impl ControllerState {
    /// AlterClientQuotas, all versions. Each entity for itself.
    pub(crate) fn alter_client_quotas(
        &self,
        request: &AlterClientQuotasRequest,
    ) -> Decision<AlterClientQuotasResponse> {
        let mut records = Vec::new();
        let mut seen: BTreeSet<QuotaEntity> = BTreeSet::new();
        let mut entries = Vec::new();
        for asked in &request.entries {
            let entity = entity_of(asked);
            let altered = if seen.insert(entity.clone()) {
                self.alter_quota(asked, &entity)
            } else {
                Err(refused(format!("Ignoring duplicate entity {}", describe(&entity))))
            };
            let (error_code, error_message) = wire(&altered);
            records.extend(altered.unwrap_or_default());
            let parts = asked.entity.iter().map(|part| {
                EntityData::default()
                    .with_entity_type(part.entity_type.clone())
                    .with_entity_name(part.entity_name.clone())
            });
            entries.push(
                EntryData::default()
                    .with_error_code(error_code)
                    .with_error_message(error_message)
                    .with_entity(parts.collect()),
            );
        }
        if request.validate_only {
            records.clear();
        }
        Decision { records, response: AlterClientQuotasResponse::default().with_entries(entries) }
    }

    fn alter_quota(&self, asked: &Asked, entity: &QuotaEntity) -> Result<Vec<MetadataRecord>, ApiError> {
        let keys = keys_for(entity)?;
        let mut wanted: BTreeMap<&str, Option<f64>> = BTreeMap::new();
        for op in &asked.ops {
            if wanted.insert(&op.key, (!op.remove).then_some(op.value)).is_some() {
                return Err(refused(format!(
                    "Duplicate quota key {} not updating quota for this entity {}",
                    op.key,
                    describe(entity)
                )));
            }
        }
        let current = self.image.client_quotas.get(entity);
        let mut records = Vec::new();
        for (key, value) in wanted {
            if let Some(value) = value {
                check_value(keys, key, value)?;
            }
            if current.and_then(|set| set.get(key)).copied() != value {
                records.push(MetadataRecord::ClientQuota { entity: entity.clone(), key: key.into(), value });
            }
        }
        Ok(records)
    }
}

fn refused(message: impl Into<String>) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, message)
}

fn entity_of(asked: &Asked) -> QuotaEntity {
    let text = |text: &ottla_protocol::StrBytes| -> Arc<str> { text.as_str().into() };
    QuotaEntity::new(asked.entity.iter().map(|p| (text(&p.entity_type), p.entity_name.as_ref().map(text))).collect())
}

fn describe(entity: &QuotaEntity) -> String {
    let part = |(kind, name): &(Arc<str>, Option<Arc<str>>)| format!("{kind}={}", name.as_deref().unwrap_or("null"));
    format!("ClientQuotaEntity(entries={{{}}})", entity.0.iter().map(part).collect::<Vec<_>>().join(", "))
}

/// What may be limited for such an entity.
fn keys_for(entity: &QuotaEntity) -> Result<&'static [(&'static str, Unit)], ApiError> {
    if entity.0.is_empty() {
        return Err(refused("Invalid empty client quota entity"));
    }
    for (position, (kind, name)) in entity.0.iter().enumerate() {
        if !matches!(&**kind, "user" | "client-id" | "ip") {
            return Err(refused(format!("Unhandled client quota entity type: {kind}")));
        }
        if entity.0[..position].iter().any(|(other, _)| other == kind) {
            return Err(refused(format!("Invalid client quota entity, duplicate entity entry {kind}")));
        }
        if name.as_ref().is_some_and(|name| name.is_empty()) {
            return Err(refused(format!("Empty {kind} not supported")));
        }
    }
    let Some(ip) = entity.name("ip") else { return Ok(CLIENT_KEYS) };
    if entity.0.len() > 1 {
        return Err(refused("Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId"));
    }
    match ip {
        Some(ip) if !is_address_or_host(ip) => Err(refused(format!("{ip} is not a valid IP or resolvable host."))),
        _ => Ok(IP_KEYS),
    }
}

/// A name is not looked up here: the broker that took the request has done that, as whoever limits by it does.
fn is_address_or_host(text: &str) -> bool {
    let label =
        |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    // A host whose last part is a number can only be meant as an address.
    let host = text.split('.').all(label) && text.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_err());
    text.parse::<IpAddr>().is_ok() || host
}

fn check_value(keys: &[(&str, Unit)], key: &str, value: f64) -> Result<(), ApiError> {
    let Some((_, unit)) = keys.iter().find(|(known, _)| *known == key) else {
        return Err(refused(format!("Invalid configuration key {key}")));
    };
    if value <= 0.0 {
        return Err(refused(format!("Quota {key} must be greater than 0")));
    }
    let (max, name) = match unit {
        Unit::Double => return Ok(()),
        Unit::Int => (f64::from(i32::MAX), "an INT"),
        Unit::Long => (i64::MAX as f64, "a LONG"),
    };
    if value > max {
        return Err(refused(format!("Proposed value for {key} is too large for {name}.")));
    }
    if (value % 1.0).abs() > 1e-6 {
        return Err(refused(format!("{key} cannot be a fractional value.")));
    }
    Ok(())
}
