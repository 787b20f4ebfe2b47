//! DescribeClientQuotas, AlterClientQuotas: v0-1 (v1 flexible).

use ottla_controller::Controller;
use ottla_metadata::{ClientQuotasImage, QuotaEntity};
use ottla_protocol::messages::alter_client_quotas_request::EntryData as Asked;
use ottla_protocol::messages::alter_client_quotas_response::{EntityData as AlteredEntity, EntryData as AlteredEntry};
use ottla_protocol::messages::describe_client_quotas_request::ComponentData;
use ottla_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use ottla_protocol::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
};
use ottla_protocol::{ErrorCode, StrBytes};

use super::configs::Refusal;
use super::topics::origin;
use super::wire::text;
use super::{ApiSpec, House, Reply, RequestContext};
use crate::metadata_cache::MetadataCache;
use crate::publisher::Publisher;

/// Handler of DescribeClientQuotas and AlterClientQuotas.
pub struct ClientQuotas {
    metadata: MetadataCache,
    controller: Controller,
    publisher: Publisher,
}

/// What a component of a filter asks of its part of an entity.
#[derive(Debug, PartialEq, Eq)]
enum Match<'a> {
    /// This name, or the default (`None`).
    Exactly(Option<&'a str>),
    /// Any name.
    Any,
}

impl ClientQuotas {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(48), ApiSpec::of(49)];

    pub fn new(house: &House) -> Self {
        Self {
            metadata: house.metadata.clone(),
            controller: house.controller.clone(),
            publisher: house.publisher.clone(),
        }
    }

    pub async fn describe_client_quotas(&self, cx: &RequestContext, request: DescribeClientQuotasRequest) -> Reply {
        let image = self.metadata.load();
        let response = match describe(&image.client_quotas, &request) {
            Ok(entries) => DescribeClientQuotasResponse::default().with_entries(Some(entries)),
            Err((code, message)) => DescribeClientQuotasResponse::default()
                .with_error_code(code.code())
                .with_error_message(Some(StrBytes::from_string(message)))
                .with_entries(None),
        };
        cx.reply(&response)
    }

    pub async fn alter_client_quotas(&self, cx: &RequestContext, request: AlterClientQuotasRequest) -> Reply {
        let mut passed_on = AlterClientQuotasRequest::default().with_validate_only(request.validate_only);
        let mut refused = Vec::new();
        for (position, entry) in request.entries.into_iter().enumerate() {
            match unknown_host(&entry).await {
                Some(host) => {
                    let message = format!("{host} is not a valid IP or resolvable host.");
                    refused.push((position, failed(entry, ErrorCode::InvalidRequest, message)));
                }
                None => passed_on.entries.push(entry),
            }
        }
        let asked = passed_on.entries.clone();
        let mut response = match self.controller.alter_client_quotas(origin(cx), passed_on).await {
            Ok(committed) => self.publisher.in_force(committed).await,
            Err(code) => {
                let entries = asked.into_iter().map(|entry| failed(entry, code, code.message().to_owned()));
                AlterClientQuotasResponse::default().with_entries(entries.collect())
            }
        };
        for (position, entry) in refused {
            response.entries.insert(position.min(response.entries.len()), entry);
        }
        cx.reply(&response)
    }
}

fn failed(asked: Asked, code: ErrorCode, message: String) -> AlteredEntry {
    let entity = asked
        .entity
        .into_iter()
        .map(|part| AlteredEntity::default().with_entity_type(part.entity_type).with_entity_name(part.entity_name));
    AlteredEntry::default()
        .with_error_code(code.code())
        .with_error_message(Some(StrBytes::from_string(message)))
        .with_entity(entity.collect())
}

/// The host that an entry limits and that has no address. Anything else that may be wrong is the controller's to say, and a
/// limit can be taken away from a host that is gone.
async fn unknown_host(entry: &Asked) -> Option<String> {
    let [part] = &entry.entity[..] else { return None };
    let host = part.entity_name.as_deref().filter(|name| part.entity_type.as_str() == "ip" && !name.is_empty())?;
    if entry.ops.iter().all(|op| op.remove) {
        return None;
    }
    tokio::net::lookup_host((host, 0)).await.is_err().then(|| host.to_owned())
}

fn describe(quotas: &ClientQuotasImage, request: &DescribeClientQuotasRequest) -> Result<Vec<EntryData>, Refusal> {
    let filter = read_filter(&request.components)?;
    let entries =
        quotas.iter().filter(|(entity, _)| matches(entity, &filter, request.strict)).map(|(entity, values)| {
            let parts = entity.0.iter().map(|(kind, name)| {
                EntityData::default().with_entity_type(text(kind)).with_entity_name(name.as_deref().map(text))
            });
            let values = values.iter().map(|(key, value)| ValueData::default().with_key(text(key)).with_value(*value));
            EntryData::default().with_entity(parts.collect()).with_values(values.collect())
        });
    Ok(entries.collect())
}

fn read_filter(components: &[ComponentData]) -> Result<Vec<(&str, Match<'_>)>, Refusal> {
    let invalid = |message: String| Err((ErrorCode::InvalidRequest, message));
    let mut filter: Vec<(&str, Match<'_>)> = Vec::with_capacity(components.len());
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if filter.iter().any(|(other, _)| *other == kind) {
            return invalid(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
        if !matches!(kind, "user" | "client-id" | "ip") {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {kind}")));
        }
        let name = component._match.as_deref();
        let wanted = match (component.match_type, name) {
            (0, Some(_)) => Match::Exactly(name),
            (0, None) => {
                return invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.".to_owned());
            }
            (1, None) => Match::Exactly(None),
            (1, Some(_)) => {
                return invalid("Request specified MATCH_TYPE_DEFAULT, but also specified a match string.".to_owned());
            }
            (2, None) => Match::Any,
            (2, Some(_)) => {
                return invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.".to_owned(),
                );
            }
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        filter.push((kind, wanted));
    }
    let names = |kind: &str| filter.iter().any(|(other, _)| *other == kind);
    if names("ip") && (names("user") || names("client-id")) {
        return invalid(
            "Invalid entity filter component combination. IP filter component should not be used with user or \
             clientId filter component."
                .to_owned(),
        );
    }
    Ok(filter)
}

fn matches(entity: &QuotaEntity, filter: &[(&str, Match<'_>)], strict: bool) -> bool {
    if strict && entity.0.len() != filter.len() {
        return false;
    }
    filter.iter().all(|(kind, wanted)| match (entity.name(kind), wanted) {
        (None, _) => false,
        (Some(_), Match::Any) => true,
        (Some(name), Match::Exactly(wanted)) => name.map(|name| &**name) == *wanted,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn component(kind: &'static str, match_type: i8, name: Option<&'static str>) -> ComponentData {
        ComponentData::default()
            .with_entity_type(StrBytes::from_static_str(kind))
            .with_match_type(match_type)
            .with_match(name.map(StrBytes::from_static_str))
    }

    #[test]
    fn filters_pick_entities() {
        let entity = QuotaEntity::new(vec![("user".into(), Some("a".into())), ("client-id".into(), None)]);
        let judge = |components: &[ComponentData], strict| matches(&entity, &read_filter(components).unwrap(), strict);
        assert!(judge(&[], false) && !judge(&[], true));
        assert!(judge(&[component("user", 0, Some("a"))], false));
        assert!(!judge(&[component("user", 0, Some("a"))], true));
        assert!(!judge(&[component("user", 1, None)], false));
        assert!(judge(&[component("user", 2, None), component("client-id", 1, None)], true));
        assert!(!judge(&[component("ip", 2, None)], false));
    }

    #[test]
    fn filters_that_make_no_sense_are_refused() {
        let refusal = |components: &[ComponentData]| read_filter(components).unwrap_err().0;
        let shoe = read_filter(&[component("shoe", 2, None)]).unwrap_err();
        assert_eq!(shoe, (ErrorCode::UnsupportedVersion, "Unsupported entity type shoe".to_owned()));
        assert_eq!(refusal(&[component("user", 0, None)]), ErrorCode::InvalidRequest);
        assert_eq!(refusal(&[component("ip", 2, None), component("user", 2, None)]), ErrorCode::InvalidRequest);
    }
}
