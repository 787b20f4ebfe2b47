//! Start-up checks: what would surprise later is refused now.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ottla_metadata::config_def::{self, Table, split_list};

use super::settings::{ConfigError, Settings};

/// Keys that Kafka's own plugins read without a definition.
const UNDEFINED_BUT_KNOWN: &[&str] = &["super.users", "allow.everyone.if.no.acl.found"];

/// Without ACLs everybody may do everything.
const EVERYONE: &str = "allow.everyone.if.no.acl.found";

/// Keys that Kafka 4 no longer has and that are in circulation still.
const REMOVED: &[&str] = &[
    "inter.broker.protocol.version",
    "log.message.format.version",
    "log.message.downconversion.enable",
    "log.message.timestamp.difference.max.ms",
    "broker.id.generation.enable",
    "reserved.broker.max.id",
    "control.plane.listener.name",
    "delegation.token.master.key",
    "controlled.shutdown.max.retries",
    "controlled.shutdown.retry.backoff.ms",
    "leader.imbalance.per.broker.percentage",
    "password.encoder.secret",
    "offsets.commit.required.acks",
];

/// What is to be done by a class: there is no JVM to load it into.
const CLASSES: &[&str] = &[
    "alter.config.policy.class.name",
    "client.quota.callback.class",
    "create.topic.policy.class.name",
    "kafka.metrics.reporters",
    "metric.reporters",
    "remote.log.metadata.manager.class.name",
    "remote.log.storage.manager.class.name",
];

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

/// Takes out the keys that Kafka had once; says of each what holds now.
pub fn removed_keys(values: &mut BTreeMap<String, String>) -> Vec<String> {
    let mut warnings = Vec::new();
    let zookeeper: Vec<String> = values.keys().filter(|key| key.starts_with("zookeeper.")).cloned().collect();
    if !zookeeper.is_empty() {
        warnings.push(format!(
            "there is no ZooKeeper any more, {} ignored: what it kept is kept by the controllers (process.roles, \
             controller.quorum.voters); without voters this node is a cluster of its own",
            if zookeeper.len() == 1 { format!("{} is", zookeeper[0]) } else { format!("{} are", zookeeper.join(", ")) }
        ));
    }
    let removed = REMOVED.iter().filter(|key| values.contains_key(**key));
    warnings.extend(removed.map(|key| format!("{key} was removed in Kafka 4.0 and is ignored")));
    values.retain(|key, _| !key.starts_with("zookeeper.") && !REMOVED.contains(&key.as_str()));
    warnings
}

/// Classes that were asked for, but for what Kafka's own defaults and files name. Whoever relies on a policy is to know that nobody
/// applies it.
pub fn classes(values: &BTreeMap<String, String>) -> Option<String> {
    let is_asked_for = |key: &&str| {
        let value = values.get(*key).map(String::as_str).unwrap_or_default().trim();
        !value.is_empty() && !value.starts_with("org.apache.kafka.")
    };
    let keys: Vec<&str> = CLASSES.iter().copied().filter(is_asked_for).collect();
    (!keys.is_empty()).then(|| format!("classes are not loaded: what {} asks for is not done", keys.join(", ")))
}

/// An authorizer that lets everybody do everything while there are no ACLs is no door to close: none can be made here.
pub fn open_doors(settings: &Settings) -> Option<String> {
    let authorizer = settings.text("authorizer.class.name").filter(|name| !name.is_empty())?;
    Some(format!(
        "authorizer.class.name={authorizer} with {EVERYONE}=true: ACLs are not built yet, none can be made, and as asked for \
         without ACLs everyone may do everything"
    ))
}

/// Keys that are not Kafka's, in words, with what may have been meant and where each was given (`places`): to be warned of, except
/// for a mistyped security key, which would leave a door open.
pub fn unknown_keys(
    values: &BTreeMap<String, String>,
    places: &BTreeMap<String, String>,
) -> Result<Vec<String>, ConfigError> {
    let mut unknown = Vec::new();
    for key in values.keys() {
        let base = config_def::listener_key(key).unwrap_or(key);
        if config_def::broker(base).is_some() || UNDEFINED_BUT_KNOWN.contains(&base) {
            continue;
        }
        let like = |name: &&str| is_typo(base, name);
        if let Some(meant) = known_keys().filter(|name| is_of_security(name)).find(like) {
            return Err(ConfigError::new(format!(
                "unknown key {key}: did you mean {meant}? A mistyped security key leaves open what you meant to close, \
                 so the broker does not start"
            )));
        }
        let mut words = key.clone();
        if let Some(meant) = known_keys().find(like) {
            words.push_str(&format!(" (did you mean {meant}?)"));
        }
        if let Some(place) = places.get(key) {
            words.push_str(&format!(" from {place}"));
        }
        unknown.push(words);
    }
    Ok(unknown)
}

fn known_keys() -> impl Iterator<Item = &'static str> {
    Table::broker().iter().map(|definition| definition.name).chain(UNDEFINED_BUT_KNOWN.iter().copied())
}

fn is_of_security(key: &str) -> bool {
    SECURITY.iter().any(|family| key.starts_with(family))
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
    // While there are no ACLs, an authorizer with this key lets everybody in: then nothing is left open that was to be closed.
    let lets_everybody_in = settings.given(EVERYONE).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
    require(
        settings.text("authorizer.class.name").unwrap_or_default().is_empty() || lets_everybody_in,
        "authorizer.class.name: authorizers are not built yet, and a broker that ignores this key would be open (with \
         allow.everyone.if.no.acl.found=true, which is open until there are ACLs, the broker starts)",
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
        assert_eq!(known.unknown, ["confluent.x"]);
        assert!(known.warnings[0].contains("zookeeper.connect is ignored"));
        assert!(known.given("zookeeper.connect").is_none());
        assert!(
            settings(&[("ssl.keystore.loction", "x")]).unwrap_err().0.contains("did you mean ssl.keystore.location")
        );
        assert!(
            settings(&[("autorizer.class.name", "x")]).unwrap_err().0.contains("did you mean authorizer.class.name")
        );
        assert!(settings(&[("security.protocol", "PLAINTEXT")]).is_ok());
        let mistyped = settings(&[("num.partition", "3")]).unwrap();
        assert_eq!(mistyped.unknown, ["num.partition (did you mean num.partitions?)"]);
    }

    #[test]
    fn an_error_and_a_warning_name_the_place_of_the_key() {
        let given = |key: &str, value: &str, place: &str| Given {
            values: [(key.to_owned(), value.to_owned())].into(),
            sources: [(key.to_owned(), place.to_owned())].into(),
            ..Given::default()
        };
        assert_eq!(
            Settings::new(given("num.partitions", "0", "KAFKA_NUM_PARTITIONS")).unwrap_err().0,
            "Invalid value 0 for configuration num.partitions: Value must be at least 1 (num.partitions comes from \
             KAFKA_NUM_PARTITIONS)"
        );
        let unknown = Settings::new(given("colour", "red", "/etc/server.properties")).unwrap().unknown;
        assert_eq!(unknown, ["colour from /etc/server.properties"]);
    }

    #[test]
    fn an_authorizer_that_lets_everybody_in_is_warned_of() {
        let open = [("authorizer.class.name", "kafka.security.authorizer.AclAuthorizer"), (EVERYONE, "true")];
        assert!(settings(&open).unwrap().warnings[0].contains("everyone may do everything"));
        assert!(settings(&[open[0], (EVERYONE, "false")]).unwrap_err().0.contains("authorizer.class.name"));
    }

    #[test]
    fn classes_that_are_not_loaded_are_named() {
        let policy = ("create.topic.policy.class.name", "com.example.Names");
        let reporter = ("metric.reporters", "org.apache.kafka.common.metrics.JmxReporter");
        let warned = settings(&[policy, reporter]).unwrap().warnings;
        assert_eq!(warned, ["classes are not loaded: what create.topic.policy.class.name asks for is not done"]);
        assert!(settings(&[reporter]).unwrap().warnings.is_empty());
    }

    #[test]
    fn keys_that_kafka_had_once_are_named() {
        let old = settings(&[
            ("inter.broker.protocol.version", "2.8"),
            ("zookeeper.connect", "z"),
            ("zookeeper.set.acl", "x"),
        ]);
        let warnings = old.unwrap().warnings;
        assert!(warnings[0].contains("zookeeper.connect, zookeeper.set.acl are ignored"), "{warnings:?}");
        assert!(warnings[1].contains("inter.broker.protocol.version was removed"), "{warnings:?}");
    }

    #[test]
    fn topics_may_be_declared() {
        let declared = settings(&[("create.topics", "a:2:1,b")]).unwrap();
        assert_eq!(declared.declared_topics.len(), 2);
        assert!(declared.unknown.is_empty() && declared.given("create.topics").is_none());
    }

    #[test]
    fn the_old_name_of_a_node() {
        let given = Given { values: [("broker.id".to_owned(), "5".to_owned())].into(), ..Given::default() };
        assert_eq!(Settings::new(given).unwrap().node_id.0, 5);
    }
}
