//! Start-up checks: what would surprise later is refused now.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ottla_metadata::config_def::{self, Table, split_list};

use super::settings::{ConfigError, Settings};

/// Keys that Kafka's own plugins read without a definition.
const UNDEFINED_BUT_KNOWN: &[&str] = &["super.users", "allow.everyone.if.no.acl.found"];

/// A key of one of these families protects something.
const SECURITY: &[&str] = &[
    "ssl.",
    "sasl.",
    "security.",
    "authorizer.",
    "super.users",
    "allow.everyone.",
    "principal.",
    "delegation.token.",
    "listener.security.",
    "connections.max.reauth.",
];

/// `broker.id` is the old name of `node.id`.
pub fn alias_broker_id(values: &mut BTreeMap<String, String>) -> Result<(), ConfigError> {
    let Some(old) = values.get("broker.id").cloned() else {
        // Kafka fills in the old name too, and tools read it.
        let node = values.entry("node.id".to_owned()).or_insert_with(|| "1".to_owned()).clone();
        values.insert("broker.id".to_owned(), node);
        return Ok(());
    };
    match values.get("node.id") {
        Some(node) if node.trim() != old.trim() => {
            Err(ConfigError::new("You must set `node.id` to the same value as `broker.id`."))
        }
        _ => {
            values.insert("node.id".to_owned(), old);
            Ok(())
        }
    }
}

/// Keys that are not Kafka's: to be warned of, except for a mistyped security key, which would leave a door open.
pub fn unknown_keys(values: &BTreeMap<String, String>) -> Result<Vec<String>, ConfigError> {
    let mut unknown = Vec::new();
    for key in values.keys() {
        let base = config_def::listener_key(key).unwrap_or(key);
        if config_def::broker(base).is_some() || UNDEFINED_BUT_KNOWN.contains(&base) {
            continue;
        }
        if let Some(meant) = security_key_like(base) {
            return Err(ConfigError::new(format!(
                "unknown key {key}: did you mean {meant}? A mistyped security key leaves open what you meant to close, \
                 so the broker does not start"
            )));
        }
        unknown.push(key.clone());
    }
    Ok(unknown)
}

fn security_key_like(key: &str) -> Option<&'static str> {
    Table::broker()
        .iter()
        .map(|definition| definition.name)
        .chain(UNDEFINED_BUT_KNOWN.iter().copied())
        .filter(|name| SECURITY.iter().any(|family| name.starts_with(family)))
        .find(|name| is_typo(key, name))
}

/// At most two letters changed, added or left out.
fn is_typo(text: &str, meant: &str) -> bool {
    const EDITS_MAX: usize = 2;
    if text.len().abs_diff(meant.len()) > EDITS_MAX {
        return false;
    }
    let (text, meant) = (text.to_lowercase().into_bytes(), meant.as_bytes());
    let mut row: Vec<usize> = (0..=meant.len()).collect();
    for (i, a) in text.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in meant.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[meant.len()] <= EDITS_MAX
}

/// `log.dirs`, or else `log.dir`.
pub fn log_dirs(settings: &Settings) -> Result<Vec<PathBuf>, ConfigError> {
    let given = match settings.text("log.dirs") {
        Some(dirs) => split_list(dirs),
        None => settings.list("log.dir"),
    };
    let dirs: Vec<PathBuf> = given.iter().filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
    if dirs.is_empty() {
        return Err(ConfigError::new("At least one log directory must be defined via log.dirs or log.dir."));
    }
    Ok(dirs)
}

/// What keys may say together.
pub fn together(settings: &Settings) -> Result<(), ConfigError> {
    super::quorum::check(settings)?;
    let require = |holds: bool, text: &str| if holds { Ok(()) } else { Err(ConfigError::new(text)) };
    for key in ["log.roll.ms", "log.roll.jitter.ms", "log.retention.ms"] {
        let (min, kind) = match key {
            "log.roll.ms" => (1, "log.roll.ms must be greater than or equal to 1"),
            "log.roll.jitter.ms" => (0, "log.roll.jitter.ms must be greater than or equal to 0"),
            _ => (-1, "log.retention.ms must be unlimited (-1) or, greater than or equal to 1"),
        };
        if settings.text(key).is_some() {
            let value = settings.i64(key);
            require(value >= min && !(key == "log.retention.ms" && value == 0), kind)?;
        }
    }
    require(
        settings.i64("log.cleaner.min.compaction.lag.ms") <= settings.i64("log.cleaner.max.compaction.lag.ms"),
        "log.cleaner.min.compaction.lag.ms must not be greater than log.cleaner.max.compaction.lag.ms",
    )?;
    require(
        settings.i64("replica.fetch.wait.max.ms") <= settings.i64("replica.lag.time.max.ms"),
        "replica.fetch.wait.max.ms should always be less than or equal to replica.lag.time.max.ms to prevent frequent changes in ISR",
    )?;
    require(
        settings.i64("replica.fetch.wait.max.ms") <= settings.i64("replica.socket.timeout.ms"),
        "replica.socket.timeout.ms should always be at least replica.fetch.wait.max.ms to prevent unnecessary socket timeouts",
    )?;
    let queued_bytes = settings.i64("queued.max.request.bytes");
    require(
        queued_bytes <= 0 || queued_bytes >= settings.i64("socket.request.max.bytes"),
        "queued.max.request.bytes must be larger or equal to socket.request.max.bytes",
    )?;
    require(
        settings.i64("broker.heartbeat.interval.ms") < settings.i64("broker.session.timeout.ms"),
        "broker.heartbeat.interval.ms must be less than broker.session.timeout.ms",
    )?;
    for (low, high) in [
        ("group.min.session.timeout.ms", "group.max.session.timeout.ms"),
        ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
        ("group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"),
    ] {
        require(settings.i64(low) <= settings.i64(high), &format!("{high} must be greater than or equal to {low}"))?;
    }
    require(
        settings.text("authorizer.class.name").unwrap_or_default().is_empty(),
        "authorizer.class.name: authorizers are not built yet, and a broker that ignores this key would be open",
    )?;
    require(
        !settings.bool("remote.log.storage.system.enable"),
        "remote.log.storage.system.enable: tiered storage is not built yet",
    )?;
    require(
        settings.list("config.providers").is_empty(),
        "config.providers: providers of configuration values are not built yet",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::sources::Given;
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let mut values: BTreeMap<String, String> =
            [("node.id", "1"), ("log.dirs", "/tmp/x")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        values.extend(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())));
        Settings::new(Given { values, ..Given::default() })
    }

    #[test]
    fn values_are_checked_at_start() {
        assert_eq!(
            settings(&[("num.partitions", "0")]).unwrap_err().0,
            "Invalid value 0 for configuration num.partitions: Value must be at least 1"
        );
        assert!(settings(&[("log.retention.ms", "0")]).unwrap_err().0.contains("log.retention.ms"));
        assert!(settings(&[("broker.id", "2")]).unwrap_err().0.contains("broker.id"));
        assert!(settings(&[("controller.quorum.voters", "2@x:1")]).unwrap_err().0.contains("set of voters"));
        assert!(settings(&[("authorizer.class.name", "x.Y")]).unwrap_err().0.contains("authorizer.class.name"));
    }

    #[test]
    fn unknown_keys_are_named_and_typos_of_locks_refused() {
        let known = settings(&[("zookeeper.connect", "z:1"), ("confluent.x", "1"), ("super.users", "User:a")]).unwrap();
        assert_eq!(known.unknown, ["confluent.x", "zookeeper.connect"]);
        assert!(
            settings(&[("ssl.keystore.loction", "x")]).unwrap_err().0.contains("did you mean ssl.keystore.location")
        );
        assert!(
            settings(&[("autorizer.class.name", "x")]).unwrap_err().0.contains("did you mean authorizer.class.name")
        );
        assert!(settings(&[("security.protocol", "PLAINTEXT")]).is_ok());
    }

    #[test]
    fn the_old_name_of_a_node() {
        let given = Given { values: [("broker.id".to_owned(), "5".to_owned())].into(), ..Given::default() };
        assert_eq!(Settings::new(given).unwrap().node_id.0, 5);
    }
}
