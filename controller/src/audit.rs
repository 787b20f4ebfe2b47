//! What operators ask a log for later: who created, grew, deleted or configured what. One line each, where it was decided.

use std::collections::BTreeMap;

use ottla_decisions::RequestOrigin;
use ottla_metadata::config_def::{self, ConfigDef};
use ottla_metadata::{ConfigKind, ConfigResource, MetadataImage, MetadataRecord, QuotaEntity};
use ottla_protocol::TopicId;

/// Lines for one request; of more it is told how many.
const LINES_MAX: usize = 20;

/// Logs what of an origin's committed records is an operator's change. `before` is the image that they were decided on.
/// What clients send is quoted: it cannot begin a line of its own.
pub(crate) fn log(origin: &RequestOrigin, records: &[MetadataRecord], before: &MetadataImage) {
    let client = &*origin.client_id;
    let (said, left_out) = changes(records, before);
    for change in said {
        tracing::info!(client, "{change}");
    }
    if left_out > 0 {
        tracing::info!(client, "and {left_out} changes more of the same request");
    }
}

/// The first ones as text, and how many there are besides.
fn changes(records: &[MetadataRecord], before: &MetadataImage) -> (Vec<String>, usize) {
    let mut partitions: BTreeMap<TopicId, usize> = BTreeMap::new();
    for record in records {
        if let MetadataRecord::Partition { topic_id, .. } = record {
            *partitions.entry(*topic_id).or_default() += 1;
        }
    }
    let (mut said, mut left_out) = (Vec::new(), 0);
    let mut say = |change: &dyn Fn() -> String| match said.len() < LINES_MAX {
        true => said.push(change()),
        false => left_out += 1,
    };
    for record in records {
        match record {
            MetadataRecord::Topic { name, id } => {
                say(&|| format!("created topic {name} with {} partitions", partitions.get(id).copied().unwrap_or(0)));
            }
            MetadataRecord::RemoveTopic { id } => {
                say(&|| format!("deleted topic {}", before.topics.by_id(*id).map_or("?", |topic| &*topic.name)));
            }
            MetadataRecord::Config { resource, key, value } => say(&|| {
                let of = named(resource);
                match value.as_deref() {
                    Some(_) if is_sensitive(resource, key) => format!("set {key:?} of {of}"),
                    Some(value) => format!("set {key:?} to {value:?} of {of}"),
                    None => format!("took {key:?} off {of}"),
                }
            }),
            MetadataRecord::ClientQuota { entity, key, value } => say(&|| {
                let of = entity_text(entity);
                match value {
                    Some(value) => format!("set quota {key:?} to {value} of {of}"),
                    None => format!("took quota {key:?} off {of}"),
                }
            }),
            MetadataRecord::UnregisterBroker { id, .. } => say(&|| format!("unregistered broker {}", id.0)),
            MetadataRecord::FeatureLevel { name, level } => say(&|| format!("finalized {name} at {level}")),
            _ => {}
        }
    }
    for (id, count) in partitions {
        if let Some(topic) = before.topics.by_id(id) {
            let was = topic.partitions.len();
            say(&|| format!("grew topic {} from {was} to {} partitions", topic.name, was + count));
        }
    }
    (said, left_out)
}

/// What is not known to be harmless is not told, as in answers.
fn is_sensitive(resource: &ConfigResource, key: &str) -> bool {
    resource.kind == ConfigKind::Broker
        && config_def::broker(config_def::listener_key(key).unwrap_or(key)).is_none_or(ConfigDef::is_sensitive)
}

fn named(resource: &ConfigResource) -> String {
    let kind = match resource.kind {
        ConfigKind::Topic => "topic",
        ConfigKind::Broker if resource.name.is_empty() => return "all brokers".to_owned(),
        ConfigKind::Broker => "broker",
        ConfigKind::ClientMetrics => "client metrics",
        ConfigKind::Group => "group",
    };
    format!("{kind} {:?}", &*resource.name)
}

fn entity_text(entity: &QuotaEntity) -> String {
    let parts = entity.0.iter().map(|(kind, name)| match name {
        Some(name) => format!("{kind:?} {name:?}"),
        None => format!("default {kind:?}"),
    });
    parts.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use ottla_metadata::PartitionImage;
    use ottla_protocol::Offset;
    use uuid::Uuid;

    use super::*;

    fn partition(topic: u128, index: i32) -> MetadataRecord {
        let topic_id = TopicId(Uuid::from_u128(topic));
        MetadataRecord::Partition { topic_id, index, partition: PartitionImage::default() }
    }

    #[test]
    fn operators_changes_are_told_and_nothing_else() {
        let topic = |name: &str, id| MetadataRecord::Topic { name: name.into(), id: TopicId(Uuid::from_u128(id)) };
        let mut before = MetadataImage::default();
        before.replay_entry(Offset::ZERO, 1, &[topic("old", 1), partition(1, 0), topic("gone", 2), partition(2, 0)]);
        let config = |kind, name: &str, key: &str, value: Option<&str>| MetadataRecord::Config {
            resource: ConfigResource { kind, name: name.into() },
            key: key.into(),
            value: value.map(Into::into),
        };
        let quota = |name: Option<&str>, value| MetadataRecord::ClientQuota {
            entity: QuotaEntity(vec![("client-id".into(), name.map(Into::into))]),
            key: "request_percentage".into(),
            value,
        };
        let records = [
            topic("new", 3),
            partition(3, 0),
            partition(3, 1),
            partition(1, 1),
            MetadataRecord::RemoveTopic { id: TopicId(Uuid::from_u128(2)) },
            config(ConfigKind::Topic, "old", "retention.ms", Some("1\n2")),
            config(ConfigKind::Broker, "", "listener.name.x.sasl.jaas.config", Some("secret")),
            config(ConfigKind::Broker, "", "not\nknown", Some("secret")),
            config(ConfigKind::Broker, "", "num.io.threads", Some("9")),
            config(ConfigKind::Broker, "1", "log.durability", None),
            quota(Some("slow"), Some(10.0)),
            quota(None, None),
        ];
        let expected = [
            "created topic new with 2 partitions",
            "deleted topic gone",
            r#"set "retention.ms" to "1\n2" of topic "old""#,
            r#"set "listener.name.x.sasl.jaas.config" of all brokers"#,
            r#"set "not\nknown" of all brokers"#,
            r#"set "num.io.threads" to "9" of all brokers"#,
            r#"took "log.durability" off broker "1""#,
            r#"set quota "request_percentage" to 10 of "client-id" "slow""#,
            r#"took quota "request_percentage" off default "client-id""#,
            "grew topic old from 1 to 2 partitions",
        ];
        let (said, left_out) = changes(&records, &before);
        assert_eq!((said.as_slice(), left_out), (&expected.map(str::to_owned)[..], 0));
        assert!(changes(&[MetadataRecord::ClearElr { topic: None }], &before).0.is_empty());
        let many: Vec<_> = (0..100).map(|id| topic(&format!("t{id}"), id)).collect();
        assert_eq!((changes(&many, &before).0.len(), changes(&many, &before).1), (LINES_MAX, 80));
    }
}
