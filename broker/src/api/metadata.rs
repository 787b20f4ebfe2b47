//! Metadata: v0-13. Which topics there are, who leads their partitions, where the brokers are.
//!
//! v0 empty means all · v1 null means all, racks · v5 offline replicas · v6 LISTENER_NOT_FOUND · v7 leader epochs ·
//! v8 authorized operations · v10 topic ids · v12 questions by topic id.

use std::collections::HashSet;
use std::sync::Arc;

use ottla_metadata::{MetadataImage, PartitionImage, TopicImage};
use ottla_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use ottla_protocol::messages::{MetadataRequest, MetadataResponse};
use ottla_protocol::{BrokerId, ErrorCode, TopicId};
use uuid::Uuid;

use super::auto_create::AutoCreate;
use super::operations::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS};
use super::topic_names;
use super::wire::{address_of, broker_ids, is_internal, text, topic_name};
use super::{ApiSpec, House, Reply, RequestContext};
use crate::metadata_cache::MetadataCache;

const LISTENER_NOT_FOUND_VERSION: i16 = 6;
const AUTHORIZED_OPERATIONS_VERSION: i16 = 8;
/// After it, DescribeCluster answers for the operations on the cluster.
const CLUSTER_OPERATIONS_LAST_VERSION: i16 = 10;
const TOPIC_ID_VERSION: i16 = 12;

/// Partitions that are described before others on this thread get their turn.
const DESCRIBED_AT_ONCE: usize = 2_000;

/// Handler of Metadata.
pub struct Metadata {
    metadata: MetadataCache,
    auto_create: AutoCreate,
    cluster_id: Arc<str>,
    node_id: BrokerId,
}

/// What a client asks about.
enum Wanted {
    All,
    /// Each once, in the order of the request.
    Names(Vec<Arc<str>>),
    Ids(Vec<TopicId>),
}

impl Metadata {
    pub const APIS: &'static [ApiSpec] = &[ApiSpec::of(3)];

    pub fn new(house: &House) -> Self {
        Self {
            metadata: house.metadata.clone(),
            auto_create: AutoCreate::new(house),
            cluster_id: Arc::clone(&house.cluster_id),
            node_id: house.settings.node_id,
        }
    }

    /// Topics that are missing and may be created are created before the answer: what it names can be used at once.
    pub async fn handle(&self, cx: &RequestContext, request: MetadataRequest) -> Reply {
        let wanted = match wanted(cx.version, &request) {
            Ok(wanted) => wanted,
            Err(code) => return cx.reply(&refused(&request, code)),
        };
        if let Wanted::Names(names) = &wanted
            && request.allow_auto_topic_creation
            && self.auto_create.is_enabled()
        {
            let image = self.metadata.load();
            let missing: Vec<Arc<str>> =
                names.iter().filter(|name| image.topics.by_name(name).is_none()).cloned().collect();
            if !missing.is_empty() {
                // What could not be created is answered as missing, below.
                self.auto_create.create(cx, &missing).await;
            }
        }
        let image = self.metadata.load();
        let mut topics = match &wanted {
            Wanted::All => all(cx, &image).await,
            Wanted::Names(names) => by_name(cx, &image, names),
            Wanted::Ids(ids) => by_id(cx, &image, ids),
        };
        let mut response = MetadataResponse::default();
        if cx.version >= AUTHORIZED_OPERATIONS_VERSION {
            if request.include_cluster_authorized_operations && cx.version <= CLUSTER_OPERATIONS_LAST_VERSION {
                response.cluster_authorized_operations = CLUSTER_OPERATIONS;
            }
            if request.include_topic_authorized_operations {
                // Also of topics that are not there: they have a name.
                let named = |topic: &&mut MetadataResponseTopic| topic.error_code != ErrorCode::UnknownTopicId as i16;
                for topic in topics.iter_mut().filter(named) {
                    topic.topic_authorized_operations = TOPIC_OPERATIONS;
                }
            }
        }
        let brokers = brokers(cx, &image);
        let controller = controller_id(&brokers, self.node_id);
        cx.reply(
            &response
                .with_brokers(brokers)
                .with_cluster_id(Some(text(&self.cluster_id)))
                .with_controller_id(controller.into())
                .with_topics(topics),
        )
    }
}

fn wanted(version: i16, request: &MetadataRequest) -> Result<Wanted, ErrorCode> {
    let Some(topics) = &request.topics else { return Ok(Wanted::All) };
    if topics.is_empty() && version == 0 {
        return Ok(Wanted::All);
    }
    if version < TOPIC_ID_VERSION && topics.iter().any(|topic| topic.name.is_none() || !topic.topic_id.is_nil()) {
        return Err(ErrorCode::InvalidRequest);
    }
    let mut seen = HashSet::new();
    let ids: Vec<TopicId> = topics.iter().map(|topic| TopicId(topic.topic_id)).filter(|id| !id.is_zero()).collect();
    if !ids.is_empty() {
        return Ok(Wanted::Ids(ids.into_iter().filter(|&id| seen.insert(id)).collect()));
    }
    let mut seen = HashSet::new();
    let names = topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| Arc::<str>::from(name.as_str()));
    Ok(Wanted::Names(names.filter(|name| seen.insert(Arc::clone(name))).collect()))
}

/// One error for everything that was asked.
fn refused(request: &MetadataRequest, code: ErrorCode) -> MetadataResponse {
    let topics = request.topics.iter().flatten().map(|topic| {
        MetadataResponseTopic::default()
            .with_error_code(code as i16)
            .with_name(Some(topic.name.clone().unwrap_or_default()))
            .with_topic_id(topic.topic_id)
    });
    MetadataResponse::default().with_controller_id((-1).into()).with_topics(topics.collect())
}

/// Every topic. Where they have very many partitions, others on this thread get their turn in between.
async fn all(cx: &RequestContext, image: &MetadataImage) -> Vec<MetadataResponseTopic> {
    let mut topics = Vec::with_capacity(image.topics.len());
    let mut described = 0;
    for topic in image.topics.iter() {
        topics.push(describe(cx, image, topic));
        described += topic.partitions.len();
        if described >= DESCRIBED_AT_ONCE {
            described = 0;
            tokio::task::yield_now().await;
        }
    }
    topics
}

fn by_name(cx: &RequestContext, image: &MetadataImage, names: &[Arc<str>]) -> Vec<MetadataResponseTopic> {
    // Topics that exist come first, as in Kafka.
    let (known, unknown): (Vec<_>, Vec<_>) = names.iter().partition(|name| image.topics.by_name(name).is_some());
    let known = known.into_iter().filter_map(|name| image.topics.by_name(name)).map(|topic| describe(cx, image, topic));
    let unknown = unknown.into_iter().map(|name| {
        MetadataResponseTopic::default()
            .with_error_code(topic_names::missing(name) as i16)
            .with_name(Some(topic_name(name)))
            .with_is_internal(is_internal(name))
    });
    known.chain(unknown).collect()
}

fn by_id(cx: &RequestContext, image: &MetadataImage, ids: &[TopicId]) -> Vec<MetadataResponseTopic> {
    let (known, unknown): (Vec<TopicId>, Vec<TopicId>) = ids.iter().partition(|id| image.topics.by_id(**id).is_some());
    let unknown = unknown.into_iter().map(|id| {
        MetadataResponseTopic::default()
            .with_error_code(ErrorCode::UnknownTopicId as i16)
            .with_name(None)
            .with_topic_id(id.0)
    });
    let known = known.into_iter().filter_map(|id| image.topics.by_id(id)).map(|topic| describe(cx, image, topic));
    unknown.chain(known).collect()
}

fn describe(cx: &RequestContext, image: &MetadataImage, topic: &TopicImage) -> MetadataResponseTopic {
    let partitions = (0_i32..).zip(&topic.partitions).map(|(index, partition)| {
        let view = PartitionView::new(image, partition, &cx.listener.name);
        let (leader, code) = view.leader_or_error(cx.version);
        // Version 0 has no word for an unreachable replica but this error.
        let (replicas, isr) = if cx.version == 0 {
            (view.reachable(&partition.replicas), view.reachable(&partition.isr))
        } else {
            (partition.replicas.clone(), partition.isr.clone())
        };
        let hides = replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len();
        let code = if code == ErrorCode::None && hides { ErrorCode::ReplicaNotAvailable } else { code };
        MetadataResponsePartition::default()
            .with_error_code(code as i16)
            .with_partition_index(index)
            .with_leader_id(leader.0.into())
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(broker_ids(&replicas))
            .with_isr_nodes(broker_ids(&isr))
            .with_offline_replicas(broker_ids(&view.offline()))
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id.0)
        .with_is_internal(is_internal(&topic.name))
        .with_partitions(partitions.collect())
}

/// A partition as clients of one listener see it.
pub(super) struct PartitionView<'a> {
    image: &'a MetadataImage,
    partition: &'a PartitionImage,
    listener: &'a str,
}

impl<'a> PartitionView<'a> {
    pub(super) const fn new(image: &'a MetadataImage, partition: &'a PartitionImage, listener: &'a str) -> Self {
        Self { image, partition, listener }
    }

    /// The leader if these clients can reach it, or why there is none (-1).
    pub(super) fn leader_or_error(&self, version: i16) -> (BrokerId, ErrorCode) {
        let nobody = BrokerId(-1);
        let Some(leader) = self.partition.leader else { return (nobody, ErrorCode::LeaderNotAvailable) };
        match self.image.brokers.get(&leader) {
            None => (nobody, ErrorCode::LeaderNotAvailable),
            Some(broker) if broker.listener(self.listener).is_some() => (leader, ErrorCode::None),
            Some(_) if version >= LISTENER_NOT_FOUND_VERSION => (nobody, ErrorCode::ListenerNotFound),
            Some(_) => (nobody, ErrorCode::LeaderNotAvailable),
        }
    }

    /// Those of `brokers` that live and that these clients can reach.
    fn reachable(&self, brokers: &[BrokerId]) -> Vec<BrokerId> {
        brokers.iter().copied().filter(|&broker| self.reaches(broker)).collect()
    }

    /// Replicas that these clients cannot reach, or whose log directory is offline.
    pub(super) fn offline(&self) -> Vec<BrokerId> {
        let is_offline = |&replica: &BrokerId| {
            let in_online_dir = self.image.brokers.get(&replica).is_some_and(|broker| {
                self.partition.directory(replica).is_none_or(|directory| broker.has_online_dir(directory))
            });
            !self.reaches(replica) || !in_online_dir
        };
        self.partition.replicas.iter().copied().filter(is_offline).collect()
    }

    fn reaches(&self, broker: BrokerId) -> bool {
        let broker = self.image.brokers.get(&broker);
        broker.is_some_and(|broker| !broker.fenced && broker.listener(self.listener).is_some())
    }
}

fn brokers(cx: &RequestContext, image: &MetadataImage) -> Vec<MetadataResponseBroker> {
    let alive = image.brokers.values().filter(|broker| !broker.fenced);
    alive
        .filter_map(|broker| {
            let (host, port) = address_of(cx, image, broker)?;
            Some(
                MetadataResponseBroker::default()
                    .with_node_id(broker.id.0.into())
                    .with_host(text(host))
                    .with_port(i32::from(port))
                    .with_rack(broker.rack.as_deref().map(text)),
            )
        })
        .collect()
}

/// Whom admin clients send controller requests to: any listed broker passes them on, so preferably this one.
fn controller_id(brokers: &[MetadataResponseBroker], local: BrokerId) -> i32 {
    let ids = || brokers.iter().map(|broker| broker.node_id.0);
    ids().find(|&id| id == local.0).or_else(|| ids().next()).unwrap_or(-1)
}

/// The nil id stands for none on the wire.
pub(super) fn id_or_nil(image: &MetadataImage, topic: &str) -> Uuid {
    image.topics.by_name(topic).map_or(Uuid::nil(), |topic| topic.id.0)
}
