//! What holds right now: dynamic values from the metadata over the static ones, and where each value comes from.

use std::sync::Arc;

use ottla_metadata::config_def::{self, ConfigDef, Negative, Table, UpdateMode, Value, in_ms};
use ottla_metadata::{ConfigKind, ConfigResource, MetadataImage};

use super::Settings;
use crate::metadata_cache::MetadataCache;

/// Where a value comes from. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Source {
    Topic = 1,
    Broker = 2,
    ClusterDefault = 3,
    Static = 4,
    Default = 5,
    BrokerLogger = 6,
    ClientMetrics = 7,
    Group = 8,
}

/// A value that stands, or stood in line, for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synonym {
    pub name: String,
    /// `None`: a secret.
    pub value: Option<String>,
    pub source: Source,
}

/// Everything there is to say of one key of one resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `None`: not set, or a secret.
    pub value: Option<String>,
    pub source: Source,
    pub is_sensitive: bool,
    pub is_read_only: bool,
    /// Strongest first; the first is the one that holds.
    pub synonyms: Vec<Synonym>,
    /// The number of DescribeConfigs; 0 is unknown.
    pub value_type: i8,
    pub documentation: Option<&'static str>,
}

/// Static and dynamic configuration together. Cheap to clone; every question is answered from the newest image.
#[derive(Clone)]
pub struct Effective {
    pub settings: Arc<Settings>,
    metadata: MetadataCache,
}

impl Effective {
    pub fn new(settings: Arc<Settings>, metadata: MetadataCache) -> Self {
        Self { settings, metadata }
    }

    /// The value of a broker key as text: dynamic, static or default.
    pub fn text(&self, key: &str) -> Option<String> {
        self.at(&self.metadata.load()).broker_text(key)
    }

    /// A whole number; 0 when there is none.
    pub fn i64(&self, key: &str) -> i64 {
        self.text(key).and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// As `i64`; beyond the range `i32::MAX`.
    pub fn i32(&self, key: &str) -> i32 {
        i32::try_from(self.i64(key)).unwrap_or(i32::MAX)
    }

    /// A number; 0 when there is none.
    pub fn f64(&self, key: &str) -> f64 {
        self.text(key).and_then(|text| text.trim().parse().ok()).unwrap_or(0.0)
    }

    /// True where it says so; false for anything else.
    pub fn bool(&self, key: &str) -> bool {
        self.text(key).is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
    }

    /// The same questions to one image.
    pub fn at<'a>(&'a self, image: &'a MetadataImage) -> At<'a> {
        At { settings: &self.settings, image }
    }
}

/// What one source says of a key.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Configuration as of one image.
#[derive(Clone, Copy)]
pub struct At<'a> {
    pub settings: &'a Settings,
    pub image: &'a MetadataImage,
}

impl At<'_> {
    fn set_on(&self, resource: &ConfigResource, key: &str) -> Option<String> {
        self.image.configs.value(resource, key).map(|value| value.to_string())
    }

    /// A value set on a broker resource, if the key may be changed there at all.
    fn dynamic(&self, resource: &ConfigResource, key: &str) -> Option<String> {
        let base = config_def::listener_key(key).unwrap_or(key);
        let may = config_def::broker(base).is_some_and(|definition| definition.update.is_dynamic());
        if may { self.set_on(resource, key) } else { None }
    }

    /// The value of exactly this broker key.
    pub fn broker_text(&self, key: &str) -> Option<String> {
        self.given(key).or_else(|| self.broker_default(key))
    }

    /// What holds for a broker key that nobody has set.
    fn broker_default(&self, key: &str) -> Option<String> {
        // Who explicitly asks Kafka never to force a log to disk (as test containers do) means it.
        const NEVER: &str = "9223372036854775807";
        if key == "log.durability" && self.given("log.flush.interval.messages").is_some_and(|value| value == NEVER) {
            return Some("replicated".to_owned());
        }
        config_def::broker_default(key).map(str::to_owned)
    }

    /// What somebody has set for a broker key.
    fn given(&self, key: &str) -> Option<String> {
        self.dynamic(&ConfigResource::broker(self.settings.node_id), key)
            .or_else(|| self.dynamic(&ConfigResource::cluster_default(), key))
            .or_else(|| self.settings.given(key).map(str::to_owned))
    }

    /// The value of a key of a topic: its own, or what it falls back to, with the unit of the topic's key.
    pub fn topic_text(&self, topic: &str, key: &str) -> Option<String> {
        self.set_on(&ConfigResource::topic(topic), key).or_else(|| self.topic_default(key))
    }

    /// What a topic has that says nothing itself.
    pub fn topic_default(&self, key: &str) -> Option<String> {
        for synonym in config_def::topic_broker_synonyms(key) {
            if let Some(value) = self.broker_text(synonym) {
                return Some(in_ms(synonym, &value, Negative::Unlimited));
            }
        }
        config_def::topic(key)?.default.map(str::to_owned)
    }

    /// The value of a key of a group: its own, or the brokers'.
    pub fn group_text(&self, group: &str, key: &str) -> Option<String> {
        self.set_on(&ConfigResource::new(ConfigKind::Group, group), key).or_else(|| {
            match config_def::group_broker_synonym(key) {
                Some(synonym) => self.broker_text(synonym),
                None => config_def::group(key)?.default.map(str::to_owned),
            }
        })
    }

    /// All values in line for a broker key, strongest first, beginning with one of its own name.
    fn synonyms(&self, key: &str) -> Vec<Synonym> {
        let names = config_def::broker_synonyms(key);
        let sensitive = is_sensitive(key);
        let own = ConfigResource::broker(self.settings.node_id);
        let cluster = ConfigResource::cluster_default();
        let look: [(Source, Lookup<'_>); 4] = [
            (Source::Broker, &|name| self.dynamic(&own, name)),
            (Source::ClusterDefault, &|name| self.dynamic(&cluster, name)),
            (Source::Static, &|name| self.settings.given(name).map(str::to_owned)),
            (Source::Default, &|name| self.broker_default(name)),
        ];
        let mut synonyms = Vec::new();
        for (source, value_of) in look {
            for name in &names {
                if let Some(value) = value_of(name) {
                    synonyms.push(Synonym { name: (*name).to_owned(), value: (!sensitive).then_some(value), source });
                }
            }
        }
        let first = synonyms.iter().position(|synonym| synonym.name == key).unwrap_or(synonyms.len());
        synonyms.split_off(first)
    }

    /// Every key of this broker, given keys without a definition included.
    pub fn describe_broker(&self) -> Vec<Described> {
        let mut keys: Vec<&str> = Table::broker().shown().map(|definition| definition.name).collect();
        keys.extend(self.settings.explicit.keys().map(String::as_str));
        let own = ConfigResource::broker(self.settings.node_id);
        let cluster = ConfigResource::cluster_default();
        for resource in [&own, &cluster] {
            keys.extend(self.image.configs.get(resource).into_iter().flat_map(|set| set.keys().map(|key| &**key)));
        }
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter().map(|key| self.describe_broker_key(key, self.synonyms(key))).collect()
    }

    /// What is set for all brokers.
    pub fn describe_cluster_default(&self) -> Vec<Described> {
        let Some(set) = self.image.configs.get(&ConfigResource::cluster_default()) else { return Vec::new() };
        set.keys()
            .map(|key| {
                let mut synonyms = self.synonyms(key);
                synonyms.retain(|synonym| synonym.source == Source::ClusterDefault);
                let value = (!is_sensitive(key)).then(|| set.get(key).map(|value| value.to_string())).flatten();
                Described { value, ..self.describe_broker_key(key, synonyms) }
            })
            .collect()
    }

    fn describe_broker_key(&self, key: &str, synonyms: Vec<Synonym>) -> Described {
        let definition = config_def::broker(config_def::listener_key(key).unwrap_or(key));
        let is_sensitive = is_sensitive(key);
        let value = if is_sensitive { None } else { self.broker_text(key) };
        Described {
            value: value.map(|value| shown(definition, value)),
            source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
            is_sensitive,
            is_read_only: !definition.is_some_and(|definition| {
                definition.update.is_dynamic() && definition.name == key && definition.update != UpdateMode::DynamicOnly
            }),
            synonyms,
            value_type: definition.map_or(0, |definition| definition.value_type.code()),
            documentation: definition.map(|definition| definition.documentation),
            name: key.to_owned(),
        }
    }

    /// Every key of a topic.
    pub fn describe_topic(&self, topic: &str) -> Vec<Described> {
        let resource = ConfigResource::topic(topic);
        let describe = |definition: &'static ConfigDef| {
            let synonyms =
                config_def::topic_broker_synonym(definition.name).map(|key| self.synonyms(key)).unwrap_or_default();
            let value = self.topic_text(topic, definition.name);
            self.describe_resource(definition, &resource, Source::Topic, value, synonyms)
        };
        Table::topic().iter().map(describe).collect()
    }

    /// Every key of a group.
    pub fn describe_group(&self, group: &str) -> Vec<Described> {
        let resource = ConfigResource::new(ConfigKind::Group, group);
        let describe = |definition: &'static ConfigDef| {
            let synonyms = match config_def::group_broker_synonym(definition.name) {
                Some(key) => self.synonyms(key),
                None => default_synonym(definition).into_iter().collect(),
            };
            let value = self.group_text(group, definition.name);
            self.describe_resource(definition, &resource, Source::Group, value, synonyms)
        };
        Table::group().iter().map(describe).collect()
    }

    /// Every key of a client metrics subscription.
    pub fn describe_client_metrics(&self, name: &str) -> Vec<Described> {
        let resource = ConfigResource::new(ConfigKind::ClientMetrics, name);
        let describe = |definition: &'static ConfigDef| {
            let value = self.set_on(&resource, definition.name).or_else(|| definition.default.map(str::to_owned));
            self.describe_resource(definition, &resource, Source::ClientMetrics, value, Vec::new())
        };
        Table::client_metrics().iter().map(describe).collect()
    }

    fn describe_resource(
        &self,
        definition: &'static ConfigDef,
        resource: &ConfigResource,
        source: Source,
        value: Option<String>,
        mut synonyms: Vec<Synonym>,
    ) -> Described {
        let value = value.map(|value| shown(Some(definition), value));
        if self.image.configs.value(resource, definition.name).is_some() {
            synonyms.insert(0, Synonym { name: definition.name.to_owned(), value: value.clone(), source });
        }
        Described {
            name: definition.name.to_owned(),
            value,
            source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
            is_sensitive: false,
            is_read_only: false,
            synonyms,
            value_type: definition.value_type.code(),
            documentation: Some(definition.documentation),
        }
    }
}

fn default_synonym(definition: &ConfigDef) -> Option<Synonym> {
    let value = Some(definition.default?.to_owned());
    Some(Synonym { name: definition.name.to_owned(), value, source: Source::Default })
}

/// What is not known to be harmless is not shown.
fn is_sensitive(key: &str) -> bool {
    config_def::broker(config_def::listener_key(key).unwrap_or(key)).is_none_or(ConfigDef::is_sensitive)
}

/// The value as its type writes it; as it was given when it does not fit.
fn shown(definition: Option<&ConfigDef>, value: String) -> String {
    match definition.map(|definition| Value::read(definition.value_type, &value)) {
        Some(Ok(read)) => read.show(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ottla_metadata::MetadataRecord;
    use ottla_state_machine::StateMachine;

    use super::super::sources::Given;
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut values: std::collections::BTreeMap<String, String> =
            [("node.id", "1"), ("log.dirs", "/tmp/x")].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
        values.extend(pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())));
        Settings::new(Given { values, ..Given::default() }).unwrap()
    }

    fn image(set: &[(ConfigResource, &str, &str)]) -> MetadataImage {
        let mut image = MetadataImage::default();
        for (resource, key, value) in set {
            image.replay(&MetadataRecord::Config {
                resource: resource.clone(),
                key: (*key).into(),
                value: Some((*value).into()),
            });
        }
        image
    }

    fn find(all: Vec<Described>, name: &str) -> Described {
        all.into_iter().find(|described| described.name == name).unwrap()
    }

    #[test]
    fn dynamic_beats_the_file() {
        let settings = settings(&[("log.retention.ms", "1"), ("log.segment.bytes", "2000000")]);
        let image = image(&[
            (ConfigResource::cluster_default(), "log.retention.ms", "2"),
            (ConfigResource::broker(settings.node_id), "log.retention.ms", "3"),
            (ConfigResource::topic("t"), "segment.bytes", "3000000"),
            (ConfigResource::broker(settings.node_id), "num.partitions", "9"),
        ]);
        let at = At { settings: &settings, image: &image };
        assert_eq!(at.topic_text("t", "retention.ms").unwrap(), "3");
        assert_eq!(at.topic_text("t", "segment.bytes").unwrap(), "3000000");
        assert_eq!(at.topic_text("u", "segment.bytes").unwrap(), "2000000");
        assert_eq!(at.broker_text("num.partitions").unwrap(), "1", "read-only keys are not taken from the metadata");
        let retention = find(at.describe_topic("t"), "retention.ms");
        assert_eq!(retention.source, Source::Broker);
        let sources: Vec<Source> = retention.synonyms.iter().map(|synonym| synonym.source).collect();
        assert_eq!(sources, [Source::Broker, Source::ClusterDefault, Source::Static, Source::Default]);
        let segment = find(at.describe_topic("t"), "segment.bytes");
        assert_eq!((segment.source, segment.synonyms.len()), (Source::Topic, 3));
        assert_eq!(at.describe_cluster_default().len(), 1);
    }

    #[test]
    fn hours_stand_in_for_milliseconds() {
        let settings = settings(&[("log.retention.hours", "2")]);
        let image = image(&[]);
        let at = At { settings: &settings, image: &image };
        assert_eq!(at.topic_default("retention.ms").unwrap(), "7200000");
        assert_eq!(at.topic_default("segment.ms").unwrap(), "604800000");
        assert_eq!(at.topic_default("flush.ms").unwrap(), "9223372036854775807");
        let retention = find(at.describe_topic("t"), "retention.ms");
        assert_eq!((retention.source, retention.synonyms.len()), (Source::Default, 0));
    }

    #[test]
    fn a_broker_describes_itself() {
        let settings = settings(&[("ssl.key.password", "hush"), ("who.knows", "x")]);
        let image = image(&[]);
        let at = At { settings: &settings, image: &image };
        let all = at.describe_broker();
        // Kafka's 340, seven of our own, and the stranger.
        assert_eq!(all.len(), 348);
        let secret = find(all.clone(), "ssl.key.password");
        assert_eq!((secret.value, secret.is_sensitive, secret.source), (None, true, Source::Static));
        let stranger = find(all.clone(), "who.knows");
        assert_eq!((stranger.value, stranger.is_sensitive, stranger.value_type), (None, true, 0));
        assert!(find(all.clone(), "node.id").is_read_only);
        assert!(!find(all, "message.max.bytes").is_read_only);
    }

    #[test]
    fn groups_fall_back_to_brokers() {
        let settings = settings(&[("group.consumer.session.timeout.ms", "50000")]);
        let image = image(&[(ConfigResource::new(ConfigKind::Group, "g"), "share.auto.offset.reset", "earliest")]);
        let at = At { settings: &settings, image: &image };
        assert_eq!(at.group_text("g", "consumer.session.timeout.ms").unwrap(), "50000");
        assert_eq!(find(at.describe_group("g"), "share.auto.offset.reset").source, Source::Group);
        assert_eq!(find(at.describe_group("h"), "share.auto.offset.reset").value.unwrap(), "latest");
    }
}
