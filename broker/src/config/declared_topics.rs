//! Topics that are declared with the configuration: `create.topics`, in the environment `KAFKA_CREATE_TOPICS`.
//!
//! `name[:partitions[:replicas[:cleanup policy]]][:key=value]...`, separated by commas or lines. The first four are
//! wurstmeister's; a missing or empty number is the broker's default.

use super::settings::ConfigError;

/// The key, in the environment `KAFKA_CREATE_TOPICS`.
pub const KEY: &str = "create.topics";

/// One topic that is to exist before clients are told that the broker is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredTopic {
    pub name: String,
    /// -1: the broker's default.
    pub partitions: i32,
    /// -1: the broker's default.
    pub replicas: i16,
    pub configs: Vec<(String, String)>,
}

/// Reads a list of topics.
///
/// # Errors
/// When an entry has no name or a number is none.
pub fn read(text: &str) -> Result<Vec<DeclaredTopic>, ConfigError> {
    let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty() && !entry.starts_with('#'));
    entries.map(read_entry).collect()
}

fn read_entry(entry: &str) -> Result<DeclaredTopic, ConfigError> {
    let fail = || {
        ConfigError::new(format!(
            "Invalid value {entry} for configuration {KEY}: a topic is written as \
             name[:partitions[:replicas[:cleanup policy]]][:key=value]..."
        ))
    };
    let (configs, mut parts): (Vec<&str>, Vec<&str>) =
        entry.split(':').map(str::trim).partition(|part| part.contains('='));
    let mut configs: Vec<(String, String)> = configs
        .into_iter()
        .filter_map(|part| part.split_once('='))
        .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
        .collect();
    parts.resize(parts.len().max(4), "");
    let [name, partitions, replicas, policy] = parts[..] else { return Err(fail()) };
    if name.is_empty() {
        return Err(fail());
    }
    if !policy.is_empty() {
        configs.push(("cleanup.policy".to_owned(), policy.to_owned()));
    }
    Ok(DeclaredTopic {
        name: name.to_owned(),
        partitions: if partitions.is_empty() { -1 } else { partitions.parse().map_err(|_| fail())? },
        replicas: if replicas.is_empty() { -1 } else { replicas.parse().map_err(|_| fail())? },
        configs,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn topics_are_read_in_wurstmeisters_form_and_with_configs() {
        let topics = read("Topic1:1:3, Topic2:1:1:compact\n# a comment\nplain\norders:6::retention.ms=1000").unwrap();
        assert_eq!(topics.len(), 4);
        assert_eq!((topics[0].name.as_str(), topics[0].partitions, topics[0].replicas), ("Topic1", 1, 3));
        assert_eq!(topics[1].configs, [("cleanup.policy".to_owned(), "compact".to_owned())]);
        assert_eq!((topics[2].partitions, topics[2].replicas), (-1, -1));
        assert_eq!((topics[3].partitions, topics[3].replicas), (6, -1));
        assert_eq!(topics[3].configs, [("retention.ms".to_owned(), "1000".to_owned())]);
    }

    #[test]
    fn a_topic_without_a_name_or_with_a_word_for_a_number_is_refused() {
        for wrong in [":1:1", "a:b", "a:1:x", "a:1:1:compact:more"] {
            assert!(read(wrong).unwrap_err().0.contains("create.topics"), "{wrong}");
        }
    }
}
