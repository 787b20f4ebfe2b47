//! What operators ask a log for later: who created, grew, deleted or configured what. One line each, where it was decided.

use std::collections::BTreeMap;

use ottla_decisions::RequestOrigin;
use ottla_metadata::{ConfigKind, ConfigResource, MetadataImage, MetadataRecord, QuotaEntity};
use ottla_protocol::TopicId;

/// Logs what of an origin's committed records is an operator's change. `before` is the image that they were decided on.
/// What clients send is quoted: it cannot begin a line of its own.
pub(crate) fn log(origin: &RequestOrigin, records: &[MetadataRecord], before: &MetadataImage) {
    let client = &*origin.client_id;
    for change in changes(records, before) {
        tracing::info!(client, "{change}");
    }
}

fn changes(records: &[MetadataRecord], before: &MetadataImage) -> Vec<String> {
    let mut grown: BTreeMap<TopicId, usize> = BTreeMap::new();
    let mut said = Vec::new();
    for record in records {
        match record {
            MetadataRecord::Topic { name, id } => {
                let of_it = |record: &&MetadataRecord| matches!(record, MetadataRecord::Partition { topic_id, .. } if topic_id == id);
                let partitions = records.iter().filter(of_it).count();
                said.push(format!("created topic {name} with {partitions} partitions"));
            }
            MetadataRecord::RemoveTopic { id } => {
                let name = before.topics.by_id(*id).map_or("?", |topic| &*topic.name);
                said.push(format!("deleted topic {name}"));
            }
            MetadataRecord::Partition { topic_id, .. } => *grown.entry(*topic_id).or_default() += 1,
            MetadataRecord::Config { resource, key, value } => {
                let resource = named(resource);
                said.push(match value.as_deref() {
                    // As Kafka hides them.
                    Some(_) if key.contains("password") || key.contains("secret") => {
                        format!("set {key}=[hidden] of {resource}")
                    }
                    Some(value) => format!("set {key}={value:?} of {resource}"),
                    None => format!("took {key} off {resource}"),
                });
            }
            MetadataRecord::ClientQuota { entity, key, value } => {
                let entity = entity_text(entity);
                said.push(match value {
                    Some(value) => format!("set quota {key}={value} of {entity}"),
                    None => format!("took quota {key} off {entity}"),
                });
            }
            MetadataRecord::UnregisterBroker { id, .. } => said.push(format!("unregistered broker {}", id.0)),
            MetadataRecord::FeatureLevel { name, level } => said.push(format!("finalized {name} at {level}")),
            _ => {}
        }
    }
    for (id, count) in grown {
        if let Some(topic) = before.topics.by_id(id) {
            let now = topic.partitions.len() + count;
            said.push(format!("grew topic {} from {} to {now} partitions", topic.name, topic.partitions.len()));
        }
    }
    said
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
        Some(name) => format!("{kind} {name:?}"),
        None => format!("default {kind}"),
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
            config(ConfigKind::Broker, "", "ssl.key.password", Some("open")),
            config(ConfigKind::Broker, "1", "log.durability", None),
            quota(Some("slow"), Some(10.0)),
            quota(None, None),
        ];
        let expected = [
            "created topic new with 2 partitions",
            "deleted topic gone",
            "set retention.ms=\"1\\n2\" of topic \"old\"",
            "set ssl.key.password=[hidden] of all brokers",
            "took log.durability off broker \"1\"",
            "set quota request_percentage=10 of client-id \"slow\"",
            "took quota request_percentage off default client-id",
            "grew topic old from 1 to 2 partitions",
        ];
        assert_eq!(changes(&records, &before), expected);
        assert!(changes(&[partition(1, 0), MetadataRecord::ClearElr { topic: None }][1..], &before).is_empty());
    }
}
