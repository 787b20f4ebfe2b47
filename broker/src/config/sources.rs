//! Where configuration comes from: a file, the environment, the command line. The later wins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ottla_metadata::config_def;

use super::container;
use super::settings::ConfigError;

/// What was given, before anything is judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    pub values: BTreeMap<String, String>,
    pub cluster_id: Option<String>,
    /// In words: "ottla.toml, environment".
    pub origin: String,
    /// Started as the images start it.
    pub in_container: bool,
    /// Keys of `values` that nobody gave: what holds where no server.properties is read.
    pub presumed: BTreeSet<String>,
    /// Where each given key was given, as its giver knows it: a file, a variable, `--override`.
    pub sources: BTreeMap<String, String>,
    /// Started with `--join`.
    pub joins: bool,
}

/// Names the places that the keys in an error's text were given at: whoever reads it is to find the line to change.
pub fn with_places(error: ConfigError, sources: &BTreeMap<String, String>) -> ConfigError {
    let is_part_of_key = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let words: BTreeSet<&str> =
        error.0.split(|letter| !is_part_of_key(letter)).map(|word| word.trim_end_matches('.')).collect();
    let places: Vec<String> = sources
        .iter()
        .filter(|(key, _)| words.contains(key.as_str()))
        .map(|(key, place)| format!("{key} comes from {place}"))
        .collect();
    if places.is_empty() { error } else { ConfigError::new(format!("{} ({})", error.0, places.join(", "))) }
}

/// What a node runs with when no file is given.
const WITHOUT_A_FILE: &[(&str, &str)] = &[("node.id", "1"), ("process.roles", "broker,controller")];

/// What holds besides where a node is its whole cluster: there is nobody to hold a second replica.
const ALONE: &[(&str, &str)] = &[
    ("offsets.topic.replication.factor", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
];

/// The folder for data when nothing names one.
pub const DATA_FOLDER: &str = "ottla-data";

/// The file that is read from the current folder when none is named.
pub const DEFAULT_FILE: &str = "ottla.toml";

/// Where a broker starts: what it serves and where its data goes when nobody says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// On somebody's machine: on localhost, data in this folder.
    Machine(&'a Path),
    /// In a container: on every address, data in this folder of a volume, and the variables of other images understood.
    Container(&'a Path),
}

/// Gathers everything. `file` is the one named on the command line.
///
/// # Errors
/// When a file cannot be read, or an override is not `key=value`.
pub fn gather(
    file: Option<&Path>,
    place: Place<'_>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &[String],
) -> Result<Given, ConfigError> {
    let mut origin = Vec::new();
    let default_file = match place {
        Place::Machine(folder) => folder.join(DEFAULT_FILE),
        Place::Container(_) => container::MOUNTED_FILE.into(),
    };
    let file = match file {
        Some(file) => Some(file.to_path_buf()),
        None => default_file.is_file().then_some(default_file),
    };
    let in_container = matches!(place, Place::Container(_));
    let from_file = file.as_deref().map(read_file).transpose()?;
    // A server.properties was written for Kafka and means what it means there; Ottla's own file only adds to what holds
    // without one, or a first key in it would move the data elsewhere and ask for replicas that one node has not.
    let is_kafkas = file.as_deref().is_some_and(|file| !is_toml(file));
    if let Some(file) = &file {
        origin.push(file.display().to_string());
    }
    let mut environment: Vec<(String, String)> = environment.into_iter().collect();
    if in_container {
        container::translate(&mut environment)?;
    }
    let cluster_id = ["CLUSTER_ID", "KAFKA_KRAFT_CLUSTER_ID", "KAFKA_CLUSTER_ID"].iter().find_map(|name| {
        environment.iter().find(|(variable, value)| variable == name && !value.is_empty()).map(|(_, id)| id.clone())
    });
    let (from_environment, variables) = read_environment(environment);
    let from_overrides = read_overrides(overrides)?;
    let mut sources = BTreeMap::new();
    if let (Some(file), Some(values)) = (&file, &from_file) {
        sources.extend(values.keys().map(|key| (key.clone(), file.display().to_string())));
    }
    sources.extend(variables);
    sources.extend(from_overrides.keys().map(|key| (key.clone(), "--override".to_owned())));
    if !from_environment.is_empty() {
        origin.push("environment".to_owned());
    }
    if !from_overrides.is_empty() {
        origin.push("command line".to_owned());
    }

    let mut given = from_file.unwrap_or_default();
    given.extend(from_environment);
    given.extend(from_overrides);
    // In a container every key keeps its default when another is set, whichever way it is set.
    let adds = in_container || !is_kafkas;
    let mut values = if adds { without_a_file(place, &given) } else { BTreeMap::new() };
    let presumed = values.keys().filter(|key| !given.contains_key(*key)).cloned().collect();
    values.extend(given);
    if adds {
        listen_where_advertised(&mut values);
    }
    let cluster_id = cluster_id.or_else(|| values.remove("cluster.id"));
    if origin.is_empty() {
        origin.push("defaults".to_owned());
    }
    Ok(Given { values, cluster_id, origin: origin.join(", "), in_container, presumed, sources, joins: false })
}

/// What holds where no server.properties is read, as far as nothing `given` speaks against it.
fn without_a_file(place: Place<'_>, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let (listeners, data) = match place {
        Place::Machine(folder) => ("PLAINTEXT://localhost:9092", folder.join(DATA_FOLDER)),
        Place::Container(folder) => ("PLAINTEXT://:9092", folder.to_path_buf()),
    };
    let own = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let mut values: BTreeMap<String, String> = own(WITHOUT_A_FILE).into_iter().collect();
    if container::is_alone(given) {
        values.extend(own(ALONE));
        if matches!(place, Place::Container(_)) {
            // Who starts one broker in a container waits for its first group; three seconds of that are Kafka's delay.
            values.insert("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned());
        }
    }
    if given.contains_key("broker.id") {
        values.remove("node.id");
    }
    if !given.contains_key("log.dir") {
        values.insert("log.dirs".to_owned(), data.display().to_string());
    }
    if !given.contains_key("advertised.listeners") {
        values.insert("listeners".to_owned(), listeners.to_owned());
    }
    values
}

/// As the official image does: with advertised listeners alone, listen on the same ports everywhere.
fn listen_where_advertised(values: &mut BTreeMap<String, String>) {
    if values.contains_key("listeners") {
        return;
    }
    let Some(advertised) = values.get("advertised.listeners") else { return };
    let listeners: Vec<String> = advertised
        .split(',')
        .filter_map(|listener| {
            let (name, address) = listener.trim().split_once("://")?;
            let (_, port) = address.rsplit_once(':')?;
            Some(format!("{name}://0.0.0.0:{port}"))
        })
        .collect();
    values.insert("listeners".to_owned(), listeners.join(","));
}

fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "toml")
}

/// Reads a file by its ending: `.toml`, or else Java properties.
fn read_file(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let fail = |error: &dyn std::fmt::Display| ConfigError::new(format!("{}: {error}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| {
        // A bare word is rather a mistyped command than the name of a file.
        let is_word = path.components().count() == 1 && path.extension().is_none();
        if is_word && error.kind() == std::io::ErrorKind::NotFound {
            return fail(&"no such command, and no such file (ottla --help names the commands)");
        }
        fail(&error)
    })?;
    if is_toml(path) {
        let text = String::from_utf8(bytes).map_err(|error| fail(&error))?;
        return read_toml(&text).map_err(|error| fail(&error));
    }
    read_properties(&bytes).map_err(|error| fail(&error))
}

/// Java properties, in UTF-8 or Latin-1.
fn read_properties(bytes: &[u8]) -> Result<BTreeMap<String, String>, java_properties::PropertiesError> {
    Ok(java_properties::read(bytes)?.into_iter().map(|(key, value)| (key, value.trim().to_owned())).collect())
}

/// The same keys in TOML: `num.partitions = 3`, `[log] dirs = ["a", "b"]`, `"log.dir" = "x"`.
fn read_toml(text: &str) -> Result<BTreeMap<String, String>, toml::de::Error> {
    fn flatten(prefix: &str, value: &toml::Value, values: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                    flatten(&key, value, values);
                }
            }
            toml::Value::Array(members) => {
                let members: Vec<String> = members.iter().map(plain).collect();
                values.insert(prefix.to_owned(), members.join(","));
            }
            value => {
                values.insert(prefix.to_owned(), plain(value));
            }
        }
    }
    fn plain(value: &toml::Value) -> String {
        match value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
    let mut values = BTreeMap::new();
    flatten("", &toml::Value::Table(text.parse::<toml::Table>()?), &mut values);
    Ok(values)
}

/// `KAFKA_*` variables, mapped to keys as the official image maps them; `KAFKA_CFG_*` as Bitnami's does. With them the variable
/// that each key came from.
fn read_environment(environment: Vec<(String, String)>) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut values, mut variables) = (BTreeMap::new(), BTreeMap::new());
    for (variable, value) in environment {
        let key = if let Some(name) = variable.strip_prefix("KAFKA_CFG_") {
            name.to_lowercase().replace('_', ".")
        } else if let Some(name) = variable.strip_prefix("KAFKA_")
            && !container::is_silent(name)
        {
            key_of_variable(name)
        } else {
            continue;
        };
        values.insert(key.clone(), value);
        variables.insert(key, variable);
    }
    (values, variables)
}

/// `___` is a dash, `__` an underscore, `_` a dot; in Confluent's images it is `__` that is the dash. Whichever makes a key
/// that is known is meant.
fn key_of_variable(name: &str) -> String {
    let read = |three: &str, two: &str| {
        let name = name.to_lowercase().replace("___", "\u{1}").replace("__", "\u{0}").replace('_', ".");
        name.replace('\u{1}', three).replace('\u{0}', two)
    };
    let (apaches, confluents) = (read("-", "_"), read("_", "-"));
    let is_known = |key: &str| config_def::broker(config_def::listener_key(key).unwrap_or(key)).is_some();
    if !is_known(&apaches) && is_known(&confluents) { confluents } else { apaches }
}

fn read_overrides(overrides: &[String]) -> Result<BTreeMap<String, String>, ConfigError> {
    overrides
        .iter()
        .map(|text| {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| ConfigError::new(format!("--override {text}: key=value is expected")))?;
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn variables_become_keys() {
        assert_eq!(key_of_variable("LOG_RETENTION_MS"), "log.retention.ms");
        assert_eq!(key_of_variable("A__B___C"), "a_b-c");
        // Apache's way of writing a key of a listener, and Confluent's.
        let key = "listener.name.in-side.sasl.enabled.mechanisms";
        assert_eq!(key_of_variable("LISTENER_NAME_IN___SIDE_SASL_ENABLED_MECHANISMS"), key);
        let (values, variables) = read_environment(pairs(&[
            ("KAFKA_NUM_PARTITIONS", "3"),
            ("KAFKA_CFG_NODE_ID", "0"),
            ("KAFKA_HEAP_OPTS", "-Xmx1g"),
            ("PATH", "/bin"),
        ]));
        assert_eq!(values, BTreeMap::from([("num.partitions".into(), "3".into()), ("node.id".into(), "0".into())]));
        assert_eq!(variables["node.id"], "KAFKA_CFG_NODE_ID");
    }

    #[test]
    fn the_later_wins() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.properties");
        std::fs::write(&file, "# comment\nnum.partitions=2\nlog.dirs = /a,/b\nnode.id: 7\n").unwrap();
        let environment = pairs(&[("KAFKA_NUM_PARTITIONS", "3"), ("KAFKA_NODE_ID", "8"), ("CLUSTER_ID", "abc")]);
        let given = gather(Some(&file), Place::Machine(folder.path()), environment, &["node.id=9".to_owned()]).unwrap();
        assert_eq!(given.values["log.dirs"], "/a,/b");
        assert_eq!(given.values["num.partitions"], "3");
        assert_eq!(given.values["node.id"], "9");
        assert_eq!(given.cluster_id.as_deref(), Some("abc"));
        assert_eq!(given.sources["log.dirs"], file.display().to_string());
        assert_eq!(given.sources["num.partitions"], "KAFKA_NUM_PARTITIONS");
        assert_eq!(given.sources["node.id"], "--override");
    }

    #[test]
    fn toml_has_the_same_keys() {
        let values = read_toml(
            "num.partitions = 3\nlisteners = [\"PLAINTEXT://:1\", \"X://:2\"]\n\"log.dir\" = \"x\"\nlog.cleaner.enable = true\n",
        );
        // `log.cleaner.enable` beside a quoted "log.dir" is two keys.
        let values = values.unwrap();
        assert_eq!(values["num.partitions"], "3");
        assert_eq!(values["listeners"], "PLAINTEXT://:1,X://:2");
        assert_eq!(values["log.dir"], "x");
        assert_eq!(values["log.cleaner.enable"], "true");
    }

    #[test]
    fn without_a_file_a_node_serves_this_machine() {
        let folder = tempfile::tempdir().unwrap();
        let given = gather(None, Place::Machine(folder.path()), Vec::new(), &[]).unwrap();
        assert_eq!(given.values["listeners"], "PLAINTEXT://localhost:9092");
        assert!(given.values["log.dirs"].ends_with(DATA_FOLDER));
        let environment = pairs(&[("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://me:1,OTHER://you:2")]);
        let given = gather(None, Place::Machine(folder.path()), environment, &[]).unwrap();
        assert_eq!(given.values["listeners"], "PLAINTEXT://0.0.0.0:1,OTHER://0.0.0.0:2");
    }

    #[test]
    fn a_file_in_the_current_folder_is_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DEFAULT_FILE), "num.partitions = 5").unwrap();
        assert_eq!(gather(None, Place::Machine(folder.path()), Vec::new(), &[]).unwrap().values["num.partitions"], "5");
    }

    #[test]
    fn an_own_file_only_adds_and_a_server_properties_means_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(DEFAULT_FILE), "num.partitions = 5\nbroker.id = 4").unwrap();
        let own = gather(None, Place::Machine(folder.path()), Vec::new(), &[]).unwrap().values;
        assert!(own["log.dirs"].ends_with(DATA_FOLDER));
        assert_eq!(own["offsets.topic.replication.factor"], "1");
        assert!(!own.contains_key("node.id"), "broker.id stands for it");
        std::fs::write(folder.path().join(DEFAULT_FILE), "log.dir = \"x\"").unwrap();
        assert!(!gather(None, Place::Machine(folder.path()), Vec::new(), &[]).unwrap().values.contains_key("log.dirs"));
        let kafkas = folder.path().join("server.properties");
        std::fs::write(&kafkas, "num.partitions=5").unwrap();
        let kafkas = gather(Some(&kafkas), Place::Machine(folder.path()), Vec::new(), &[]).unwrap().values;
        assert_eq!(kafkas.keys().collect::<Vec<_>>(), ["num.partitions"]);
    }

    #[test]
    fn in_a_container_every_key_keeps_its_default() {
        let gather = |environment: &[(&str, &str)]| {
            gather(None, Place::Container(Path::new("/data")), pairs(environment), &[]).unwrap().values
        };
        let values = gather(&[("KAFKA_NUM_PARTITIONS", "3")]);
        assert_eq!(values["listeners"], "PLAINTEXT://:9092");
        assert_eq!(values["log.dirs"], "/data");
        assert_eq!(values["offsets.topic.replication.factor"], "1");
        let voters = "1@a:9093,2@b:9093,3@c:9093";
        let values = gather(&[("KAFKA_NODE_ID", "2"), ("KAFKA_CONTROLLER_QUORUM_VOTERS", voters)]);
        assert!(!values.contains_key("offsets.topic.replication.factor"), "a cluster has Kafka's default");
        let old = gather(&[("KAFKA_BROKER_ID", "4"), ("KAFKA_ZOOKEEPER_CONNECT", "zoo:2181")]);
        assert!(!old.contains_key("node.id"));
        assert_eq!(old["transaction.state.log.min.isr"], "1");
    }
}
