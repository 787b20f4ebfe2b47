//! The part of kafka-configs that is about users, clients and ips: quotas, and the credentials of users.

use std::io::Write;

use kafka_protocol::messages::alter_client_quotas_request::{self as alter_request, OpData};
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_client_quotas_response::EntryData;
use kafka_protocol::messages::{AlterClientQuotasRequest, DescribeClientQuotasRequest};

use super::admin::{message, text};
use super::client::{Client, Target};
use super::configs::{Changes, Entities};
use super::table::java_double;
use super::{Failure, configs_scram};

const QUOTAS: [&str; 4] =
    ["producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate"];
const IP_QUOTAS: [&str; 1] = ["connection_creation_rate"];

/// Prints the quotas of the entities, and the credentials of users where only users are meant.
pub fn describe(client: &mut Client, entities: &Entities, out: &mut dyn Write) -> Result<(), Failure> {
    for entry in quotas_of(client, entities)? {
        let part = |kind: &str, title: &str| {
            let found = entry.entity.iter().find(|part| part.entity_type.as_str() == kind)?;
            Some(match &found.entity_name {
                Some(name) => format!("{title} '{}'", name.as_str()),
                None => format!("the default {title}"),
            })
        };
        let parts = [part("user", "user-principal"), part("client-id", "client-id"), part("ip", "ip")];
        let entity: Vec<String> = parts.into_iter().flatten().collect();
        let values: Vec<String> =
            entry.values.iter().map(|value| format!("{}={}", value.key.as_str(), java_double(value.value))).collect();
        writeln!(out, "Quota configs for {} are {}", entity.join(", "), values.join(", "))?;
    }
    let is_users_only = !entities.types.iter().any(|kind| kind == "clients" || kind == "ips");
    if is_users_only && !entities.names.iter().any(String::is_empty) {
        configs_scram::describe(client, &entities.names, out)?;
    }
    Ok(())
}

/// Changes quotas, or the credentials of one user.
pub fn alter(client: &mut Client, entities: &Entities, changes: &Changes) -> Result<(), Failure> {
    let head = entities.types[0].as_str();
    let keys = || changes.set.keys().chain(&changes.delete).map(String::as_str);
    let is_quota = |key: &str| QUOTAS.contains(&key);
    if head == "ips" {
        let unknown: Vec<&str> = keys().filter(|key| !IP_QUOTAS.contains(key)).collect();
        if !unknown.is_empty() {
            return Err(Failure::failed(format!(
                "Only connection quota configs can be added for 'ips' using --bootstrap-server. Unexpected config \
                 names: {}",
                unknown.join(",")
            )));
        }
        return alter_quotas(client, entities, changes);
    }
    let may_have_scram = head == "users" && entities.types.len() == 1;
    let is_allowed = |key: &str| is_quota(key) || (may_have_scram && configs_scram::is_mechanism(key));
    let (what, kind) = if may_have_scram { ("quota and SCRAM credential", "users") } else { ("quota", "clients") };
    let unexpected = |verb: &str, names: Vec<&str>| {
        Failure::failed(format!(
            "Only {what} configs can be {verb} for '{kind}' using --bootstrap-server. Unexpected config names: Set({})",
            names.join(", ")
        ))
    };
    let added: Vec<&str> = changes.set.keys().map(String::as_str).filter(|key| !is_allowed(key)).collect();
    if !added.is_empty() {
        return Err(unexpected("added", added));
    }
    let deleted: Vec<&str> = changes.delete.iter().map(String::as_str).filter(|key| !is_allowed(key)).collect();
    if !deleted.is_empty() {
        return Err(unexpected("deleted", deleted));
    }
    if !keys().any(configs_scram::is_mechanism) {
        return alter_quotas(client, entities, changes);
    }
    if entities.names.iter().any(String::is_empty) {
        return Err(Failure::failed(
            "The use of --entity-default or --user-defaults is not allowed with User SCRAM Credentials using \
             --bootstrap-server.",
        ));
    }
    if keys().any(is_quota) {
        return Err(Failure::failed(
            "Cannot alter both quota and SCRAM credential configs simultaneously for 'users' using --bootstrap-server.",
        ));
    }
    configs_scram::alter(client, &entities.names[0], changes)
}

fn wire_type(kind: &str) -> &'static str {
    match kind {
        "users" => "user",
        "clients" => "client-id",
        _ => "ip",
    }
}

fn quotas_of(client: &mut Client, entities: &Entities) -> Result<Vec<EntryData>, Failure> {
    const EXACT: i8 = 0;
    const DEFAULT: i8 = 1;
    const ANY: i8 = 2;
    let component = |(index, kind): (usize, &String)| {
        let (match_type, name) = match entities.names.get(index).map(String::as_str) {
            Some("") => (DEFAULT, None),
            Some(name) => (EXACT, Some(text(name))),
            None => (ANY, None),
        };
        ComponentData::default().with_entity_type(text(wire_type(kind))).with_match_type(match_type).with_match(name)
    };
    let components = entities.types.iter().enumerate().map(component).collect();
    let request = DescribeClientQuotasRequest::default().with_components(components).with_strict(true);
    let response = client.send(&Target::Any, &request)?;
    Failure::check(response.error_code, message(response.error_message.as_ref()))?;
    Ok(response.entries.unwrap_or_default())
}

fn alter_quotas(client: &mut Client, entities: &Entities, changes: &Changes) -> Result<(), Failure> {
    let current = quotas_of(client, entities)?;
    let known =
        |key: &str| current.first().is_some_and(|entry| entry.values.iter().any(|value| value.key.as_str() == key));
    let absent: Vec<&str> = changes.delete.iter().map(String::as_str).filter(|key| !known(key)).collect();
    if !absent.is_empty() {
        return Err(Failure::failed(format!("Invalid config(s): {}", absent.join(","))));
    }
    let mut ops = Vec::new();
    for (key, value) in &changes.set {
        let number = value
            .parse::<f64>()
            .map_err(|_| Failure::failed(format!("Cannot parse quota configuration value for {key}: {value}")))?;
        ops.push(OpData::default().with_key(text(key)).with_value(number));
    }
    ops.extend(changes.delete.iter().map(|key| OpData::default().with_key(text(key)).with_remove(true)));
    let entity = entities.types.iter().zip(&entities.names).map(|(kind, name)| {
        alter_request::EntityData::default()
            .with_entity_type(text(wire_type(kind)))
            .with_entity_name(Some(text(name)).filter(|name| !name.is_empty()))
    });
    let entry = alter_request::EntryData::default().with_entity(entity.collect()).with_ops(ops);
    let request = AlterClientQuotasRequest::default().with_entries(vec![entry]);
    let response = client.send(&Target::Controller, &request)?;
    let mut entries = response.entries.iter();
    entries.try_for_each(|entry| Failure::check(entry.error_code, message(entry.error_message.as_ref())))
}
