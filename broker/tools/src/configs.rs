//! kafka-configs: describe and alter configs of topics, brokers, groups and client metrics; quotas and credentials of users.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest};
use ottla_protocol::ErrorCode;

use super::admin::{message, text, topics};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, configs_quotas, group_admin, properties};

pub const TOOL: Tool = Tool {
    name: "configs",
    about: "This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, \
            client-metrics or group",
    specs: SPECS,
    run,
};

const SPECS: &[Spec] = &[
    value(
        &["add-config"],
        Kind::Text,
        "String",
        "Configs to set: 'k1=v1,k2=[v1,v2,v2],k3=v3'; brackets hold values with commas.",
    ),
    value(&["add-config-file"], Kind::Text, "String", "A properties file with configs to set."),
    flag(&["all"], "With --describe: static configs and defaults, too."),
    flag(&["alter"], "Change the configs of the entity."),
    value(&["bootstrap-controller"], Kind::Text, "controller to connect to", "The Kafka controllers to connect to."),
    value(&["bootstrap-server"], Kind::Text, "server to connect to", "The Kafka servers to connect to."),
    value(&["broker"], Kind::Text, "String", "The broker's ID."),
    flag(&["broker-defaults"], "The config defaults for all brokers."),
    value(&["broker-logger"], Kind::Text, "String", "The broker's ID for its logger config."),
    value(&["client"], Kind::Text, "String", "The client's ID."),
    flag(&["client-defaults"], "The config defaults for all clients."),
    value(&["client-metrics"], Kind::Text, "String", "The name of a client metrics subscription."),
    value(
        &["command-config"],
        Kind::Text,
        "command config property file",
        "A file with properties for the connection.",
    ),
    value(&["delete-config"], Kind::Text, "String", "Configs to take away: 'k1,k2'."),
    flag(&["describe"], "List the configs of the entity."),
    flag(&["entity-default"], "The default entity of clients, users, brokers or ips."),
    value(&["entity-name"], Kind::Text, "String", "The entity's name."),
    value(
        &["entity-type"],
        Kind::Text,
        "String",
        "The entity's type (topics/clients/users/brokers/broker-loggers/ips/client-metrics/groups).",
    ),
    value(&["group"], Kind::Text, "String", "The group's ID."),
    flag(&["help"], "Print usage information."),
    value(&["ip"], Kind::Text, "String", "The IP address."),
    flag(&["ip-defaults"], "The config defaults for all IPs."),
    value(&["topic"], Kind::Text, "String", "The topic's name."),
    value(&["user"], Kind::Text, "String", "The user's principal name."),
    flag(&["user-defaults"], "The config defaults for all users."),
    flag(&["version"], "Display the version."),
];

const TIMEOUT: Duration = Duration::from_secs(60);
const ENTITY_TYPES: [&str; 8] =
    ["topics", "clients", "users", "brokers", "ips", "client-metrics", "groups", "broker-loggers"];
const ENTITY_FLAGS: [(&str, &str); 8] = [
    ("topic", "topics"),
    ("client", "clients"),
    ("user", "users"),
    ("broker", "brokers"),
    ("broker-logger", "broker-loggers"),
    ("ip", "ips"),
    ("client-metrics", "client-metrics"),
    ("group", "groups"),
];
const DEFAULT_FLAGS: [(&str, &str); 4] = [
    ("client-defaults", "clients"),
    ("user-defaults", "users"),
    ("broker-defaults", "brokers"),
    ("ip-defaults", "ips"),
];

/// The entities that a command line means. An empty name is the default entity.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Entities {
    pub types: Vec<String>,
    pub names: Vec<String>,
}

/// What `--alter` does.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub set: BTreeMap<String, String>,
    pub delete: Vec<String>,
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    if ["alter", "describe"].iter().filter(|action| options.has(action)).count() != 1 {
        return Err(Failure::usage("Command must include exactly one action: --describe, --alter"));
    }
    options.refuse_with("describe", &["add-config", "delete-config"])?;
    match work(options, out) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // What is wrong with the line, and what the cluster cannot do, is told in one line; other refusals are traced.
        Err(failure) if failure.code.is_none_or(|code| code == ErrorCode::UnsupportedVersion) => {
            eprintln!("{}", failure.message);
            Ok(ExitCode::FAILURE)
        }
        Err(failure) => {
            out.flush()?;
            eprintln!("Error while executing config command with args '{}'", options.line);
            eprintln!("java.util.concurrent.ExecutionException: {}", failure.as_java());
            Ok(ExitCode::FAILURE)
        }
    }
}

fn work(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let entities = entities(options);
    check(options, &entities)?;
    let changes = changes(options)?;
    let config = properties::of_connection(options.text("command-config"))?;
    let controllers = options.text("bootstrap-controller");
    let bootstrap = options.text("bootstrap-server").or(controllers).unwrap_or_default();
    if options.has("alter") && entities.types.len() != entities.names.len() {
        return Err(Failure::failed("An entity name must be specified for every entity type"));
    }
    let client = &mut Client::connect_to(
        bootstrap,
        TIMEOUT,
        controllers.is_some(),
        properties::client_id(&config, properties::ADMIN),
    )?;
    let kind = entities.types[0].as_str();
    if matches!(kind, "users" | "clients" | "ips") {
        return if options.has("alter") {
            configs_quotas::alter(client, &entities, &changes)?;
            completed(&entities, out)
        } else {
            configs_quotas::describe(client, &entities, out)
        };
    }
    if options.has("alter") {
        alter(client, kind, &entities.names[0], &changes)?;
        completed(&entities, out)
    } else {
        describe(client, kind, entities.names.first().map(String::as_str), options.has("all"), out)
    }
}

fn entities(options: &Options) -> Entities {
    let mut types = options.all("entity-type").to_vec();
    let mut given = options.all("entity-name").iter();
    let mut names: Vec<String> = Vec::new();
    for name in &options.order {
        match *name {
            "entity-name" => names.push(given.next().cloned().unwrap_or_default()),
            "entity-default" => names.push(String::new()),
            _ => {}
        }
    }
    for (flag, kind) in ENTITY_FLAGS {
        if let Some(name) = options.text(flag) {
            types.push(kind.to_owned());
            names.push(name.to_owned());
        }
    }
    for (flag, kind) in DEFAULT_FLAGS {
        if options.has(flag) {
            types.push(kind.to_owned());
            names.push(String::new());
        }
    }
    Entities { types, names }
}

fn check(options: &Options, entities: &Entities) -> Result<(), Failure> {
    let wrong = |text: String| Err(Failure::failed(text));
    let types = &entities.types;
    let distinct: BTreeSet<&String> = types.iter().collect();
    if distinct.len() != types.len() {
        let repeated: Vec<&str> = distinct
            .into_iter()
            .filter(|kind| types.iter().filter(|other| other == kind).count() > 1)
            .map(String::as_str)
            .collect();
        return wrong(format!("Duplicate entity type(s) specified: {}", repeated.join(",")));
    }
    if !options.has("bootstrap-server") && !options.has("bootstrap-controller") {
        return wrong("Either --bootstrap-server or --bootstrap-controller must be specified.".into());
    }
    if let Some(kind) = types.iter().find(|kind| !ENTITY_TYPES.contains(&kind.as_str())) {
        return wrong(format!(
            "Invalid entity type {kind}, the entity type must be one of {} with a --bootstrap-server or \
             --bootstrap-controller argument",
            ENTITY_TYPES.join(", ")
        ));
    }
    if types.is_empty() {
        return wrong("At least one entity type must be specified".into());
    }
    let has = |kind: &str| types.iter().any(|given| given == kind);
    if types.len() > 1 && !(types.len() == 2 && has("users") && has("clients")) {
        return wrong("Only 'users' and 'clients' entity types may be specified together".into());
    }
    let has_general = ["entity-name", "entity-type", "entity-default"].iter().any(|name| options.has(name));
    let has_specific = ENTITY_FLAGS.iter().chain(&DEFAULT_FLAGS).any(|(name, _)| options.has(name));
    if has_general && has_specific {
        return wrong(
            "--entity-{type,name,default} should not be used in conjunction with specific entity flags".into(),
        );
    }
    if options.has("bootstrap-server") && options.has("bootstrap-controller") {
        return wrong("Only one of --bootstrap-server or --bootstrap-controller can be specified".into());
    }
    let has_name = entities.names.iter().any(|name| !name.is_empty());
    let has_default = entities.names.iter().any(String::is_empty);
    if has("brokers") || has("broker-loggers") {
        for id in entities.names.iter().filter(|name| !name.is_empty()) {
            if id.parse::<i32>().is_err() {
                return wrong(format!(
                    "The entity name for {} must be a valid integer broker id, but it is: {id}",
                    types[0]
                ));
            }
        }
    }
    let may_be_default = ["users", "clients", "brokers", "ips"].iter().any(|kind| has(kind));
    if options.has("describe") {
        if !may_be_default && options.has("entity-default") {
            return wrong(format!("--entity-default must not be specified with --describe of {}", types.join(",")));
        }
        if has("broker-loggers") && !has_name {
            return wrong(format!("An entity name must be specified with --describe of {}", types.join(",")));
        }
        return Ok(());
    }
    if may_be_default && !has_name && !has_default {
        return wrong(
            "An entity-name or default entity must be specified with --alter of users, clients, brokers or ips".into(),
        );
    }
    if !may_be_default && !has_name {
        return wrong(format!("An entity name must be specified with --alter of {}", types.join(",")));
    }
    if options.has("add-config") && options.has("add-config-file") {
        return wrong("Only one of --add-config or --add-config-file must be specified".into());
    }
    if !["add-config", "add-config-file", "delete-config"].iter().any(|name| options.has(name)) {
        return wrong(
            "At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter".into(),
        );
    }
    Ok(())
}

fn changes(options: &Options) -> Result<Changes, Failure> {
    let mut set: BTreeMap<String, String> = properties::load(options.text("add-config-file"))?.into_iter().collect();
    if let Some(list) = options.text("add-config") {
        set.extend(parse_pairs(list)?);
    }
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '$' | '.' | '_' | '-');
    if let Some(key) = set.keys().find(|key| !key.chars().all(is_good)) {
        return Err(Failure::failed(format!("Invalid character found for config key: {key}")));
    }
    let words = options.all("delete-config").iter().flat_map(|list| list.split(','));
    Ok(Changes { set, delete: words.map(|word| word.trim().to_owned()).collect() })
}

/// `k1=v1,k2=[v1,v2]`: commas and equal signs within brackets belong to the value.
fn parse_pairs(list: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut pairs = Vec::new();
    for part in split_outside_brackets(list, ',') {
        match &split_outside_brackets(part, '=')[..] {
            [key, value] => {
                let value = value.replace(['[', ']'], "");
                pairs.push((key.trim().to_owned(), value.trim().to_owned()));
            }
            _ => {
                return Err(Failure::failed(
                    "requirement failed: Invalid entity config: all configs to be added must be in the format \
                     \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.",
                ));
            }
        }
    }
    Ok(pairs)
}

fn split_outside_brackets(text: &str, by: char) -> Vec<&str> {
    let mut depth = 0;
    text.split(|c| {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        c == by && depth == 0
    })
    .collect()
}

fn completed(entities: &Entities, out: &mut dyn Write) -> Result<(), Failure> {
    let (kind, name) = (&entities.types[0], &entities.names[0]);
    if name.is_empty() {
        writeln!(out, "Completed updating default config for {kind} in the cluster.")?;
    } else {
        writeln!(out, "Completed updating config for {} {name}.", singular(kind))?;
    }
    Ok(())
}

/// The plural without its last letter, as Kafka's tool says it (`client-metric`).
fn singular(kind: &str) -> &str {
    kind.get(..kind.len() - 1).unwrap_or(kind)
}

/// The wire's number of a resource type, and the number of the source that is the entity's own.
fn resource(kind: &str, name: &str) -> (i8, Option<i8>) {
    match kind {
        "topics" => (2, Some(1)),
        "brokers" if name.is_empty() => (4, Some(3)),
        "brokers" => (4, Some(2)),
        "broker-loggers" => (8, None),
        "client-metrics" => (16, Some(7)),
        _ => (32, Some(8)),
    }
}

/// A broker answers for itself; everything else can be asked of any broker.
fn target(client: &Client, kind: &str, name: &str) -> Target {
    match name.parse() {
        Ok(id) if kind.starts_with("broker") && !client.brokers().is_empty() => Target::Node(id),
        _ => Target::Any,
    }
}

pub(super) fn alter(client: &mut Client, kind: &str, name: &str, changes: &Changes) -> Result<(), Failure> {
    const SET: i8 = 0;
    const DELETE: i8 = 1;
    if kind == "broker-loggers" {
        let known: BTreeSet<String> =
            entries(client, kind, name, false)?.into_iter().map(|entry| entry.name.to_string()).collect();
        let asked = changes.delete.iter().chain(changes.set.keys());
        let unknown: Vec<&str> = asked.filter(|logger| !known.contains(*logger)).map(String::as_str).collect();
        if !unknown.is_empty() {
            return Err(Failure::failed(format!("Invalid broker logger(s): {}", unknown.join(","))));
        }
    }
    let deletions = changes.delete.iter().map(|key| (key, DELETE, ""));
    let additions = changes.set.iter().map(|(key, value)| (key, SET, value.as_str()));
    let configs = deletions.chain(additions).map(|(key, operation, value)| {
        AlterableConfig::default().with_name(text(key)).with_config_operation(operation).with_value(Some(text(value)))
    });
    let resource = AlterConfigsResource::default()
        .with_resource_type(resource(kind, name).0)
        .with_resource_name(text(name))
        .with_configs(configs.collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let response = client.send(&target(client, kind, name), &request)?;
    let refusals = response.responses;
    refusals.iter().try_for_each(|answer| Failure::check(answer.error_code, message(answer.error_message.as_ref())))
}

pub(super) fn entries(
    client: &mut Client,
    kind: &str,
    name: &str,
    has_synonyms: bool,
) -> Result<Vec<DescribeConfigsResourceResult>, Failure> {
    let resource = DescribeConfigsResource::default()
        .with_resource_type(resource(kind, name).0)
        .with_resource_name(text(name))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]).with_include_synonyms(has_synonyms);
    let mut found = Vec::new();
    for result in client.send(&target(client, kind, name), &request)?.results {
        Failure::check(result.error_code, message(result.error_message.as_ref()))?;
        found.extend(result.configs);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

pub(super) fn config_resources(client: &mut Client, kind: &str) -> Result<Vec<String>, Failure> {
    let wanted = resource(kind, "x").0;
    let request = ListConfigResourcesRequest::default();
    let response = client.send_with(&Target::Any, |version| {
        if version >= 1 { request.clone().with_resource_types(vec![wanted]) } else { request.clone() }
    })?;
    Failure::check(response.error_code, None)?;
    let resources = response.config_resources.into_iter();
    Ok(resources.map(|resource| resource.resource_name.to_string()).collect())
}

/// All entities of a type, the defaults of the brokers last.
fn all_entities(client: &mut Client, kind: &str) -> Result<Vec<String>, Failure> {
    match kind {
        "topics" => Ok(topics(client, None)?.into_keys().collect()),
        "brokers" | "broker-loggers" => {
            Ok(client.brokers().keys().map(i32::to_string).chain([String::new()]).collect())
        }
        "client-metrics" => config_resources(client, kind),
        _ => {
            let groups = group_admin::list(client, &[], &[])?.into_iter().map(|group| group.id);
            let mut all: BTreeSet<String> = groups.collect();
            match config_resources(client, kind) {
                Ok(more) => all.extend(more),
                Err(failure) if failure.code == Some(ErrorCode::UnsupportedVersion) => {}
                Err(failure) => return Err(failure),
            }
            Ok(all.into_iter().collect())
        }
    }
}

fn describe(
    client: &mut Client,
    kind: &str,
    name: Option<&str>,
    is_all: bool,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let entities = match name {
        Some(name) => {
            let is_default_broker = name.is_empty() && kind.starts_with("broker");
            if !is_all && !is_default_broker && !all_entities(client, kind)?.iter().any(|known| known == name) {
                writeln!(out, "The {} '{name}' doesn't exist and doesn't have dynamic config.", singular(kind))?;
                return Ok(());
            }
            vec![name.to_owned()]
        }
        None => all_entities(client, kind)?,
    };
    for entity in entities {
        if entity.is_empty() {
            writeln!(out, "Default configs for {kind} in the cluster are:")?;
        } else {
            let which = if is_all { "All" } else { "Dynamic" };
            writeln!(out, "{which} configs for {} {entity} are:", singular(kind))?;
        }
        let own = resource(kind, &entity).1.filter(|_| !is_all);
        for entry in entries(client, kind, &entity, true)? {
            if own.is_none_or(|source| source == entry.config_source) {
                let synonyms: Vec<String> = entry
                    .synonyms
                    .iter()
                    .map(|s| format!("{}:{}={}", source_name(s.source), s.name.as_str(), or_null(s.value.as_deref())))
                    .collect();
                writeln!(
                    out,
                    "  {}={} sensitive={} synonyms={{{}}}",
                    entry.name.as_str(),
                    or_null(entry.value.as_deref()),
                    entry.is_sensitive,
                    synonyms.join(", ")
                )?;
            }
        }
    }
    Ok(())
}

fn or_null(value: Option<&str>) -> &str {
    value.unwrap_or("null")
}

const fn source_name(source: i8) -> &'static str {
    match source {
        1 => "DYNAMIC_TOPIC_CONFIG",
        2 => "DYNAMIC_BROKER_CONFIG",
        3 => "DYNAMIC_DEFAULT_BROKER_CONFIG",
        4 => "STATIC_BROKER_CONFIG",
        5 => "DEFAULT_CONFIG",
        6 => "DYNAMIC_BROKER_LOGGER_CONFIG",
        7 => "DYNAMIC_CLIENT_METRICS_CONFIG",
        8 => "DYNAMIC_GROUP_CONFIG",
        _ => "UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(line: &str) -> Options {
        Options::parse(SPECS, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>(), false).unwrap()
    }

    #[test]
    fn brackets_hold_values_with_commas() {
        let pairs = parse_pairs("a=1, b=[x,y=z],c=").unwrap();
        let expected = [("a", "1"), ("b", "x,y=z"), ("c", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
        assert!(parse_pairs("a").is_err());
    }

    #[test]
    fn entities_are_named_in_two_ways() {
        let general = entities(&parse("--entity-type users --entity-name a --entity-type clients --entity-default"));
        assert_eq!((general.types[1].as_str(), general.names[1].as_str()), ("clients", ""));
        let specific = entities(&parse("--user-defaults --client c"));
        assert_eq!(
            (specific.types, specific.names),
            (vec!["clients".to_owned(), "users".into()], vec!["c".into(), String::new()])
        );
    }

    #[test]
    fn wrong_lines_are_told_in_kafkas_words() {
        let told = |line: &str| {
            let options = parse(line);
            check(&options, &entities(&options)).unwrap_err().message
        };
        let server = "--bootstrap-server a:1 --alter";
        assert_eq!(told(server), "At least one entity type must be specified");
        assert_eq!(
            told(&format!("{server} --entity-type topics")),
            "An entity name must be specified with --alter of topics"
        );
        assert!(told(&format!("{server} --broker x --add-config a=1")).ends_with("but it is: x"));
    }
}
