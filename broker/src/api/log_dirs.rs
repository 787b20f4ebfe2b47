//! AlterReplicaLogDirs: v1-2. DescribeLogDirs: v1-5 (v3 error of the whole, v4 total and usable bytes, v5 cordoned).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ottla_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use ottla_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use ottla_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use ottla_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
};
use ottla_protocol::{BrokerId, ErrorCode, TopicPartition};

use super::wire::{text, topic_name};
use super::{ApiSpec, House, Reply, RequestContext};
use crate::metadata_cache::MetadataCache;
use crate::replica::{LogDirMoves, Partitions};

/// Handler of AlterReplicaLogDirs and DescribeLogDirs.
pub struct LogDirs {
    partitions: Partitions,
    log_dirs: Arc<ottla_storage::LogDirs>,
    moves: LogDirMoves,
    metadata: MetadataCache,
    node_id: BrokerId,
}

impl LogDirs {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(34), ApiSpec::of(35)];

    pub fn new(house: &House) -> Self {
        Self {
            partitions: house.partitions.clone(),
            log_dirs: Arc::clone(&house.log_dirs),
            moves: house.log_dir_moves.clone(),
            metadata: house.metadata.clone(),
            node_id: house.settings.node_id,
        }
    }

    /// Answers once the moves have begun; DescribeLogDirs tells of replicas on their way.
    pub async fn alter_replica_log_dirs(&self, cx: &RequestContext, request: AlterReplicaLogDirsRequest) -> Reply {
        let mut asked: Vec<(Arc<Path>, TopicPartition)> = Vec::new();
        for dir in &request.dirs {
            let path: Arc<Path> = Arc::from(Path::new(dir.path.as_str()));
            for topic in &dir.topics {
                // One name for all partitions of a topic, one path for all of a directory.
                let name: Arc<str> = Arc::from(topic.name.as_str());
                asked.extend(
                    topic
                        .partitions
                        .iter()
                        .map(|&partition| (Arc::clone(&path), TopicPartition { topic: Arc::clone(&name), partition })),
                );
            }
        }
        let moves = self.moves.clone();
        let started = tokio::task::spawn_blocking(move || {
            let start = |(to, id): (Arc<Path>, TopicPartition)| {
                let code = moves.start(&id, &to);
                (id, code)
            };
            asked.into_iter().map(start).collect::<Vec<_>>()
        });
        let mut results: BTreeMap<Arc<str>, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
        for (id, code) in started.await.unwrap_or_default() {
            results.entry(id.topic).or_default().push(
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(id.partition)
                    .with_error_code(code as i16),
            );
        }
        let results = results.into_iter().map(|(topic, partitions)| {
            AlterReplicaLogDirTopicResult::default().with_topic_name(topic_name(&topic)).with_partitions(partitions)
        });
        cx.reply(&AlterReplicaLogDirsResponse::default().with_results(results.collect()))
    }

    pub async fn describe_log_dirs(&self, cx: &RequestContext, request: DescribeLogDirsRequest) -> Reply {
        let wanted = request.topics.as_deref().map(Wanted::new);
        let is_wanted = |id: &TopicPartition| wanted.as_ref().is_none_or(|wanted| wanted.contains(id));
        let logs = self.partitions.iter();
        let moving = self.log_dirs.moving();
        let cordoned = self.cordoned();
        let results = self.log_dirs.dirs().into_iter().map(|dir| {
            let described = DescribeLogDirsResult::default().with_log_dir(text(&dir.path.to_string_lossy()));
            if !dir.online {
                return described
                    .with_error_code(ErrorCode::KafkaStorageError as i16)
                    .with_total_bytes(-1)
                    .with_usable_bytes(-1);
            }
            let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
            for partition in logs.iter().filter(|p| p.log().dir().starts_with(&dir.path) && is_wanted(p.id())) {
                let offsets = partition.snapshot();
                let described = DescribeLogDirsPartition::default()
                    .with_partition_index(partition.id().partition)
                    .with_partition_size(i64::try_from(partition.log().size()).unwrap_or(i64::MAX))
                    .with_offset_lag((offsets.high_watermark.0 - offsets.log_end.0).max(0));
                topics.entry(Arc::clone(&partition.id().topic)).or_default().push(described);
            }
            for copy in moving.iter().filter(|copy| copy.to == dir.path && is_wanted(&copy.id)) {
                let described = DescribeLogDirsPartition::default()
                    .with_partition_index(copy.id.partition)
                    .with_partition_size(i64::try_from(copy.size).unwrap_or(i64::MAX))
                    .with_offset_lag(copy.lag)
                    .with_is_future_key(true);
                topics.entry(Arc::clone(&copy.id.topic)).or_default().push(described);
            }
            let topics = topics.into_iter().map(|(name, mut partitions)| {
                partitions.sort_by_key(|partition| partition.partition_index);
                DescribeLogDirsTopic::default().with_name(topic_name(&name)).with_partitions(partitions)
            });
            described
                .with_topics(topics.collect())
                .with_total_bytes(dir.total_bytes)
                .with_usable_bytes(dir.usable_bytes)
                .with_is_cordoned(cordoned.contains(&dir.id))
        });
        cx.reply(&DescribeLogDirsResponse::default().with_results(results.collect()))
    }

    fn cordoned(&self) -> Vec<uuid::Uuid> {
        let image = self.metadata.load();
        image.brokers.get(&self.node_id).map(|broker| broker.cordoned_log_dirs.clone()).unwrap_or_default()
    }
}

/// The partitions that are asked about. Names are lent by the request: one long name may stand before a million indexes.
struct Wanted<'a>(HashMap<&'a str, HashSet<i32>>);

impl<'a> Wanted<'a> {
    fn new(topics: &'a [DescribableLogDirTopic]) -> Self {
        let mut wanted: HashMap<&str, HashSet<i32>> = HashMap::new();
        for topic in topics {
            wanted.entry(topic.topic.as_str()).or_default().extend(&topic.partitions);
        }
        Self(wanted)
    }

    fn contains(&self, id: &TopicPartition) -> bool {
        self.0.get(&*id.topic).is_some_and(|partitions| partitions.contains(&id.partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_may_be_named_more_than_once() {
        let asked = |name, partitions: &[i32]| {
            DescribableLogDirTopic::default().with_topic(topic_name(name)).with_partitions(partitions.to_vec())
        };
        let topics = [asked("t", &[0, 2]), asked("u", &[]), asked("t", &[3])];
        let wanted = Wanted::new(&topics);
        let found: Vec<i32> = (0..5).filter(|&index| wanted.contains(&TopicPartition::new("t", index))).collect();
        assert_eq!(found, [0, 2, 3]);
        assert!(!wanted.contains(&TopicPartition::new("u", 0)) && !wanted.contains(&TopicPartition::new("v", 0)));
    }
}
