//! kafka-features: the cluster's feature levels, and moving them.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use kafka_protocol::messages::UpdateFeaturesRequest;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;

use super::admin::{message, millis, text};
use super::client::{Client, Target};
use super::options::{Kind, Options, Spec, flag, value};
use super::{Failure, Tool, properties};

pub const TOOL: Tool = Tool { name: "features", about: "This tool manages feature flags in Kafka.", specs: SPECS, run };

const SPECS: &[Spec] = &[
    value(&["bootstrap-server"], Kind::Text, "host:port,...", "The brokers to connect to."),
    value(&["bootstrap-controller"], Kind::Text, "host:port,...", "The controllers to connect to."),
    value(&["command-config"], Kind::Text, "file", "A file with properties for the connection."),
    flag(&["dry-run"], "With upgrade, downgrade, disable: only check."),
    value(
        &["feature"],
        Kind::Text,
        "feature=level",
        "A feature and its level; repeatable. With disable: the name alone.",
    ),
    flag(&["help", "h"], "Print usage information."),
    value(&["metadata"], Kind::Text, "release", "Deprecated: the metadata.version to move to, as 3.3-IV3."),
    value(&["node-id"], Kind::Int, "id", "With describe: the node to ask."),
    value(&["release-version"], Kind::Text, "release", "The release whose levels all features move to."),
    flag(&["unsafe"], "With downgrade, disable: even where metadata may be lost."),
];

const TIMEOUT: Duration = Duration::from_secs(60);
pub const METADATA_VERSION: &str = "metadata.version";
/// `metadata.version` 7 and its successors: release and patch. Kafka's own table of them.
pub const METADATA_VERSIONS: [&str; 25] = [
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0", "3.7-IV1",
    "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2", "4.0-IV3", "4.1-IV0",
    "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0", "4.4-IV0",
];
/// The last of them is of the release to come.
pub const STABLE_COUNT: usize = METADATA_VERSIONS.len() - 1;
const METADATA_VERSION_MIN: i16 = 7;
pub const METADATA_VERSION_MAX: i16 = 30;
/// The other features: name, newest level, and the `metadata.version` that a new cluster needs to get it.
const FEATURES: [(&str, i16, i16); 6] = [
    ("kraft.version", 1, 21),
    ("transaction.version", 2, 24),
    ("group.version", 1, 22),
    ("eligible.leader.replicas.version", 1, 26),
    ("share.version", 1, 28),
    ("streams.version", 1, 29),
];

const UPGRADE: i8 = 1;
const SAFE_DOWNGRADE: i8 = 2;
const UNSAFE_DOWNGRADE: i8 = 3;

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let command = options.positional.first().map(String::as_str).unwrap_or_default();
    let told = |failure: Failure| Failure { is_usage: false, ..failure };
    match command {
        "version-mapping" => version_mapping(options, out)?,
        "feature-dependencies" => dependencies(options, out)?,
        "describe" | "upgrade" | "downgrade" | "disable" => {
            let client = &mut connect(options)?;
            match command {
                "describe" => describe(client, options, out)?,
                _ => update(client, options, command, out).map_err(told)?,
            }
        }
        "" => return Err(command_line("too few arguments")),
        other => {
            return Err(command_line(&format!(
                "invalid choice: '{other}' (choose from 'describe', 'upgrade', 'downgrade', 'disable', \
                 'version-mapping', 'feature-dependencies')"
            )));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn command_line(what: &str) -> Failure {
    Failure::failed(format!("Command line error: {what}. Type --help for help."))
}

fn connect(options: &Options) -> Result<Client, Failure> {
    let config = properties::of_connection(options.text("command-config"))?;
    let client_id = properties::client_id(&config, properties::ADMIN);
    match (options.text("bootstrap-server"), options.text("bootstrap-controller")) {
        (Some(servers), None) => Client::connect(servers, TIMEOUT, client_id),
        (None, Some(controllers)) => Client::connect_to(controllers, TIMEOUT, true, client_id),
        (None, None) => Err(command_line("You must specify either --bootstrap-controller or --bootstrap-server.")),
        _ => Err(command_line("argument --bootstrap-controller: not allowed with argument --bootstrap-server")),
    }
}

/// A level as people say it: the release of a `metadata.version`, else the number.
pub fn shown(feature: &str, level: i16) -> String {
    if feature != METADATA_VERSION {
        return level.to_string();
    }
    let name = usize::try_from(level - METADATA_VERSION_MIN).ok().and_then(|index| METADATA_VERSIONS.get(index));
    name.map_or_else(|| format!("UNKNOWN {level}"), |name| (*name).to_owned())
}

/// The level of a release: `3.9-IV0`, or `3.9` and `3.9.1` for its last one that is not a preview.
pub fn level_of(release: &str, known: &[&str]) -> Result<i16, Failure> {
    let parts: Vec<&str> = release.split('.').collect();
    let key = if parts.len() > 2 { parts[..2].join(".") } else { release.to_owned() };
    let is_match = |name: &str| name == key || name.split_once("-IV").is_some_and(|(family, _)| family == key);
    let index = known.iter().rposition(|name| is_match(name));
    match index.and_then(|index| i16::try_from(index).ok()) {
        Some(index) => Ok(index + METADATA_VERSION_MIN),
        None => Err(Failure::failed(format!(
            "Unknown metadata.version '{release}'. Supported metadata.version are: {}",
            known.join(", ")
        ))),
    }
}

/// The levels of a new cluster at a `metadata.version`.
pub fn default_levels(metadata_version: i16) -> impl Iterator<Item = (&'static str, i16)> {
    FEATURES.into_iter().map(move |(name, newest, needs)| (name, default_level(newest, needs, metadata_version)))
}

fn default_level(newest: i16, needs: i16, metadata_version: i16) -> i16 {
    if metadata_version >= needs { newest } else { 0 }
}

fn describe(client: &mut Client, options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let target = match options.number::<i32>("node-id") {
        Some(id) if id < 0 => return Err(Failure::failed(format!("Invalid node id {id}: must be non-negative."))),
        Some(id) => Target::Node(id),
        None => Target::Any,
    };
    let versions = client.api_versions(&target)?;
    let finalized: BTreeMap<&str, i16> =
        versions.finalized_features.iter().map(|feature| (feature.name.as_str(), feature.max_version_level)).collect();
    let epoch = match versions.finalized_features_epoch {
        epoch if epoch < 0 => "-".to_owned(),
        epoch => epoch.to_string(),
    };
    let supported: BTreeMap<&str, (i16, i16)> = versions
        .supported_features
        .iter()
        .map(|feature| (feature.name.as_str(), (feature.min_version, feature.max_version)))
        .collect();
    for (feature, (min, max)) in supported {
        let level = finalized.get(feature).copied().unwrap_or(0);
        writeln!(
            out,
            "Feature: {feature:<40}  SupportedMinVersion: {:<15}  SupportedMaxVersion: {:<15}  \
             FinalizedVersionLevel: {:<15}  Epoch: {epoch}",
            shown(feature, min),
            shown(feature, max),
            shown(feature, level)
        )?;
    }
    Ok(())
}

/// `feature=level`.
pub fn name_and_level(text: &str) -> Result<(&str, i16), Failure> {
    let (name, level) = text
        .split_once('=')
        .ok_or_else(|| Failure::failed(format!("Can't parse feature=level string {text}: equals sign not found.")))?;
    let level = level.trim();
    let number = level.parse().map_err(|_| {
        Failure::failed(format!("Can't parse feature=level string {text}: unable to parse {level} as a short."))
    })?;
    Ok((name.trim(), number))
}

fn wanted_levels(options: &Options, operation: &str, out: &mut dyn Write) -> Result<BTreeMap<String, i16>, Failure> {
    let mut levels = BTreeMap::new();
    if let Some(release) = options.text("release-version").filter(|_| operation != "disable") {
        if options.has("metadata") || options.has("feature") {
            return Err(Failure::failed("Can not specify `release-version` with other feature flags."));
        }
        let metadata_version = level_of(release, &METADATA_VERSIONS)?;
        levels.insert(METADATA_VERSION.to_owned(), metadata_version);
        for (name, newest, needs) in FEATURES {
            let level = default_level(newest, needs, metadata_version);
            if operation != "upgrade" || level > 0 {
                levels.insert(name.to_owned(), level);
            }
        }
        return Ok(levels);
    }
    if let Some(release) = options.text("metadata").filter(|_| operation != "disable") {
        writeln!(out, " `metadata` flag is deprecated and may be removed in a future release.")?;
        levels.insert(METADATA_VERSION.to_owned(), level_of(release, &METADATA_VERSIONS)?);
    }
    for feature in options.all("feature") {
        let (name, level) = if operation == "disable" { (feature.as_str(), 0) } else { name_and_level(feature)? };
        if levels.insert(name.to_owned(), level).is_some() {
            return Err(Failure::failed(format!("Feature {name} was specified more than once.")));
        }
    }
    Ok(levels)
}

fn update(client: &mut Client, options: &Options, operation: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let levels = wanted_levels(options, operation, out)?;
    if levels.is_empty() {
        return Err(Failure::failed(format!("You must specify at least one feature to {operation}")));
    }
    let is_dry = options.has("dry-run");
    let upgrade_type = match operation {
        "upgrade" => UPGRADE,
        _ if options.has("unsafe") => UNSAFE_DOWNGRADE,
        _ => SAFE_DOWNGRADE,
    };
    let response = client.send_with(&Target::Controller, |version| {
        let updates = levels.iter().map(|(feature, level)| {
            let update = FeatureUpdateKey::default().with_feature(text(feature)).with_max_version_level(*level);
            if version >= 1 {
                update.with_upgrade_type(upgrade_type)
            } else {
                update.with_allow_downgrade(upgrade_type != UPGRADE)
            }
        });
        let request =
            UpdateFeaturesRequest::default().with_timeout_ms(millis(TIMEOUT)).with_feature_updates(updates.collect());
        if version >= 1 { request.with_validate_only(is_dry) } else { request }
    })?;
    let whole = Failure::check(response.error_code, message(response.error_message.as_ref())).err();
    let mut failures = 0;
    for (feature, level) in &levels {
        let own = response.results.iter().find(|result| result.feature.as_str() == feature.as_str());
        let refused = own
            .and_then(|result| Failure::check(result.error_code, message(result.error_message.as_ref())).err())
            .or_else(|| whole.clone());
        if let Some(failure) = refused {
            failures += 1;
            let could = if is_dry { "Can not" } else { "Could not" };
            let to = if operation == "disable" { String::new() } else { format!(" to {level}") };
            writeln!(out, "{could} {operation} {feature}{to}. {}", failure.message)?;
        } else {
            let verb = if is_dry { "can be" } else { "was" };
            let what = if operation == "disable" { "disabled.".into() } else { format!("{operation}d to {level}.") };
            writeln!(out, "{feature} {verb} {what}")?;
        }
    }
    if failures > 0 {
        return Err(Failure::failed(format!("{failures} out of {} operation(s) failed.", levels.len())));
    }
    Ok(())
}

/// Prints the levels that belong to a release.
pub fn version_mapping(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    let newest = shown(METADATA_VERSION, METADATA_VERSION_MAX);
    let release = options.text("release-version").unwrap_or(&newest);
    let level = level_of(release, &METADATA_VERSIONS)?;
    writeln!(out, "{METADATA_VERSION}={level} ({release})")?;
    for (name, newest, needs) in FEATURES {
        writeln!(out, "{name}={}", default_level(newest, needs, level))?;
    }
    Ok(())
}

/// Prints what levels of features need.
pub fn dependencies(options: &Options, out: &mut dyn Write) -> Result<(), Failure> {
    if !options.has("feature") {
        return Err(command_line("argument --feature is required"));
    }
    for feature in options.all("feature") {
        let (name, level) = name_and_level(feature)?;
        if name == METADATA_VERSION {
            let release = shown(name, level);
            if release.starts_with("UNKNOWN") {
                return Err(Failure::failed(format!("Unknown metadata.version {level}")));
            }
            writeln!(out, "{name}={level} ({release}) has no dependencies.")?;
            continue;
        }
        let known = FEATURES.iter().find(|(known, _, _)| *known == name);
        let (_, newest, _) = known.ok_or_else(|| Failure::failed(format!("Unknown feature: {name}")))?;
        if !(0..=*newest).contains(&level) {
            return Err(Failure::failed(format!("No feature:{name} with feature level {level}")));
        }
        if name == "eligible.leader.replicas.version" && level == 1 {
            writeln!(out, "{name}={level} requires:")?;
            writeln!(out, "    {METADATA_VERSION}=23 ({})", shown(METADATA_VERSION, 23))?;
        } else {
            writeln!(out, "{name}={level} has no dependencies.")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn releases_have_levels() {
        assert_eq!(level_of("4.3-IV0", &METADATA_VERSIONS).unwrap(), METADATA_VERSION_MAX);
        assert_eq!(level_of("3.9", &METADATA_VERSIONS).unwrap(), 21);
        assert_eq!(level_of("3.9.1", &METADATA_VERSIONS).unwrap(), 21);
        assert_eq!(level_of("4.0", &METADATA_VERSIONS).unwrap(), 25);
        assert!(level_of("2.8", &METADATA_VERSIONS).is_err());
        assert_eq!(shown(METADATA_VERSION, 99), "UNKNOWN 99");
    }
}
